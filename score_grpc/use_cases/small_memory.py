"""The memory that small objects take on their way: bounded for all streams of a process together.

An object holds its whole size from its `open` on, before a byte of it has come. So that no stream keeps memory from the
others for nothing, an object that is not whole SMALL_OBJECT_BYTES_SECONDS later loses it to the one that waits
longest. What is whole is stored as soon as may be, and then let go.
"""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from byte_path.digests import PartDigest
from score_grpc.domain import limits
from score_grpc.domain.audit import Asker
from score_grpc.domain.errors import DrainingError, SmallObjectTooSlowError
from score_grpc.domain.registrations import Registration
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.domain.uploads import UploadPart


class StreamGoneError(Exception):
    """Nobody waits for an answer any more."""


class SmallObject:
    """One object on its way."""

    def __init__(self, object_id: str, size_bytes: int, expected_md5: str, *, replace: bool, asker: Asker) -> None:
        self.object_id, self.size_bytes, self.expected_md5, self.replace = object_id, size_bytes, expected_md5, replace
        self.asker = asker
        """Who sends it; the same for all of a stream."""
        self.registration: Registration | None = None
        """Song's word, if it was asked before."""
        self.outcome: StoredObject | Exception | None = None
        """What became of it; None as long as that is open. Set once, by one thread."""
        self.received_bytes = 0
        self.content: memoryview | None = None
        """From its first byte on, as long as the object, however many chunks its bytes come in; None where it is not
        held. See `SmallObjectMemory`."""
        self._md5, self._digest = hashlib.md5(usedforsecurity=False), PartDigest()

    def digest(self, data: memoryview) -> None:
        """Digest the next bytes."""
        self._md5.update(data)
        self._digest.update(data)

    def keep(self, data: memoryview) -> None:
        """Keep the next bytes, not beyond the object's end. What comes in one piece is not copied."""
        if data.nbytes == self.size_bytes:
            self.content = data
            return
        if self.content is None:
            self.content = memoryview(bytearray(self.size_bytes))
        self.content[self.received_bytes : self.received_bytes + data.nbytes] = data

    @property
    def pieces(self) -> Sequence[memoryview]:
        """All bytes, in order."""
        return [] if self.content is None else [self.content]

    @property
    def md5(self) -> str:
        """Of the bytes that came."""
        return self._md5.hexdigest()

    @property
    def part(self) -> UploadPart | None:
        """The one part; None of an empty object."""
        return UploadPart(1, self.size_bytes, self._digest.hexdigest(), "") if self.size_bytes else None


class SmallObjectMemory:
    """Counts what the streams of this process hold. Used by many threads."""

    def __init__(self, draining: threading.Event) -> None:
        self._draining, self._changed = draining, threading.Condition()
        self._total_bytes = 0
        self._whole: set[SmallObject] = set()
        self._coming: dict[SmallObject, float] = {}
        """Oldest first, each with the moment by which it is to be whole."""
        self._queue: deque[SmallObject] = deque()
        """Those that wait, in their turn: who is slow again and again comes last again."""

    @property
    def total_bytes(self) -> int:
        """How much is held."""
        with self._changed:
            return self._total_bytes

    def hold(self, item: SmallObject, *, waits: bool, is_active: Callable[[], bool]) -> bool:
        """Hold the object's size, for its bytes to come; False where others hold too much, or wait.

        Who `waits` until they don't must hold nothing itself; `is_active` says whether its stream still is there.
        Raises DrainingError, StreamGoneError.
        """
        with self._changed:
            if not waits and (self._queue or not self._has_room(item)):
                return False
            self._queue.append(item)
            try:
                while self._queue[0] is not item or not self._has_room(item):
                    if self._draining.is_set():
                        raise DrainingError("this server is shutting down: send the object to another one")
                    if not is_active():
                        raise StreamGoneError
                    if self._queue[0] is not item or not self._take_from_the_slowest():
                        self._changed.wait(limits.SMALL_OBJECTS_ROOM_SECONDS)
            finally:
                self._queue.remove(item)
                self._changed.notify_all()
            self._total_bytes += item.size_bytes
            self._coming[item] = time.monotonic() + limits.SMALL_OBJECT_BYTES_SECONDS
            return True

    def add(self, item: SmallObject, data: memoryview) -> None:
        """Keep the next bytes of an object. Raises SmallObjectTooSlowError."""
        item.digest(data)
        with self._changed:
            self._require(item)
            item.keep(data)

    def end(self, item: SmallObject) -> None:
        """Keep the object, which is whole, until it is let go. Raises SmallObjectTooSlowError."""
        with self._changed:
            self._require(item)
            del self._coming[item]
            self._whole.add(item)

    def let_go(self, items: Iterable[SmallObject]) -> None:
        """Hold these objects no longer, those of them that are held."""
        with self._changed:
            for item in items:
                if self._coming.pop(item, None) is not None or item in self._whole:
                    self._whole.discard(item)
                    self._drop(item)

    def _has_room(self, item: SmallObject) -> bool:
        return self._total_bytes + item.size_bytes <= limits.SMALL_OBJECTS_HELD_TOTAL_BYTES

    def _take_from_the_slowest(self) -> bool:
        slowest = next((item for item in self._coming if item.size_bytes), None)
        if slowest is None or time.monotonic() < self._coming[slowest]:
            return False
        del self._coming[slowest]
        self._drop(slowest)
        return True

    def _drop(self, item: SmallObject) -> None:
        item.content = None
        self._total_bytes -= item.size_bytes
        self._changed.notify_all()

    def _require(self, item: SmallObject) -> None:
        if item not in self._coming:
            raise SmallObjectTooSlowError(
                f"object {item.object_id}: its bytes had not all come after {limits.SMALL_OBJECT_BYTES_SECONDS:g} s, "
                "and other streams waited for the memory: send the object again",
                object_id=item.object_id,
            )
