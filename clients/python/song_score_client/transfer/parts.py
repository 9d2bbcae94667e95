"""Which parts are still to be moved: a queue that the streams of one transfer share."""

import threading
from collections.abc import Callable, Iterable


class PartQueue:
    """Part numbers to be moved, lowest first. Given back where a stream broke."""

    def __init__(self, part_numbers: Iterable[int]) -> None:
        self._lock = threading.Lock()
        self._waiting = sorted(part_numbers, reverse=True)
        self._stopped = False
        self._cancellations: list[Callable[[], object]] = []

    def take(self) -> int | None:
        """Return the next part, None if none is left or the transfer stops."""
        with self._lock:
            return None if self._stopped or not self._waiting else self._waiting.pop()

    def give_back(self, part_numbers: Iterable[int]) -> None:
        """Put parts back that were not finished."""
        with self._lock:
            self._waiting = sorted({*self._waiting, *part_numbers}, reverse=True)

    def stop(self) -> None:
        """Hand out no more parts, and cancel the streams: one failed for good, or the user gave up."""
        with self._lock:
            self._stopped = True
            cancellations, self._cancellations = self._cancellations, []
        for cancel in cancellations:
            cancel()

    def on_stop(self, cancel: Callable[[], object]) -> None:
        """Have this called when the transfer stops; now, if it has."""
        with self._lock:
            if not self._stopped:
                self._cancellations.append(cancel)
                return
        cancel()

    @property
    def is_stopped(self) -> bool:
        """Whether the transfer stops."""
        with self._lock:
            return self._stopped

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting)


def part_range(part_number: int, part_size_bytes: int, size_bytes: int) -> tuple[int, int]:
    """Return (offset, length) of a part, from 1, in bytes."""
    offset = (part_number - 1) * part_size_bytes
    return offset, min(part_size_bytes, size_bytes - offset)
