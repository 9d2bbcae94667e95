"""A limit on bytes per second, shared by all streams of a command."""

import threading
import time
from collections.abc import Callable
from typing import Final

PIECES_PER_SECOND: Final = 16
"""Of all streams together: even 16 of them each move something every second, and none looks dead to its peer."""
PIECE_MIN_BYTES: Final = 4096


class RateLimit:
    """Lets at most so many bytes per second through, evenly."""

    def __init__(
        self,
        bytes_per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if bytes_per_second <= 0:
            raise ValueError(f"{bytes_per_second} bytes per second: nothing would ever move")
        self._bytes_per_second, self._clock, self._sleep = bytes_per_second, clock, sleep
        self.piece_bytes = max(PIECE_MIN_BYTES, int(bytes_per_second / PIECES_PER_SECOND))
        """How many bytes a stream should take at once, at most."""
        self._lock = threading.Lock()
        self._free_at = clock()

    def take(self, size_bytes: int) -> None:
        """Wait until these bytes may go. What was not used in the past is not saved up."""
        with self._lock:
            begins = max(self._free_at, self._clock())
            self._free_at = begins + size_bytes / self._bytes_per_second
        delay = begins - self._clock()
        if delay > 0:
            self._sleep(delay)


def piece_bytes(rate: RateLimit | None, most_bytes: int) -> int:
    """Return how many bytes a stream should move at once, `most_bytes` at most."""
    return most_bytes if rate is None else min(most_bytes, rate.piece_bytes)
