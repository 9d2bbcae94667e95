"""When a stream is to end, though its client has more: its rights were proved when it began."""

import threading
import time

from score_grpc.domain import limits
from score_grpc.domain.errors import DrainingError


class StreamEnd:
    """Counts from the stream's begin."""

    def __init__(self, draining: threading.Event) -> None:
        """`draining` is set once the server shuts down."""
        self._draining, self._began = draining, time.monotonic()
        self._told: float | None = None

    def is_old(self) -> bool:
        """Whether the stream has had its time."""
        return time.monotonic() - self._began > limits.STREAM_AGE_SECONDS

    def is_to_be_told(self) -> bool:
        """Whether the client is to hear now that it shall finish what is begun, and go on in a new stream: once."""
        if self._told is not None or not (self._draining.is_set() or self.is_old()):
            return False
        self._told = time.monotonic()
        return True

    def require_in_time(self) -> None:
        """Raise DrainingError where the client was told long ago, and goes on."""
        if self._told is not None and time.monotonic() - self._told > limits.STREAM_DRAIN_SECONDS:
            raise self.error()

    def error(self) -> DrainingError:
        """Return what ends the stream."""
        if self._draining.is_set():
            return DrainingError("this server is shutting down: go on at another one")
        return DrainingError(f"this stream is older than {limits.STREAM_AGE_SECONDS:.0f} seconds: go on in a new one")
