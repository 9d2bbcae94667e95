"""Many files at once: each tried, or all stopped together."""

from __future__ import annotations  # a transfer names its group, which is given transfers

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from song_score_client.errors import ClientError
from song_score_client.transfer.listener import Listener, Relay
from song_score_client.transfer.rate import RateLimit

STOP_GRACE_SECONDS = 1.0
"""How long an interrupted batch waits for its files to stop in good order; nothing is lost if they don't."""


class StoppedError(ClientError):
    """The file was not finished, or not begun, because the batch was stopped; what was verified is kept."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one file's transfer came to."""

    moved_bytes: int
    """Bytes sent or fetched by this run."""
    part_total: int
    kept_part_total: int
    """Parts that were there before and not moved again."""
    md5: str | None
    """The verified MD5 of the whole; None where only the parts were verified."""
    is_cut: bool = False
    """Whether the file here was longer than the object, and is cut to its size."""
    size_bytes: int | None = None
    """Of the file, where its transfer did not know before: what comes through a pipe."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One file to move."""

    name: str
    """For people."""
    object_id: str
    size_bytes: int
    run: Callable[[Listener], Receipt]
    """Moves the file. Called once, on a thread of the batch; not where its group has moved it."""
    group: Group | None = None
    """What moves it together with others, if anything does: all transfers with the same group at once."""


