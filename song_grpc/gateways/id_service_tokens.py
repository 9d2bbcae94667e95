"""The tokens that the id service is asked with."""

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

from runtime_grpc.http import HttpClient, HttpRequest, NoHttpAnswerError
from song_grpc.domain.errors import IdServiceError

_EARLY_SECONDS = 30.0
"""A token is renewed so long before it expires, if it lasts longer."""
_DEFAULT_SECONDS = 300.0
"""How long one is used where the answer does not say."""


class Tokens(Protocol):
    """Where bearer tokens come from."""

    def current(self, deadline: float) -> str:
        """Return the token to use now; empty for none. Raises IdServiceError."""

    def refused(self, token: str) -> bool:
        """Note that the service refused a token; say whether another one may be had."""


class FixedToken:
    """The token of the settings, or none."""

    def __init__(self, token: str) -> None:
        self._token = token

    def current(self, deadline: float) -> str:
        """Return it."""
        del deadline
        return self._token

    def refused(self, token: str) -> bool:
        """There is no other."""
        del token
        return False


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """How Song gets tokens in its own name (RFC 6749, 4.4)."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str
    """Empty asks for none."""


class GrantedTokens:
    """Tokens granted for client credentials, renewed before they expire, and when the service refuses one."""

    def __init__(self, client: HttpClient, credentials: ClientCredentials) -> None:
        self._client, self._credentials = client, credentials
        self._lock = threading.Lock()
        self._token, self._renew_at = "", float("-inf")

    def current(self, deadline: float) -> str:
        """Return the token to use now; callers that need a new one wait for one request."""
        if not self._lock.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise IdServiceError("no token for the id service in time: nothing changed, retry")
        try:
            if time.monotonic() >= self._renew_at:
                self._token, lasts_seconds = self._request(deadline)
                self._renew_at = time.monotonic() + lasts_seconds - min(_EARLY_SECONDS, lasts_seconds / 2)
            return self._token
        finally:
            self._lock.release()

    def refused(self, token: str) -> bool:
        """Forget the token, unless there is a newer one."""
        with self._lock:
            if token == self._token:
                self._renew_at = float("-inf")
        return True

    def _request(self, deadline: float) -> tuple[str, float]:
        credentials = self._credentials
        form = {"grant_type": "client_credentials"} | ({"scope": credentials.scope} if credentials.scope else {})
        basic = (credentials.client_id, credentials.client_secret)
        try:
            answer = self._client.ask(HttpRequest("POST", credentials.token_url, form=form, basic=basic), deadline)
        except NoHttpAnswerError as error:
            raise IdServiceError(f"where tokens for the id service come from {error}: nothing changed, retry") from None
        if not answer.is_success:
            raise IdServiceError(
                f"no token for the id service: its token URL answered {answer.status}; the operator of Song looks at "
                "id_service_client_id and id_service_client_secret",
                status=str(answer.status),
            )
        return _read(answer.body or b"")


def _read(body: bytes) -> tuple[str, float]:
    try:
        granted = json.loads(body)
        token, lasts_seconds = granted["access_token"], granted.get("expires_in", _DEFAULT_SECONDS)
        if isinstance(token, str) and token.isascii() and token.isprintable() and token:
            return token, max(float(lasts_seconds), 0)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        pass
    raise IdServiceError("no token for the id service: its token URL answered with none that can be used")
