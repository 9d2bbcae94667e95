"""Requests and answers whose bodies may be gigabytes: between the socket and the application, without a buffer.

See `http_server.py` for what applications may count on.
"""

import errno
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any
from uuid import uuid4

import structlog
from cheroot import wsgi

HEAD_SECONDS = 20.0
"""How long a request's head may take, from its first byte, and a body that does not say its length."""
PROGRESS_SECONDS = 60
"""A connection on which nothing moves for so long is closed, in a request or between two."""
BODY_SECONDS = 60.0
"""How long a body may take that is read at once."""
ARRIVING_BYTES = 64 * 1024
"""Of such a body, what is read before more memory is taken for it."""
CHUNKED_BODY_BYTES = 1024 * 1024
"""A body that does not say its length has at most so many."""
CHUNK_LINE_BYTES = 1024
"""A line of such a body between two chunks, or after the last one."""
PIECE_BYTES = 1024 * 1024
PIECE_SECONDS = 300.0
"""How long a piece of a body may take: slower clients keep others out. As streams have it."""
LINGER_BYTES = 64 * 1024 * 1024
LINGER_SECONDS = 30.0
"""How much, and how long, is still taken of a body that was refused: a client that sends it first gets its answer. By
a quarter of the workers at most."""

HELD_EXPECT = b"X-Held-Expect"
"""Where the reader of heads puts `Expect`, which the library would answer at once."""

_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")

_log = structlog.get_logger()


class _Body:
    """The body of a request that says its length."""

    def __init__(
        self,
        conn: Any,  # noqa: ANN401 - the library's
        size_bytes: int,
        *,
        awaits_go: bool,
    ) -> None:
        self._reader, self._socket, self._awaits_go = conn.rfile, conn.socket, awaits_go
        self.left = size_bytes
        """Bytes that were not read."""

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, all that are left at most. Raises OSError where they do not come."""
        size = self.left if size < 0 else min(size, self.left)
        whole, buffer = BytesIO(), bytearray(min(size, ARRIVING_BYTES))
        deadline = time.monotonic() + BODY_SECONDS
        while whole.tell() < size:
            piece = memoryview(buffer)[: size - whole.tell()]
            self._fill(piece, deadline)
            whole.write(piece)
        return whole.getvalue()

    def readinto(self, buffer: "bytearray | memoryview") -> int:
        """Fill the buffer, which must not be larger than what is left. Raises OSError where the bytes do not come."""
        return self._fill(buffer, time.monotonic() + PIECE_SECONDS)

    def _fill(self, buffer: "bytearray | memoryview", deadline: float) -> int:
        view = memoryview(buffer)[: self.left]
        if not view:
            return 0
        if self._awaits_go:
            self._awaits_go = False
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        filled = 0
        if self._reader.has_data():
            early = self._reader.read(min(len(view), len(self._reader.peek(1))))
            view[: len(early)] = early
            filled = len(early)
        while filled < len(view):
            limit_wait(self._socket, deadline)
            count = self._socket.recv_into(view[filled:])
            if count == 0:
                raise ConnectionResetError(errno.ECONNRESET, "the client has gone in the middle of its body")
            filled += count
        self.left -= filled
        return filled


class _BodyRefusedError(Exception):
    """A body in chunks that is too long, or none."""


class _ChunkedBody:
    """The body of a request that does not say its length: read as a whole, once the application asks for it."""

    def __init__(
        self,
        req: Any,  # noqa: ANN401 - the library's
    ) -> None:
        self._req, self._reader = req, req.conn.rfile
        self._max_bytes: int = req.server.max_chunked_bytes
        self._left_bytes = self._max_bytes
        self._read: BytesIO | None = None

    @property
    def left(self) -> int:
        """Bytes that were not read, as far as that is known."""
        return LINGER_BYTES if self._read is None else 0

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, all that are left at most. Raises OSError where they do not come."""
        if self._read is None:
            self._read = self._take()
            self._read.seek(0)
        return self._read.read(size)

    def _take(self) -> BytesIO:
        self._reader.raw.deadline = time.monotonic() + HEAD_SECONDS
        if HELD_EXPECT in self._req.inheaders:
            self._req.conn.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        whole = BytesIO()
        while size := self._chunk_size():
            while size:
                piece = self._more(min(size, ARRIVING_BYTES), self._reader.read)
                whole.write(piece)
                size -= len(piece)
            if self._line() != b"\r\n":
                raise self._refusal()
        while self._line() != b"\r\n":
            pass  # trailers, for which nobody asks
        return whole

    def _chunk_size(self) -> int:
        # Nothing but what every proxy before us reads alike: the library takes `0x5`, `+5` and `5_0` for numbers.
        head = _CHUNK_HEAD.fullmatch(self._line())
        if head is None or int(head[1], 16) > self._left_bytes:
            raise self._refusal()
        return int(head[1], 16)

    def _line(self) -> bytes:
        line = self._more(CHUNK_LINE_BYTES, self._reader.readline)
        if not line.endswith(b"\r\n"):
            raise self._refusal()
        return line

    def _more(self, size: int, read: Callable[[int], bytes]) -> bytes:
        """Read so many bytes at most, of those that all of the body may have, what is between the chunks included."""
        found = read(min(size, self._left_bytes))
        self._left_bytes -= len(found)
        if not found:
            raise self._refusal()
        return found

    def _refusal(self) -> _BodyRefusedError:
        return _BodyRefusedError(f"a body of at most {self._max_bytes} bytes, or one with Content-Length")


