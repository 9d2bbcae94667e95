"""How far events have positions, as far as this process knows: what watchers wait on, so that they need not poll."""

import threading


class EventProgress:
    """The last position. Only grows."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._last = 0

    def advance(self, last: int) -> None:
        """Say that events up to this position can be read."""
        with self._changed:
            if last > self._last:
                self._last = last
                self._changed.notify_all()

    def await_beyond(self, position: int, timeout_seconds: float) -> int:
        """Wait until there are events beyond a position; return the last position, whether there are or not."""
        with self._changed:
            self._changed.wait_for(lambda: self._last > position, timeout_seconds)
            return self._last

    def await_news(self, timeout_seconds: float) -> None:
        """Wait until there are more events."""
        with self._changed:
            self._changed.wait(timeout_seconds)
