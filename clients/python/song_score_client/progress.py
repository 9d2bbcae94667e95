"""Shows how transfers get on: bars for people, JSON lines for programs, messages for logs.

Bytes count once they are verified; the rate is that of what goes over the network. Listeners are called from
several threads.
"""

from __future__ import annotations  # rich is imported when a person looks

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from song_score_client.errors import UnreachableError
from song_score_client.terminal import print_message
from song_score_client.transfer.listener import Listener

RATE_WINDOW_SECONDS = 10.0
REPORT_SECONDS = 1.0
"""Between two JSON lines of one file's progress."""
OUTAGE_SECONDS = 60.0
"""Without a failure, after which the same one is another outage; pauses between tries are shorter."""
Document = Mapping[str, str | int | float | bool | None]


class Meter:
    """Counts bytes of one file, or of all. Safe to use from several threads."""

    def __init__(self, total_bytes: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.total_bytes = total_bytes
        self.safe_bytes = 0
        """Verified."""
        self._clock, self._lock = clock, threading.Lock()
        self._moved: deque[tuple[float, int]] = deque()
        self._moved_bytes = 0
        """In the window."""
        self._began = clock()

    def move(self, size_bytes: int) -> None:
        """Count bytes that went over the network."""
        with self._lock:
            now = self._clock()
            self._moved.append((now, size_bytes))
            self._moved_bytes += size_bytes
            self._forget(now)

    def add(self, size_bytes: int) -> None:
        """Count bytes that are verified; negative where they no longer are."""
        with self._lock:
            self.safe_bytes += size_bytes

    def expect(self, size_bytes: int) -> None:
        """Count bytes that turn out to be there besides those known of; negative where there are fewer."""
        with self._lock:
            self.total_bytes += size_bytes

    @property
    def rate(self) -> float:
        """Bytes per second over the last RATE_WINDOW_SECONDS."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            window = min(RATE_WINDOW_SECONDS, now - self._began)
            return self._moved_bytes / window if window > 0 else 0.0

    @property
    def remaining_seconds(self) -> float | None:
        """How long the rest takes at this rate; None while nothing moves."""
        rate = self.rate
        return max(0, self.total_bytes - self.safe_bytes) / rate if rate else None

    def _forget(self, now: float) -> None:
        """Let go of what left the window: a transfer of days must not pile it up."""
        while self._moved and self._moved[0][0] < now - RATE_WINDOW_SECONDS:
            self._moved_bytes -= self._moved.popleft()[1]


class Outages:
    """Failures that many files and calls meet at once, to be told once while they last. Safe in several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._met: dict[str, float] = {}

    def is_new(self, error: Exception) -> bool:
        """Whether this has not been met within the last OUTAGE_SECONDS, and so is to be told."""
        with self._lock:
            now = self._clock()
            before = self._met.get(str(error), float("-inf"))
            self._met[str(error)] = now
            return now - before >= OUTAGE_SECONDS


class FileProgress(Listener):
    """One file's progress, on its way to a display."""

    def __init__(self, display: Progress, name: str, object_id: str, size_bytes: int) -> None:
        self.name, self.object_id = name, object_id
        self.meter = Meter(size_bytes)
        self._display = display

    def begin(self, size_bytes: int, done_bytes: int) -> None:
        """See Listener. A transfer that begins anew loses what it had."""
        self._display.total.expect(size_bytes - self.meter.total_bytes)
        self.meter.total_bytes = size_bytes
        self._add(done_bytes - self.meter.safe_bytes)

    def move(self, size_bytes: int) -> None:
        """See Listener."""
        self.meter.move(size_bytes)
        self._display.total.move(size_bytes)
        self._display.update(self)

    def verify(self, size_bytes: int) -> None:
        """See Listener."""
        self._add(size_bytes)

    def withdraw(self, size_bytes: int) -> None:
        """See Listener."""
        self._add(-size_bytes)

    def say(self, message: str) -> None:
        """See Listener."""
        self._display.say(self, message)

    def wait(self, error: Exception, delay_seconds: float) -> None:
        """See Listener."""
        self._display.wait(self, error, f"{error}; going on in {delay_seconds:.1f} s")

    def _add(self, size_bytes: int) -> None:
        self.meter.add(size_bytes)
        self._display.total.add(size_bytes)
        self._display.update(self)


class Progress:
    """Shows nothing but reports and messages where they are wanted; the base of those that show more."""

    def __init__(
        self, program: str, outages: Outages | None = None, *, reports: bool = True, messages: bool = True
    ) -> None:
        self.total = Meter()
        """Of all files. Its `total_bytes` is set by whoever knows it."""
        self._program, self._reports, self._messages = program, reports, messages
        self._outages = outages or Outages()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def watch(self, name: str, object_id: str, size_bytes: int) -> Listener:
        """Return the listener of a file that begins."""
        return FileProgress(self, name, object_id, size_bytes)

    def update(self, file: FileProgress) -> None:
        """Show that a file got on."""

    def say(self, file: FileProgress, message: str) -> None:
        """Show a message about a file."""
        if self._messages:
            self._print(f"{file.name}: {message}")

    def wait(self, file: FileProgress, error: Exception, message: str) -> None:
        """Show what a file waits for; a service that is away, which all files wait for, once and not file by file."""
        if not isinstance(error, UnreachableError):
            self.say(file, message)
        elif self._messages and self._outages.is_new(error):
            self._print(f"{error}; trying again")

    def report(self, text: str, _document: Document) -> None:
        """Show what is done: the text for people, or the document for programs."""
        if self._reports:
            self._print(text)

    def fail(self, text: str, _document: Document) -> None:
        """Show what failed. Never kept back."""
        self._print(text)

    def _print(self, text: str) -> None:
        print_message(self._program, text)


class JsonProgress(Progress):
    """Lines of JSON: `event`, `file`, `object_id`, `bytes`, `total`, `rate` and what an event adds."""

    def __init__(
        self,
        program: str,
        *,
        updates: bool = True,
        reports: bool = True,
        messages: bool = True,
        to_stderr: bool = False,
    ) -> None:
        """`to_stderr`: stdout is taken by something else."""
        super().__init__(program, reports=reports, messages=messages)
        self._updates, self._lock = updates, threading.Lock()
        self._stream = sys.stderr if to_stderr else sys.stdout
        self._shown: dict[str | None, float] = {}

    def update(self, file: FileProgress) -> None:
        """Write a line for the file and one for all, once in REPORT_SECONDS."""
        if not self._updates:
            return
        with self._lock:
            if self._is_due(file.object_id):
                self._write(_measured("progress", file.meter, file.name, file.object_id))
            if self._is_due(None):
                self._write(_measured("total", self.total))

    def wait(self, file: FileProgress, _error: Exception, message: str) -> None:
        """Write it as any message, of each file."""
        self.say(file, message)

    def say(self, file: FileProgress, message: str) -> None:
        """Write a `message` event; `reason` is its text."""
        if self._messages:
            document = _measured("message", file.meter, file.name, file.object_id)
            with self._lock:
                self._write({**document, "reason": message})

    def report(self, _text: str, document: Document) -> None:
        """Write the document: it is the result, so it is never kept back."""
        with self._lock:
            self._write(document)

    def fail(self, text: str, document: Document) -> None:
        """Write the document; and the text, to stderr."""
        self.report(text, document)
        super().fail(text, document)

    def _is_due(self, key: str | None) -> bool:
        now = time.monotonic()
        if now - self._shown.get(key, float("-inf")) < REPORT_SECONDS:
            return False
        self._shown[key] = now
        return True

    def _write(self, document: Document) -> None:
        self._stream.write(json.dumps(document) + "\n")
        self._stream.flush()


def _measured(event: str, meter: Meter, name: str | None = None, object_id: str | None = None) -> Document:
    remaining = meter.remaining_seconds
    document: dict[str, str | int | float | bool | None] = {"event": event}
    if name is not None:
        document |= {"file": name, "object_id": object_id}
    return document | {
        "bytes": meter.safe_bytes,
        "total": meter.total_bytes,
        "rate": round(meter.rate),
        "remaining_seconds": None if remaining is None else round(remaining, 1),
    }
