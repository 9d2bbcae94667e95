"""Page tokens of lists, sealed: a list goes on after the last row that was looked at, which the caller may not see."""

import base64
import hashlib
import secrets
from functools import cached_property
from typing import TYPE_CHECKING

from score_grpc.domain import limits
from score_grpc.domain.errors import PageTokenInvalidError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

_PLACE_CHARS = 88
"""Longer than any place, so that all tokens have one length."""


class PageTokens:
    """Seals where a page ended, and opens it again, in whichever process of this service."""

    def __init__(self, secret: str) -> None:
        """`secret` is what all processes share; where there is none, a token is of use in this process alone."""
        self._key = hashlib.sha256(b"score page tokens " + (secret.encode() or secrets.token_bytes(32))).digest()

    def seal(self, place: str) -> str:
        """Return the token of the page after this place; of none, none."""
        return self._seal.encrypt(place.ljust(_PLACE_CHARS).encode()).decode() if place else ""

    def open(self, token: str) -> str:
        """Return the place that was sealed. Raises PageTokenInvalidError."""
        if not token:
            return ""
        broken = PageTokenInvalidError("the page token is not one this server gave out: begin without one")
        if len(token) > limits.PAGE_TOKEN_MAX_CHARS:
            raise broken
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - as below

        try:
            return self._seal.decrypt(token).decode()
        except (InvalidToken, ValueError):
            raise broken from None

    @cached_property
    def _seal(self) -> "Fernet":
        from cryptography.fernet import Fernet  # noqa: PLC0415 - 7 MiB, which a server that never lists does without

        return Fernet(base64.urlsafe_b64encode(self._key))
