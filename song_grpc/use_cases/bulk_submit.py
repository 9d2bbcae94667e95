"""Submit many analyses on one stream: payloads are read and checked ahead, stored together, answered in order."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from song_grpc.domain import limits
from song_grpc.domain.access import Principal
from song_grpc.use_cases import submit
from song_grpc.use_cases.environment import Environment
from song_grpc.use_cases.submission_writer import Outcome, Prepared
from song_grpc.use_cases.submit import Submitted

_LOOK_SECONDS = 0.25
"""Between looks whether the caller has left or the server drains, while nothing is ready."""


@dataclass(frozen=True, slots=True)
class BulkItem:
    """One payload of a stream."""

    principal: Principal
    """Rights are asked for again while a stream goes on."""
    submitted: Submitted
    request_id: str

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, about."""
        return len(self.submitted.payload_json)


@dataclass(frozen=True, slots=True, eq=False)
class _InWork:
    """An item between being read and being answered."""

    size_bytes: int
    check: Future[Prepared | str]

    def checked(self) -> Prepared | Outcome:
        """Return what came of the check, which is done."""
        try:
            return self.check.result()
        except Exception as error:  # noqa: BLE001 - it is the item's outcome
            return error


class BulkCheckers:
    """The threads that check the payloads of all streams of a server."""

    def __init__(self) -> None:
        """Have no thread yet; those that come end with this object."""
        self._pool = ThreadPoolExecutor(limits.BULK_CHECKERS, "bulk check")

    def begin(self, check: Callable[[], Prepared | str]) -> Future[Prepared | str]:
        """Check as soon as a thread is free."""
        return self._pool.submit(check)


class BulkStream:
    """The payloads of one stream that are in work: bounded in number and bytes."""

    def __init__(self, environment: Environment, checkers: BulkCheckers) -> None:
        """Read nothing yet; see `outcomes`."""
        self._environment, self._checkers = environment, checkers
        self._changed = threading.Condition()
        self._waiting: deque[_InWork] = deque()
        # Of all items in work, also those that are being stored or answered.
        self._count = self._size_bytes = 0
        self._is_read = self._is_closed = False
        self._failure: Exception | None = None
        self.is_cut = False
        """The server drains: some items of the caller may not have been read."""

    def outcomes(self, items: Iterator[BulkItem], is_wanted: Callable[[], bool]) -> Iterator[Outcome]:
        """Yield the outcomes of the items, in their order, each once its analysis is stored for good.

        `items` is read in another thread, and no longer once this iterator has ended or the server drains; what was
        read by then is still submitted. It ends early, too, when `is_wanted` says that the caller has left. Raises
        what `items` raised, after the outcomes of what came before.
        """
        threading.Thread(target=self._read, args=(items,), name="bulk read", daemon=True).start()
        try:
            while in_work := self._take(is_wanted):
                for one, outcome in zip(in_work, self._store(in_work), strict=True):
                    yield outcome
                    self._forget(one)
            if self._failure is not None:
                raise self._failure
        finally:
            self._close()

    def _store(self, in_work: Sequence[_InWork]) -> list[Outcome]:
        """Store what was found right, all at once; return the outcomes of all."""
        checked = [one.checked() for one in in_work]
        stored = iter(self._environment.submissions.store(one for one in checked if isinstance(one, Prepared)))
        return [next(stored) if isinstance(one, Prepared) else one for one in checked]

    def _read(self, items: Iterator[BulkItem]) -> None:
        """Read the items, as far ahead as the bounds allow, and have them checked."""
        try:
            while self._await_room():
                item = next(items, None)
                if item is None or not self._begin(item):
                    return
        except Exception as error:  # noqa: BLE001 - raised again in the thread that takes the outcomes
            self._failure = error
        finally:
            with self._changed:
                self._is_read = True
                self._changed.notify_all()

    def _take(self, is_wanted: Callable[[], bool]) -> list[_InWork]:
        """Wait for the next items, in order, whose checks are done, and return them; none once all are answered."""
        while is_wanted():
            if self._environment.draining.is_set():
                self._stop_reading()
            with self._changed:
                if self._waiting and self._waiting[0].check.done():
                    taken = [self._waiting.popleft()]
                    while self._waiting and self._waiting[0].check.done():
                        taken.append(self._waiting.popleft())
                    return taken
                if self._is_read and not self._waiting:
                    break
                self._changed.wait(_LOOK_SECONDS)
        return []

    def _forget(self, one: _InWork) -> None:
        """Make room: the item is answered."""
        with self._changed:
            self._count -= 1
            self._size_bytes -= one.size_bytes
            self._changed.notify_all()

    def _close(self) -> None:
        """End: read no more, and check nothing that has not begun to be checked."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            waiting = list(self._waiting)
        for one in waiting:
            one.check.cancel()

    def _stop_reading(self) -> None:
        with self._changed:
            self.is_cut |= not self._is_read
            self._is_closed = self._is_read = True
            self._changed.notify_all()

    def _await_room(self) -> bool:
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._is_closed
                    or (self._count < limits.MAX_BULK_PAYLOADS and self._size_bytes < limits.MAX_BULK_BYTES)
                )
            )
            return not self._is_closed

    def _begin(self, item: BulkItem) -> bool:
        """Have the item checked, unless the stream was closed while it was read."""
        with self._changed:
            if self._is_closed:
                return False
            check = self._checkers.begin(
                partial(submit.prepare, self._environment, item.principal, item.submitted, item.request_id)
            )
            self._waiting.append(_InWork(item.size_bytes, check))
            self._count += 1
            self._size_bytes += item.size_bytes
        check.add_done_callback(self._note)
        return True

    def _note(self, _check: object) -> None:
        with self._changed:
            self._changed.notify_all()
