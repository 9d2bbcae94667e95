"""Patterns of schemas: an unanchored find, with Java's syntax and the classes of ASCII.

They are searched for with `regex`, which can be stopped, and lets other threads run meanwhile.
"""

from functools import lru_cache

import regex

from song_grpc.domain import java_patterns
from song_grpc.domain.base_schema import FULL_MATCH_PATTERNS
from song_grpc.domain.java_source import PatternError
from song_grpc.domain.limits import MAX_UNROLLED_PATTERN

_KEPT_PATTERNS = 1024


@lru_cache(maxsize=_KEPT_PATTERNS)
def compile_pattern(pattern: str) -> regex.Pattern[str]:
    r"""Compile a pattern. Raises PatternError.

    The patterns of the base end at the very end: there `$` becomes `\z`.
    """
    if pattern in FULL_MATCH_PATTERNS:
        pattern = pattern.removesuffix("$") + r"\z"
    try:
        found = java_patterns.translate(pattern)
        if _unrolled(found.text) > MAX_UNROLLED_PATTERN:
            raise PatternError(
                f"its repetitions come to more than {MAX_UNROLLED_PATTERN} in all: write {{n,}} or use maxLength", None
            )
        return regex.compile(found.text, regex.VERSION1 | (regex.UNICODE if found.has_properties else regex.ASCII))
    except regex.error as error:
        raise PatternError(str(error), None) from None
    except (IndexError, OverflowError, RecursionError, ValueError) as error:
        raise PatternError(f"can't be compiled ({type(error).__name__})", None) from None


def _unrolled(text: str) -> int:
    """Return how many parts a translated pattern has once its repetitions are written out, as compiling does."""
    groups, last = [0], 0  # what each open group has before its last part, and that part
    at = 0
    while at < len(text):
        mark = text[at]
        if mark == "{" and text[at + 1 : at + 2].isdigit():
            end = text.index("}", at)
            least, _, most = text[at + 1 : end].partition(",")
            last *= max(int(least), int(most or "0"), 1)
            at = end
        elif mark == "(":
            groups[-1] += last
            groups.append(0)
            last = 0
        elif mark == ")":
            last += groups.pop()
        elif mark not in "*+?":
            groups[-1] += last
            last = 1
            at = _end_of_part(text, at)
        at += 1
    return sum(groups) + last


def _end_of_part(text: str, start: int) -> int:
    """Return where a character, an escape or a set ends."""
    if text[start] == "\\":
        return start + 1
    if text[start] != "[":
        return start
    depth, at = 0, start
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == "[":
            depth += 1
        elif text[at] == "]":
            depth -= 1
            if not depth:
                return at
        at += 1
    return at
