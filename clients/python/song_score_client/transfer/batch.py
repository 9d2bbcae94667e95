"""Many files at once: each tried, or all stopped together."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

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


@dataclass(frozen=True, slots=True)
class Transfer:
    """One file to move."""

    name: str
    """For people."""
    object_id: str
    size_bytes: int
    run: Callable[[Listener], Receipt]
    """Moves the file. Called once, on a thread of the batch."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one file fared: a receipt or an error."""

    transfer: Transfer
    receipt: Receipt | None
    error: Exception | None
    seconds: float


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
        waiting: SimpleQueue[int] = SimpleQueue()
        ended: SimpleQueue[tuple[int, Outcome]] = SimpleQueue()
        for index in range(len(transfers)):
            waiting.put(index)

        def work() -> None:
            while True:
                try:
                    index = waiting.get_nowait()
                except Empty:
                    return
                ended.put((index, self._move(transfers[index], watch)))

        threads = [
            threading.Thread(target=work, name=f"file-{number}", daemon=True)
            for number in range(min(self._parallel, len(transfers)))
        ]
        outcomes: dict[int, Outcome] = {}
        try:
            for thread in threads:
                thread.start()
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


class _Stoppable(Relay):
    """Passes everything on; ends the transfer at its next chunk once the batch is stopped."""

    def __init__(self, inner: Listener, stopped: threading.Event) -> None:
        super().__init__(inner)
        self._stopped = stopped

    def move(self, size_bytes: int) -> None:
        super().move(size_bytes)
        if self._stopped.is_set():
            raise StoppedError("stopped before it was whole; what was verified is kept")
