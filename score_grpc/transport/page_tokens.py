"""Page tokens of lists, sealed: a list goes on after the last row that was looked at, which the caller may not see."""

import base64
import hashlib
import secrets

from cryptography.fernet import Fernet, InvalidToken

from score_grpc.domain import limits
from score_grpc.domain.errors import PageTokenInvalidError

_PLACE_CHARS = 88
"""Longer than any place, so that all tokens have one length."""


class PageTokens:
    """Seals where a page ended, and opens it again, in whichever process of this service."""

    def __init__(self, secret: str) -> None:
        """`secret` is what all processes share; where there is none, a token is of use in this process alone."""
        key = hashlib.sha256(b"score page tokens " + (secret.encode() or secrets.token_bytes(32))).digest()
        self._seal = Fernet(base64.urlsafe_b64encode(key))

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
        try:
            return self._seal.decrypt(token).decode()
        except (InvalidToken, ValueError):
            raise broken from None
