"""Control calls over HTTP/1.1 by the Connect protocol, as SDK and command make them; and which way is chosen."""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import grpc
import pytest
from score.v1.object_service_pb2 import GetObjectRequest, ListObjectsRequest
from score.v1.upload_service_pb2 import OpenUpload, WriteUploadRequest
from score.v1.upload_service_pb2_grpc import UploadServiceStub
from song_score_client.commands.score import app as score_app
from song_score_client.commands.song import app as song_app
from song_score_client.connection import Connection, RetryPolicy
from song_score_client.errors import (
    AccessError,
    ConfigurationError,
    DeadlineExceededError,
    FieldInvalidError,
    ObjectNotFoundError,
    ObjectNotRegisteredError,
    ServiceError,
    SongUnavailableError,
    StateConflictError,
    UnimplementedError,
    UnknownError,
    UnreachableError,
    UploadNotFoundError,
    from_rpc_error,
)
from song_score_client.http_connections import HttpConnections, HttpRequest
from song_score_client.score import ScoreClient
from song_score_client.transfer.download import download_object
from song_score_client.transfer.upload import upload_file
from song_score_client.transports import Transport
from typer.testing import CliRunner, Result

from tests.servers.http1_proxy import HttpOneProxy
from tests.servers.identity import write_certificate
from tests.servers.processes import ServiceProcess, free_port
from tests.servers.raw_score import MIB
from tests.servers.score_world import PART, World, random_bytes
from tests.servers.song_command import make_payload

QUICK = RetryPolicy(max_tries=3, first_delay_seconds=0.01)
ID = "object-1"
SIZE = 2 * PART + MIB + 5


@pytest.fixture
def world(open_world: Callable[..., World]) -> World:
    """A Score on the local store with an HTTP side."""
    return open_world(http_port=0)


@pytest.fixture
def score(world: World) -> Iterator[ScoreClient]:
    with ScoreClient(Connection("score", f"http://{world.score.http_address}", retry=QUICK)) as client:
        yield client


@pytest.fixture
def data(world: World) -> bytes:
    return world.register(ID, random_bytes(SIZE))


def test_calls_answer_over_http_as_they_do_over_grpc(world: World, score: ScoreClient, data: bytes) -> None:
    started = score.start_upload(ID, size_bytes=len(data)).upload
    assert score.get_upload(started.upload_id).upload.object_id == ID
    assert list(score.list_upload_parts(started.upload_id)) == []
    assert world.start(ID).upload_id == started.upload_id
    assert score.is_serving()


def test_errors_are_the_same_classes_with_the_same_facts(world: World, score: ScoreClient, data: bytes) -> None:
    with ScoreClient.open(world.score.address) as other:
        calls: list[Callable[[ScoreClient], object]] = [
            lambda client: client.start_upload("object-unknown"),
            lambda client: client.get_upload("no-such-upload"),
            lambda client: client.get_object(ID),
            lambda client: client.start_upload(ID, size_bytes=len(data) + 1),
            lambda client: next(client.list_objects(ListObjectsRequest(page_size=5000))),
        ]
        for call in calls:
            seen = []
            for client in (score, other):
                with pytest.raises(ServiceError) as raised:
                    call(client)
                error = raised.value
                facts = (type(error), error.code, error.reason, error.message, error.metadata, error.violations)
                seen.append((*facts, error.retry_after_seconds))
            assert seen[0] == seen[1]
            assert seen[0][2]
    with pytest.raises(ObjectNotRegisteredError):
        score.start_upload("object-unknown")
    with pytest.raises(UploadNotFoundError):
        score.get_upload("no-such-upload")
    with pytest.raises(ObjectNotFoundError):
        score.get_object(ID, allow_unpublished=True)
    with pytest.raises(FieldInvalidError):
        next(score.list_objects(ListObjectsRequest(page_size=5000)))


def test_a_passing_failure_is_repeated_and_told_with_its_reason(world: World, score: ScoreClient, data: bytes) -> None:
    world.song.stop()
    heard: list[ServiceError] = []
    score.connection.on_retry = lambda error, _failures, _delay: heard.append(error)
    with pytest.raises(SongUnavailableError):
        score.start_upload(ID, size_bytes=len(data))
    assert [type(error) for error in heard] == [SongUnavailableError] * (QUICK.max_tries - 1)
    assert all(error.retry_after_seconds is not None for error in heard)


