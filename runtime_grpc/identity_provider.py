"""HTTP to the identity provider: bounded in time, in bytes, and in how many workers it may hold."""

import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import structlog

from runtime_grpc.authentication import IdentityProviderAnswerError, IdentityProviderUnreachableError

IDENTITY_TIMEOUT_SECONDS = 5.0
MAX_IDENTITY_ANSWER_BYTES = 1024 * 1024
IDENTITY_CALLS = 6
"""Calls of this server that may ask at once: a provider that hangs does not hold all control workers."""
IDENTITY_PLACE_SECONDS = 1.0
"""How long a call waits for such a place before it is refused, to be repeated."""

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
    """Asks, over connections that are not kept: a token is asked about once a minute."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(IDENTITY_CALLS)
        # Proxies of the environment are left alone: tokens go where the settings say. The authorities are the
        # machine's, or those of SSL_CERT_FILE, which OpenSSL itself knows.
        self._client = httpx.Client(
            timeout=IDENTITY_TIMEOUT_SECONDS,
            follow_redirects=False,
            trust_env=False,
            verify=ssl.create_default_context(),
            limits=httpx.Limits(max_connections=IDENTITY_CALLS, max_keepalive_connections=0),
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )

    def get(self, url: str) -> Answer:
        """Get JSON. Raises IdentityProviderUnreachableError, IdentityProviderAnswerError."""
        return self._ask(self._client.build_request("GET", url))

    def post(
        self, url: str, form: Mapping[str, str], *, basic: tuple[str, str] | None = None, bearer: str = ""
    ) -> Answer:
        """Post a form, with the server's own name and secret or with a user's token. Raises as `get`."""
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        request = self._client.build_request("POST", url, data=dict(form), headers=headers)
        return self._ask(request, None if basic is None else httpx.BasicAuth(*basic))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, request: httpx.Request, credentials: httpx.BasicAuth | None = None) -> Answer:
        place = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}{request.url.path}"
        if not self._places.acquire(timeout=IDENTITY_PLACE_SECONDS):
            raise IdentityProviderUnreachableError(f"{IDENTITY_CALLS} calls wait for the identity provider already")
        try:
            return self._read(request, credentials)
        except (httpx.HTTPError, httpx.StreamError) as error:
            # Its words stay here: they may quote what was sent.
            _log.warning("identity provider unreachable", url=place, error=type(error).__name__)
            raise IdentityProviderUnreachableError(
                "the identity provider can't be reached, or is too slow: nothing changed, retry"
            ) from None
        except IdentityProviderAnswerError as error:
            _log.warning("identity provider's answer unusable", url=place, error=str(error))
            raise
        finally:
            self._places.release()

    def _read(self, request: httpx.Request, credentials: httpx.BasicAuth | None) -> Answer:
        # httpx bounds each step, this all of them: an answer that drips ends too.
        deadline = time.monotonic() + IDENTITY_TIMEOUT_SECONDS
        response = self._client.send(request, auth=credentials, stream=True)
        try:
            body = bytearray()
            for piece in response.iter_raw():
                body += piece
                if len(body) > MAX_IDENTITY_ANSWER_BYTES:
                    raise IdentityProviderAnswerError(
                        f"the identity provider's answer has more than {MAX_IDENTITY_ANSWER_BYTES} bytes"
                    )
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("")
        finally:
            response.close()
        try:
            return Answer(response.status_code, json.loads(body))
        except (ValueError, RecursionError):
            return Answer(response.status_code, None)


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
