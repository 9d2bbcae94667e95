"""A TCP proxy that hurts what passes through it, at chosen bytes: it cuts, flips, stalls, slows down, and counts.

A fault waits for a byte of one direction, counted over all connections since the last `plan`. So a scenario does the
same at the same place whenever it is run, as far as two processes can.
"""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

Direction = Literal["up", "down"]
"""`up` is from the client to the server."""

_PIECE_BYTES = 64 * 1024
_FORBIDDEN = b"HTTP/1.1 403 "
_ERROR_BODY = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>not now</Message></Error>"
_ERROR = b"HTTP/1.1 %d %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something to happen when a byte passes."""

    kind: str
    """`cut`, `flip`, `stall`, `slow`, `refuse`, or what only the scenario knows."""
    direction: Direction
    at_byte: int
    amount: float = 0.0
    """Seconds of a stall; bytes per second of a slow line; connections to be refused; the bit to flip."""


class FaultProxy:
    """Listens on loopback behind doors, each of which leads to one port of loopback or to several in turn.

    Bytes are counted, and faults happen, over all doors together.
    """

    def __init__(self, on_fault: Callable[[Fault], None]) -> None:
        """`on_fault` is told of each fault when it happens, in a thread of its own."""
        self._on_fault = on_fault
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._counts: dict[Direction, int] = {"up": 0, "down": 0}
        self._rate = 0.0
        self._refusals = 0
        self._turn = 0
        self._open: set[socket.socket] = set()
        self._doors: list[socket.socket] = []
        self.refused_urls = 0
        """Requests that HTTP answered with 403, since the last `plan`."""

    def open_door(self, *targets: int) -> int:
        """Listen; return the port. Connections go to the targets in turn, past those where nobody listens."""
        door = socket.create_server(("127.0.0.1", 0))
        self._doors.append(door)
        threading.Thread(target=self._accept, args=(door, targets), daemon=True).start()
        return int(door.getsockname()[1])

    def plan(self, faults: Sequence[Fault]) -> None:
        """Count from 0 again, with these faults to come and no other."""
        with self._lock:
            self._faults = sorted(faults, key=lambda fault: fault.at_byte)
            self._counts = {"up": 0, "down": 0}
            self._rate, self._refusals, self.refused_urls = 0.0, 0, 0

    def heal(self) -> None:
        """Forget the faults that have not happened, and end those that go on."""
        with self._lock:
            self._faults, self._rate, self._refusals = [], 0.0, 0

    def count(self, direction: Direction) -> int:
        """Return how many bytes came from that side."""
        with self._lock:
            return self._counts[direction]

    def close(self) -> None:
        """Stop, and break all connections."""
        for door in self._doors:
            door.close()
        self.break_all()

    def break_all(self) -> None:
        """Break all connections."""
        with self._lock:
            sockets = list(self._open)
        for each in sockets:
            _break(each)

    def _accept(self, door: socket.socket, targets: Sequence[int]) -> None:
        with suppress(OSError):
            while True:
                client, _ = door.accept()
                threading.Thread(target=self._serve, args=(client, targets), daemon=True).start()

    def _connect(self, targets: Sequence[int]) -> socket.socket | None:
        with self._lock:
            self._turn += 1
            turn = self._turn
        for number in range(len(targets)):
            with suppress(OSError):
                server = socket.create_connection(("127.0.0.1", targets[(turn + number) % len(targets)]), timeout=5)
                server.settimeout(None)
                return server
        return None

    def _serve(self, client: socket.socket, targets: Sequence[int]) -> None:
        with self._lock:
            is_refused = self._refusals > 0
            self._refusals -= is_refused
            number = self._refusals
        if is_refused:
            self._refuse(client, number)
            return
        server = self._connect(targets)
        if server is None:
            _break(client)
            client.close()
            return
        pair = {client, server}
        with self._lock:
            self._open |= pair
        back = threading.Thread(target=self._pump, args=(server, client, "down"), daemon=True)
        back.start()
        self._pump(client, server, "up")
        back.join()
        with self._lock:
            self._open -= pair
        for each in pair:
            each.close()

    def _refuse(self, client: socket.socket, number: int) -> None:
        """Answer a connection's first request as a store that is overloaded, or broken."""
        status, code = ((503, b"SlowDown"), (500, b"InternalError"))[number % 2]
        body = _ERROR_BODY % code
        with client, suppress(OSError):
            client.settimeout(5)
            client.recv(_PIECE_BYTES)
            client.sendall(_ERROR % (status, code, len(body), body))
            client.shutdown(socket.SHUT_WR)
            while client.recv(_PIECE_BYTES):  # else what it still sends would reset the answer away
                pass

    def _pump(self, source: socket.socket, sink: socket.socket, direction: Direction) -> None:
        try:
            while data := source.recv(_PIECE_BYTES):
                for piece in self._hurt(bytearray(data), direction):
                    sink.sendall(piece)
            with suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            _break(source)
            _break(sink)

    def _hurt(self, data: bytearray, direction: Direction) -> list[bytearray]:
        """Return what is left of the bytes. Raises OSError where the connection breaks after them."""
        with self._lock:
            start = self._counts[direction]
            self._counts[direction] += len(data)
            self.refused_urls += direction == "down" and data.startswith(_FORBIDDEN)
            due = [fault for fault in self._faults if fault.direction == direction]
            due = [fault for fault in due if fault.at_byte < start + len(data)]
            self._faults = [fault for fault in self._faults if fault not in due]
            rate = self._rate
        if rate:
            time.sleep(len(data) / rate)
        for fault in due:
            threading.Thread(target=self._on_fault, args=(fault,), daemon=True).start()
            match fault.kind:
                case "flip":
                    data[max(fault.at_byte - start, 0)] ^= 1 << int(fault.amount)
                case "stall":
                    time.sleep(fault.amount)
                case "slow":
                    with self._lock:
                        self._rate = fault.amount
                case "cut":
                    raise ConnectionAbortedError
                case "refuse":
                    with self._lock:
                        self._refusals = int(fault.amount)
                    self.break_all()
        return [data]


def _break(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
