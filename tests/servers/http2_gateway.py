"""A gateway for gRPC that has its bad moments: calls are answered by a page of its own, or reset.

While it has something to answer itself, it speaks HTTP/2 (RFC 9113), as little of it as that takes; then it closes
the connection in good order, and those that come afterwards lead to the server.
"""

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

RESET = "reset"
"""In place of a status: the call's stream is reset."""
TIMEOUT_SECONDS = 60.0
_PAGE = b"<html><body>Bad Gateway</body></html>"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_ACK, _END_STREAM, _END_HEADERS = 0x1, 0x1, 0x4
_INTERNAL_ERROR = struct.pack(">I", 2)


class Http2Gateway:
    """Runs from construction to `close`; a context manager too."""

    def __init__(self, upstream: str) -> None:
        """Stand before `upstream`, `host:port`."""
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self.answers: list[str] = []
        """What the next calls get, one each: a status, `502`, or RESET."""
        self.refused_total = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Close the connections there are; a client's next ones are decided about anew."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.append(client)
            if self.answers:
                client.settimeout(TIMEOUT_SECONDS)
                self._refuse(client)
                return
            with socket.create_connection(self._upstream) as server:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._open.append(server)
                back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
                back.start()
                _pass_on(client, server)
                back.join()

    def _refuse(self, client: socket.socket) -> None:
        """Answer calls while there is something to answer; then say that the connection ends, and wait for its end."""
        _receive(client, len(_PREFACE))
        _send(client, _SETTINGS)
        last_stream = 0
        while self.answers:
            kind, flags, stream, payload = _receive_frame(client)
            if kind == _SETTINGS and not flags & _ACK:
                _send(client, _SETTINGS, _ACK)
            elif kind == _PING and not flags & _ACK:
                _send(client, _PING, _ACK, payload=payload)
            elif kind == _HEADERS:
                last_stream = stream
                self.refused_total += 1
                self._answer(client, stream, self.answers.pop(0))
        _send(client, _GOAWAY, payload=struct.pack(">II", last_stream, 0))
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass

    def _answer(self, client: socket.socket, stream: int, answer: str) -> None:
        if answer == RESET:
            _send(client, _RST_STREAM, stream=stream, payload=_INTERNAL_ERROR)
            return
        # HPACK (RFC 7541): literals without indexing, named by the static table: 8 is :status, 31 content-type.
        headers = b"\x08\x03" + answer.encode() + b"\x0f\x10\x09text/html"
        _send(client, _HEADERS, _END_HEADERS, stream, headers)
        _send(client, _DATA, _END_STREAM, stream, _PAGE)


def _send(client: socket.socket, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
    client.sendall(struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload)


def _receive_frame(client: socket.socket) -> tuple[int, int, int, bytes]:
    head = _receive(client, 9)
    kind, flags, stream = struct.unpack(">BBI", head[3:])
    return kind, flags, stream, _receive(client, int.from_bytes(head[:3], "big"))


def _receive(client: socket.socket, size_bytes: int) -> bytes:
    received = b""
    while len(received) < size_bytes:
        piece = client.recv(size_bytes - len(received))
        if not piece:
            raise ConnectionError("the client has gone")
        received += piece
    return received


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(256 * 1024):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
