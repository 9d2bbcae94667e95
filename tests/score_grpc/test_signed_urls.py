"""Score's own signed URLs, by plain HTTP/1.1."""

import base64
import hashlib
import http.client
import io
import json
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from score.v1.download_service_pb2 import SignDownloadRequest
from score.v1.object_service_pb2 import GetObjectRequest
from score.v1.upload_pb2 import UploadPart
from score.v1.upload_service_pb2 import AbortUploadRequest, GetUploadRequest, PartToSign, SignUploadPartsRequest
from song_score_client.errors import TooManyStreamsError
from xxhash import xxh3_128_hexdigest

import runtime_grpc.http_bodies
from runtime_grpc.command_line import StartRefusedError
from score_grpc.__main__ import start_score
from score_grpc.domain import limits
from score_grpc.domain.signatures import UrlKey
from score_grpc.domain.signed_requests import SignedRequest
from score_grpc.settings import ScoreSettings
from score_grpc.use_cases.own_urls import OwnUrls
from tests.servers.raw_score import MIB, RawScore
from tests.servers.registry_song import TOKEN, RegistrySong
from tests.servers.score_world import PART, World, random_bytes

SIZE = 2 * PART + 77
HOUR = timedelta(hours=1)
HUNDRED = random_bytes(100)
SECRET, OTHER_SECRET = "the-first-secret-of-32-characters", "the-other-secret-of-32-characters"
Answer = tuple[int, http.client.HTTPMessage, bytes]


