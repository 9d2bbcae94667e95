"""A proxy that speaks HTTP/1.1 and nothing else: what begins as HTTP/2, and so every gRPC call, is cut.

It stands before one server (`upstream`), and is a forward proxy for whoever asks with a whole URL, as programs do
that are told `HTTP_PROXY`. Bodies pass in pieces, of any length, both ways.
"""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PIECE_BYTES = 64 * 1024
TIMEOUT_SECONDS = 60.0
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}


class HttpOneProxy:
    """Runs from construction to `close`; a context manager too."""

    def __init__(self, upstream: str, *, sees_through: bool = True) -> None:
        """Forward to `upstream` (`host:port`); answer 502 to everything while `sees_through` is false."""
        self.upstream, self.sees_through = upstream, sees_through
        self.answers: list[int] = []
        """Statuses that the next requests get, one each, with a page of the proxy's own."""
        self.cut_connections = 0
        """How many began as HTTP/2."""
        self.requests: list[tuple[str, str]] = []
        """Method and path, without the query, of what was forwarded."""
        self.body_bytes_up = 0
        self.body_bytes_down = 0
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.address}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def note(self, *, cut: int = 0, request: tuple[str, str] | None = None, up: int = 0, down: int = 0) -> None:
        with self._lock:
            self.cut_connections += cut
            self.body_bytes_up += up
            self.body_bytes_down += down
            if request is not None:
                self.requests.append(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_SECONDS
    owner: HttpOneProxy
    raw_requestline: bytes

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
        """Say nothing."""

    def parse_request(self) -> bool:
        if self.raw_requestline.startswith(b"PRI "):
            self.owner.note(cut=1)
            self.close_connection = True
            return False
        return super().parse_request()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True  # the client has gone, or the server has

    def forward(self) -> None:
        url = urlsplit(self.path)
        self.owner.note(request=(self.command, url.path))
        if not self.owner.sees_through:
            self.send_error(502)
            return
        if self.owner.answers:
            self.close_connection = True
            self.send_error(self.owner.answers.pop(0))
            return
        target = f"{url.path}?{url.query}" if url.query else url.path
        with _connected(url.netloc or self.owner.upstream) as upstream:
            if upstream is None:
                self.send_error(502)
                return
            upstream.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    upstream.putheader(name, value)
            upstream.endheaders()
            left = int(self.headers.get("Content-Length") or 0)
            while left and (piece := self.rfile.read(min(left, PIECE_BYTES))):
                upstream.send(piece)
                self.owner.note(up=len(piece))
                left -= len(piece)
            if left:  # the client has gone in the middle of its body
                self.close_connection = True
                return
            self._answer(upstream.getresponse())

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if answer.length is None:  # it ends with its connection: so does ours
            self.send_header("Connection", "close")
        self.end_headers()
        while piece := answer.read1(PIECE_BYTES):
            self.wfile.write(piece)
            self.owner.note(down=len(piece))
        if answer.length:  # cut short: say so in the same way
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = forward  # noqa: N815 - the library's names


@contextmanager
def _connected(address: str) -> Iterator[http.client.HTTPConnection | None]:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_SECONDS)
    try:
        connection.connect()
    except OSError:
        yield None
        return
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        yield connection
    finally:
        connection.close()
