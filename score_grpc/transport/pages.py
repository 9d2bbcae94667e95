"""Pages of parts: the token is the last part number of the page before."""

from score_grpc.domain.errors import FieldInvalidError, PageTokenInvalidError
from score_grpc.domain.limits import PAGE_PARTS_MAX


def page_limit(page_size: int, default: int) -> int:
    """Return how many parts a page may have. Raises FieldInvalidError."""
    if not 0 <= page_size <= PAGE_PARTS_MAX:
        raise FieldInvalidError("page_size", f"{page_size}: give 1 to {PAGE_PARTS_MAX}, or 0 for {default}")
    return page_size or default


def page_start(page_token: str) -> int:
    """Return the part number after which the page begins. Raises PageTokenInvalidError."""
    if not page_token:
        return 0
    if not (page_token.isascii() and page_token.isdigit() and len(page_token) < 10):  # noqa: PLR2004 - part numbers are short
        raise PageTokenInvalidError(f"page token {page_token[:40]!r} is not one of this method's: begin without one")
    return int(page_token)
