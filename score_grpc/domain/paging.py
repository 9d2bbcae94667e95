"""Pages of lists: their sizes, and where one ended."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from score_grpc.domain import limits
from score_grpc.domain.errors import FieldInvalidError, PageTokenInvalidError

Place = tuple[int, str]
"""Where a page ended: the time, in microseconds since 1970, and the id of its last item."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page a caller wants."""

    size: int
    """0 means the default."""
    ended: str
    """Where the page before ended, as `page_end` has it; empty means the first page."""

    @property
    def limit(self) -> int:
        """How many items the page may have. Raises FieldInvalidError."""
        if not 0 <= self.size <= limits.PAGE_ITEMS_MAX:
            text = f"{self.size}: give 1 to {limits.PAGE_ITEMS_MAX}, or 0 for {limits.PAGE_ITEMS_DEFAULT}"
            raise FieldInvalidError("page_size", text)
        return self.size or limits.PAGE_ITEMS_DEFAULT

    def after(self, query: Sequence[str]) -> Place | None:
        """Return where the page before ended, None for the first page. Raises PageTokenInvalidError.

        `query` is the list's name and filters: a token fits only the list it came from.
        """
        if not self.ended:
            return None
        digest, time, name = json.loads(self.ended)
        if digest != _digest(query):
            raise PageTokenInvalidError("the page token belongs to another list, or to other filters")
        return time, name


def page_end(query: Sequence[str], place: Place) -> str:
    """Return this place as text, of at most 80 characters. It may name what the caller must not see."""
    return json.dumps([_digest(query), *place], separators=(",", ":"))


def _digest(query: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(query)).encode()).hexdigest()[:16]