def test_a_stream_over_http_says_what_it_needs(score: ScoreClient) -> None:
    requests = iter([WriteUploadRequest(open=OpenUpload(upload_id="x"))])
    with pytest.raises(grpc.RpcError) as raised:
        list(UploadServiceStub(score.channel).WriteUpload(requests))
    error = from_rpc_error(raised.value, "score", "http://h")
    assert isinstance(error, StateConflictError)
    assert "WriteUpload is a stream" in error.message


def test_many_threads_share_a_client(score: ScoreClient, data: bytes) -> None:
    upload_id = score.start_upload(ID, size_bytes=len(data)).upload.upload_id
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.extend(score.get_upload(upload_id).upload.upload_id for _ in range(5)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [upload_id] * 40


class StrangeServer:
    """Answers every request as a test says, and keeps what it was sent."""

    def __init__(
        self, status: int, body: bytes, kind: str, *, cut: bool = False, tls: ssl.SSLContext | None = None
    ) -> None:
        self.headers: list[dict[str, str]] = []
        self.lines: list[str] = []
        self.hold = threading.Event()
        self.hold.set()
        strange = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
                """Say nothing."""

            def answer(self) -> None:
                strange.headers.append({name.lower(): value for name, value in self.headers.items()})
                strange.lines.append(self.path)
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                strange.hold.wait(60)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body) + (10 if cut else 0)))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = cut

            do_POST = do_GET = do_PUT = answer  # noqa: N815 - the library's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()


def ask(address: str, **options: object) -> None:
    with ScoreClient(Connection("score", address, "top-secret", retry=QUICK, **options)) as client:  # type: ignore[arg-type]  # fields of Connection
        client.get_object(ID)


@pytest.mark.parametrize(
    ("status", "body", "kind", "error", "calls"),
    [
        (200, b"<html>log in</html>", "text/html", UnimplementedError, 1),
        (302, b"", "text/html", UnimplementedError, 1),
        (404, b"<html>", "text/html", UnimplementedError, 1),
        (403, b"<html>", "text/html", AccessError, 1),
        (407, b"", "text/plain", AccessError, 1),
        (502, b"<html>", "text/html", UnreachableError, 3),
        (503, b"", "text/plain", UnreachableError, 3),
        (503, b'{"code": "unavailable", "message": "busy"}', "application/json", UnreachableError, 3),
        (500, b"<html>", "text/html", UnreachableError, 3),
        (500, b'{"code": "no such code"}', "application/json", UnreachableError, 3),
        (500, b'{"code": "internal", "message": "a defect"}', "application/json", UnknownError, 1),
        (500, b'{"code": "internal", "details": [{}]}', "application/json", UnreachableError, 3),
        (500, b"[]", "application/json", UnreachableError, 3),
        (500, b"[" * 60_000, "application/json", UnreachableError, 3),
        (500, b" " * 100_000, "application/json", UnreachableError, 3),
        (200, b"\xff" * 100, "application/proto", UnimplementedError, 1),
        (400, b"<html>", "text/html", UnknownError, 1),
        (413, b"<html>", "text/html", UnknownError, 1),
        (501, b"<html>", "text/html", UnknownError, 1),
        (511, b"<html>", "text/html", UnknownError, 1),
        (520, b"<html>", "text/html", UnreachableError, 3),
        (599, b"", "text/plain", UnreachableError, 3),
    ],
)
def test_what_a_proxy_says_becomes_an_error_that_fits(
    status: int, body: bytes, kind: str, error: type[ServiceError], calls: int
) -> None:
    with StrangeServer(status, body, kind) as server:
        with pytest.raises(error) as raised:
            ask(f"http://127.0.0.1:{server.port}")
        assert len(server.lines) == calls
    assert str(server.port) in raised.value.message
    assert "top-secret" not in str(raised.value)
    assert "top-secret" in server.headers[0]["authorization"]


@pytest.mark.parametrize(
    "request_", [HttpRequest("PUT", url) for url in ("http://[x", "http://:80/", "http://a:b/", "file:///etc/passwd")]
)
def test_what_is_no_address_fails_like_a_connection(request_: HttpRequest) -> None:
    with pytest.raises(HTTPException), HttpConnections().exchange(request_):
        pass


