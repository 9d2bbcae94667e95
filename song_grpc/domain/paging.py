"""Pages of lists: sizes, opaque keyset tokens, and the byte budget that ends a page early."""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from song_grpc.domain.errors import ParameterError
from song_grpc.domain.limits import DEFAULT_PAGE_ITEMS, MAX_PAGE_BYTES, MAX_PAGE_ITEMS, MAX_PAGE_TOKEN_CHARS

Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page a caller wants."""

    size: int
    """0 means the default."""
    token: str
    """Empty means the first page."""

    @property
    def limit(self) -> int:
        """Items of the page at most. Raises ParameterError."""
        if not 0 <= self.size <= MAX_PAGE_ITEMS:
            raise ParameterError("page_size", f"give 1 to {MAX_PAGE_ITEMS}, or 0 for {DEFAULT_PAGE_ITEMS}")
        return self.size or DEFAULT_PAGE_ITEMS


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of an item before it is read."""

    key: Key
    wire_bytes: int


def read_token(token: str, scope: Sequence[str], kinds: tuple[type, ...]) -> Key | None:
    """Return the key a page starts after, None for the first page. Raises ParameterError.

    `scope` is the list's name and filters: a token fits only the list it came from. `kinds` are the types of
    the key's parts.
    """
    if not token:
        return None
    broken = ParameterError("page_token", "is not one this list gave out, or belongs to other filters")
    if len(token) > MAX_PAGE_TOKEN_CHARS:
        raise broken
    try:
        value = json.loads(base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True))
    except (UnicodeError, binascii.Error, ValueError, RecursionError):
        raise broken from None
    if not isinstance(value, list) or len(value) != len(kinds) + 1 or value[0] != _digest(scope):
        raise broken
    key = value[1:]
    if any(type(part) is not kind for part, kind in zip(key, kinds, strict=True)) or not _fits(key):
        raise broken
    return tuple(key)


def make_token(scope: Sequence[str], key: Key) -> str:
    """Return the token of the page after this key."""
    return base64.urlsafe_b64encode(json.dumps([_digest(scope), *key], separators=(",", ":")).encode()).decode()


def next_token(scope: Sequence[str], rows: Sequence[Row], shown: Sequence[Row]) -> str:
    """Return the token of the page after the shown rows; empty where all rows are shown."""
    return make_token(scope, shown[-1].key) if len(shown) < len(rows) else ""


def cut(rows: Sequence[Row], limit: int) -> Sequence[Row]:
    """Return the rows that make a page: at most `limit`, at most 3 MiB, at least one if there is any."""
    total = 0
    for count, row in enumerate(rows[:limit]):
        total += row.wire_bytes
        if count and total > MAX_PAGE_BYTES:
            return rows[:count]
    return rows[:limit]


def _digest(scope: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(scope)).encode()).hexdigest()[:16]


def _fits(key: Sequence[str | int]) -> bool:
    """Say whether a database can compare with this key."""
    return all(_is_text(part) if isinstance(part, str) else -(2**63) <= part < 2**63 for part in key)


def _is_text(part: str) -> bool:
    try:
        part.encode()
    except UnicodeEncodeError:
        return False  # half a surrogate pair, which JSON can spell
    return "\0" not in part
