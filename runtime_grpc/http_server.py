"""An HTTP/1.1 server for WSGI applications whose bodies may be gigabytes: threads, bounds, time-outs, drain.

The library (cheroot) accepts, parses heads and keeps connections alive. Bodies are ours: they pass between the socket
and the application in pieces, without a buffer between, so that what a request holds is what its application holds.

Beyond WSGI: `wsgi.input` has `readinto`, which fills the whole buffer or raises; an application may yield any buffer,
which is the application's again when it is asked for the next one; a client that is gone, or too slow, makes reading
and writing raise OSError. A body that the application has not read closes the connection.
"""

import re
import selectors
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from wsgiref.types import WSGIApplication

import structlog
from cheroot import connections, makefile, wsgi
from cheroot import server as cheroot

from runtime_grpc.http_bodies import HEAD_SECONDS, HELD_EXPECT, PROGRESS_SECONDS, Gateway, limit_wait

HEAD_MAX_BYTES = 32 * 1024
"""Request line and headers."""
LATE_HEAD_SECONDS = 0.1
"""How long a worker still reads a head that has not come in time, before it says so."""
WAITING_REQUESTS = 256
"""Requests beyond the workers; one more is answered 503."""
IDLE_CONNECTIONS = 512
"""Kept without a request; for one more that comes, the one that was idle longest is closed."""
STOP_SECONDS = 5.0
"""How long stopping waits for applications once their connections were cut."""

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ONCE = {b"Content-Length", b"Transfer-Encoding", b"Host"}
"""Headers by which a proxy before us and we ourselves must find the same request."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How to serve."""

    host: str
    port: int
    """0: any free one."""
    workers: int
    """Requests at once."""
    max_chunked_bytes: int
    """Body of a request that does not say its length; it is read before the application is called."""
    drain_seconds: float
    """How long requests under way may go on once the server stops."""
    shares_port: bool = False
    """Whether other processes of the same account may listen there too."""


class HttpServer:
    """Listens from construction, serves from `start` to `stop`."""

    def __init__(self, options: HttpOptions) -> None:
        """Bind the address. Raises OSError, with a text for the operator."""
        self._options = options
        try:
            self._socket = _bound(options)
        except OSError:
            raise OSError(
                f"can't listen on {options.host}:{options.port} for HTTP: the port is taken (choose another, 0 takes "
                "any free one), or the host is not this machine's"
            ) from None
        host, port = self._socket.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._server: _Server | None = None

    def start(self, application: WSGIApplication) -> None:
        """Serve the application."""
        self._server = _Server(self._options, self._socket, application)
        self._server.prepare()
        threading.Thread(target=self._server.serve, name="http", daemon=True).start()

    def stop(self) -> None:
        """Take no more requests, let those under way end within `drain_seconds`, cut the rest."""
        if self._server is None:
            self._socket.close()
            return
        ending = threading.Thread(target=self._server.stop, name="http stop", daemon=True)
        ending.start()
        ending.join(self._options.drain_seconds)
        if ending.is_alive():
            self._server.cut()
            ending.join(STOP_SECONDS)
            if ending.is_alive():
                _log.warning("requests still run while the HTTP server stops")


