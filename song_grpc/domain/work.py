"""How much work one payload may make: what a schema asks for can grow without bounds, as 2 to the depth of its
references.

Counted is the processor's time of the thread, so that the verdict depends on the payload, not on the server's load.
"""

import time
from collections.abc import Callable

from song_grpc.domain.errors import ValidationUnfinishedError
from song_grpc.domain.limits import MAX_PATTERN_SECONDS, MAX_VALIDATION_SECONDS, VALIDATION_DEADLINE_SECONDS
from song_grpc.domain.patterns import compile_pattern

_SPENDS_BETWEEN_LOOKS = 256
_HELD_SECONDS = 0.01  # of a pattern, while no other thread runs; letting them run costs more than most patterns


def _is_wanted() -> bool:
    return True


class TooMuchWorkError(Exception):
    """The payload takes too much work against its schema."""


class PatternTimeoutError(Exception):
    """The patterns took too long, this one last."""

    def __init__(self, pattern: str) -> None:
        super().__init__(pattern)
        self.pattern = pattern


class Work:
    """The work of one payload, done in one thread; starts when it is made."""

    def __init__(self, is_wanted: Callable[[], bool] = _is_wanted) -> None:
        """Work as long as the caller still waits for the answer."""
        self._is_wanted = is_wanted
        self._end = time.thread_time() + MAX_VALIDATION_SECONDS
        self._deadline = time.monotonic() + VALIDATION_DEADLINE_SECONDS
        self._pattern_seconds = MAX_PATTERN_SECONDS
        self._spends = 0

    def spend(self) -> None:
        """Count one application of a schema. Raises TooMuchWorkError, ValidationUnfinishedError."""
        self._spends += 1
        if self._spends % _SPENDS_BETWEEN_LOOKS == 0:
            self.look()

    def look(self) -> None:
        """Look at the clocks. Raises as `spend`."""
        if time.thread_time() > self._end:
            raise TooMuchWorkError
        if time.monotonic() > self._deadline or not self._is_wanted():
            raise ValidationUnfinishedError

    def finds(self, pattern: str, text: str) -> bool:
        """Say whether the pattern is found in the text. Raises PatternTimeoutError, and as `spend`."""
        compiled = compile_pattern(pattern)
        start = time.thread_time()
        try:
            try:
                found = compiled.search(text, timeout=_HELD_SECONDS)
            except TimeoutError:
                found = compiled.search(text, timeout=max(self._pattern_seconds, _HELD_SECONDS), concurrent=True)
        except TimeoutError:
            raise PatternTimeoutError(pattern) from None
        self._pattern_seconds -= time.thread_time() - start
        if self._pattern_seconds <= 0:
            raise PatternTimeoutError(pattern)
        return found is not None
