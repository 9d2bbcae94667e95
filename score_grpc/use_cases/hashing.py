"""The MD5 of the whole, while the parts still come in.

A hasher per upload follows the contiguous persisted prefix and reads it back from the staging, where it still is in
the page cache; so parts may come in any order, streams may break, and nothing of it is ever stored: after a
restart it begins again at the first byte. Each part's xxh3_128 is checked on the way, so that what a power loss took
from a part is noticed, and the part asked for again.

Several workers hash at a time, for what they hash at a time costs little more than one alone (`byte_path/md5.py`).
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from byte_path.digests import PartDigest
from byte_path.md5 import new_md5
from score_grpc.database.ledger import Ledger
from score_grpc.domain import limits
from score_grpc.domain.errors import StoredBytesCorruptError
from score_grpc.domain.uploads import Upload, UploadPart
from score_grpc.gateways.objects.port import ObjectStore, Staging
from score_grpc.use_cases.passing import PassingHash, PassingPart

_PARTS_PER_LOOK = 64

_log = structlog.get_logger()


class DamagedPartError(Exception):
    """A part's bytes in the store are not those that were persisted."""

    def __init__(self, part: UploadPart) -> None:
        super().__init__(part.part_number)
        self.part = part


class PrefixHash:
    """The MD5 of an upload's first parts."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Held while one part is hashed."""
        self.is_behind = False
        """Whether parts may have been persisted since a worker last looked."""
        self.is_scheduled = False
        """Whether a worker looks, or will."""
        self.is_hashing = False
        """Whether a worker is at it now."""
        self.hashed_parts = 0
        self.hashed_bytes = 0
        self.parts_mark = b""
        """Tells which parts were hashed, by their digests: see `mark_parts`."""
        self._md5 = new_md5()

    def add(self, part: UploadPart, pieces: Iterator[memoryview]) -> None:
        """Take the next part. Raises DamagedPartError, and is then as before."""
        md5, digest = self._md5.copy(), PartDigest()
        try:
            for piece in pieces:
                md5.update(piece)
                digest.update(piece)
        except StoredBytesCorruptError as error:
            raise DamagedPartError(part) from error
        if digest.hexdigest() != part.xxh3_128:
            raise DamagedPartError(part)
        self._md5, self.parts_mark = md5, mark_parts([part], self.parts_mark)
        self.hashed_parts += 1
        self.hashed_bytes += part.size_bytes

    def hexdigest(self) -> str:
        """Return the MD5 so far."""
        return self._md5.hexdigest()


def mark_parts(parts: Iterable[UploadPart], mark: bytes = b"") -> bytes:
    """Return a short mark of these parts' digests in their order, following those of `mark`."""
    for part in parts:
        mark = hashlib.blake2b(mark + (part.xxh3_128 or part.md5).encode(), digest_size=16).digest()
    return mark


