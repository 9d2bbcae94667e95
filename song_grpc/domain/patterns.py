"""Patterns of schemas: an unanchored find, with the classes of ASCII.

Python's own `re` says what a pattern is; it is searched for with `regex`, which can be stopped, and lets other
threads run meanwhile.
"""

import re
from functools import lru_cache

import regex

from song_grpc.domain.base_schema import FULL_MATCH_PATTERNS

_KEPT_PATTERNS = 1024
_AMBIGUOUS = ("--", "&&", "~~", "||")
_REPETITION = re.compile(r"\{(?:\d+(?:,\d*)?|,\d+)\}", re.ASCII)


class PatternError(Exception):
    """The pattern does not compile; `offset` in characters, from 0, where it is known."""

    def __init__(self, message: str, offset: int | None) -> None:
        super().__init__(message)
        self.offset = offset


@lru_cache(maxsize=_KEPT_PATTERNS)
def compile_pattern(pattern: str) -> regex.Pattern[str]:
    r"""Compile a pattern. Raises PatternError.

    The patterns of the base end at the very end: there `$` becomes `\Z`.
    """
    if pattern in FULL_MATCH_PATTERNS:
        pattern = pattern.removesuffix("$") + r"\Z"
    try:
        translated = _translated(pattern)  # first: `re` would only warn of an ambiguous set
        re.compile(pattern, re.ASCII)
        return regex.compile(translated, regex.VERSION0 | regex.ASCII)
    except re.error as error:
        raise PatternError(error.msg, error.pos) from None
    except regex.error as error:
        raise PatternError(str(error), None) from None
    except (OverflowError, RecursionError, ValueError) as error:
        raise PatternError(f"can't be compiled ({type(error).__name__})", None) from None


def _translated(pattern: str) -> str:
    """Return the pattern as `regex` reads what `re` means: there `a{x}` is fuzzy, and `[:alpha:]` a class."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        mark = pattern[at]
        repetition = _REPETITION.match(pattern, at)
        if mark == "\\":
            part = pattern[at : at + 2]
            if pattern.startswith("\\N{", at):
                part = pattern[at : pattern.find("}", at) + 1] or part
            at += len(part)
        elif mark == "[":
            end, part = _set(pattern, at)
            at = end
        elif repetition is not None:
            part = repetition[0]
            at = repetition.end()
        elif pattern.startswith("{,}", at):
            part = "{0,}"
            at += 3
        else:
            part = r"\{" if mark == "{" else mark
            at += 1
        parts.append(part)
    return "".join(parts)


def _set(pattern: str, start: int) -> tuple[int, str]:
    """Return where a set of characters ends, and the set with its `[` escaped. Raises PatternError."""
    first = start + (2 if pattern.startswith("[^", start) else 1)
    parts = [pattern[start:first]]
    at = first
    while at < len(pattern):
        mark = pattern[at]
        if mark == "]" and at > first:
            return at + 1, "".join(parts) + "]"
        if (mark == "[" and at == first) or (at > first and pattern[at : at + 2] in _AMBIGUOUS):
            raise PatternError("a set of characters with '&&', '--', '~~', '||' or '[' in it is ambiguous", at)
        part = pattern[at : at + 2] if mark == "\\" else mark
        parts.append(r"\[" if part == "[" else part)
        at += len(part)
    return at, "".join(parts)  # has no end: `re` says so
