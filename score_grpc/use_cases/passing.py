"""The MD5 of the whole from the bytes as they pass, for stores that show no byte of a staging.

Possible where the parts come in order from the first byte through this process, which is the usual case. The store's
own digest of the assembled object, computed beside the MD5, then tells whether what the store has is what passed; if
it is, nothing needs to be read back. Whatever else happens (a part out of order, replaced, sent through another
process, a restart) costs only that reading back.

The hashing is done by the workers that all uploads share, behind a short queue: a stream that is faster waits.
"""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Final

from byte_path.md5 import new_md5
from score_grpc.domain import limits
from score_grpc.domain.uploads import UploadPart
from score_grpc.gateways.objects.port import RunningDigest

_KEEP: Final = memoryview(b"keep")
_DROP: Final = memoryview(b"drop")
_TURN_STEPS = 16
"""Steps of the queue that a worker takes before others have their turn."""


class PassingHash:
    """The hash of one upload's first parts. Any number of threads may offer parts; one part is taken at a time."""

    def __init__(self, vouching: RunningDigest, workers: Executor, slots: threading.Semaphore) -> None:
        """Take the workers, and the slots that all uploads share: each of a chunk's bytes that wait for a worker."""
        self._workers, self._slots = workers, slots
        self._changed = threading.Condition()
        self._queue: deque[memoryview] = deque()
        """Bytes, and what becomes of those since the last word: _KEEP or _DROP."""
        self._queued_bytes = 0
        self._is_working = False
        self._passing: PassingPart | None = None
        self._kept_total = 0
        self._kept_marks = bytearray()
        """The xxh3_128 of each kept part, in order."""
        # The worker's alone: as of the last kept part, and with what came since.
        self._kept_digests = (new_md5(), vouching)
        self._digests = (self._kept_digests[0].copy(), vouching.copy())

    def begin(self, part_number: int) -> "PassingPart | None":
        """Return where to hand a part's bytes if it is the one that comes next. A part under way before is dropped."""
        with self._changed:
            if part_number != self._kept_total + 1:
                return None
            if self._passing is not None:
                self._put(_DROP)
            self._passing = PassingPart(self)
            return self._passing

    def result(self, parts: Sequence[UploadPart]) -> tuple[str, str] | None:
        """Return the MD5 of exactly these parts and the store's digest of them; None unless all of them passed."""
        with self._changed:
            if self._passing is not None or self._kept_marks != b"".join(bytes.fromhex(p.xxh3_128) for p in parts):
                return None
            if not self._changed.wait_for(lambda: not self._is_working, limits.HASH_PACE_SECONDS):
                return None
            md5, vouching = self._kept_digests
            return md5.hexdigest(), vouching.digest()

    def take(self, passing: "PassingPart", data: memoryview) -> None:
        """Queue bytes, once there is room; where there is none for long, give the part up. For the part's own use."""
        has_slot = self._slots.acquire(timeout=limits.HASH_PACE_SECONDS)
        with self._changed:
            has_room = has_slot and self._changed.wait_for(
                lambda: (
                    self._passing is not passing
                    or not self._queue
                    or self._queued_bytes + data.nbytes <= limits.PASSING_QUEUE_BYTES
                ),
                limits.HASH_PACE_SECONDS,
            )
            if self._passing is passing and has_room:
                self._put(data)
                return
            if self._passing is passing:
                self._passing = None
                self._put(_DROP)
        if has_slot:
            self._slots.release()

    def end(self, passing: "PassingPart", kept: UploadPart | None) -> None:
        """End a part. For the part's own use."""
        with self._changed:
            if self._passing is not passing:
                return
            self._passing = None
            self._put(_DROP if kept is None else _KEEP)
            if kept is not None:
                self._kept_total += 1
                self._kept_marks += bytes.fromhex(kept.xxh3_128)

    def _put(self, data: memoryview) -> None:
        self._queue.append(data)
        self._queued_bytes += data.nbytes
        if not self._is_working:
            self._is_working = True
            self._workers.submit(self._work)

    def _work(self) -> None:
        for _ in range(_TURN_STEPS):
            with self._changed:
                if not self._queue:
                    self._is_working = False
                    self._changed.notify_all()
                    return
                data = self._queue[0]
            if data is _KEEP:
                self._kept_digests, self._digests = self._digests, (self._digests[0].copy(), self._digests[1].copy())
            elif data is _DROP:
                self._digests = (self._kept_digests[0].copy(), self._kept_digests[1].copy())
            else:
                for digest in self._digests:
                    digest.update(data)
                self._slots.release()
            with self._changed:
                self._queue.popleft()  # only now: what is being hashed is held too
                self._queued_bytes -= data.nbytes
                self._changed.notify_all()
        self._workers.submit(self._work)


class PassingPart:
    """One part on its way. Ends with `keep` or `drop`; then, or when another took its place, nothing has an effect."""

    def __init__(self, whole: PassingHash) -> None:
        self._whole = whole

    def update(self, data: memoryview) -> None:
        """Take the part's next bytes. Waits while the hashing is behind. Bytes that may change drop the part."""
        if data.readonly:
            self._whole.take(self, data)
        else:
            self.drop()

    def keep(self, part: UploadPart) -> None:
        """Count the part in: all its bytes were given, and it is persisted."""
        self._whole.end(self, part)

    def drop(self) -> None:
        """Forget the part's bytes."""
        self._whole.end(self, None)
