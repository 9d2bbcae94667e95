"""Write many small objects over one stream: each whole or not at all, answered in the order opened.

announce   one question to Song for hundreds of ids
open       the fields are checked; everything else is asked for a whole group, see `small_groups.py`
chunk      held in memory, see `small_memory.py`; what is too large for that goes through an upload of its own, see
           `whole_upload.py`
finish     the object waits for the next group: while one group is stored, the next one gathers
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress

from byte_path.digests import chunk_digest
from score_grpc.domain import limits
from score_grpc.domain.access import Principal
from score_grpc.domain.audit import Asker
from score_grpc.domain.errors import (
    ChunkCorruptError,
    DrainingError,
    FieldInvalidError,
    ScoreError,
    SongUnavailableError,
)
from score_grpc.domain.registrations import Registration
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.gateways.registry import CachedRegistry
from score_grpc.use_cases.small_groups import SmallObjectStorer
from score_grpc.use_cases.small_memory import SmallObject
from score_grpc.use_cases.start import is_object_id, require_md5, require_object_id
from score_grpc.use_cases.whole_upload import WholeUpload

_OF_THE_STREAM = (SongUnavailableError, DrainingError)
"""What ends the stream, whichever object meets it."""


class SmallObjectsSession:
    """One stream. Used by one thread, but for the groups: the end of one begins the next in the thread that stored it.

    Every method may raise what ends the stream: FieldInvalidError for a message out of its order, SongUnavailableError,
    DrainingError, DatabaseUnavailableError, StreamGoneError.
    """

    def __init__(
        self,
        registry: CachedRegistry,
        storer: SmallObjectStorer,
        principal: Principal,
        call_facts: Mapping[str, str],
        is_active: Callable[[], bool],
    ) -> None:
        """`call_facts` go into the audit; `is_active` says whether the stream still has a client."""
        self._registry, self._storer, self._principal, self._is_active = registry, storer, principal, is_active
        self._memory, self._asker = storer.memory, Asker(principal.name, call_facts)
        self._announced: OrderedDict[str, Registration] = OrderedDict()
        self._unanswered: deque[SmallObject] = deque()
        self._answered_total = 0
        self._current: SmallObject | None = None
        self._upload: WholeUpload | None = None
        """Of the current object, where it is too large to be held."""
        self._is_discarding = False
        """Whether the current object has its outcome already."""
        self._lock = threading.Lock()
        self._waiting: list[SmallObject] = []
        """Whole, and for the next group."""
        self._running: Future[None] | None = None
        """The group that is being stored, or has failed."""

    def announce(self, object_ids: Sequence[str]) -> None:
        """Ask Song about ids that will follow."""
        if not 1 <= len(object_ids) <= limits.BATCH_OBJECTS_MAX:
            raise FieldInvalidError(
                "announce.object_ids",
                f"{len(object_ids)} ids: announce 1 to {limits.BATCH_OBJECTS_MAX} at a time",
            )
        known = [object_id for object_id in object_ids if is_object_id(object_id)]
        self._announced |= self._registry.resolve(known, fresh=True)
        while len(self._announced) > limits.SMALL_OBJECTS_ANNOUNCED:
            self._announced.popitem(last=False)  # asked about again when it comes

    def open(self, object_id: str, size_bytes: int, expected_md5: str, *, replace: bool) -> None:
        """Begin an object."""
        if self._current is not None and not self._is_discarding:
            raise FieldInvalidError("open", "the object before has not been finished")
        item = SmallObject(object_id, size_bytes, expected_md5, replace=replace, asker=self._asker)
        self._make_room(item)
        self._current, self._is_discarding = item, False
        self._unanswered.append(item)
        try:
            self._begin(item)
        except _OF_THE_STREAM:
            raise
        except ScoreError as error:
            self._end(error)

    def take(self, data: memoryview, xxh3_64: int | None) -> None:
        """Take the next bytes of the object; none of one that has been refused."""
        if self._is_discarding:
            return
        item = self._require_current("chunk")
        try:
            self._take(item, data, xxh3_64)
        except _OF_THE_STREAM:
            raise
        except ScoreError as error:
            self._end(error)
        self._store_next()

    def finish(self) -> None:
        """End the object."""
        if self._is_discarding:
            return
        item = self._require_current("finish")
        if item.received_bytes != item.size_bytes:
            text = f"{item.received_bytes} bytes have come, {item.size_bytes} were said to: send the object again"
            self._end(FieldInvalidError("finish", text))
        elif self._upload is not None:
            try:
                self._end(self._upload.finish())
            except _OF_THE_STREAM:
                raise
            except ScoreError as error:
                self._end(error)
        else:
            self._finish_held(item)
        self._current = None
        self._store_next()

    def answers(self) -> Iterator[tuple[int, StoredObject | Exception]]:
        """Yield what became of the objects that come next, by their index on this stream, as far as it is known."""
        while self._unanswered and (outcome := self._unanswered[0].outcome) is not None:
            self._unanswered.popleft()
            self._answered_total += 1
            yield self._answered_total - 1, outcome

    def rest(self) -> Iterator[tuple[int, StoredObject | Exception]]:
        """Wait for all that is under way, and yield it: the caller sends no more."""
        while self._is_storing():
            self._await_group()
            yield from self.answers()
        yield from self.answers()
        if self._unanswered:
            raise FieldInvalidError("finish", "the stream ended in the middle of an object: send it again")

    def close(self) -> None:
        """Leave. A group that is being stored goes on; an object in the middle leaves nothing."""
        if self._upload is not None:
            self._upload.close()
        with self._lock:
            unstored, self._waiting = self._waiting, []
        if self._current is not None:
            unstored.append(self._current)
        self._memory.let_go(unstored)

    def _begin(self, item: SmallObject) -> None:
        require_object_id(item.object_id)
        require_md5(item.expected_md5)
        if not 0 <= item.size_bytes <= limits.SMALL_OBJECT_MAX_BYTES:
            raise FieldInvalidError(
                "open.size_bytes",
                f"{item.size_bytes} bytes: 0 to {limits.SMALL_OBJECT_MAX_BYTES} go this way, larger objects by "
                "StartUpload",
            )
        item.registration = self._announced.pop(item.object_id, None)
        if not _is_held(item):
            self._upload = self._storer.open_upload(self._principal, item)

    def _take(self, item: SmallObject, data: memoryview, xxh3_64: int | None) -> None:
        if not 0 < data.nbytes <= limits.CHUNK_MAX_BYTES:
            raise FieldInvalidError("chunk.data", f"{data.nbytes} bytes: send 1 to {limits.CHUNK_MAX_BYTES} at a time")
        if item.received_bytes + data.nbytes > item.size_bytes:
            raise FieldInvalidError("chunk.data", f"more bytes come than the {item.size_bytes} that were said to")
        if xxh3_64 is not None and chunk_digest(data) != xxh3_64:
            raise ChunkCorruptError(
                f"object {item.object_id}: a chunk did not match its xxh3_64, something corrupts data on the way: "
                "send the object again",
                object_id=item.object_id,
            )
        if self._upload is None:
            self._memory.add(item, data)
        else:
            self._upload.write(data)
        item.received_bytes += data.nbytes

    def _require_current(self, message: str) -> SmallObject:
        if self._current is None:
            raise FieldInvalidError(message, f"a '{message}' where no object is open: begin one by 'open'")
        return self._current

    def _end(self, outcome: StoredObject | Exception) -> None:
        """Answer the current object now; what still comes of it is discarded."""
        if self._current is not None:
            self._current.outcome = outcome
            self._memory.let_go([self._current])
        self._is_discarding = True
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.close()

    def _make_room(self, item: SmallObject) -> None:
        """Wait until one more object may be under way, and hold its bytes."""
        self._await_room(item)
        if _is_held(item):
            while not self._memory.hold(item, waits=not self._is_storing(), is_active=self._is_active):
                self._await_group()

    def _await_room(self, item: SmallObject) -> None:
        """Wait until this stream may have one more object under way."""
        while self._is_storing():
            open_items = [other for other in self._unanswered if other.outcome is None]
            held_bytes = sum(other.size_bytes for other in [*open_items, item] if _is_held(other))
            if (
                len(open_items) < limits.SMALL_OBJECTS_UNANSWERED
                and held_bytes <= limits.SMALL_OBJECTS_HELD_BYTES
                and all(other.object_id != item.object_id for other in open_items)
            ):
                return
            self._await_group()

    def _finish_held(self, item: SmallObject) -> None:
        try:
            self._memory.end(item)
        except ScoreError as error:
            self._end(error)
        else:
            with self._lock:
                self._waiting.append(item)

    def _is_storing(self) -> bool:
        with self._lock:
            return self._running is not None or bool(self._waiting)

    def _await_group(self) -> None:
        """Wait for the group that is being stored; where there is none, begin one. Raises what ended it."""
        with self._lock:
            running = self._running
        if running is None:
            self._begin_group()
        else:
            running.result()
            self._go_on_after(running)

    def _store_next(self) -> None:
        """Have the next group stored, if the one before is. Raises what ended that one."""
        with self._lock:
            is_busy = self._running is not None and not self._running.done()
        if not is_busy:
            self._await_group()

    def _begin_group(self) -> None:
        """Have what waits stored, unless something is being stored. Raises DrainingError."""
        with self._lock:
            if self._running is not None or not self._waiting:
                return
            running = self._running = self._storer.submit(self._principal, self._waiting)
            self._waiting = []
        running.add_done_callback(self._go_on_after)

    def _go_on_after(self, ended: "Future[None]") -> None:
        """Begin the next group where one has ended: also while the client sends nothing, and nobody asks for it."""
        if ended.cancelled() or ended.exception() is not None:
            with self._lock:
                unstored, self._waiting = self._waiting, []
            self._memory.let_go(unstored)  # the stream ends with that error when its thread looks
            return
        with self._lock:
            if self._running is ended:
                self._running = None
        with suppress(DrainingError):  # the stream's thread meets it too
            self._begin_group()


def _is_held(item: SmallObject) -> bool:
    return 0 <= item.size_bytes <= limits.SMALL_OBJECT_HELD_BYTES
