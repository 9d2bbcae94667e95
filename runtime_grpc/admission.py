"""How many long transfers one process takes at once, whatever they come by."""

import threading
import time


class TooManyStreamsError(Exception):
    """Every stream this server admits is taken."""


class DrainingError(Exception):
    """The server is shutting down."""


class StreamSlots:
    """A count that never blocks: who finds no slot free is refused at once."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = threading.Semaphore(total)

    def take(self) -> bool:
        """Take a slot, which `free` gives back; False where none is free."""
        return self._free.acquire(blocking=False)

    def free(self) -> None:
        """Give a slot back."""
        self._free.release()

    def refusal(self) -> TooManyStreamsError:
        """Return what the one is told for whom none was free."""
        return TooManyStreamsError(f"all {self.total} streams of this server are taken")

    def are_free_within(self, timeout_seconds: float) -> bool:
        """Wait until all are free, and keep them: nothing is admitted any more. False if some are still taken."""
        deadline = time.monotonic() + timeout_seconds
        return all(self._free.acquire(timeout=max(0.0, deadline - time.monotonic())) for _ in range(self.total))
