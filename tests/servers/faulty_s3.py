"""An HTTP proxy in front of a real S3 that fails by rule, as stores and networks do.

A rule says which requests it hurts, how often, and how. Requests that no rule hurts pass as they are, with the Host
that the client signed.
"""

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.servers.seaweedfs import SeaweedFS

_PIECE_BYTES = 64 * 1024

BEGIN = r"POST /\S+\?uploads"
PART = r"PUT /\S+partNumber="
COMPLETE = r"POST /\S+\?uploadId="
ABORT = r"DELETE /\S+\?uploadId="
COPY = PART
GET = r"GET /[^?]+$"
HEAD = r"HEAD /"
LIST_PARTS = r"GET /\S+\?uploadId="


@dataclass(kw_only=True)
class Fault:
    """One way to fail. `matching` is searched in `METHOD /path?query`; `times` requests are hurt, those after pass."""

    matching: str
    times: int = 1_000_000
    status: int = 0
    """Answer so, and ask nobody; a 200 with `error_code` is an error inside a success."""
    error_code: str = ""
    body: bytes | None = None
    """In place of an error document."""
    delay_seconds: float = 0
    """Wait so long before the store is asked."""
    request_bytes: int | None = None
    """Pass so many bytes of the request's body, then drop both connections."""
    answer_bytes: int | None = None
    """Pass so many bytes of the answer's body, then drop the connection."""
    swallows_answer: bool = False
    """Let the store do it, then drop the connection without a word."""
    seen: int = field(default=0, init=False)
    """How many requests it has hurt."""


class FaultyS3:
    """A proxy on loopback, on a port of its own, in front of one SeaweedFS."""

    ca_file = None

    def __init__(self, server: SeaweedFS) -> None:
        self._upstream = urlsplit(server.endpoint).netloc
        self._mutex = threading.Lock()
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        """`METHOD /path?query` of everything asked so far."""
        proxy = self

        class Handler(_Handler):
            faulty = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def fail(self, fault: Fault) -> Fault:
        """Add a rule; the first one that matches hurts."""
        with self._mutex:
            self.faults.append(fault)
        return fault

    def heal(self) -> None:
        """Forget all rules."""
        with self._mutex:
            self.faults.clear()

    def count(self, matching: str) -> int:
        """Return how many requests of a kind have come."""
        with self._mutex:
            return sum(re.search(matching, request) is not None for request in self.requests)

    def fault_for(self, request: str) -> Fault | None:
        """Note a request, and return what befalls it."""
        with self._mutex:
            self.requests.append(request)
            for fault in self.faults:
                if fault.seen < fault.times and re.search(fault.matching, request):
                    fault.seen += 1
                    return fault
        return None

    def connect(self) -> HTTPConnection:
        """Connect to the real store."""
        return HTTPConnection(self._upstream, timeout=60)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faulty: FaultyS3

    def pass_on(self) -> None:
        fault = self.faulty.fault_for(f"{self.command} {self.path}") or Fault(matching="")
        # Whatever breaks here breaks for the client too: it sees its connection end.
        with suppress(OSError, HTTPException, _DroppedError):
            self._pass_on(fault)
            return
        self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on  # noqa: N815 - http.server's names

    def _pass_on(self, fault: Fault) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        time.sleep(fault.delay_seconds)
        if fault.status:
            self._move(length, lambda _: None)
            self._answer(fault)
            return
        upstream = self.faulty.connect()
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"expect", "connection"}:
                    upstream.putheader(name, value)
            upstream.endheaders()
            if fault.request_bytes is not None:
                self._move(min(length, fault.request_bytes), upstream.send)
                raise _DroppedError
            self._move(length, upstream.send)
            self._relay(upstream, fault)
        finally:
            upstream.close()

    def _relay(self, upstream: HTTPConnection, fault: Fault) -> None:
        response = upstream.getresponse()
        if fault.swallows_answer:
            response.read()
            raise _DroppedError
        self.send_response_only(response.status)
        is_bodiless = self.command == "HEAD" or response.status in {204, 304}
        body = b"" if is_bodiless or response.length is not None else response.read()
        left = response.length if response.length is not None else len(body)
        for name, value in response.headers.items():
            if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", response.headers.get("Content-Length") or str(left))
        self.end_headers()
        if is_bodiless:
            return
        self.wfile.write(body)
        left -= len(body)
        allowed = left if fault.answer_bytes is None else min(left, fault.answer_bytes)
        for start in range(0, allowed, _PIECE_BYTES):
            self.wfile.write(response.read(min(_PIECE_BYTES, allowed - start)))
        if allowed < left:
            raise _DroppedError

    def _answer(self, fault: Fault) -> None:
        document = f"<?xml version='1.0'?>\n<Error><Code>{fault.error_code}</Code><Message>words</Message></Error>"
        body = document.encode() if fault.body is None else fault.body
        self.send_response_only(fault.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _move(self, length: int, take: Callable[[bytes], None]) -> None:
        while length > 0:
            data = self.rfile.read(min(length, _PIECE_BYTES))
            if not data:
                raise _DroppedError
            take(data)
            length -= len(data)

    def log_message(self, *_: object) -> None:
        pass


class _DroppedError(Exception):
    """The connection ends here."""
