"""How many streams at once: more while more of them bring more bytes, half when they fail or bring none.

A stream is one connection that moves bytes, over gRPC or to signed URLs. What a path bears is found by trying: the
number is doubled as long as that gains, and what it did not gain by is given back.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from song_score_client.transfer.listener import Listener, Relay
from song_score_client.transfer.parts import PartQueue

START_STREAMS = 4
MAX_STREAMS = 16
WINDOW_SECONDS = 1.0
"""How long it is watched what a number of streams brings: some round trips, and the start of a new connection."""
GAIN = 1.1
"""More streams must bring so much more, or they are one too many."""
LOSS = 0.5
"""The same streams bringing so much less than before: the path is crowded."""
HOLD_WINDOWS = 10
"""How long a number is kept that was found, before more is tried again."""


@dataclass(slots=True)
class StreamControl:
    """Decides on the number from what is seen, window by window. Knows no clock and no thread."""

    most: int = MAX_STREAMS
    limit: int = START_STREAMS
    """How many streams there may be now."""
    _reached: float = 0.0
    """Bytes per second at the limit that was kept last."""
    _smaller: int | None = None
    """The limit to return to where the present one does not gain; None where nothing is being tried."""
    _hold: int = 0

    def __post_init__(self) -> None:
        self.limit = min(self.limit, self.most)

    def observe(self, bytes_per_second: float, failures: int) -> None:
        """Take in a window in which all streams of the limit had something to move."""
        if failures:
            self._keep(max(1, self.limit // 2), 0.0)
        elif self._smaller is not None:
            if bytes_per_second < self._reached * GAIN:
                self._keep(self._smaller, self._reached)
            else:
                self._reached = bytes_per_second
                self._grow()
        elif bytes_per_second < self._reached * LOSS:
            self._keep(max(1, self.limit // 2), bytes_per_second)
        elif self._hold:
            self._hold -= 1
            self._reached = max(self._reached, bytes_per_second)
        else:
            self._reached = bytes_per_second
            self._grow()

    def _grow(self) -> None:
        if self.limit >= self.most:
            self._keep(self.limit, self._reached)
            return
        self._smaller, self.limit = self.limit, min(self.most, self.limit * 2)

    def _keep(self, limit: int, bytes_per_second: float) -> None:
        self.limit, self._reached, self._smaller, self._hold = limit, bytes_per_second, None, HOLD_WINDOWS


def useful_streams(most: int = MAX_STREAMS, *, is_limited: bool = False) -> "Streams":
    """Return streams whose number is found by trying.

    `is_limited`: there is a limit on bytes per second. Mostly one stream reaches it; several would only keep as many
    parts unfinished for longer, which a client that dies has sent for nothing.
    """
    return Streams(StreamControl(most, 1 if is_limited else START_STREAMS))


@dataclass(slots=True)
class Streams:
    """The streams of all files of a command: who may begin one, who has to end. For any thread.

    Each file has one stream whatever the limit says; files at once are bounded elsewhere.
    """

    control: StreamControl
    clock: Callable[[], float] = time.monotonic
    running: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _began: float | None = None
    _moved_bytes: int = 0
    _failures: int = 0
    _is_full: bool = True
    """Whether the limit was reached all through the window."""

    def begin(self, *, is_first: bool) -> bool:
        """Count in a file's first stream, or another one if there may be one more."""
        with self._lock:
            if not is_first and self.running >= self.control.limit:
                return False
            self.running += 1
            return True

    def end(self) -> None:
        """Count a stream out."""
        with self._lock:
            self.running -= 1

    def end_surplus(self) -> bool:
        """Count one stream of a file that has others out, if there are too many; it ends with its part."""
        with self._lock:
            is_surplus = self.running > self.control.limit
            self.running -= is_surplus
            return is_surplus

    def move(self, size_bytes: int) -> None:
        """Count bytes."""
        with self._lock:
            self._moved_bytes += size_bytes

    def fail(self) -> None:
        """Count a stream, or a request, that broke."""
        with self._lock:
            self._failures += 1

    def watch(self) -> None:
        """Look at the window that has passed, if one has. To be called a few times in each."""
        with self._lock:
            now = self.clock()
            self._is_full = self._is_full and self.running >= self.control.limit
            if self._began is None:
                self._began, self._moved_bytes, self._failures, self._is_full = now, 0, 0, True
            seconds = now - self._began
            if seconds < WINDOW_SECONDS:
                return
            if self._is_full or self._failures:
                self.control.observe(self._moved_bytes / seconds, self._failures)
            self._began, self._moved_bytes, self._failures = now, 0, 0
            self._is_full = self.running >= self.control.limit


class Share:
    """A queue's parts for one of several streams, which may be told to take no more."""

    def __init__(self, whole: PartQueue, streams: Streams) -> None:
        self._whole, self._streams = whole, streams
        self.is_surplus = False
        """Whether the stream is to end with the part it has; it is counted out already."""

    def take(self) -> int | None:
        """See Parts."""
        return None if self.is_surplus else self._whole.take()

    def give_back(self, part_numbers: Iterable[int]) -> None:
        """See Parts."""
        self._whole.give_back(part_numbers)

    def on_stop(self, cancel: Callable[[], object]) -> None:
        """See Parts."""
        self._whole.on_stop(cancel)

    def sleep(self, seconds: float) -> None:
        """See Parts."""
        self._whole.sleep(seconds)

    def fail(self) -> None:
        """See Parts."""
        self._streams.fail()

    @property
    def is_stopped(self) -> bool:
        """See Parts."""
        return self._whole.is_stopped

    def __len__(self) -> int:
        return 0 if self.is_surplus else len(self._whole)


class Metered(Relay):
    """Passes everything on, and counts what moves."""

    def __init__(self, inner: Listener, streams: Streams) -> None:
        super().__init__(inner)
        self._streams = streams

    def move(self, size_bytes: int) -> None:
        """Count it and pass it on."""
        self._streams.move(size_bytes)
        super().move(size_bytes)


def metered(listener: Listener, streams: int | Streams) -> Listener:
    """Return a listener that also counts for the streams, where their number is found by counting."""
    return Metered(listener, streams) if isinstance(streams, Streams) else listener
