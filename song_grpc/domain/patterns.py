"""Patterns of schemas: an unanchored find, with the classes of ASCII."""

import re
import warnings
from functools import lru_cache

from song_grpc.domain.base_schema import FULL_MATCH_PATTERNS

_KEPT_PATTERNS = 1024


class PatternError(Exception):
    """The pattern does not compile; `offset` in characters, from 0, where it is known."""

    def __init__(self, message: str, offset: int | None) -> None:
        super().__init__(message)
        self.offset = offset


@lru_cache(maxsize=_KEPT_PATTERNS)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    r"""Compile a pattern. Raises PatternError.

    The patterns of the base end at the very end: there `$` becomes `\Z`.
    """
    if pattern in FULL_MATCH_PATTERNS:
        pattern = pattern.removesuffix("$") + r"\Z"
    try:
        with warnings.catch_warnings():
            # Python warns where other languages read sets of characters differently, as in `[a&&[b]]`.
            warnings.simplefilter("error", FutureWarning)
            return re.compile(pattern, re.ASCII)
    except re.error as error:
        raise PatternError(error.msg, error.pos) from None
    except FutureWarning:
        raise PatternError("a set of characters with '&&', '--', '~~', '||' or '[' in it is ambiguous", None) from None
    except (OverflowError, RecursionError, ValueError) as error:
        raise PatternError(f"can't be compiled ({type(error).__name__})", None) from None
