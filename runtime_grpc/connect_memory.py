"""The memory that large calls over HTTP/1.1 may take together: their bodies, and what is made of them."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SMALL_CALL_BYTES = 64 * 1024
"""A call with a message up to it takes its place among the calls alone: nearly all pass by the large ones so."""
LARGE_BODIES = 4
"""Bodies of the largest size that may be in memory, or on their way, at once; of smaller ones as many more."""
MESSAGE_MEMORY_FACTOR = 30
"""What a message may take in memory, of its size on the wire: many empty ones within it, at worst. There is room for
one of the largest size."""
MEMORY_WAIT_SECONDS = 1.0
"""How long a large call waits for memory that others have."""


class NoMemoryLeftError(Exception):
    """Other large calls have what there is."""


class CallMemory:
    """A count of bytes."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = self._free_bytes = total_bytes
        self._changed = threading.Condition()

    @contextmanager
    def held(self, size_bytes: int) -> Iterator[None]:
        """Have so many bytes for the length of the block, all there are at most. Raises NoMemoryLeftError."""
        taken = min(size_bytes, self._total_bytes)
        with self._changed:
            if not self._changed.wait_for(lambda: self._free_bytes >= taken, MEMORY_WAIT_SECONDS):
                raise NoMemoryLeftError
            self._free_bytes -= taken
        try:
            yield
        finally:
            if taken:
                _return_free_memory()
            with self._changed:
                self._free_bytes += taken
                self._changed.notify_all()


def _return_free_memory() -> None:
    """Give what is free back to the system: the next large message may not fit where this one was."""
    with suppress(OSError, AttributeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)
