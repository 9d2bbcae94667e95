"""How much of an object one answer carries: less where many streams are under way, for each holds its copies."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from score_grpc.domain import limits


class MessageSizes:
    """Counts the streams that read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams = 0

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count a stream for the length of the block."""
        with self._lock:
            self._streams += 1
        try:
            yield
        finally:
            with self._lock:
                self._streams -= 1

    def cut(self, piece: memoryview) -> Iterator[memoryview]:
        """Yield the piece in as large views as messages may be now."""
        size = limits.READ_MESSAGE_MAX_BYTES
        while size > limits.READ_MESSAGE_MIN_BYTES and size * self._streams > limits.READ_MESSAGES_TOTAL_BYTES:
            size //= 2
        for start in range(0, piece.nbytes, size):
            yield piece[start : start + size]
