"""The file a download grows in: `<name>.partial`, with its journal, until it is whole and takes its name."""

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

import grpc
from score.v1.download_service_pb2 import ObjectPart
from score.v1.stored_object_pb2 import StoredObject

from byte_path.md5 import new_md5
from song_score_client.errors import LocalFileError, StoredBytesCorruptError
from song_score_client.quantities import format_bytes
from song_score_client.transfer.journal import Journal, journal_path
from song_score_client.transfer.local_file import CHUNK_BYTES
from song_score_client.transfer.piece_digest import Piece, PieceDigest


class PartialFile:
    """Collects parts: synced to the disk before the journal says so, hashed while they come."""

    def __init__(self, target: Path, stored: StoredObject, parts: Sequence[ObjectPart], *, whole_md5: bool) -> None:
        """Open or resume. `whole_md5`: also hash the whole. Raises LocalFileError."""
        self._target, self._stored, self._parts = target, stored, parts
        self._partial = target.with_name(f"{target.name}.partial")
        header: dict[str, str | int] = {
            "object_id": stored.object_id,
            "generation": stored.generation,
            "size_bytes": stored.size_bytes,
            "md5": stored.md5,
            "part_size_bytes": stored.part_size_bytes,
        }
        self._journal = Journal(journal_path(target), header)
        self.fd = -1
        try:
            # Whoever may write to the folder must not lead the bytes elsewhere.
            self.fd = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            if not self._journal.is_resumed:
                os.ftruncate(self.fd, 0)
            self._fetched = self._trusted_parts(hashes_follow=whole_md5)
            self._require_space()
        except (OSError, LocalFileError) as error:
            if self.fd >= 0:
                os.close(self.fd)
            self._journal.close()
            if isinstance(error, LocalFileError):
                raise
            raise LocalFileError(f"{self._partial}: {error.strerror}") from error
        self._lock = threading.Condition()
        self._damaged: set[int] = set()
        self._hashed_parts = 0
        self._failure: Exception | None = None
        self._md5 = new_md5() if whole_md5 else None
        self._unsynced: SimpleQueue[int | None] = SimpleQueue()
        self._closing = False
        self._threads = [threading.Thread(target=self._sync, name="sync")]
        if whole_md5:
            self._threads.append(threading.Thread(target=self._hash, name="md5"))
        for thread in self._threads:
            thread.start()

    @property
    def fetched(self) -> frozenset[int]:
        """Numbers of the parts that are there, as far as is known."""
        with self._lock:
            return frozenset(self._fetched)

    def add(self, part_number: int) -> None:
        """Count a part in that was written and verified. Raises LocalFileError if earlier ones can't be kept."""
        with self._lock:
            self._raise_failure()
            self._fetched.add(part_number)
            self._damaged.discard(part_number)
            self._lock.notify_all()
        self._unsynced.put(part_number)

    def await_hash(self) -> frozenset[int]:
        """Wait until all parts are hashed, or one turns out to be damaged; return the damaged ones.

        Every part must have been added. Without `whole_md5` there is nothing to wait for.
        """
        with self._lock:
            while self._md5 is not None and self._hashed_parts < len(self._parts):
                if self._damaged or self._failure:
                    break
                self._lock.wait()
            self._raise_failure()
            return frozenset(self._damaged)

    def finish(self) -> str | None:
        """Make the file whole under its own name, on the disk; return its MD5 if it was asked for.

        Raises LocalFileError; StoredBytesCorruptError where the right parts make a wrong whole.
        """
        self._end_threads()
        self._raise_failure()
        md5 = None if self._md5 is None else self._md5.hexdigest()
        if md5 is not None and md5 != self._stored.md5:
            raise StoredBytesCorruptError(
                f"{self._partial}: every part is right, but the whole has MD5 {md5} and not {self._stored.md5}: the "
                "object itself is damaged; tell those who run Score",
                service="score",
                code=grpc.StatusCode.DATA_LOSS,
                reason="STORED_BYTES_CORRUPT",
                metadata={"object_id": self._stored.object_id},
            )
        try:
            os.ftruncate(self.fd, self._stored.size_bytes)
            os.fsync(self.fd)
            self._partial.replace(self._target)
            folder = os.open(self._target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise LocalFileError(f"{self._target}: {error.strerror}") from error
        self._journal.remove()
        return md5

    def close(self) -> None:
        """Let go of the file; what is there stays for the next run."""
        self._end_threads()
        os.close(self.fd)
        self._journal.close()

    def _require_space(self) -> None:
        missing = self._stored.size_bytes - sum(self._parts[number - 1].size_bytes for number in self._fetched)
        free = shutil.disk_usage(self._partial.parent).free
        if free < missing:
            raise LocalFileError(
                f"{self._target}: {format_bytes(missing)} are to come and {format_bytes(free)} are free: make room"
            )

    def _trusted_parts(self, *, hashes_follow: bool) -> set[int]:
        """Return the parts that the journal has and the file still holds.

        The journal's word is enough where the whole is hashed afterwards, or nobody has touched the file since.
        """
        status = os.fstat(self.fd)
        named = {
            number
            for number, digest in self._journal.digests.items()
            if 1 <= number <= len(self._parts) and _known_digest(self._parts[number - 1]) == digest
        }
        held = {n for n in named if self._parts[n - 1].offset + self._parts[n - 1].size_bytes <= status.st_size}
        # Equal times prove nothing: file systems count in milliseconds.
        if hashes_follow or status.st_mtime_ns < self._journal.modified_ns:
            return held
        buffer = memoryview(bytearray(CHUNK_BYTES))
        return {number for number in held if self._is_right(number, buffer)}

    def _is_right(self, number: int, buffer: memoryview) -> bool:
        return piece_of(self._parts[number - 1]).is_right(self._pieces(number, buffer))

    def _pieces(self, number: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yield what the file holds of a part; less than the part where the file is shorter."""
        part = self._parts[number - 1]
        end = part.offset + part.size_bytes
        for offset in range(part.offset, end, CHUNK_BYTES):
            piece = buffer[: min(CHUNK_BYTES, end - offset)]
            yield piece[: os.preadv(self.fd, [piece], offset)]

    def _sync(self) -> None:
        """Sync what was written, then say so in the journal. One sync serves all parts that wait for it."""
        try:
            while (number := self._unsynced.get()) is not None:
                numbers = [number]
                while not self._unsynced.empty():
                    following = self._unsynced.get()
                    if following is None:
                        self._unsynced.put(None)
                        break
                    numbers.append(following)
                os.fdatasync(self.fd)
                for synced in numbers:
                    self._journal.add(synced, _known_digest(self._parts[synced - 1]))
        except (OSError, LocalFileError) as error:
            self._fail(error)

    def _hash(self) -> None:
        """Hash the parts in their order, reading back what was just written; find those that are damaged."""
        buffer = memoryview(bytearray(CHUNK_BYTES))
        try:
            while (number := self._next_to_hash()) is not None:
                self._hash_part(number, buffer)
        except OSError as error:
            self._fail(error)

    def _next_to_hash(self) -> int | None:
        with self._lock:
            while not self._closing:
                number = self._hashed_parts + 1
                if number > len(self._parts):
                    return None
                if number in self._fetched:
                    return number
                self._lock.wait()
            return None

    def _hash_part(self, number: int, buffer: memoryview) -> None:
        if self._md5 is None:
            return
        digest, md5 = PieceDigest(piece_of(self._parts[number - 1])), self._md5.copy()
        for piece in self._pieces(number, buffer):
            md5.update(piece)
            digest.update(piece)
        with self._lock:
            if digest.is_right():
                self._md5, self._hashed_parts = md5, number
            else:
                self._fetched.discard(number)
                self._damaged.add(number)
            self._lock.notify_all()

    def _fail(self, error: Exception) -> None:
        with self._lock:
            self._failure = error
            self._lock.notify_all()

    def _raise_failure(self) -> None:
        if isinstance(self._failure, OSError):
            raise LocalFileError(f"{self._partial}: {self._failure.strerror}") from self._failure
        if self._failure is not None:
            raise self._failure

    def _end_threads(self) -> None:
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._unsynced.put(None)
        for thread in self._threads:
            thread.join()


def piece_of(part: ObjectPart) -> Piece:
    """Return a part as what its bytes are compared with."""
    return Piece(part.offset, part.size_bytes, part.xxh3_128, part.md5)


def _known_digest(part: ObjectPart) -> str:
    """Return what the journal has of a part: its digest, empty where none is known."""
    return part.xxh3_128 or part.md5
