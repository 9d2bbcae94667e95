"""The HTTP/1.1 server: bodies of any length in little memory, and nobody who can hold it up."""

import http.client
import io
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from runtime_grpc import http_bodies, http_server
from runtime_grpc.http_server import HttpOptions, HttpServer

MIB = 1024 * 1024
WORKERS = 3


class Bodies:
    """Takes, gives and refuses bodies."""

    def __init__(self) -> None:
        self.taken, self.closed = 0, 0
        self.entered, self.go = threading.Event(), threading.Event()

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[Any]:
        path, asked = environ["PATH_INFO"], environ["wsgi.input"]
        if path == "/fail":
            raise ValueError("the secret of the application")
        if path == "/wait":
            self.entered.set()
            self.go.wait(60)
        if path == "/take":
            buffer, self.taken = bytearray(MIB), 0
            left = int(environ["CONTENT_LENGTH"])
            while left:
                left -= asked.readinto(memoryview(buffer)[:left])
                self.taken = int(environ["CONTENT_LENGTH"]) - left
        if path.startswith("/give/"):
            start("200 OK", [("Content-Length", str(int(path[6:]) * MIB))])
            return self.pieces(int(path[6:]))
        if path == "/less":
            start("200 OK", [("Content-Length", "10")])
            return iter([b"short"])
        if path == "/more":
            start("200 OK", [("Content-Length", "3")])
            return iter([b"much too long"])
        if path == "/pieces":
            start("200 OK", [])
            return iter([b"one", b"", memoryview(b"two")])
        start("403 Forbidden" if path == "/refuse" else "200 OK", [])
        return [f"{environ['REQUEST_METHOD']} {path} ".encode(), asked.read() if path == "/echo" else b""]

    def pieces(self, count: int) -> Iterator[memoryview]:
        try:
            for number in range(count):
                yield memoryview(bytes([number % 256]) * MIB)
        finally:
            self.closed += 1


@contextmanager
def serving(bodies: Bodies, drain_seconds: float = 0.5) -> Iterator[HttpServer]:
    server = HttpServer(HttpOptions("127.0.0.1", 0, WORKERS, 1000, drain_seconds))
    server.start(bodies)
    try:
        yield server
    finally:
        bodies.go.set()
        server.stop()


@pytest.fixture
def bodies() -> Bodies:
    return Bodies()


@pytest.fixture
def server(bodies: Bodies) -> Iterator[HttpServer]:
    with serving(bodies) as server:
        yield server


def connect(server: HttpServer) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def asked(server: HttpServer, request: bytes) -> bytes:
    """Send this, and return all that comes until the connection ends."""
    with connect(server) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(MIB), b""))


