"""A real HTTP service on loopback that answers as a test says: an external source, an id service, a token URL."""

import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    """With its query, still percent-encoded."""
    authorization: str
    body: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    drips: bool = False
    """The body comes a byte at a time, for ever."""


def json_answer(status: int = 200, **members: object) -> Answer:
    return Answer(status, json.dumps(members).encode())


@dataclass(slots=True)
class HttpService:
    """A running service."""

    url: str
    answer: Callable[[Asked], Answer] = lambda _asked: Answer()
    """May be replaced; called in the thread of the request."""
    asked: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set at the end, for answers that wait."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _now: int = 0

    def handle(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            return self.answer(asked)
        finally:
            with self._lock:
                self._now -= 1

    def paths(self) -> Counter[str]:
        """Return how often each path was asked for."""
        return Counter(asked.path for asked in self.asked)


@contextmanager
def http_service(certificate: Path | None = None) -> Iterator[HttpService]:
    """Serve until the block ends; with a PEM file of certificate and key, over TLS."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    scheme = "http" if certificate is None else "https"
    service = HttpService(f"{scheme}://127.0.0.1:{server.server_port}")
    server.service = service  # type: ignore[attr-defined] # for the handler
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield service
    finally:
        service.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def closed_port() -> Iterator[str]:
    """Yield the URL of a port where nothing listens, kept from others meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def _respond(self) -> None:
        service: HttpService = self.server.service  # type: ignore[attr-defined] # set by `http_service`
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        answer = service.handle(Asked(self.command, self.path, self.headers.get("authorization", ""), body))
        with suppress(OSError):  # who asked may have left
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            length = 10_000 if answer.drips else len(answer.body)
            self.send_header("content-length", str(length))
            self.end_headers()
            while answer.drips and not service.stopped.is_set():
                self.wfile.write(b"x")
                time.sleep(0.05)
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""
