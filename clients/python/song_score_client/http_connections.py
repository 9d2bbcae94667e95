"""HTTP/1.1 for control calls and signed URLs: kept connections, proxies of the environment, a certificate of one's own.

By the standard library: a signed URL is a secret, and the logs and errors of HTTP libraries hold whole URLs. No error
of this module's does.
"""

from __future__ import annotations  # names that only types need are not evaluated

import base64
import select
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, RemoteDisconnected
from pathlib import Path
from socket import SHUT_RDWR
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from song_score_client.errors import ConfigurationError

CONNECT_TIMEOUT_SECONDS = 10.0
PROGRESS_TIMEOUT_SECONDS = 60.0
"""A request that moves nothing for so long has failed."""
IDLE_SECONDS = 4.0
"""No connection idle for longer carries another request: servers and proxies close those without a word."""
MAX_IDLE = 16
_LOOPBACK = ("localhost", "127.", "::1")
_DEFAULT_PORTS = {"http": 80, "https": 443}

HTTP_FAILURES = (OSError, HTTPException)
"""What a request raises that found no answer, or half of one."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What to send. Never printed: URL and headers may hold what nobody else must have."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Iterable[bytes | memoryview] = field(default=(), repr=False)
    """Pieces; each is sent before the next one is taken."""
    body_bytes: int | None = None
    """Length of the body; None for a request that has none."""


class Cancellation:
    """Ends a request under way from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: HTTPConnection | None = None
        self._is_cancelled = False

    def cancel(self) -> None:
        """Break the connection; the request fails with an OSError. Nothing is sent from now on."""
        with self._lock:
            self._is_cancelled = True
            connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(SHUT_RDWR)

    def attach(self, connection: HTTPConnection | None) -> None:
        """Break this connection, if any is to be broken. Raises ConnectionAbortedError if it was before."""
        with self._lock:
            self._connection = connection
            if self._is_cancelled and connection is not None:
                raise ConnectionAbortedError("the request was cancelled")


