r"""Patterns of an id search: found anywhere in an id, whatever the case.

The syntax is what RE2 has: no backreferences, no lookaround, no possessive repetition. Of the escapes, those of
classes and characters: `\d \w \s \D \W \S \b \B \t \n \r \f \v` and a backslash before punctuation.
"""

import re
import time

import regex

from song_grpc.domain.errors import ParameterError
from song_grpc.domain.limits import MAX_SEARCH_PATTERN_CHARS, MAX_SEARCH_PATTERN_SECONDS

_HELD_SECONDS = 0.01  # of one id, while no other thread runs
_FINDS_BETWEEN_LOOKS = 256
_MAX_REPETITIONS = 1000  # as RE2's
_TOKEN = re.compile(
    r"""
      (?P<escape> \\ [dwsDWSbBtnrfv] | \\ [^\w\s] )
    | (?P<set> \[ \^? \]? (?: \\ [dwsDWStnrfv] | \\ [^\w\s] | [^\]\\\[] )* \] )
    | (?P<group> \( (?: \? (?: : | P<[A-Za-z_]\w*> ) | (?! \? ) ) )
    | (?P<repetition> (?: [*+?] | \{ (?P<low>[0-9]{1,4}) (?: , (?P<high>[0-9]{0,4}) )? \} ) \?? (?! [*+?{] ) )
    | (?P<plain> [^\\\[\](){}*+?] )
    | (?P<end> \) )
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)


class IdPattern:
    """One pattern, with the time that all the ids it is held against may take, in one thread, from the first on."""

    def __init__(self, field: str, text: str) -> None:
        """Compile a pattern; `field` is where the request has it. Raises ParameterError."""
        self._field = field
        self._end: float | None = None
        self._finds = 0
        if len(text) > MAX_SEARCH_PATTERN_CHARS:
            raise ParameterError(field, f"has more than {MAX_SEARCH_PATTERN_CHARS} characters")
        _check(field, text)
        try:
            self._compiled = regex.compile(text, regex.VERSION0 | regex.IGNORECASE)
        except (regex.error, OverflowError, RecursionError, ValueError):
            raise ParameterError(field, "is not a regular expression") from None

    def finds(self, identifier: str) -> bool:
        """Say whether the pattern is found in an id. Raises ParameterError where all took too long."""
        self._finds += 1
        if self._finds % _FINDS_BETWEEN_LOOKS == 1:
            self._look()
        try:
            try:
                found = self._compiled.search(identifier, timeout=_HELD_SECONDS)
            except TimeoutError:
                found = self._compiled.search(identifier, timeout=self._look(), concurrent=True)
        except TimeoutError:
            raise self._too_long() from None
        return found is not None

    def _look(self) -> float:
        """Return the seconds that are left. Raises ParameterError where there are none."""
        now = time.thread_time()
        if self._end is None:
            self._end = now + MAX_SEARCH_PATTERN_SECONDS
        if now >= self._end:
            raise self._too_long()
        return self._end - now

    def _too_long(self) -> ParameterError:
        return ParameterError(self._field, "takes too long on the ids of this study: give a simpler one, or a prefix")


def _check(field: str, text: str) -> None:
    """Raise ParameterError at the first thing that is not of the syntax."""
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ParameterError(field, f"at offset {at}: {_complaint(text[at:])}")
        if match["repetition"] and match["low"]:
            low, high = int(match["low"]), int(match["high"] or match["low"])
            if max(low, high) > _MAX_REPETITIONS or high < low:
                raise ParameterError(field, f"at offset {at}: a repetition is of at most {_MAX_REPETITIONS} times")
        at = match.end()


def _complaint(rest: str) -> str:
    if rest.startswith(("(?=", "(?!", "(?<=", "(?<!")):
        return "lookaround is not supported"
    if rest.startswith("(?"):
        return "of the groups with '?', only (?: and (?P<name> are supported"
    if re.match(r"\\([1-9gk])", rest):
        return "backreferences are not supported"
    if rest.startswith("\\"):
        return "this escape is not supported"
    if re.match(r"[*+?{]", rest):
        return "not a repetition: give * + ? {n} {n,} or {n,m}, no two in a row, or a backslash before it"
    return "not a set of characters, or a bracket without its other half: give a backslash before it"
