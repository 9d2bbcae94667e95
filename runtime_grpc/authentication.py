"""Who is calling. Runs on worker threads, inside the wrapped handler, never in an interceptor.

With authentication off, whoever brings no token is the development principal; with it on, nobody in particular:
what that one may do, each service says. The services prove themselves to each other with a shared service token
either way.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


class TokenRefusedError(Exception):
    """The bearer token is not one this server accepts. The text never has the token."""


class TokenInvalidError(TokenRefusedError):
    """It never was, or was withdrawn."""


class TokenExpiredError(TokenRefusedError):
    """It was, until it expired."""


class IdentityProviderUnreachableError(Exception):
    """The identity provider can't be asked now: nothing is known about the token, and the call may be repeated."""


class IdentityProviderAnswerError(Exception):
    """The identity provider's answer can't be used: nothing is known about the token."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller whose credentials were checked."""

    name: str
    """For history, audit and logs: at most 255 characters; never a token."""
    is_service: bool = False
    """The sister service: both system scopes."""
    scopes: frozenset[str] = frozenset()
    """What the identity provider granted, as it spells it."""
    is_anonymous: bool = False
    """Brought no token although authentication is on."""
    is_development: bool = False
    """Brought no token, and authentication is off."""


DEVELOPMENT = Identity("development", is_development=True)
ANONYMOUS = Identity("anonymous", is_anonymous=True)
SERVICE = Identity("service", is_service=True)


class UserTokens(Protocol):
    """Knows the tokens of users."""

    def identity_of(self, token: str) -> Identity:
        """Return whose token it is.

        Raises TokenRefusedError, IdentityProviderUnreachableError, IdentityProviderAnswerError.
        """

    def close(self) -> None:
        """Let go of connections."""


class Authenticator:
    """Tells who a call's metadata says it is from."""

    def __init__(self, service_token: str, users: UserTokens | None = None) -> None:
        """Without `users`, authentication is off. An empty service token is nobody's."""
        self._service_token, self._users = service_token.encode(), users

    def identify(self, metadata: Iterable[tuple[str, str | bytes]]) -> Identity:
        """Return the caller's identity. Raises what `UserTokens.identity_of` raises."""
        values = [value for key, value in metadata if key == "authorization"]
        if not values:
            return DEVELOPMENT if self._users is None else ANONYMOUS
        value = values[0]
        scheme, _, rest = (value if isinstance(value, str) else value.decode("latin-1")).partition(" ")
        token = rest.strip()
        is_bearer = scheme.lower() == "bearer" and bool(token) and len(values) == 1
        # Compared in constant time, so that the answer's delay tells nothing about the token.
        matches = hmac.compare_digest(token.encode(), self._service_token)
        if is_bearer and self._service_token and matches:
            return SERVICE
        if self._users is None:
            raise TokenInvalidError(
                "authentication is off on this server: send no 'authorization' metadata (a client's access token "
                "setting is the usual source), or the service token of its sister service"
            )
        if not is_bearer:
            raise TokenInvalidError("metadata 'authorization' is not one value of the form 'Bearer <token>'")
        return self._users.identity_of(token)

    def close(self) -> None:
        """Let go of connections."""
        if self._users is not None:
            self._users.close()
