"""Pages of parts: the token is the last part number of the page before."""

from collections.abc import Sequence

from score_grpc.domain.errors import FieldInvalidError, PageTokenInvalidError
from score_grpc.domain.limits import PAGE_PARTS_MAX
from score_grpc.domain.uploads import UploadPart


def page_limit(page_size: int, default: int) -> int:
    """Return how many parts a page may have. Raises FieldInvalidError."""
    if not 0 <= page_size <= PAGE_PARTS_MAX:
        raise FieldInvalidError("page_size", f"{page_size}: give 1 to {PAGE_PARTS_MAX}, or 0 for {default}")
    return page_size or default


def page_of(parts: Sequence[UploadPart], limit: int) -> tuple[Sequence[UploadPart], str]:
    """Return the page and the token of the next one; of `parts`, one more was asked for than a page may have."""
    page = parts[:limit]
    return page, str(page[-1].part_number) if len(parts) > limit else ""


def page_start(page_token: str) -> int:
    """Return the part number after which the page begins. Raises PageTokenInvalidError."""
    if not page_token:
        return 0
    if not (page_token.isascii() and page_token.isdigit() and len(page_token) < 10):  # noqa: PLR2004 - part numbers are short
        raise PageTokenInvalidError(f"page token {page_token[:40]!r} is not a page token: begin without one")
    return int(page_token)