@pytest.mark.parametrize(("path", "value"), [("/\u0142secret", "a"), ("/", "secret\nb"), ("/", "secret\u0142")])
def test_what_cannot_be_sent_fails_without_being_shown(path: str, value: str) -> None:
    with StrangeServer(200, b"", "text/plain") as server:
        asked = HttpRequest("PUT", f"http://127.0.0.1:{server.port}{path}", {"A": value})
        with pytest.raises(HTTPException) as raised, HttpConnections().exchange(asked):
            pass
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_an_answer_that_breaks_off_is_asked_for_again() -> None:
    with StrangeServer(200, b"\x0a", "application/proto", cut=True) as server:
        with pytest.raises(UnreachableError):
            ask(f"http://127.0.0.1:{server.port}")
        assert len(server.lines) == QUICK.max_tries


def test_a_call_tells_its_deadline_and_ends_with_it() -> None:
    with StrangeServer(200, b"", "application/proto") as server:
        server.hold.clear()
        connection = Connection("score", f"http://127.0.0.1:{server.port}", retry=QUICK)
        client = ScoreClient(connection)
        with pytest.raises(DeadlineExceededError):
            connection.call(client._objects.GetObject, GetObjectRequest(object_id=ID), deadline_seconds=0.5)
        client.close()
        assert server.headers[0]["connect-timeout-ms"] == "500"


def test_a_certificate_is_trusted_by_the_authority_that_is_named(tmp_path: Path) -> None:
    ca_file = write_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(ca_file)
    with StrangeServer(200, b"", "application/proto", tls=tls) as server:
        address = f"https://127.0.0.1:{server.port}"
        ask(address, ca_file=ca_file)
        with pytest.raises(AccessError, match=r"TLS fails.*ca_file"):
            ask(address)
        with pytest.raises(ConfigurationError, match="certificates can't be read"):
            ask(address, ca_file=tmp_path / "none.pem")


