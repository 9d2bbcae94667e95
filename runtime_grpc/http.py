"""HTTP to services that are asked for something small: bounded in time, in bytes and in tries, without redirects."""

import random
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

HTTP_FIRST_PAUSE_SECONDS = 0.2
"""Before the second try, at most; doubled before each further one."""
HTTP_MAX_PAUSE_SECONDS = 2.0
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = range(500, 600)


class NoHttpAnswerError(Exception):
    """No answer came: the text says why, in words that follow a service's name: `can't be reached`."""


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """How long, how much and how often."""

    try_seconds: float
    """One try, from the connection to the last byte."""
    tries: int
    max_body_bytes: int
    max_connections: int


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back."""

    status: int
    body: bytes | None
    """None where it was longer than the bound."""

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's own


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What to ask."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    basic: tuple[str, str] | None = field(default=None, repr=False)
    """Name and secret."""


class HttpClient:
    """Asks, from any thread. Another try follows where no answer came, or one that says `later`: 429 and 5xx."""

    def __init__(self, bounds: HttpBounds) -> None:
        self._bounds = bounds
        # The machine's own proxies and .netrc are left alone: what is asked goes where the settings say.
        self._client = httpx.Client(
            timeout=bounds.try_seconds,
            # The machine's authorities, not a list that comes with a library.
            verify=ssl.create_default_context(),
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=bounds.max_connections),
            headers={"accept-encoding": "identity"},
        )

    def ask(self, request: HttpRequest, deadline: float) -> HttpAnswer:
        """Return the answer, the last one where several tries were needed.

        `deadline` is of the monotonic clock: no try begins after it or goes on beyond it. Raises NoHttpAnswerError.
        """
        pause_seconds = HTTP_FIRST_PAUSE_SECONDS
        for left in reversed(range(self._bounds.tries)):
            is_last = not left or time.monotonic() + pause_seconds >= deadline
            try:
                answer = self._try(request, deadline)
            except NoHttpAnswerError:
                if is_last:
                    raise
            else:
                says_later = answer.status == _TOO_MANY_REQUESTS or answer.status in _SERVER_ERRORS
                if is_last or not says_later:
                    return answer
            time.sleep(pause_seconds * random.uniform(0.5, 1))  # noqa: S311 - spreads tries, guards nothing
            pause_seconds = min(2 * pause_seconds, HTTP_MAX_PAUSE_SECONDS)
        raise ValueError("no tries")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _try(self, request: HttpRequest, deadline: float) -> HttpAnswer:
        end = min(deadline, time.monotonic() + self._bounds.try_seconds)
        seconds = end - time.monotonic()
        if seconds <= 0:
            raise NoHttpAnswerError("did not answer in time")
        try:
            built = self._client.build_request(
                request.method,
                request.url,
                headers=dict(request.headers),
                data=None if request.form is None else dict(request.form),
                timeout=seconds,
            )
            basic = None if request.basic is None else httpx.BasicAuth(*request.basic)
            response = self._client.send(built, auth=basic, stream=True)
            try:
                return HttpAnswer(response.status_code, self._read(response, end))
            finally:
                response.close()
        except httpx.TimeoutException:
            raise NoHttpAnswerError("did not answer in time") from None
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL):
            # Its words stay here: they may quote what was sent.
            raise NoHttpAnswerError("can't be reached") from None

    def _read(self, response: httpx.Response, end: float) -> bytes | None:
        # httpx bounds each step, this all of them: an answer that drips ends too.
        body = bytearray()
        for piece in response.iter_raw():
            body += piece
            if len(body) > self._bounds.max_body_bytes:
                return None
            if time.monotonic() > end:
                raise httpx.ReadTimeout("")
        return bytes(body)