def _bound(options: HttpOptions) -> socket.socket:
    """Return a socket that has the address, and does not listen yet. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0]
    made: socket.socket = _Server.prepare_socket(
        address,
        family,
        kind,
        protocol,
        nodelay=True,
        ssl_adapter=None,
        reuse_port=options.shares_port,
    )
    try:
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


class _Server(wsgi.Server):
    """cheroot's server with our bounds and our bodies."""

    _connections: "_Connections"

    def __init__(self, options: HttpOptions, bound: socket.socket, application: WSGIApplication) -> None:
        super().__init__(
            bound.getsockname()[:2],
            application,
            numthreads=options.workers,
            server_name="song-score",
            request_queue_size=socket.SOMAXCONN,
            timeout=PROGRESS_SECONDS,
            shutdown_timeout=None,  # type: ignore[arg-type]  # whoever stops it waits, and cuts
            accepted_queue_size=WAITING_REQUESTS,
            accepted_queue_timeout=0,
        )
        self._bound = bound
        self.gateway = Gateway
        self.ConnectionClass = _Connection
        # The library's own bound closes connections that are in use, and keeps the idle ones.
        self.keep_alive_conn_limit = None  # type: ignore[assignment]  # as its documentation has it
        self.max_request_header_size = HEAD_MAX_BYTES
        self.max_chunked_bytes = options.max_chunked_bytes
        self.lingering = threading.Semaphore(max(1, options.workers // 4))
        """Workers that may still take a refused body."""
        self._lock = threading.Lock()
        self._active: set[_Connection] = set()

    def bind(self, *_: object) -> socket.socket:
        """Take the socket that has the address already."""
        self.socket = self._bound
        return self._bound

    def prepare(self) -> None:
        """Listen and start the workers, none of which has a connection yet."""
        super().prepare()
        self._connections.close()
        self._connections = _Connections(self)

    def process_conn(self, conn: "_Connection") -> None:
        """Give a connection to a worker once a head has come by it; until then it waits beside the idle ones."""
        if conn.last_used is None:
            self._connections.make_room()
            self.put_conn(conn)
        elif conn.has_head():
            self.process_head(conn)
        else:
            self._connections.wait(conn)

    def process_head(self, conn: "_Connection") -> None:
        """Give a connection to a worker."""
        super().process_conn(conn)

    def enter(self, conn: "_Connection") -> None:
        """Note that a request is under way."""
        with self._lock:
            self._active.add(conn)

    def leave(self, conn: "_Connection") -> None:
        """Note that it has ended."""
        with self._lock:
            self._active.discard(conn)

    def cut(self) -> None:
        """End the connections of all requests under way."""
        with self._lock:
            for conn in self._active:
                with suppress(OSError):
                    conn.socket.shutdown(socket.SHUT_RDWR)

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:  # noqa: FBT001 - the library's
        """Say it as we say things."""
        _log.log(level, "http server", problem=msg, exc_info=traceback)


class _Connections(connections.ConnectionManager):
    """Connections without a request."""

    server: "_Server"
    _selector: Any
    _num_connections: int

    def wait(self, conn: "_Connection") -> None:
        """Wait for more to come by the connection."""
        self._selector.register(conn.socket.fileno(), selectors.EVENT_READ, data=conn)

    def _expire(self, threshold: float) -> None:
        """Close what is idle, as the library does from time to time; a worker refuses heads that did not come whole."""
        super()._expire(threshold)  # type: ignore[misc]  # the library's, without types
        due = [(number, conn) for number, conn in self._selector.connections if conn is not self.server]
        for number, conn in due:
            if conn.is_late():
                self._selector.unregister(number)
                self.server.process_head(conn)

    def make_room(self) -> None:
        """Close connections until there is a place for one more: first those by which nothing ever came.

        Only for the thread that waits for connections: what it was told has data, and what gets some meanwhile, stays.
        """
        surplus = self._num_connections - IDLE_CONNECTIONS + 1
        if surplus <= 0:
            return
        busy = {conn for _, conn in self._selector.select(timeout=0)} | {self.server}
        idle = [(number, conn) for number, conn in self._selector.connections if conn not in busy]
        idle.sort(key=lambda found: (found[1].requests_total > 0, found[1].last_used))
        for number, conn in idle[:surplus]:
            self._selector.unregister(number)
            conn.close()


class _Connection(cheroot.HTTPConnection):
    """A connection that has a worker from the end of a head on: those that are slow to send theirs take none."""

    def __init__(self, server: _Server, sock: socket.socket, _makefile: object) -> None:
        super().__init__(server, sock, _file)
        self.RequestHandlerClass = _Request
        self.requests_total = 0
        self._head_due: float | None = None
        self._peeked_bytes = 0

    def has_head(self) -> bool:
        """Whether a worker has not to wait for a whole head: it is there, or no more will come.

        Where it is not there, the socket is readable again once more has come.
        """
        early = self.rfile.peek(1) if self.rfile.has_data() else b""
        self.socket.settimeout(0)
        try:
            arrived: bytes | None = self.socket.recv(HEAD_MAX_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            arrived = None
        except OSError:
            arrived, self._peeked_bytes = b"", 0
        self.socket.settimeout(self.server.timeout)
        head = early + (arrived or b"")
        is_whole = b"\r\n\r\n" in head or len(head) >= HEAD_MAX_BYTES
        # As many as before, though there was news: the client has gone.
        is_end = arrived is not None and len(arrived) == self._peeked_bytes
        if is_whole or is_end:
            self._wait_for(1)
            self._head_due, self._peeked_bytes = None, 0
            return True
        if head and self._head_due is None:
            self._head_due = time.monotonic() + HEAD_SECONDS
        self._peeked_bytes = len(arrived or b"")
        self._wait_for(self._peeked_bytes + 1)
        return False

    def is_late(self) -> bool:
        """Whether a head has begun that does not come in time."""
        return self._head_due is not None and self._head_due < time.monotonic()

    def _wait_for(self, size_bytes: int) -> None:
        """Have the system call the socket readable when so many bytes are there, or when it has ended."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes)

    def communicate(self) -> bool:
        """Answer one request; return whether another may follow."""
        self.requests_total += 1
        self.server.enter(self)
        try:
            self._wait_for(1)
            seconds = LATE_HEAD_SECONDS if self.is_late() else HEAD_SECONDS
            self._head_due, self._peeked_bytes = None, 0
            self.rfile.raw.deadline = time.monotonic() + seconds
            return bool(super().communicate())  # type: ignore[no-untyped-call]
        finally:
            self.server.leave(self)


def _file(sock: socket.socket, mode: str, bufsize: int) -> object:
    return _HeadReader(sock, bufsize) if "r" in mode else makefile.MakeFile(sock, mode, bufsize)


class _HeadReader(makefile.StreamReader):
    """Reads heads, and what came along with them."""

    def __init__(self, sock: socket.socket, bufsize: int) -> None:
        # Past the library's own, which would make another raw file.
        super(makefile.StreamReader, self).__init__(_HeadSocket(sock, "r"), bufsize)
        self.bytes_read = 0


class _HeadSocket(socket.SocketIO):
    """A socket that is read until a deadline."""

    deadline = 0.0

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - as the library has it
        """Read what is there."""
        sock: socket.socket = self._sock  # type: ignore[attr-defined]  # it has it, in every Python
        limit_wait(sock, self.deadline)
        return super().readinto(buffer)


class _Headers(dict[bytes, bytes]):
    """Headers; refuses those that mean two things."""

    def __setitem__(self, name: bytes, value: bytes) -> None:
        if name in _ONCE and name in self:
            raise ValueError(f"{name.decode()} is there twice")
        if b"\0" in value or b"\r" in value:
            raise ValueError("a header has a character that none may have")
        super().__setitem__(name, value)


class _Heads(cheroot.HeaderReader):
    """Reads headers."""

    def __call__(self, rfile: object, hdict: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        """Read them into `hdict`."""
        hdict, found = {} if hdict is None else hdict, _Headers()
        try:
            super().__call__(rfile, found)
        except UnboundLocalError:  # the library's, where the first line goes on with one before it
            raise ValueError("the first header begins with a space") from None
        hdict.update(found)
        # The library would answer at once: we say `go on` when the application asks for the body, or refuse it unsent.
        if b"Expect" in hdict:
            hdict[HELD_EXPECT] = hdict.pop(b"Expect")
        return hdict

    def _allow_header(self, key_name: bytes) -> bool:
        return b"_" not in key_name  # WSGI can't tell it from a hyphen

    def _transform_key(self, key_name: bytes) -> bytes:
        if not _NAME.fullmatch(key_name):
            raise ValueError("a header's name has a character that none may have")
        return key_name.title()


class _Request(cheroot.HTTPRequest):
    """A request whose headers we read."""

    header_reader = _Heads()
