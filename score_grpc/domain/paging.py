"""Pages of lists: their sizes, and opaque tokens of where one ended."""

import base64
import binascii
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
    token: str
    """Empty means the first page."""

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
        if not self.token:
            return None
        broken = PageTokenInvalidError("the page token is not one this list gave out, or belongs to other filters")
        if len(self.token) > limits.PAGE_TOKEN_MAX_CHARS:
            raise broken
        try:
            value = json.loads(base64.b64decode(self.token.encode("ascii"), altchars=b"-_", validate=True))
        except (UnicodeError, binascii.Error, ValueError, RecursionError):
            raise broken from None
        match value:
            case [str(digest), int(time), str(name)] if digest == _digest(query):
                if 0 <= time < 2**63 and name.isascii() and name.isprintable():
                    return time, name
        raise broken


def page_token(query: Sequence[str], place: Place) -> str:
    """Return the token of the page after this place."""
    return base64.urlsafe_b64encode(json.dumps([_digest(query), *place], separators=(",", ":")).encode()).decode()


def _digest(query: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(query)).encode()).hexdigest()[:16]
