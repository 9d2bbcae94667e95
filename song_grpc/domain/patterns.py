"""Patterns of schemas: an unanchored find, with Java's syntax and the classes of ASCII.

They are searched for with `regex`, which can be stopped, and lets other threads run meanwhile.
"""

from functools import lru_cache

import regex

from song_grpc.domain import java_patterns
from song_grpc.domain.base_schema import FULL_MATCH_PATTERNS
from song_grpc.domain.java_source import PatternError

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
        return regex.compile(found.text, regex.VERSION1 | (regex.UNICODE if found.has_properties else regex.ASCII))
    except regex.error as error:
        raise PatternError(str(error), None) from None
    except (OverflowError, RecursionError, ValueError) as error:
        raise PatternError(f"can't be compiled ({type(error).__name__})", None) from None