class Group(Protocol):
    """Moves many files together."""

    def move(self, members: Members) -> None:
        """Move what can be moved so, and say of each how it fared. What is not spoken of is moved by itself.

        Raises what concerns all that are left. Called once, on a thread of the batch.
        """


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one file fared: a receipt or an error."""

    transfer: Transfer
    receipt: Receipt | None
    error: Exception | None
    seconds: float


class Members:
    """The transfers of one group, as its `move` sees them. One thread at a time says how transfers fared."""

    def __init__(
        self,
        transfers: Mapping[int, Transfer],
        watch: Callable[[Transfer], Listener],
        on_end: Callable[[int, Receipt | Exception, float], None],
        stopped: threading.Event,
    ) -> None:
        self.left = dict(transfers)
        """Those that nothing was said of yet, by their number in the batch."""
        self._watch, self._on_end, self._stopped = watch, on_end, stopped
        self._listeners: dict[int, Listener] = {}
        self._began: dict[int, float] = {}

    def listener(self, number: int) -> Listener:
        """Return who watches a transfer: it begins with the first call."""
        if number not in self._listeners:
            self._began[number] = time.monotonic()
            self._listeners[number] = self._watch(self.left[number])
        return self._listeners[number]

    def end(self, number: int, result: Receipt | Exception) -> None:
        """Say how a transfer fared; once."""
        self.listener(number)
        self._on_end(number, result, time.monotonic() - self._began[number])
        del self.left[number], self._listeners[number], self._began[number]

    @property
    def is_stopped(self) -> bool:
        """Whether the batch is stopped: no more is begun, and what is left counts as stopped."""
        return self._stopped.is_set()


class Batch:
    """Moves many files, some at once. Used for one run."""

    def __init__(self, parallel: int, *, fail_fast: bool = False) -> None:
        """Make a batch of so many files at once; `fail_fast`: the first that fails stops all."""
        self._parallel, self._fail_fast = parallel, fail_fast
        self._stopped = threading.Event()

    def rate_limit(self, bytes_per_second: float) -> RateLimit:
        """Make a limit for all files; nobody waits on it any more once the batch is stopped."""
        return RateLimit(bytes_per_second, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self._stopped.wait(seconds)

    def run(
        self,
        transfers: Sequence[Transfer],
        watch: Callable[[Transfer], Listener],
        on_end: Callable[[Outcome], None],
    ) -> list[Outcome]:
        """Move the files and return how each fared, in their order.

        `watch` and `on_end` are called as a file begins and ends, `on_end` on this thread. With `fail_fast` the
        first failure stops those under way at their next chunk. KeyboardInterrupt stops them too, and is raised
        again within STOP_GRACE_SECONDS.
        """
        ended: SimpleQueue[tuple[int, Outcome]] = SimpleQueue()
        waiting, groups = _by_group(transfers)

        def work() -> None:
            while True:
                try:
                    index = waiting.get_nowait()
                except Empty:
                    return
                ended.put((index, self._move(transfers[index], watch)))

        def begin_work() -> None:
            for _ in range(min(self._parallel, waiting.qsize())):
                threads.append(threading.Thread(target=work, name=f"file-{len(threads)}", daemon=True))
                threads[-1].start()

        def work_together(group: Group, members: Mapping[int, Transfer]) -> None:
            for index in self._move_together(group, members, watch, ended):
                waiting.put(index)
            begin_work()

        threads = [threading.Thread(target=work_together, args=found, name="group", daemon=True) for found in groups]
        outcomes: dict[int, Outcome] = {}
        try:
            for thread in list(threads):
                thread.start()
            begin_work()
            while len(outcomes) < len(transfers):
                index, outcome = ended.get()
                outcomes[index] = outcome
                on_end(outcome)
        except KeyboardInterrupt:
            self._stopped.set()
            deadline = time.monotonic() + STOP_GRACE_SECONDS
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            raise
        return [outcomes[index] for index in range(len(transfers))]

    def _move_together(
        self,
        group: Group,
        transfers: Mapping[int, Transfer],
        watch: Callable[[Transfer], Listener],
        ended: SimpleQueue[tuple[int, Outcome]],
    ) -> list[int]:
        """Move a group; return those it left to be moved by themselves."""

        def end(index: int, result: Receipt | Exception, seconds: float) -> None:
            if not isinstance(result, Exception):
                ended.put((index, Outcome(transfers[index], result, None, seconds)))
                return
            if self._fail_fast:
                self._stopped.set()
            ended.put((index, Outcome(transfers[index], None, result, seconds)))

        def watch_one(transfer: Transfer) -> Listener:
            return _Stoppable(watch(transfer), self._stopped)

        members = Members(transfers, watch_one, end, self._stopped)
        try:
            group.move(members)
        except Exception as error:  # noqa: BLE001 - as with one file
            for index in list(members.left):
                members.end(index, error)
        return list(members.left)

    def _move(self, transfer: Transfer, watch: Callable[[Transfer], Listener]) -> Outcome:
        began = time.monotonic()
        receipt, failure = None, None
        try:
            if self._stopped.is_set():
                raise StoppedError(f"{transfer.name} was not begun")  # noqa: TRY301 - an outcome as any other
            receipt = transfer.run(_Stoppable(watch(transfer), self._stopped))
        except Exception as error:  # noqa: BLE001 - a defect met by one file must not take the others with it
            failure = error
            if self._fail_fast:
                self._stopped.set()
        return Outcome(transfer, receipt, failure, time.monotonic() - began)


def _by_group(transfers: Sequence[Transfer]) -> tuple[SimpleQueue[int], list[tuple[Group, dict[int, Transfer]]]]:
    """Return the numbers of those that are moved by themselves, and each group with its transfers by number."""
    alone: SimpleQueue[int] = SimpleQueue()
    groups: dict[int, tuple[Group, dict[int, Transfer]]] = {}
    for index, transfer in enumerate(transfers):
        if transfer.group is None:
            alone.put(index)
        else:
            groups.setdefault(id(transfer.group), (transfer.group, {}))[1][index] = transfer
    return alone, list(groups.values())


class _Stoppable(Relay):
    """Passes everything on; ends the transfer at its next chunk once the batch is stopped."""

    def __init__(self, inner: Listener, stopped: threading.Event) -> None:
        super().__init__(inner)
        self._stopped = stopped

    def move(self, size_bytes: int) -> None:
        super().move(size_bytes)
        if self._stopped.is_set():
            raise StoppedError("stopped before it was whole; what was verified is kept")