@pytest.fixture
def http_world(open_world: Callable[..., World]) -> World:
    return open_world(http_port=0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world for many requests that change nothing: `object-100` is stored, an upload of `object-1` is begun."""
    song = RegistrySong()  # type: ignore[abstract] # the rest is not asked for
    facts = {"port": 0, "http_port": 0, "song_address": song.address, "service_token": TOKEN, "drain_seconds": 0.5}
    settings = ScoreSettings.model_validate(facts | {"data_dir": tmp_path_factory.mktemp("score")})
    score = start_score(settings)
    world = World(song, score, RawScore(score.address), settings)
    world.store("object-100", HUNDRED)
    begun(world)
    yield world
    world.raw.channel.close()
    score.stop()
    song.stop()


def urls(world: World) -> OwnUrls:
    found = world.score.environment.own_urls
    assert found is not None
    return found


def md5_of(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def put_url(world: World, upload_id: str, number: int, data: bytes, md5: str | None = None) -> SignedRequest:
    return urls(world).sign_part(upload_id, number, len(data), md5_of(data) if md5 is None else md5, HOUR)


def send(
    request: SignedRequest | str, body: bytes | None = None, headers: Mapping[str, str] | None = None, method: str = ""
) -> Answer:
    """Send a signed request, or another method to its URL."""
    url = urlsplit(request if isinstance(request, str) else request.url)
    wanted = method or ("GET" if isinstance(request, str) else request.method)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    signed = {} if isinstance(request, str) else request.headers
    connection.request(wanted, f"{url.path}?{url.query}", body, {**signed, **(headers or {})})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def reason(answer: Answer) -> tuple[int, str]:
    return answer[0], json.loads(answer[2])["reason"]


def begun(world: World, size: int = SIZE) -> tuple[str, bytes]:
    """Register and start an upload; return its id and its bytes."""
    data = world.register("object-1", random_bytes(size))
    return world.start("object-1").upload_id, data


def part_of(data: bytes, number: int) -> bytes:
    return data[(number - 1) * PART : number * PART]


def persisted(world: World, upload_id: str) -> list[UploadPart]:
    return list(world.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload_id)).parts)


def opened(request: SignedRequest, content_length: int) -> socket.socket:
    """Send the head of a request; the body is the caller's."""
    url = urlsplit(request.url)
    connection = socket.create_connection((url.hostname or "", url.port or 0), timeout=60)
    head = (
        f"{request.method} {url.path}?{url.query} HTTP/1.1\r\nHost: score\r\nContent-Length: {content_length}\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_parts_put_to_signed_urls_become_an_object_on_every_store(
    open_world: Callable[..., World], store_settings: dict[str, object]
) -> None:
    world = open_world(http_port=0, **store_settings)
    upload_id, data = begun(world)
    for number in (3, 1, 2):
        part = part_of(data, number)
        status, headers, content = send(put_url(world, upload_id, number, part), part)
        assert (status, headers["ETag"], content) == (200, f'"{md5_of(part)}"', b"")
    recorded = [(part.part_number, part.md5, part.xxh3_128) for part in persisted(world, upload_id)]
    parts = {number: part_of(data, number) for number in (1, 2, 3)}
    assert recorded == [(number, md5_of(part), xxh3_128_hexdigest(part)) for number, part in parts.items()]
    world.complete(world.start("object-1"))
    status, headers, content = send(urls(world).sign_read("object-1", 1, None, HOUR))
    assert (status, content) == (200, data)
    assert (headers["ETag"], headers["Accept-Ranges"]) == (f'"{md5_of(data)}"', "bytes")


def test_an_object_without_bytes_has_a_url_too(http_world: World) -> None:
    http_world.store("empty-1", b"")
    status, headers, content = send(urls(http_world).sign_read("empty-1", 1, None, HOUR))
    assert (status, headers["Content-Length"], content) == (200, "0", b"")
    assert reason(send(urls(http_world).sign_read("empty-1", 1, None, HOUR), headers={"Range": "bytes=0-"})) == (
        416,
        "RANGE_INVALID",
    )


@pytest.mark.parametrize(
    "altered",
    [
        lambda url: url.replace("/parts/1?", "/parts/2?"),
        lambda url: url.replace("/uploads/", "/uploads/a"),
        lambda url: url.replace(f"Size={PART}", f"Size={PART - 1}"),
        lambda url: url.replace("Md5=", "Md5=0"),
        lambda url: url.replace("Expires=", "Expires=9"),
        lambda url: url.replace("KeyId=", "KeyId=a"),
        lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"),
        lambda url: url[:-1],
        lambda url: url + "%C3%A9",
        lambda url: url + "&More=1",
        lambda url: url + "&Size=1",
        lambda url: url.partition("?")[0] + "?",
        lambda url: url.partition("&Signature")[0],
        lambda url: url + "&a=1" * 20,
    ],
)
def test_an_altered_url_is_refused_and_changes_nothing(shared: World, altered: Callable[[str], str]) -> None:
    upload_id, data = shared.start("object-1").upload_id, random_bytes(SIZE)
    part = part_of(data, 1)
    url = altered(put_url(shared, upload_id, 1, part).url)
    assert reason(send(url, part, method="PUT")) == (403, "SIGNATURE_INVALID")
    assert persisted(shared, upload_id) == []


@pytest.mark.parametrize(
    "altered",
    [
        lambda url: url.replace("object-100", "object-2"),
        lambda url: url.replace("Generation=1", "Generation=2"),
        lambda url: url.replace("Range=5%2B10", "Range=5%2B11"),
        lambda url: url.replace("&Range=5%2B10", ""),
    ],
)
def test_a_url_to_read_binds_object_generation_and_range(shared: World, altered: Callable[[str], str]) -> None:
    url = urls(shared).sign_read("object-100", 1, (5, 10), HOUR).url
    assert send(url)[0] == 206
    assert reason(send(altered(url))) == (403, "SIGNATURE_INVALID")


def test_a_url_to_write_does_not_read_and_the_reverse(http_world: World) -> None:
    upload_id, data = begun(http_world)
    write = put_url(http_world, upload_id, 1, part_of(data, 1))
    status, headers, _ = send(write, method="GET")
    assert (status, headers["Allow"]) == (405, "PUT")
    http_world.store("object-2", b"bytes")
    status, headers, _ = send(urls(http_world).sign_read("object-2", 1, None, HOUR), b"other", method="PUT")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert reason(send(f"{urls(http_world).base_url}/signed/v1/other?a=1")) == (404, "OBJECT_NOT_FOUND")


def test_a_url_ends_by_the_clock(http_world: World) -> None:
    upload_id, data = begun(http_world)
    part = part_of(data, 3)
    moment = datetime.now(UTC)
    just_ended = replace(urls(http_world), now=lambda: moment - timedelta(seconds=60))
    expired = just_ended.sign_part(upload_id, 3, len(part), md5_of(part), timedelta(seconds=59))
    answer = send(expired, part)
    assert reason(answer) == (403, "SIGNATURE_INVALID")
    assert "expired" in json.loads(answer[2])["message"]
    good = just_ended.sign_part(upload_id, 3, len(part), md5_of(part), timedelta(seconds=3600))
    assert abs(good.expire_time - moment - timedelta(seconds=3540)) <= timedelta(seconds=1)
    assert send(good, part)[0] == 200


def test_two_keys_are_valid_at_once_and_the_first_signs(open_world: Callable[..., World]) -> None:
    world = open_world(http_port=0, url_keys=f"new:{SECRET},old:{OTHER_SECRET}")
    world.store("object-1", b"bytes")
    signer = urls(world)
    assert "KeyId=new" in signer.sign_read("object-1", 1, None, HOUR).url
    for key, status in ((("new", SECRET), 200), (("old", OTHER_SECRET), 200), (("older", SECRET), 403)):
        by_key = replace(signer, keys=[UrlKey(key[0], key[1].encode())])
        assert send(by_key.sign_read("object-1", 1, None, HOUR))[0] == status
    swapped = replace(signer, keys=[UrlKey("old", SECRET.encode())])
    assert send(swapped.sign_read("object-1", 1, None, HOUR))[0] == 403


def test_the_key_outlives_the_server_and_is_its_accounts_alone(
    open_world: Callable[..., World], tmp_path: Path
) -> None:
    world = open_world(http_port=0)
    world.store("object-1", b"bytes")
    request = urls(world).sign_read("object-1", 1, None, HOUR)
    kept = tmp_path / "score" / "url-key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    world.score.stop()
    later = open_world(http_port=0)
    assert send(request.url.replace(urls(world).base_url, urls(later).base_url))[2] == b"bytes"


def test_a_key_file_that_cannot_be_read_is_no_start(open_world: Callable[..., World], tmp_path: Path) -> None:
    (tmp_path / "score").mkdir()
    (tmp_path / "score" / "url-key").write_text("short:secret")
    with pytest.raises(StartRefusedError, match="url-key") as raised:
        open_world(http_port=0)
    assert "short" not in str(raised.value)


def test_without_http_there_are_no_urls(world: World) -> None:
    assert world.score.environment.own_urls is None
    assert world.score.http_address == ""


def test_urls_begin_as_the_settings_say(open_world: Callable[..., World]) -> None:
    world = open_world(http_port=0, public_http_url="https://score.example.org/bytes/")
    url = urls(world).sign_read("object-1", 1, None, HOUR).url
    assert url.startswith("https://score.example.org/bytes/signed/v1/objects/object-1?")


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=5-14", 5, 14),
        ("bytes=95-", 95, 99),
        ("bytes=-7", 93, 99),
        ("bytes=90-1000", 90, 99),
        ("bytes=-1000", 0, 99),
        ("Bytes= 5 - 14 ", 5, 14),
    ],
)
def test_one_range_is_answered_alone(shared: World, header: str, first: int, last: int) -> None:
    status, headers, content = send(urls(shared).sign_read("object-100", 1, None, HOUR), headers={"Range": header})
    assert (status, content) == (206, HUNDRED[first : last + 1])
    assert headers["Content-Range"] == f"bytes {first}-{last}/100"


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=9999999999999999999-"])
def test_a_range_past_the_end_is_told_the_size(shared: World, header: str) -> None:
    answer = send(urls(shared).sign_read("object-100", 1, None, HOUR), headers={"Range": header})
    assert reason(answer) == (416, "RANGE_INVALID")
    assert answer[1]["Content-Range"] == "bytes */100"


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "lines=1-2", "bytes=9-5", "bytes=-", "", "bytes=-1-5"])
def test_what_is_no_single_range_is_answered_with_the_whole(shared: World, header: str) -> None:
    status, _, content = send(urls(shared).sign_read("object-100", 1, None, HOUR), headers={"Range": header})
    assert (status, content) == (200, HUNDRED)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", (206, 10, 30)),
        ("bytes=10-29", (206, 10, 30)),
        ("bytes=15-", (206, 15, 30)),
        ("bytes=15-90", (206, 15, 30)),
        ("bytes=9-20", (403, 0, 0)),
        ("bytes=30-", (403, 0, 0)),
    ],
)
def test_a_url_of_a_range_gives_no_other_byte(shared: World, header: str, expected: tuple[int, int, int]) -> None:
    request = urls(shared).sign_read("object-100", 1, (10, 20), HOUR)
    status, _, content = send(request, headers={"Range": header} if header else {})
    assert status == expected[0]
    assert status != 206 or content == HUNDRED[expected[1] : expected[2]]


