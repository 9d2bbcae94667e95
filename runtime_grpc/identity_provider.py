"""HTTP to the identity provider: bounded in time, in bytes, and in how many workers it may hold."""

import ipaddress
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog

from runtime_grpc.authentication import IdentityProviderAnswerError, IdentityProviderUnreachableError
from runtime_grpc.http import HttpBounds, HttpClient, HttpRequest, NoHttpAnswerError

IDENTITY_TIMEOUT_SECONDS = 5.0
MAX_IDENTITY_ANSWER_BYTES = 1024 * 1024
IDENTITY_CALLS = 6
"""Calls of this server that may ask at once: a provider that hangs does not hold all control workers."""
IDENTITY_PLACE_SECONDS = 1.0
"""How long a call waits for such a place before it is refused, to be repeated."""
_TRIES = 1  # whoever calls repeats: a token is not verified twice for one call
_ACCEPT = {"accept": "application/json"}

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    """HTTP's."""
    body: object
    """The JSON; None where there is none."""

    def member(self, name: str) -> object:
        """Return a member of a JSON object; None where it is absent, or the body is something else."""
        return self.body.get(name) if isinstance(self.body, dict) else None


class IdentityProvider:
    """Asks, in as many calls at once as may."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(IDENTITY_CALLS)
        bounds = HttpBounds(IDENTITY_TIMEOUT_SECONDS, _TRIES, MAX_IDENTITY_ANSWER_BYTES, IDENTITY_CALLS)
        self._client = HttpClient(bounds)

    def get(self, url: str) -> Answer:
        """Get JSON. Raises IdentityProviderUnreachableError, IdentityProviderAnswerError."""
        return self._ask(HttpRequest("GET", url, _ACCEPT))

    def post(
        self, url: str, form: Mapping[str, str], *, basic: tuple[str, str] | None = None, bearer: str = ""
    ) -> Answer:
        """Post a form, with the server's own name and secret or with a user's token. Raises as `get`."""
        headers = _ACCEPT | ({"authorization": f"Bearer {bearer}"} if bearer else {})
        return self._ask(HttpRequest("POST", url, headers, form, basic))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, request: HttpRequest) -> Answer:
        place = urlsplit(request.url)._replace(query="").geturl()
        if not self._places.acquire(timeout=IDENTITY_PLACE_SECONDS):
            raise IdentityProviderUnreachableError(f"{IDENTITY_CALLS} calls wait for the identity provider already")
        try:
            answer = self._client.ask(request, time.monotonic() + IDENTITY_TIMEOUT_SECONDS)
        except NoHttpAnswerError as error:
            _log.warning("identity provider unreachable", url=place, error=str(error))
            raise IdentityProviderUnreachableError(
                "the identity provider can't be reached, or is too slow: nothing changed, retry"
            ) from None
        finally:
            self._places.release()
        if answer.body is None:
            _log.warning("identity provider's answer unusable", url=place, error="too long")
            raise IdentityProviderAnswerError(
                f"the identity provider's answer has more than {MAX_IDENTITY_ANSWER_BYTES} bytes"
            )
        try:
            return Answer(answer.status, json.loads(answer.body))
        except (ValueError, RecursionError):
            return Answer(answer.status, None)


def unusable(answer: Answer, what: str) -> IdentityProviderAnswerError:
    """Return the error to raise for an answer that says nothing about the token."""
    error = IdentityProviderAnswerError(f"the identity provider's answer can't be used: {what}, HTTP {answer.status}")
    _log.warning("identity provider's answer unusable", what=what, status=answer.status)
    return error


def address_problem(url: str, *, allow_http: bool) -> str:
    """Return what is wrong with a URL of the identity provider; empty where nothing is."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme not in {"http", "https"} or not host:
        return "give http://HOST/… or https://HOST/…"
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "give it without user, password and fragment: credentials have settings of their own"
    if parts.scheme == "http" and not allow_http and not _is_loopback(host):
        return "tokens and keys would travel unprotected: use https, or set allow_insecure on a network you trust"
    return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