def test_the_proxy_of_the_environment_is_taken_but_not_to_this_machine(
    world: World, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpOneProxy(world.score.http_address) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:secret@{proxy.address}")
        ask_for_upload = HttpRequest("POST", "http://score.example.invalid:80/x", {}, [b"{}"], 2)
        http = HttpConnections()
        with http.exchange(ask_for_upload) as answer:
            assert answer.status == 502  # there is no such host, as the proxy says
            answer.read()
        with ScoreClient(Connection("score", f"http://{world.score.http_address}")) as score:
            assert score.start_upload(ID, size_bytes=len(data)).upload.object_id == ID
        http.close()
        assert [path for _, path in proxy.requests] == ["/x"]


def test_where_http_2_does_not_pass_auto_completes_both_ways(world: World, data: bytes, tmp_path: Path) -> None:
    gate = HttpOneProxy(world.score.http_address)
    file = tmp_path / "reads.bam"
    file.write_bytes(data)
    with gate, ScoreClient(Connection("score", gate.address, http_url=gate.url, retry=QUICK)) as score:
        world.start(ID)
        result = upload_file(score, ID, file, state_dir=tmp_path / "state")
        assert result.stored_object.md5 == hashlib.md5(data).hexdigest()
        down = download_object(score, ID, tmp_path / "out.bam", allow_unpublished=True)
        assert down.path.read_bytes() == data
        assert gate.cut_connections > 0
        assert not score.connection.carries_streams


def test_where_grpc_passes_auto_takes_it(world: World, data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "reads.bam"
    file.write_bytes(data)
    with HttpOneProxy(world.score.http_address) as gate:
        with ScoreClient(Connection("score", world.score.address, http_url=gate.url, retry=QUICK)) as score:
            upload_file(score, ID, file, state_dir=tmp_path / "state")
        assert gate.requests == []


def test_an_upload_begun_by_streams_is_finished_behind_the_proxy(world: World, data: bytes, tmp_path: Path) -> None:
    world.send(world.start(ID), data, 1, 2)
    file = tmp_path / "reads.bam"
    file.write_bytes(data)
    with HttpOneProxy(world.score.http_address) as gate:
        with ScoreClient(Connection("score", gate.url, retry=QUICK)) as score:
            result = upload_file(score, ID, file, state_dir=tmp_path / "state")
        assert (result.kept_part_total, result.sent_bytes) == (2, SIZE - 2 * PART)


def test_where_no_way_leads_to_score_both_are_named() -> None:
    grpc_port, http_port = free_port(), free_port()
    connection = Connection("score", f"127.0.0.1:{grpc_port}", http_url=f"http://127.0.0.1:{http_port}", retry=QUICK)
    with ScoreClient(connection) as score, pytest.raises(UnreachableError) as raised:
        score.get_object(ID, allow_unpublished=True)
    assert str(grpc_port) in raised.value.message
    assert str(http_port) in raised.value.message


def test_another_server_at_the_http_address_is_not_taken_for_score() -> None:
    with StrangeServer(404, b"<html>", "text/html") as server:
        url = f"http://127.0.0.1:{server.port}"
        connection = Connection("score", f"127.0.0.1:{free_port()}", http_url=url, retry=QUICK)
        with ScoreClient(connection) as score, pytest.raises(UnreachableError):
            score.get_object(ID, allow_unpublished=True)
        with ScoreClient(Connection("score", url)) as score:
            assert not score.is_serving()


def test_the_command_says_which_ways_it_tried_and_that_it_may_be_run_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(RetryPolicy, "delay_seconds", lambda *_: None)  # else it goes on for a minute
    ports = free_port(), free_port()
    arguments = ["--score", f"127.0.0.1:{ports[0]}", "--score-http", f"http://127.0.0.1:{ports[1]}"]
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    file = tmp_path / "a.bam"
    file.write_bytes(b"a")
    command = [*arguments, "upload", "--file", str(file), "--object-id", ID]
    ended = CliRunner().invoke(score_app, command, env=environment, prog_name="score")
    assert ended.exit_code == 7, ended.output
    assert all(str(port) in ended.output for port in ports)
    wrong = ["--score", f"http://127.0.0.1:{ports[1]}", "--transport", "stream", *command[4:]]
    ended = CliRunner().invoke(score_app, wrong, env=environment, prog_name="score")
    assert ended.exit_code == 2, ended.output
    assert "needs gRPC" in ended.output


def test_streams_cannot_be_asked_for_over_http() -> None:
    with pytest.raises(ConfigurationError, match="needs gRPC"):
        Connection("score", "http://h:1", transport=Transport.STREAM)


def test_the_command_goes_by_http_where_it_is_told(world: World, data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "reads.bam"
    file.write_bytes(data)
    arguments = ["--transport", "signed", "--score-http", f"http://{world.score.http_address}", "--json"]
    program = [sys.executable, "-c", "from song_score_client.commands.score import main; main()"]
    environment = {"SCORE_URL": "127.0.0.1:1", "XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    up = subprocess.run(
        [*program, *arguments, "upload", "--file", str(file), "--object-id", ID],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert up.returncode == 0, up.stderr
    (done,) = [line for line in map(json.loads, up.stdout.splitlines()) if line["event"] == "done"]
    assert done["moved_bytes"] == SIZE


def test_the_song_command_goes_by_http_where_its_address_says_so(tmp_path: Path) -> None:
    port = free_port()
    settings = {"PORT": "0", "HTTP_PORT": str(port), "DATA_DIR": str(tmp_path / "song")}
    process = ServiceProcess(
        ["-m", "song_grpc"], tmp_path / "log", {f"SONG_SERVER_{name}": value for name, value in settings.items()}
    )
    try:
        with HttpOneProxy(f"127.0.0.1:{port}") as gate:
            environment = {"SONG_URL": gate.url, "SONG_STUDY_ID": "S1", "XDG_CONFIG_HOME": str(tmp_path)}

            def run(*arguments: str, stdin: str = "") -> Result:
                return CliRunner().invoke(song_app, list(arguments), input=stdin, env=environment, prog_name="song")

            assert run("create-study", "--name", "Name").exit_code == 0
            submitted = run("submit", "-f", "-", stdin=make_payload("S1"))
            assert submitted.exit_code == 0, submitted.output
            refused = run("watch")
            assert refused.exit_code != 0
            assert "needs gRPC" in refused.output or "HTTP carries none" in refused.output
            assert gate.cut_connections == 0
        assert process.terminate() == 0
    finally:
        process.kill()
