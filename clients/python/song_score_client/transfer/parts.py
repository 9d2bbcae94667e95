"""Which parts are still to be moved: a queue that the streams of one transfer share."""

import threading
from collections.abc import Callable, Iterable
from typing import Protocol


class Parts(Protocol):
    """Where a stream gets its parts."""

    def take(self) -> int | None:
        """Return the next part, None if none is left for this stream or the transfer stops."""

    def give_back(self, part_numbers: Iterable[int]) -> None:
        """Put parts back that were not finished."""

    def on_stop(self, cancel: Callable[[], object]) -> None:
        """Have this called when the transfer stops; now, if it has."""

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than the transfer goes on."""

    def fail(self) -> None:
        """Note that the path failed under a part."""

    @property
    def is_stopped(self) -> bool:
        """Whether the transfer stops."""

    def __len__(self) -> int:
        """Return how many parts wait for a stream such as this one."""


class PartQueue:
    """Part numbers to be moved, lowest first. Given back where a stream broke."""

    def __init__(self, part_numbers: Iterable[int]) -> None:
        self._lock = threading.Lock()
        self._waiting = sorted(part_numbers, reverse=True)
        self._stopped = threading.Event()
        self._cancellations: list[Callable[[], object]] = []

    def take(self) -> int | None:
        """Return the next part, None if none is left or the transfer stops."""
        with self._lock:
            return None if self._stopped.is_set() or not self._waiting else self._waiting.pop()

    def give_back(self, part_numbers: Iterable[int]) -> None:
        """Put parts back that were not finished."""
        with self._lock:
            self._waiting = sorted({*self._waiting, *part_numbers}, reverse=True)

    def stop(self) -> None:
        """Hand out no more parts, and cancel the streams: one failed for good, or the user gave up."""
        with self._lock:
            self._stopped.set()
            cancellations, self._cancellations = self._cancellations, []
        for cancel in cancellations:
            cancel()

    def on_stop(self, cancel: Callable[[], object]) -> None:
        """Have this called when the transfer stops; now, if it has."""
        with self._lock:
            if not self._stopped.is_set():
                self._cancellations.append(cancel)
                return
        cancel()

    @property
    def is_stopped(self) -> bool:
        """Whether the transfer stops."""
        return self._stopped.is_set()

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than the transfer goes on."""
        self._stopped.wait(seconds)

    @property
    def waiting(self) -> list[int]:
        """The parts that nobody has."""
        with self._lock:
            return sorted(self._waiting)

    def fail(self) -> None:
        """Note nothing: the number of streams is fixed."""

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting)


def part_range(part_number: int, part_size_bytes: int, size_bytes: int) -> tuple[int, int]:
    """Return (offset, length) of a part, from 1, in bytes."""
    offset = (part_number - 1) * part_size_bytes
    return offset, min(part_size_bytes, size_bytes - offset)
