"""A limit on bytes per second, shared by all streams of a command."""

import threading
import time
from collections.abc import Callable


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