class Hashing:
    """Hashes uploads in the background as their parts come in."""

    def __init__(self, ledger: Ledger, store: ObjectStore, draining: threading.Event) -> None:
        self._ledger, self._store, self._draining = ledger, store, draining
        self._workers = ThreadPoolExecutor(limits.HASHERS, "hash")
        self._slots = threading.Semaphore(limits.PASSING_CHUNKS)
        self._lock = threading.Lock()
        self._hashes: OrderedDict[str, PrefixHash] = OrderedDict()
        self._passing: OrderedDict[str, PassingHash] = OrderedDict()
        self._moved = threading.Condition(self._lock)
        """Told whenever a worker has hashed a part, or stops."""

    def hashed_parts(self, upload_id: str) -> int:
        """Return how many parts of the upload are hashed."""
        return self._prefix(upload_id).hashed_parts

    def keep_pace(self, upload_id: str, part_number: int) -> None:
        """Wait before a part is written, while a worker hashes this upload and is far behind it.

        Bytes are then hashed while they are in the page cache still, and streams leave the worker its processor: it
        has the longest way to go. Bounded: a worker that gets no further holds nobody up.
        """
        prefix = self._prefix(upload_id)
        with self._lock:
            while prefix.is_hashing and part_number - prefix.hashed_parts > limits.HASH_LEAD_PARTS:
                before = prefix.hashed_parts
                self._moved.wait(limits.HASH_PACE_SECONDS)
                if prefix.hashed_parts == before:
                    return

    def follow(self, upload_id: str) -> None:
        """Hash what is persisted beyond what has been hashed, soon."""
        prefix = self._prefix(upload_id)
        with self._lock:
            prefix.is_behind = True
            if prefix.is_scheduled or self._draining.is_set():
                return
            prefix.is_scheduled = True
        self._workers.submit(self._catch_up, upload_id, prefix)

    def restart(self, upload_id: str) -> None:
        """Begin again at the first byte: a part was replaced."""
        self.forget(upload_id)
        self.follow(upload_id)

    def forget(self, upload_id: str) -> None:
        """Drop an upload's hash."""
        with self._lock:
            self._hashes.pop(upload_id, None)
            self._passing.pop(upload_id, None)

    def pass_part(self, upload_id: str, part_number: int) -> PassingPart | None:
        """Return where to hand a part's bytes as they pass; None where they would be of no use, see `passing.py`."""
        with self._lock:
            passing = self._passing.get(upload_id)
        if passing is None:
            digest = self._store.passing_digest() if part_number == 1 else None
            if digest is None:
                return None
            with self._lock:
                passing = self._passing.setdefault(upload_id, PassingHash(digest, self._workers, self._slots))
                while len(self._passing) > limits.HASHED_UPLOADS:
                    self._passing.popitem(last=False)
        return passing.begin(part_number)

    def passed(self, upload_id: str, parts: Sequence[UploadPart]) -> tuple[str, str] | None:
        """Return the MD5 of exactly these parts and the store's digest of them, if all of them were seen passing."""
        with self._lock:
            passing = self._passing.get(upload_id)
        return None if passing is None else passing.result(parts)

    def finish(self, upload: Upload, parts: Sequence[UploadPart], on_progress: Callable[[int], None]) -> str | None:
        """Return the MD5 of the whole: of exactly these parts, which are all.

        None where the store can't read a staging, it is assembled already, or a part was never seen here.
        `on_progress` is told the bytes hashed, after each part; what it raises ends the work. Raises DamagedPartError,
        StoreUnavailableError.
        """
        prefix = self._prefix(upload.upload_id)
        on_progress(prefix.hashed_bytes)
        while prefix.hashed_parts < upload.plan.part_total:
            before = prefix.hashed_parts
            if not self._add_parts(upload, prefix, on_progress):
                return None
            if prefix.hashed_parts == before:
                raise RuntimeError(f"part {before + 1} of upload {upload.upload_id} is not in the ledger")
        if prefix.parts_mark != mark_parts(parts):
            # A part was replaced after it had been hashed: begin again. No part can be replaced any more by now.
            self.forget(upload.upload_id)
            return self.finish(upload, parts, on_progress)
        return prefix.hexdigest()

    def close(self) -> None:
        """Stop; `draining` is set."""
        self._workers.shutdown(cancel_futures=True)

    def _prefix(self, upload_id: str) -> PrefixHash:
        with self._lock:
            prefix = self._hashes.setdefault(upload_id, PrefixHash())
            self._hashes.move_to_end(upload_id)
            while len(self._hashes) > limits.HASHED_UPLOADS:
                self._hashes.popitem(last=False)
            return prefix

    def _catch_up(self, upload_id: str, prefix: PrefixHash) -> None:
        try:
            prefix.is_hashing = True
            while self._is_behind(prefix):
                upload = self._ledger.upload(upload_id)
                is_more = True
                while is_more and not self._draining.is_set():
                    before = prefix.hashed_parts
                    # Fewer than one look finds: the next ones are persisted later, and say so.
                    is_more = self._add_parts(upload, prefix) and prefix.hashed_parts - before >= _PARTS_PER_LOOK
        except DamagedPartError as damaged:  # completion meets it again, and asks for the part
            _log.warning("part damaged in the store", upload_id=upload_id, part_number=damaged.part.part_number)
        except Exception as error:  # noqa: BLE001 - completion meets it again, and says so
            _log.warning("hashing paused", upload_id=upload_id, error=str(error))
        finally:
            with self._lock:
                prefix.is_scheduled = prefix.is_hashing = False
                self._moved.notify_all()

    def _is_behind(self, prefix: PrefixHash) -> bool:
        """Whether to look again. A False ends the worker's turn in the same breath: no part falls between."""
        with self._lock:
            is_behind, prefix.is_behind = prefix.is_behind and not self._draining.is_set(), False
            prefix.is_scheduled = prefix.is_hashing = is_behind
            return is_behind

    def _add_parts(
        self, upload: Upload, prefix: PrefixHash, on_progress: Callable[[int], None] = lambda _: None
    ) -> bool:
        """Hash the persisted parts that come next, up to a bound. False where the staging can't be read."""
        for part in self._ledger.parts(upload.upload_id, prefix.hashed_parts, _PARTS_PER_LOOK):
            with prefix.lock:
                if part.part_number <= prefix.hashed_parts:
                    continue  # the other thread was faster
                if part.part_number != prefix.hashed_parts + 1:
                    break
                staging = Staging(upload.staging_key, upload.staging_token)
                if not part.xxh3_128:
                    return False  # a part that nobody has seen yet is read back with the whole
                pieces = self._store.read_staged(staging, upload.plan.offset(part.part_number), part.size_bytes)
                if pieces is None:
                    return False
                prefix.add(part, pieces)
            with self._lock:
                self._moved.notify_all()
            on_progress(prefix.hashed_bytes)
        return True
