"""A TCP proxy that is a long path: every byte arrives later, and a connection holds no more than a window of them."""

import socket
import threading
import time
from collections import deque
from contextlib import suppress
from queue import Queue

_PIECE_BYTES = 256 * 1024


class DelayProxy:
    """Listens on loopback and passes everything on to `target`, `delay_seconds` later each way.

    `window_bytes` is what one connection may have on the way in one direction, as a kernel's TCP window bounds it.
    """

    def __init__(self, target: tuple[str, int], delay_seconds: float, window_bytes: int) -> None:
        self._target, self._delay, self._window = target, delay_seconds, window_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                pair = _Pair(client, server)
                _Direction(client, server, self._delay, self._window, pair)
                _Direction(server, client, self._delay, self._window, pair)


class _Pair:
    """Both ends of one connection; closed once both directions have ended."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._sockets, self._lock, self._open_directions = (client, server), threading.Lock(), 2

    def end_direction(self) -> None:
        """Count one direction out."""
        with self._lock:
            self._open_directions -= 1
            if self._open_directions:
                return
        for each in self._sockets:
            each.close()


class _Direction:
    """One direction of one connection: a thread that takes bytes in, one that gives them out when they are due."""

    def __init__(
        self, source: socket.socket, sink: socket.socket, delay_seconds: float, window_bytes: int, pair: _Pair
    ) -> None:
        self._source, self._sink, self._delay, self._window = source, sink, delay_seconds, window_bytes
        self._pair = pair
        self._held: Queue[tuple[float, bytes]] = Queue(max(1, window_bytes // _PIECE_BYTES) * 4)
        for work in (self._take, self._give):
            threading.Thread(target=work, daemon=True).start()

    def _take(self) -> None:
        taken: deque[tuple[float, int]] = deque()
        """When, and how much, in the last round trip: that is not acknowledged yet."""
        taken_bytes = 0
        data = b"-"
        while data:
            while taken_bytes >= self._window:
                since, size_bytes = taken.popleft()
                taken_bytes -= size_bytes
                time.sleep(max(0.0, since + 2 * self._delay - time.monotonic()))
            try:
                data = self._source.recv(_PIECE_BYTES)
            except OSError:
                data = b""
            now = time.monotonic()
            taken.append((now, len(data)))
            taken_bytes += len(data)
            while taken and taken[0][0] + 2 * self._delay < now:
                taken_bytes -= taken.popleft()[1]
            self._held.put((now + self._delay, data))

    def _give(self) -> None:
        is_open = True
        while True:
            due, data = self._held.get()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if is_open and data:
                    self._sink.sendall(data)
                elif is_open:
                    self._sink.shutdown(socket.SHUT_WR)
            except OSError:
                is_open = False  # and what still comes is dropped
                with suppress(OSError):
                    self._source.shutdown(socket.SHUT_RDWR)
            if not data:
                self._pair.end_direction()
                return