class HttpConnections:
    """Sends requests to any host, from any thread of one process. Redirects are not followed."""

    def __init__(
        self, ca_file: Path | None = None, *, progress_timeout_seconds: float = PROGRESS_TIMEOUT_SECONDS
    ) -> None:
        """`ca_file`: authorities (PEM) to trust besides the system's. Read when TLS is first needed."""
        self._ca_file, self._progress_timeout_seconds = ca_file, progress_timeout_seconds
        self._mutex = threading.Lock()
        self._tls: ssl.SSLContext | None = None
        # By scheme and host: each with the time its last request ended; the latest is last.
        self._idle: dict[tuple[str, str], list[tuple[float, HTTPConnection]]] = {}

    @contextmanager
    def exchange(
        self,
        request: HttpRequest,
        *,
        timeout_seconds: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> Iterator[HTTPResponse]:
        """Send a request and give its answer, of any status; its body is read by the caller.

        `timeout_seconds` is how long nothing may move. Raises OSError, HTTPException, ConfigurationError; what the
        body's iterable raises.
        """
        scheme, host, path = _take_apart(request.url)
        timeout = timeout_seconds or self._progress_timeout_seconds
        connection = self._take_idle(scheme, host) or self._connect(scheme, host, timeout)
        response = None
        try:
            if cancellation is not None:
                cancellation.attach(connection)
            connection.sock.settimeout(timeout)
            try:
                response = _send(connection, self._target(scheme, host, path), host, request)
            except ValueError:  # of a header or an address from elsewhere; its text would show them
                raise HTTPException("what is to be sent is no request of HTTP") from None
            yield response
        finally:
            if cancellation is not None:
                cancellation.attach(None)
            # Not closed: there is more of the body, which would be taken for the next answer.
            if response is not None and response.isclosed() and connection.sock is not None:
                self._keep(scheme, host, connection)
            else:
                connection.close()

    def close(self) -> None:
        """Close what is idle."""
        with self._mutex:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for _, connection in connections:
                connection.close()

    def _take_idle(self, scheme: str, host: str) -> HTTPConnection | None:
        while True:
            with self._mutex:
                waiting = self._idle.get((scheme, host))
                if not waiting:
                    return None
                since, connection = waiting.pop()
            # The server has nothing to say on an idle connection but that it ends.
            if time.monotonic() - since < IDLE_SECONDS and connection.sock and not _is_readable(connection):
                return connection
            connection.close()

    def _keep(self, scheme: str, host: str, connection: HTTPConnection) -> None:
        with self._mutex:
            waiting = self._idle.setdefault((scheme, host), [])
            if len(waiting) < MAX_IDLE:
                waiting.append((time.monotonic(), connection))
                return
        connection.close()

    def _connect(self, scheme: str, host: str, timeout_seconds: float) -> HTTPConnection:
        proxy, credentials = _proxy_of(scheme, host)
        timeout = min(timeout_seconds, CONNECT_TIMEOUT_SECONDS)
        connection = (
            HTTPSConnection(proxy or host, timeout=timeout, context=self._tls_context())
            if scheme == "https"
            else HTTPConnection(proxy or host, timeout=timeout)
        )
        if proxy and scheme == "https":
            connection.set_tunnel(*_host_and_port(scheme, host), headers=credentials)
        connection.connect()
        return connection

    @staticmethod
    def _target(scheme: str, host: str, path: str) -> tuple[str, dict[str, str]]:
        """Return what stands in the request's first line, and the headers for a proxy."""
        proxy, credentials = _proxy_of(scheme, host) if scheme == "http" else (None, {})
        return (f"http://{host}{path}", credentials) if proxy else (path, {})

    def _tls_context(self) -> ssl.SSLContext:
        with self._mutex:
            if self._tls is None:
                self._tls = ssl.create_default_context()
                if self._ca_file is not None:
                    try:
                        self._tls.load_verify_locations(self._ca_file)
                    except OSError as error:
                        text = f"{self._ca_file}: certificates can't be read: {error.strerror or error}"
                        raise ConfigurationError(text) from None
            return self._tls


def _send(
    connection: HTTPConnection, target: tuple[str, dict[str, str]], host: str, request: HttpRequest
) -> HTTPResponse:
    line, proxy_headers = target
    named = {name.lower() for name in request.headers}
    try:
        connection.putrequest(request.method, line, skip_host=True, skip_accept_encoding=True)
        if "host" not in named:
            connection.putheader("Host", host)
        if request.body_bytes is not None and "content-length" not in named:
            connection.putheader("Content-Length", str(request.body_bytes))
        for name, value in {**proxy_headers, **request.headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        for piece in request.body:
            connection.send(piece)
    except ConnectionError as error:
        # Who refuses a body says why, and hangs up on the rest of it.
        with suppress(OSError, HTTPException):
            return connection.getresponse()
        raise RemoteDisconnected(type(error).__name__) from error
    return connection.getresponse()


def _take_apart(url: str) -> tuple[str, str, str]:
    """Return the scheme, `host[:port]` and the path with its query."""
    try:
        scheme, host, path, query, _ = urlsplit(url)
        is_address = scheme in _DEFAULT_PORTS and host and "@" not in host and _host_and_port(scheme, host)[0]
    except ValueError:
        is_address = False
    if not is_address:
        raise HTTPException("not an address of HTTP") from None
    return scheme, host, f"{path or '/'}{f'?{query}' if query else ''}"


def _host_and_port(scheme: str, host: str) -> tuple[str, int]:
    url = urlsplit(f"//{host}")
    return url.hostname or "", url.port or _DEFAULT_PORTS[scheme]


def _proxy_of(scheme: str, host: str) -> tuple[str | None, dict[str, str]]:
    """Return the `host:port` of the proxy that the environment names for a host, and the headers it wants."""
    proxies = getproxies()
    # A proxy named in the environment does not lead back to this machine.
    name = _host_and_port(scheme, host)[0]
    if scheme not in proxies or name.startswith(_LOOPBACK) or proxy_bypass(host):
        return None, {}
    text = proxies[scheme]
    url = urlsplit(text if "://" in text else f"http://{text}")
    if url.scheme != "http" or not url.hostname:
        raise ConfigurationError(f"the proxy that the environment names for {scheme} is none of http://host:port")
    credentials = {}
    if url.username is not None:
        secret = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
        credentials["Proxy-Authorization"] = f"Basic {base64.b64encode(secret).decode('ascii')}"
    return url.netloc.rpartition("@")[2], credentials


def _is_readable(connection: HTTPConnection) -> bool:
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))