def test_a_range_of_another_version_is_answered_with_the_whole(shared: World) -> None:
    request = urls(shared).sign_read("object-100", 1, None, HOUR)
    same, other = f'"{md5_of(HUNDRED)}"', f'"{md5_of(b"")}"'
    assert send(request, headers={"Range": "bytes=0-4", "If-Range": same})[0] == 206
    assert send(request, headers={"Range": "bytes=0-4", "If-Range": other})[::2] == (200, HUNDRED)


def test_head_says_what_get_would_without_a_byte(http_world: World) -> None:
    http_world.store("object-1", random_bytes(SIZE))
    request = urls(http_world).sign_read("object-1", 1, None, HOUR)
    status, headers, content = send(request, method="HEAD")
    assert (status, headers["Content-Length"], content) == (200, str(SIZE), b"")
    status, headers, content = send(request, method="HEAD", headers={"Range": "bytes=1-4"})
    assert (status, headers["Content-Length"], content) == (206, "4", b"")
    assert send(request.url.replace("Signature=", "Signature=0"), method="HEAD")[0] == 403


def test_a_body_that_breaks_off_changes_nothing(http_world: World) -> None:
    upload_id, data = begun(http_world)
    part = part_of(data, 1)
    with opened(put_url(http_world, upload_id, 1, part), len(part)) as connection:
        connection.sendall(part[: len(part) // 2])
    assert send(put_url(http_world, upload_id, 2, part_of(data, 2)), part_of(data, 2))[0] == 200
    assert [known.part_number for known in persisted(http_world, upload_id)] == [2]
    assert send(put_url(http_world, upload_id, 1, part), part)[0] == 200


@pytest.mark.parametrize("size", [PART - 1, PART + 1, 0])
def test_a_body_of_another_length_is_refused_at_once(shared: World, size: int) -> None:
    upload_id, data = shared.start("object-1").upload_id, random_bytes(SIZE)
    request = put_url(shared, upload_id, 1, part_of(data, 1))
    assert reason(send(request, bytes(size))) == (400, "FIELD_INVALID")
    assert persisted(shared, upload_id) == []


def test_a_body_that_does_not_say_its_length_is_refused(http_world: World) -> None:
    upload_id, data = begun(http_world, 1000)
    request = urlsplit(put_url(http_world, upload_id, 1, data).url)
    connection = http.client.HTTPConnection(request.hostname or "", request.port, timeout=60)
    chunks: Iterator[bytes] = iter([data])
    connection.request("PUT", f"{request.path}?{request.query}", chunks, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["reason"]) == (400, "FIELD_INVALID")
    connection.close()
    assert persisted(http_world, upload_id) == []


def test_a_body_with_another_md5_changes_nothing(http_world: World) -> None:
    upload_id, data = begun(http_world)
    part = part_of(data, 1)
    damaged = b"x" + part[1:]
    assert reason(send(put_url(http_world, upload_id, 1, part), damaged)) == (400, "CHUNK_CORRUPT")
    open_md5 = put_url(http_world, upload_id, 1, part, md5="")
    said = {"Content-MD5": base64.b64encode(hashlib.md5(part).digest()).decode()}
    assert reason(send(open_md5, damaged, said)) == (400, "CHUNK_CORRUPT")
    for text in ("?", "YWJj", md5_of(part), "é"):
        assert reason(send(open_md5, part, {"Content-MD5": text})) == (400, "FIELD_INVALID")
    assert persisted(http_world, upload_id) == []
    assert send(open_md5, part, said)[0] == 200
    assert [known.md5 for known in persisted(http_world, upload_id)] == [md5_of(part)]


def test_a_part_again_is_confirmed_and_other_bytes_are_not_taken_for_it(http_world: World) -> None:
    upload_id, data = begun(http_world)
    part, other = part_of(data, 1), random_bytes(PART, seed=2)
    http_world.send(http_world.start("object-1"), data, 2)  # by stream: its MD5 is not known
    for number, bytes_of_part in ((1, part), (1, part), (2, part_of(data, 2))):
        assert send(put_url(http_world, upload_id, number, bytes_of_part), bytes_of_part)[0] == 200
    for number in (1, 2):
        assert reason(send(put_url(http_world, upload_id, number, other), other)) == (409, "PART_TAKEN_OVER")
    assert [known.md5 for known in persisted(http_world, upload_id)] == [md5_of(part), ""]


def test_a_part_is_replaced_where_that_was_asked_for(http_world: World) -> None:
    upload_id, data = begun(http_world)
    wrong = random_bytes(PART, seed=2)
    assert send(put_url(http_world, upload_id, 1, wrong), wrong)[0] == 200
    right = part_of(data, 1)
    wanted = PartToSign(part_number=1, md5=md5_of(right), replace_part=True)
    (signed,) = http_world.raw.uploads.SignUploadParts(
        SignUploadPartsRequest(upload_id=upload_id, parts=[wanted])
    ).signed_parts
    assert persisted(http_world, upload_id) == []
    headers = {header.name: header.value for header in signed.request.headers}
    assert send(signed.request.url, right, headers, signed.request.method)[0] == 200
    assert [known.md5 for known in persisted(http_world, upload_id)] == [md5_of(right)]


def test_of_two_at_one_part_the_newer_wins(http_world: World) -> None:
    upload_id, data = begun(http_world)
    part = part_of(data, 1)
    with opened(put_url(http_world, upload_id, 1, part), len(part)) as older:
        older.sendall(part[: 3 * MIB])
        until(lambda: (upload_id, 1) in http_world.score.environment.claims._claims)
        assert send(put_url(http_world, upload_id, 1, part), part)[0] == 200
        older.sendall(part[3 * MIB :])
        answer = http.client.HTTPResponse(older)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["reason"]) == (409, "PART_TAKEN_OVER")
    assert [known.md5 for known in persisted(http_world, upload_id)] == [md5_of(part)]


def test_many_at_one_part_leave_one(http_world: World) -> None:
    upload_id, data = begun(http_world)
    part = part_of(data, 1)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(send(put_url(http_world, upload_id, 1, part), part)[0]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 200 in statuses
    assert set(statuses) <= {200, 409}
    assert [known.md5 for known in persisted(http_world, upload_id)] == [md5_of(part)]


def test_a_body_that_stands_still_is_given_up(http_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_grpc.http_bodies, "PROGRESS_SECONDS", 0.5)
    upload_id, data = begun(http_world)
    part = part_of(data, 1)
    with opened(put_url(http_world, upload_id, 1, part), len(part)) as connection:
        connection.sendall(part[:1000])
        assert b"200" not in connection.recv(1000)
    assert persisted(http_world, upload_id) == []


def test_a_draining_server_sends_to_another(http_world: World) -> None:
    upload_id, data = begun(http_world)
    http_world.store("object-2", b"bytes")
    http_world.score.environment.draining.set()
    part = part_of(data, 1)
    for answer in (
        send(put_url(http_world, upload_id, 1, part), part),
        send(urls(http_world).sign_read("object-2", 1, None, HOUR)),
    ):
        assert reason(answer) == (503, "DRAINING")
        assert answer[1]["Retry-After"] == "1"


def test_transfers_count_as_streams_and_calls_do_not_wait_for_them(open_world: Callable[..., World]) -> None:
    world = open_world(http_port=0, max_streams=1)
    size = 40 * MIB  # more than sockets hold
    world.store("object-1", random_bytes(size))
    request = urls(world).sign_read("object-1", 1, None, HOUR)
    with opened(request, 0) as slow:
        assert slow.recv(12) == b"HTTP/1.1 200"
        answer = send(request)
        assert reason(answer) == (429, "TOO_MANY_STREAMS")
        assert answer[1]["Retry-After"] == "1"
        with pytest.raises(TooManyStreamsError):
            world.raw.read("object-1", (0, 1), unpublished=True)
        asked = GetObjectRequest(object_id="object-1", allow_unpublished=True)
        assert world.raw.objects.GetObject(asked).stored_object.size_bytes == size
    # The client has gone in the middle: its slot is another's.
    until(lambda: send(request, headers={"Range": "bytes=0-0"})[0] == 206)


def test_the_readers_of_one_object_leave_half_of_the_streams_to_others(open_world: Callable[..., World]) -> None:
    world = open_world(http_port=0, max_streams=6)
    size = 64 * MIB  # beyond what sockets hold
    world.store("object-1", random_bytes(MIB) * (size // MIB))
    world.store("object-2", b"bytes")
    ranges = [urls(world).sign_read("object-1", 1, (number, size - 9), HOUR) for number in range(4)]
    with ExitStack() as slow:
        for request in ranges[:3]:
            connection = slow.enter_context(opened(request, 0))
            assert connection.recv(12) == b"HTTP/1.1 206"
        for method in ("GET", "HEAD"):
            status, headers, _ = send(ranges[3], method=method)
            assert (status, headers["Retry-After"]) == (429, "1")
        answer = send(urls(world).sign_read("object-1", 1, None, HOUR), headers={"Range": "bytes=0-0"})
        assert reason(answer) == (429, "TOO_MANY_STREAMS")
        assert "object-1" in json.loads(answer[2])["message"]
        assert send(urls(world).sign_read("object-2", 1, None, HOUR))[2] == b"bytes"
        assert len(world.raw.read("object-1", (0, 1), unpublished=True)) > 0
    until(lambda: send(ranges[3], headers={"Range": "bytes=3-3"})[0] == 206)


def test_one_upload_takes_only_so_many_at_once(http_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAMS_PER_UPLOAD", 0)
    upload_id, data = begun(http_world)
    part = part_of(data, 1)
    assert reason(send(put_url(http_world, upload_id, 1, part), part)) == (429, "TOO_MANY_STREAMS")


def test_what_became_of_the_upload_counts_at_the_put(http_world: World) -> None:
    upload_id, data = begun(http_world)
    part = part_of(data, 1)
    request = put_url(http_world, upload_id, 1, part)
    assert reason(send(put_url(http_world, "another-upload", 1, part), part)) == (404, "UPLOAD_NOT_FOUND")
    http_world.song.set_state("object-1", "PUBLISHED")
    http_world.score.environment.registry.resolve(["object-1"], fresh=True)
    assert reason(send(request, part)) == (403, "ANALYSIS_NOT_UNPUBLISHED")
    http_world.song.set_state("object-1", "UNPUBLISHED")
    http_world.raw.uploads.AbortUpload(AbortUploadRequest(upload_id=upload_id))
    assert reason(send(request, part)) == (404, "UPLOAD_ABORTED")
    done = http_world.store("object-2", part)
    assert reason(send(put_url(http_world, done.upload_id, 1, part), part)) == (409, "UPLOAD_NOT_OPEN")


def test_what_became_of_the_object_counts_at_the_get(http_world: World) -> None:
    http_world.store("object-1", b"bytes")
    signer = urls(http_world)
    assert reason(send(signer.sign_read("object-2", 1, None, HOUR))) == (404, "OBJECT_NOT_FOUND")
    assert reason(send(signer.sign_read("object-1", 2, None, HOUR))) == (409, "GENERATION_CHANGED")
    http_world.song.set_state("object-1", "SUPPRESSED")
    http_world.score.environment.registry.resolve(["object-1"], fresh=True)
    assert reason(send(signer.sign_read("object-1", 1, None, HOUR))) == (403, "ANALYSIS_NOT_PUBLISHED")


def test_suppression_ends_a_long_get(http_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 40 * MIB
    http_world.store("object-1", random_bytes(size))
    with opened(urls(http_world).sign_read("object-1", 1, None, HOUR), 0) as connection:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert len(answer.read(MIB)) == MIB
        http_world.song.set_state("object-1", "SUPPRESSED")
        monkeypatch.setattr(limits, "SONG_CACHE_SECONDS", 0.0)
        http_world.score.environment.registry.resolve(["object-1"], fresh=True)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()


def test_a_store_that_is_away_is_said_before_the_first_byte(http_world: World, tmp_path: Path) -> None:
    http_world.store("object-1", b"bytes")
    (kept,) = [path for path in (tmp_path / "score" / "objects").rglob("object-1*") if path.is_file()]
    kept.unlink()
    status, answered = reason(send(urls(http_world).sign_read("object-1", 1, None, HOUR)))
    assert (status, answered) == (500, "STORED_BYTES_CORRUPT")


def test_no_signature_is_ever_logged(http_world: World, logged: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    upload_id, data = begun(http_world)
    part = part_of(data, 1)
    request = put_url(http_world, upload_id, 1, part)
    send(request, part)
    send(request, b"short")
    send(request.url + "0", part, method="PUT")
    shown = logged.getvalue() + "".join(capfd.readouterr()) + repr(request) + repr(urls(http_world))
    assert upload_id in shown  # it says what was called
    assert "Signature" not in shown
    assert request.url.rpartition("=")[2] not in shown
    assert (urls(http_world).keys[0].secret.decode()) not in shown


def test_signed_downloads_of_the_contract_are_these(http_world: World) -> None:
    data = random_bytes(100)
    http_world.store("object-1", data)
    answer = http_world.raw.downloads.SignDownload(SignDownloadRequest(object_id="object-1", allow_unpublished=True))
    (request,) = answer.requests
    assert send(request.url, headers={header.name: header.value for header in request.headers})[2] == data
