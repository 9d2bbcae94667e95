"""Unary calls over HTTP/1.1, by the Connect protocol: the same answers and errors as over gRPC."""

import base64
import gzip
import http.client
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.json_format import Parse
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from score.v1.object_service_pb2 import BatchGetObjectsRequest, BatchGetObjectsResponse
from score.v1.upload_service_pb2 import StartUploadRequest, StartUploadResponse

from runtime_grpc import connect_codecs, connect_door, connect_memory, http_bodies, http_side
from score_grpc.domain.errors import ObjectNotRegisteredError
from score_grpc.transport.errors import ERRORS
from song_grpc.__main__ import start_song
from song_grpc.settings import SongSettings
from tests.servers.http1_proxy import HttpOneProxy
from tests.servers.registry_song import TOKEN
from tests.servers.score_world import World, random_bytes

SERVICES = {
    "score": ["UploadService", "DownloadService", "ObjectService"],
    "song": ["StudyService", "AnalysisTypeService", "AnalysisService", "EntityService", "FileService", "EventService"],
}
UPLOADS = "/score.v1.UploadService/"
Answer = tuple[int, "Message[str, str]", bytes]


@pytest.fixture
def http_world(open_world: Callable[..., World]) -> World:
    return open_world(http_port=0)


@pytest.fixture
def song_http(tmp_path: Path) -> Iterator[str]:
    facts = {"port": 0, "http_port": 0, "data_dir": tmp_path / "song", "drain_seconds": 0.5}
    song = start_song(SongSettings.model_validate(facts))
    yield song.http_address
    song.stop()


def methods(package: str) -> list[MethodDescriptor]:
    found = [Default().FindServiceByName(f"{package}.v1.{name}") for name in SERVICES[package]]
    return [method for service in found for method in service.methods]