class Gateway(wsgi.Gateway_10):
    """Calls the application for one request."""

    def respond(self) -> None:
        """Answer, or refuse what no application should see."""
        body = self._body()
        if body is None:
            self.req.close_connection = self.req.sent_headers = True
            return
        self.env["wsgi.input"] = self.req.rfile = body  # the library would read what is left into memory
        self.env.pop("HTTP_X_HELD_EXPECT", None)
        response: Iterable[bytes | memoryview] = ()
        try:
            response = self.req.server.wsgi_app(self.env, self.start_response)
            self._send(response, body.left)
        except _BodyRefusedError as refusal:
            self.req.close_connection = self.req.sent_headers = True
            self.req.simple_response("413 Request Entity Too Large", str(refusal))
        except OSError:
            self.req.chunked_write = False  # no end where the end is missing
            raise
        except Exception as error:  # noqa: BLE001 - nothing of it may reach the client
            self._fail(error)
        finally:
            close = getattr(response, "close", None)
            if close is not None:
                close()
        lingering = self.req.server.lingering
        if body.left and lingering.acquire(blocking=False):
            try:
                self._linger(body.left)
            finally:
                lingering.release()

    def _body(self) -> _Body | _ChunkedBody | None:
        """Return the body to read; None where the request was refused for it."""
        req = self.req
        length = req.inheaders.get(b"Content-Length")
        if length is not None and (req.chunked_read or not length.isdigit()):
            req.simple_response("400 Bad Request", "the body's length is not one number")
            return None
        if b"Transfer-Encoding" in req.inheaders and not req.chunked_read:  # of HTTP/1.0, which has none
            req.simple_response("400 Bad Request", "HTTP/1.0 has no Transfer-Encoding")
            return None
        if req.chunked_read:
            return _ChunkedBody(req)
        expect = req.inheaders.get(HELD_EXPECT, b"").lower()
        return _Body(req.conn, int(length or 0), awaits_go=expect == b"100-continue")

    def _send(self, response: Iterable[bytes | memoryview], unread_bytes: int) -> None:
        req = self.req
        pieces = _bytes(response)
        first = next(pieces, None)  # what the application refuses, it refuses before its first byte
        if self.remaining_bytes_out is None and isinstance(response, list):
            self.remaining_bytes_out = sum(memoryview(piece).nbytes for piece in response)
            req.outheaders.append((b"Content-Length", str(self.remaining_bytes_out).encode()))
        if unread_bytes:
            req.close_connection = True
        req.conn.socket.settimeout(PROGRESS_SECONDS)
        req.ensure_headers_sent()
        if req.method == b"HEAD":
            return
        left: int | None = self.remaining_bytes_out
        while first is not None:
            if left is not None:
                left -= first.nbytes
                if left < 0:
                    raise ValueError("the application gives more bytes than it said")
            if req.chunked_write:
                req.write(bytes(first))
            else:
                _write(req.conn.socket, first)
            first = next(pieces, None)
        if left:
            raise ValueError("the application gives fewer bytes than it said")

    def _fail(self, error: Exception) -> None:
        """Say nothing but an id, and end the connection: what the client has got is no whole answer."""
        error_id = uuid4().hex[:12]
        _log.error("unexpected error", method=self.env.get("PATH_INFO"), error_id=error_id, exc_info=error)
        self.req.close_connection = True
        self.req.chunked_write = False
        if not self.req.sent_headers:
            self.req.sent_headers = True
            self.req.simple_response(
                "500 Internal Server Error", f"internal error {error_id}: the server's log has the details"
            )

    def _linger(self, left: int) -> None:
        """Take a refused body for a while: who sends it before reading would lose the answer to a reset connection."""
        sock: socket.socket = self.req.conn.socket
        deadline = time.monotonic() + LINGER_SECONDS
        scratch = bytearray(64 * 1024)
        left = min(left, LINGER_BYTES)
        with suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
            while left > 0:
                limit_wait(sock, deadline)
                count = sock.recv_into(scratch)
                if count == 0:
                    return
                left -= count


def _bytes(response: Iterable[bytes | memoryview]) -> Iterator[memoryview]:
    for piece in response:
        view = memoryview(piece).cast("B")
        if view:
            yield view


def _write(sock: socket.socket, data: memoryview) -> None:
    for start in range(0, len(data), PIECE_BYTES):
        piece = data[start : start + PIECE_BYTES]
        deadline = time.monotonic() + PIECE_SECONDS
        while piece:
            limit_wait(sock, deadline)
            piece = piece[sock.send(piece) :]


def limit_wait(sock: socket.socket, deadline: float) -> None:
    """Let the socket's next operation take what is left of the time, but no longer than without progress."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    sock.settimeout(min(left, PROGRESS_SECONDS))
