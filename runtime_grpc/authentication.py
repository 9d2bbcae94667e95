"""Who is calling. Runs on worker threads, inside the wrapped handler, never in an interceptor.

Authentication is off for now: whoever brings no token is the development principal. The services prove
themselves to each other with a shared service token even then.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass


class TokenInvalidError(Exception):
    """The bearer token is not one this server accepts."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller whose credentials were checked."""

    name: str
    """For history and logs."""
    is_service: bool
    """The sister service: both system scopes."""


DEVELOPMENT = Identity(name="development", is_service=False)
SERVICE = Identity(name="service", is_service=True)


class Authenticator:
    """Tells who a call's metadata says it is from."""

    def __init__(self, service_token: str) -> None:
        self._service_token = service_token.encode()

    def identify(self, metadata: Iterable[tuple[str, str | bytes]]) -> Identity:
        """Return the caller's identity, or raise TokenInvalidError."""
        value = next((value for key, value in metadata if key == "authorization"), None)
        if value is None:
            return DEVELOPMENT
        scheme, _, token = (value if isinstance(value, str) else value.decode("latin-1")).partition(" ")
        # Compared in constant time, so that the answer's delay tells nothing about the token.
        matches = hmac.compare_digest(token.strip().encode(), self._service_token)
        if scheme.lower() == "bearer" and self._service_token and matches:
            return SERVICE
        raise TokenInvalidError(
            "authentication is off on this server: send no 'authorization' metadata (a client's access token "
            "setting is the usual source), or the service token of its sister service"
        )