def client(server: HttpServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(server.address, timeout=60)


def drip(connection: socket.socket) -> None:
    for _ in range(600):
        connection.sendall(b"x")
        time.sleep(0.1)


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_bodies_of_gigabytes_pass_without_being_kept(server: HttpServer, bodies: Bodies) -> None:
    piece = b"x" * MIB
    before = resident_bytes()
    with connect(server) as connection:
        connection.sendall(b"PUT /take HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (1024 * MIB))
        for _ in range(1024):
            connection.sendall(piece)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
        assert bodies.taken == 1024 * MIB
        connection.sendall(b"GET /give/1024 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = sum(len(data) for data in iter(lambda: connection.recv(MIB), b""))
    assert received > 1024 * MIB
    assert resident_bytes() - before < 64 * MIB


def test_a_connection_serves_many_requests(server: HttpServer) -> None:
    connection = client(server)
    sockets = set()
    for body in (b"first", b"", b"second"):
        connection.request("POST", "/echo", body)
        assert connection.getresponse().read() == b"POST /echo " + body
        sockets.add(connection.sock)
    assert len(sockets) == 1
    connection.close()


def test_an_answer_without_a_length_comes_in_chunks(server: HttpServer) -> None:
    connection = client(server)
    connection.request("GET", "/pieces")
    answer = connection.getresponse()
    assert (answer.headers["Transfer-Encoding"], answer.read()) == ("chunked", b"onetwo")
    connection.request("HEAD", "/give/1")
    answer = connection.getresponse()
    assert (answer.headers["Content-Length"], answer.read()) == (str(MIB), b"")
    connection.close()


def test_a_refused_body_does_not_cost_the_client_its_answer(server: HttpServer) -> None:
    connection = client(server)
    connection.request("PUT", "/refuse", b"x" * (32 * MIB))
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Connection"]) == (403, "close")
    connection.close()


def test_a_refused_body_that_asked_first_is_never_sent(server: HttpServer) -> None:
    head = b"PUT %s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    with connect(server) as connection:
        connection.sendall(head % b"/refuse")
        assert connection.recv(1000).startswith(b"HTTP/1.1 403")
    with connect(server) as connection:
        connection.sendall(head % b"/echo")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"12345")
        assert b"".join(iter(lambda: connection.recv(1000), b"")).endswith(b"PUT /echo 12345")


def test_a_body_without_a_length_is_small(server: HttpServer) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert asked(server, head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").endswith(b"POST /echo abcde")
    assert asked(server, head + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n").startswith(b"HTTP/1.1 413")
    assert asked(server, head + b"ffffffffff\r\nx").startswith(b"HTTP/1.1 413")
    assert asked(server, head + b"zz\r\n").startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "size", [b"0x3", b"+3", b"-3", b"0_3", b" 3", b"3\n", b"3\x0b", b"3 4", b"", b"3;a\rb", b"1" * 16]
)
def test_a_chunk_whose_size_another_may_read_otherwise_is_refused(server: HttpServer, size: bytes) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = asked(server, head + size + b"\r\nabc\r\n0\r\n\r\nGET /other HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"/other" not in answer


def test_chunks_may_have_extensions_and_trailers(server: HttpServer) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert asked(server, head + b"3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n").endswith(b"POST /echo abc")


@pytest.mark.parametrize("before", [b"", b"3;", b"0\r\nA: "], ids=["size", "extension", "trailer"])
def test_a_line_between_chunks_that_does_not_end_takes_no_memory(server: HttpServer, before: bytes) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(server) as connection:
        connection.sendall(head + before + b"1" * http_bodies.CHUNK_LINE_BYTES)  # and no more
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "request_head",
    [
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 3\r\n\r\nabcde",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n 0\r\n\r\nabcde",
        b"POST /echo HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n",
        b"POST /echo HTTP/1.1\r\n Host: a\r\n\r\n",
        b"GET /" + b"a" * http_server.HEAD_MAX_BYTES + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"a" * http_server.HEAD_MAX_BYTES + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(server: HttpServer, request_head: bytes, logged: io.StringIO) -> None:
    answer = asked(server, request_head)
    assert answer.split()[1] in {b"400", b"413", b"414", b"505"}
    assert "Traceback" not in logged.getvalue()


def test_a_header_cannot_be_forged_by_an_underscore(server: HttpServer) -> None:
    answer = asked(server, b"POST /echo HTTP/1.1\r\nHost: a\r\nContent_Length: 3\r\nConnection: close\r\n\r\nabc")
    assert answer.endswith(b"POST /echo ")


def test_an_unexpected_error_says_an_id_and_nothing_else(server: HttpServer, logged: io.StringIO) -> None:
    answer = asked(server, b"GET /fail HTTP/1.1\r\nHost: a\r\n\r\n").decode()
    assert answer.startswith("HTTP/1.1 500")
    assert "secret" not in answer
    error_id = answer.partition("internal error ")[2].split(":")[0]
    assert error_id in logged.getvalue()


@pytest.mark.parametrize("path", [b"/less", b"/more"])
def test_an_answer_that_is_not_as_long_as_it_said_ends_the_connection(server: HttpServer, path: bytes) -> None:
    answer = asked(server, b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not answer.endswith(b"much too long")


def test_silent_and_idle_connections_take_no_worker(server: HttpServer) -> None:
    silent = [connect(server) for _ in range(4 * WORKERS)]
    assert b"GET / " in asked(server, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    for connection in silent:
        connection.close()


def test_heads_that_do_not_come_whole_take_no_worker(server: HttpServer) -> None:
    with ExitStack() as opened:
        begun = [opened.enter_context(connect(server)) for _ in range(4 * WORKERS)]
        for connection in begun[WORKERS:]:
            connection.sendall(b"GET / HTTP/1.1\r\nHost:")
        for connection in begun[:WORKERS]:  # behind a whole one
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost:")
        for _ in range(2 * WORKERS):
            assert b"GET / " in asked(server, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        for connection in begun:
            for piece in (b" ", b"a\r\n", b"Connection: close\r\n\r", b"\n"):
                connection.sendall(piece)
                time.sleep(0.01)
        for number, connection in enumerate(begun):
            answers = b"".join(iter(lambda connection=connection: connection.recv(1000), b""))  # type: ignore[misc]  # a socket
            assert answers.count(b"HTTP/1.1 200 OK") == (2 if number < WORKERS else 1)


def test_a_client_that_goes_in_the_middle_of_a_head_is_let_go(server: HttpServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost:")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000)[:12] in {b"", b"HTTP/1.1 400"}


def test_bodies_that_were_refused_and_do_not_come_leave_workers_to_others(server: HttpServer) -> None:
    head = b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
    with ExitStack() as opened:
        for _ in range(4 * WORKERS):
            opened.enter_context(connect(server)).sendall(head)
        assert b"GET / " in asked(server, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Enough for both ends of a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(60)


def served(connection: socket.socket) -> bytes:
    """Ask on a connection that is kept, and return the answer."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = b""
    while not answer.endswith(b"GET / "):
        received = connection.recv(1000)
        assert received
        answer += received
    return answer


@pytest.mark.usefixtures("many_descriptors")
def test_idle_connections_give_way_to_new_ones_and_busy_ones_stay(server: HttpServer, bodies: Bodies) -> None:
    with ExitStack() as opened:
        busy = opened.enter_context(connect(server))
        busy.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert bodies.entered.wait(60)
        used = opened.enter_context(connect(server))
        served(used)
        silent = [opened.enter_context(connect(server)) for _ in range(http_server.IDLE_CONNECTIONS)]
        until(lambda: is_closed(silent[0]))
        for _ in range(3):
            served(opened.enter_context(connect(server)))
        ended = [is_closed(connection) for connection in silent]
        assert ended == sorted(ended, reverse=True)  # the oldest first
        assert 2 <= sum(ended) <= 4  # one whose answer is just out takes no place yet
        served(used)
        bodies.go.set()
        assert b"".join(iter(lambda: busy.recv(1000), b"")).endswith(b"GET /wait ")
        server.stop()  # before half a thousand connections end at once


def test_of_idle_connections_that_were_used_the_one_idle_longest_goes_first(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "IDLE_CONNECTIONS", 4)
    listening = server._server
    assert listening is not None
    with ExitStack() as opened:
        used = [opened.enter_context(connect(server)) for _ in range(4)]
        for connection in [*used, used[0]]:
            until(lambda: listening._connections._num_connections == len(used))
            served(connection)
        until(lambda: listening._connections._num_connections == len(used))
        served(opened.enter_context(connect(server)))
        until(lambda: is_closed(used[1]))
        for connection in (used[0], *used[2:]):
            served(connection)


def test_a_request_on_its_way_keeps_its_connection(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "IDLE_CONNECTIONS", 4)
    answers: list[bytes] = []

    def ask() -> None:
        answers.append(asked(server, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))

    for _ in range(8):  # far more of them than may be idle
        asking = [threading.Thread(target=ask) for _ in range(64)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
    assert len(answers) == 8 * 64
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)


def test_a_head_must_come_in_time(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.5)
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_body_must_move(server: HttpServer, bodies: Bodies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_bodies, "PROGRESS_SECONDS", 0.5)
    with connect(server) as connection:
        connection.sendall(b"PUT /take HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        assert b"200" not in connection.recv(1000)
    with connect(server) as connection:
        connection.sendall(b"GET /give/100 HTTP/1.1\r\nHost: a\r\n\r\n")  # and never read
        until(lambda: bodies.closed == 1)


def test_a_piece_must_not_take_for_ever(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_bodies, "PIECE_SECONDS", 0.5)
    with connect(server) as connection:
        connection.sendall(b"PUT /take HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        with pytest.raises(OSError, match=r"reset|[Bb]roken"):
            drip(connection)


def test_a_client_that_leaves_frees_what_it_was_given(server: HttpServer, bodies: Bodies) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /give/100 HTTP/1.1\r\nHost: a\r\n\r\n")
        connection.recv(1000)
    until(lambda: bodies.closed == 1)


def test_stopping_lets_a_request_end(bodies: Bodies) -> None:
    answers: list[bytes] = []
    with serving(bodies, drain_seconds=60.0) as server:
        request = b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"
        asking = threading.Thread(target=lambda: answers.append(asked(server, request)))
        asking.start()
        assert bodies.entered.wait(60)
    asking.join()
    assert b"GET /wait" in answers[0]
    with pytest.raises(ConnectionRefusedError):
        connect(server)


def test_stopping_cuts_what_does_not_end(bodies: Bodies) -> None:
    with serving(bodies, drain_seconds=0.2) as server, connect(server) as connection:
        connection.sendall(b"PUT /take HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        listening = server._server
        assert listening is not None
        until(lambda: bool(listening._active))
        server.stop()
        assert not listening._active


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_processes_of_one_account_share_a_port_where_they_are_told() -> None:
    options = HttpOptions("127.0.0.1", free_port(), WORKERS, 1000, 0.1, shares_port=True)
    servers = [HttpServer(options), HttpServer(options)]
    for server in servers:
        server.start(Bodies())
    for _ in range(8):
        assert b"GET / " in asked(servers[0], b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    for server in servers:
        server.stop()


def test_a_taken_port_is_said_with_the_way_out(server: HttpServer) -> None:
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(OSError, match=f"127.0.0.1:{port} for HTTP: the port is taken"):
        HttpServer(HttpOptions("127.0.0.1", port, 1, 1000, 0.1))