def call(address: str, path: str, body: bytes | None = b"{}", headers: Mapping[str, str] | None = None) -> Answer:
    """POST, or GET where there is no body."""
    given = {"Content-Type": "application/json"} if body is not None else {}
    request = urllib.request.Request(f"http://{address}{path}", body, {**given, **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def code(answer: Answer) -> tuple[int, str]:
    return answer[0], json.loads(answer[2])["code"]


def details(answer: Answer) -> dict[str, Any]:
    """Return the details of an error by type, as clients decode them."""
    kinds: dict[str, Any] = {"google.rpc.ErrorInfo": ErrorInfo, "google.rpc.RetryInfo": RetryInfo}
    return {
        detail["type"]: kinds[detail["type"]].FromString(base64.b64decode(detail["value"] + "=="))
        for detail in json.loads(answer[2]).get("details", [])
        if detail["type"] in kinds
    }


@pytest.mark.parametrize("package", ["score", "song"])
def test_every_method_of_the_contract_is_reachable(package: str, http_world: World, song_http: str) -> None:
    address = {"score": http_world.score.http_address, "song": song_http}[package]
    for method in methods(package):
        path = f"/{method.containing_service.full_name}/{method.name}"
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        if method.client_streaming or method.server_streaming:
            answer = call(address, path)
            assert code(answer) == (501, "unimplemented")
            assert "stream" in json.loads(answer[2])["message"]
            continue
        for headers, body in (
            ({"Content-Type": "application/json"}, b"{}"),
            ({"Content-Type": "application/proto"}, request().SerializeToString()),
        ):
            status, answered, content = call(address, path, body, headers)
            if status == 200:
                assert answered["Content-Type"] == headers["Content-Type"]
                _ = Parse(content, response()) if body else response.FromString(content)
            else:  # refused, by the service itself
                info = details((status, answered, content))["google.rpc.ErrorInfo"]
                assert info.domain == package
                assert info.reason != "UNKNOWN_ERROR", path
        is_pure = method.GetOptions().idempotency_level == 1
        status, _, _ = call(address, f"{path}?encoding=json&message={quote('{}')}", None)
        assert (status == 405) != is_pure, path


def test_an_answer_is_that_of_grpc(http_world: World) -> None:
    http_world.store("object-1", random_bytes(100))
    request = BatchGetObjectsRequest(object_ids=["object-1", "object-2"], allow_unpublished=True)
    path, address = "/score.v1.ObjectService/BatchGetObjects", http_world.score.http_address
    expected = http_world.raw.objects.BatchGetObjects(request)
    binary = {"Content-Type": "application/proto"}
    assert BatchGetObjectsResponse.FromString(call(address, path, request.SerializeToString(), binary)[2]) == expected
    text = b'{"objectIds": ["object-1", "object-2"], "allowUnpublished": true}'
    assert Parse(call(address, path, text)[2], BatchGetObjectsResponse()) == expected
    encoded = base64.urlsafe_b64encode(text).decode().rstrip("=")
    for message in (f"message={quote(text)}", f"base64=1&message={encoded}"):
        answer = call(address, f"{path}?connect=v1&encoding=json&{message}", None)
        assert Parse(answer[2], BatchGetObjectsResponse()) == expected


def test_an_error_is_that_of_grpc(http_world: World) -> None:
    answer = call(http_world.score.http_address, "/score.v1.UploadService/StartUpload", b'{"objectId": "object-1"}')
    with pytest.raises(grpc.RpcError) as raised:
        http_world.raw.uploads.StartUpload(StartUploadRequest(object_id="object-1"))
    assert code(answer) == (404, "not_found")
    assert answer[1]["Content-Type"] == "application/json"
    assert json.loads(answer[2])["message"] == raised.value.details()
    info = details(answer)["google.rpc.ErrorInfo"]
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "OBJECT_NOT_REGISTERED",
        "score",
        {"object_id": "object-1"},
    )
    (shown,) = [detail["debug"] for detail in json.loads(answer[2])["details"]]
    assert shown["reason"] == "OBJECT_NOT_REGISTERED"  # for people


def test_what_may_be_repeated_says_so(http_world: World) -> None:
    http_world.song.stop()
    answer = call(http_world.score.http_address, "/score.v1.UploadService/StartUpload", b'{"objectId": "object-1"}')
    assert code(answer) == (503, "unavailable")
    assert details(answer)["google.rpc.RetryInfo"].retry_delay.seconds == 1


def test_an_unexpected_error_says_an_id_alone(http_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("the secret")

    monkeypatch.setattr("score_grpc.transport.upload.start_upload", fail)
    answer = call(http_world.score.http_address, "/score.v1.UploadService/StartUpload")
    assert code(answer) == (500, "internal")
    assert "secret" not in str(answer[2])
    assert details(answer)["google.rpc.ErrorInfo"].metadata["error_id"] in json.loads(answer[2])["message"]


def test_every_status_of_grpc_has_one_of_connect() -> None:
    statuses = {code.value[0] for code in grpc.StatusCode if code is not grpc.StatusCode.OK}
    assert set(connect_door._CODES) == statuses
    assert {entry.code.value[0] for entry in ERRORS.entries.values()} <= statuses


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b'{"objectId": ', {}, (400, "invalid_argument")),
        (b'{"objectId": 5}', {}, (400, "invalid_argument")),
        (b"\xff", {"Content-Type": "application/proto"}, (400, "invalid_argument")),
        (b"x" * (1024 * 1024 + 1), {}, (429, "resource_exhausted")),
        (b'{"x": [' + b"{}," * 100_000 + b"{}]}", {}, (400, "invalid_argument")),
        (
            gzip.compress(b" " * 9, mtime=0)[:-4] + bytes(4),
            {"Content-Encoding": "gzip"},
            (400, "invalid_argument"),
        ),
        (gzip.compress(b" " * (64 * 1024 * 1024)), {"Content-Encoding": "gzip"}, (429, "resource_exhausted")),
        (b"no gzip", {"Content-Encoding": "gzip"}, (400, "invalid_argument")),
        (gzip.compress(b"{}", mtime=0)[:-4], {"Content-Encoding": "gzip"}, (400, "invalid_argument")),
        (gzip.compress(b"{}", mtime=0) * 2, {"Content-Encoding": "gzip"}, (400, "invalid_argument")),
        (gzip.compress(b"", mtime=0) * 50_000, {"Content-Encoding": "gzip"}, (400, "invalid_argument")),
        (b"{}", {"Content-Encoding": "brotli"}, (501, "unimplemented")),
        (b"{}", {"Connect-Timeout-Ms": "0"}, (504, "deadline_exceeded")),
        (b"{}", {"Connect-Timeout-Ms": "soon"}, (400, "invalid_argument")),
        (b"{}", {"Connect-Protocol-Version": "2"}, (400, "invalid_argument")),
        (b"{}", {"Authorization": "Bearer wrong"}, (401, "unauthenticated")),
        (b"{}", {"Content-Type": "application/grpc"}, (415, "unimplemented")),
        (b"{}", {"Content-Type": "application/grpc-web+proto"}, (415, "unimplemented")),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else None,
)
def test_what_is_no_call_is_refused(
    http_world: World, body: bytes, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    assert code(call(http_world.score.http_address, "/score.v1.UploadService/StartUpload", body, headers)) == expected


def test_a_message_that_does_not_come_is_given_up(http_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_bodies, "BODY_SECONDS", 0.5)
    host, _, port = http_world.score.http_address.rpartition(":")
    head = b"POST /score.v1.UploadService/StartUpload HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head + b"Content-Length: 100\r\n\r\n{")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_calls_that_never_come_whole_do_not_take_the_place_of_signed_urls(
    open_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_side, "HTTP_WORKERS", 2)
    monkeypatch.setattr(connect_door, "CALL_WAIT_SECONDS", 0.2)
    address = open_world(http_port=0).score.http_address
    host, _, port = address.rpartition(":")
    head = b"POST /score.v1.UploadService/StartUpload HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    with ExitStack() as stuck:
        for _ in range(2):
            connection = stuck.enter_context(socket.create_connection((host, int(port)), timeout=60))
            connection.sendall(head + b"Content-Length: 100\r\n\r\n{")
        path = "/score.v1.UploadService/StartUpload"
        while (answer := call(address, path))[0] != 503:  # until both have arrived
            assert answer[0] == 400
        assert code(answer) == (503, "unavailable")
        assert call(address, "/signed/v1/objects/a-file?Expires=1", None)[0] == 403
    while (answer := call(address, path))[0] == 503:
        pass
    assert code(answer) == (400, "invalid_argument")


def test_large_messages_wait_for_each_other_and_small_ones_pass_by(
    http_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose handler is under way keeps its message: here for as long as the test wants."""
    entered, go = threading.Event(), threading.Event()

    def wait(*_: object, **__: object) -> None:
        entered.set()
        go.wait(60)
        raise ObjectNotRegisteredError("there is none")

    monkeypatch.setattr("score_grpc.transport.upload.start_upload", wait)
    monkeypatch.setattr(connect_memory, "MEMORY_WAIT_SECONDS", 0.2)
    address, start, look = http_world.score.http_address, UPLOADS + "StartUpload", UPLOADS + "GetUpload"
    large = json.dumps({"uploadId": "x" * 1_000_000}).encode()
    packed = gzip.compress(large, mtime=0)
    answers: list[Answer] = []
    body = json.dumps({"objectId": "x" * 1_000_000}).encode()
    waiting = threading.Thread(target=lambda: answers.append(call(address, start, body)))
    waiting.start()
    assert entered.wait(60)
    for refused in (
        call(address, look, large),
        call(address, look, packed, {"Content-Encoding": "gzip"}),
        call(address, f"{look}?encoding=json&compression=gzip&base64=1&message=", None),
    ):
        assert code(refused) == (503, "unavailable")
        assert refused[1]["Retry-After"] == "1"
    small = call(address, look, b'{"uploadId": "none"}')
    go.set()
    waiting.join()
    assert [answer[0] for answer in (small, *answers)] == [404, 404]
    assert call(address, look, large)[0] == 404


def test_a_message_may_come_without_its_length(http_world: World) -> None:
    host, _, port = http_world.score.http_address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    for pieces, status in (([b'{"uploadId": ', b'"none"}'], 404), ([b" " * 600_000] * 2, 413)):
        connection.request(
            "POST", f"{UPLOADS}GetUpload", iter(pieces), {"Content-Type": "application/json"}, encode_chunked=True
        )
        answer = connection.getresponse()
        assert (answer.status, answer.read() != b"") == (status, True)
    connection.close()


def test_json_inside_a_text_is_one_text() -> None:
    text = json.dumps([{"a": 'quoted "b", \\'}] * 100_000)
    message = json.dumps({"object_id": text}).encode()
    assert connect_codecs.OneAtATime().decode(message, StartUploadRequest).object_id == text
    endless = b'{"object_id": "' + b'\\",' * 1_000_000  # read once, not once for each quote
    with pytest.raises(ValueError, match="Unterminated"):
        connect_codecs.OneAtATime().decode(endless, StartUploadRequest)


def test_what_was_parsed_of_a_refused_message_is_let_go() -> None:
    with pytest.raises(ValueError, match="object_id") as caught:
        connect_codecs.OneAtATime().decode(b'{"object_id": [' + b"{}," * 1000 + b"{}]}", StartUploadRequest)
    assert caught.value.__context__ is None
    assert len(str(caught.value)) <= 300


def test_what_is_not_there_is_said(http_world: World) -> None:
    address = http_world.score.http_address
    for path in ("/score.v1.UploadService/Start", "/song.v1.StudyService/GetStudy", "/", "/score.v1.UploadService"):
        assert code(call(address, path)) == (404, "unimplemented")
    assert call(address, "/score.v1.UploadService/StartUpload", b"", {"Content-Type": "text/xml"})[0] == 415
    assert call(address, "/score.v1.UploadService/StartUpload", None)[0] == 405


def test_a_caller_is_known_by_the_same_tokens(http_world: World) -> None:
    http_world.store("object-1", b"bytes", is_open=False)
    http_world.song.set_state("object-1", "SUPPRESSED")
    asked = b'{"objectId": "object-1"}'
    path, address = "/score.v1.ObjectService/GetObject", http_world.score.http_address
    as_service = call(address, path, asked, {"Authorization": f"Bearer {TOKEN}"})
    assert json.loads(as_service[2])["storedObject"]["sizeBytes"] == "5"
    http_world.score.environment.registry.resolve(["object-1"], fresh=True)
    assert code(call(address, path, asked)) == (400, "failed_precondition")


def test_a_call_passes_a_proxy_that_knows_no_http2(http_world: World) -> None:
    http_world.register("object-1", b"bytes")
    with HttpOneProxy(http_world.score.http_address) as proxy:
        answer = call(proxy.address, "/score.v1.UploadService/StartUpload", b'{"objectId": "object-1"}')
        assert Parse(answer[2], StartUploadResponse()).upload.size_bytes == 5
    with HttpOneProxy(http_world.score.address) as proxy:
        channel = grpc.insecure_channel(proxy.address)
        with pytest.raises(grpc.FutureTimeoutError):
            grpc.channel_ready_future(channel).result(timeout=1)
        channel.close()
        assert proxy.cut_connections
