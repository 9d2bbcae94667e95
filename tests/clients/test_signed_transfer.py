"""Transfers of the SDK by signed URLs: resumed, switched, cut, corrupted, expired; nothing persisted goes twice."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from score.v1.download_service_pb2 import SignDownloadRequest, SignDownloadResponse
from score.v1.signed_request_pb2 import HttpHeader, SignedRequest
from score.v1.upload_service_pb2 import PartToRecord, PartToSign, SignUploadPartsResponse
from song_score_client.connection import Connection, RetryPolicy
from song_score_client.errors import (
    AccessError,
    IntegrityError,
    NotFoundError,
    ObjectDigestMismatchError,
    ServiceError,
    StoreFullError,
    UnavailableError,
    UploadAbortedError,
)
from song_score_client.http_connections import HttpConnections, HttpRequest
from song_score_client.score import ScoreClient
from song_score_client.transfer.download import DownloadResult, download_object
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.object_reader import ObjectReader
from song_score_client.transfer.rate import RateLimit
from song_score_client.transfer.signed_download import read_range
from song_score_client.transfer.signed_requests import headers_of
from song_score_client.transfer.upload import UploadResult, upload_file
from song_score_client.transports import Transport

from tests.chaos.proxy import Fault, FaultProxy
from tests.servers import seaweedfs as seaweed
from tests.servers.processes import free_port
from tests.servers.raw_score import MIB
from tests.servers.score_world import PART, World, random_bytes

SIZE = 3 * PART + 2 * MIB + 17
ID = "object-1"


class ImpatientScore(ScoreClient):
    """Asks for URLs that hold a second."""

    asked_parts = 0

    def sign_upload_parts(self, upload_id: str, parts: object, *, lifetime_seconds: int = 0) -> SignUploadPartsResponse:
        """Ask for a second."""
        ImpatientScore.asked_parts += len(parts)  # type: ignore[arg-type]  # a sequence
        return super().sign_upload_parts(upload_id, parts, lifetime_seconds=lifetime_seconds or 1)  # type: ignore[arg-type]  # an iterable

    def sign_download(self, request: SignDownloadRequest) -> SignDownloadResponse:
        """Ask for a second."""
        request.lifetime_seconds = 1
        return super().sign_download(request)


class Record(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.moved = self.verified = self.largest_move = 0

    def move(self, size_bytes: int) -> None:
        self.moved += size_bytes
        self.largest_move = max(self.largest_move, size_bytes)

    def verify(self, size_bytes: int) -> None:
        self.verified += size_bytes

    def say(self, message: str) -> None:
        self.said.append(message)


class Side:
    """A user's machine, whose way to the bytes of signed URLs leads through a proxy that can hurt."""

    def __init__(self, world: World, proxy: FaultProxy, folder: Path, data: bytes) -> None:
        folder.mkdir()
        self.world, self.proxy, self.folder, self.data = world, proxy, folder, data
        self.file = folder / "reads.bam"
        self.file.write_bytes(data)
        self.listener = Record()
        self.client: type[ScoreClient] = ScoreClient
        self.max_tries = 6
        self.address = ""
        """Of Score, where it is another than its own."""

    def open(self, transport: Transport) -> ScoreClient:
        retry = RetryPolicy(max_tries=self.max_tries, first_delay_seconds=0.05)
        address = self.address or self.world.score.address
        return self.client(Connection("score", address, retry=retry, transport=transport))

    def upload(self, transport: Transport = Transport.SIGNED, **options: object) -> UploadResult:
        with self.open(transport) as score:
            return upload_file(
                score,
                ID,
                self.file,
                state_dir=self.folder / "state",
                listener=self.listener,
                **options,  # type: ignore[arg-type]  # options of upload_file
            )

    def download(self, transport: Transport = Transport.SIGNED, **options: object) -> DownloadResult:
        with self.open(transport) as score:
            return download_object(
                score,
                ID,
                self.folder / "out.bam",
                allow_unpublished=True,
                listener=self.listener,
                **options,  # type: ignore[arg-type]  # options of download_object
            )

    def put(self, *numbers: int) -> list[PartToRecord]:
        """Send parts to signed URLs by hand, and have nothing recorded."""
        upload = self.world.start(ID)
        sent = []
        with self.open(Transport.SIGNED) as score:
            for number in numbers:
                body = self.data[(number - 1) * PART : number * PART]
                md5 = hashlib.md5(body).hexdigest()
                wanted = [PartToSign(part_number=number, md5=md5)]
                signed = score.sign_upload_parts(upload.upload_id, wanted).signed_parts[0].request
                asked = HttpRequest("PUT", signed.url, headers_of(signed), [body], len(body))
                with closing(HttpConnections()) as http, http.exchange(asked) as answer:
                    assert answer.status == 200
                    etag = answer.getheader("ETag") or ""
                    answer.read()
                sent.append(PartToRecord(part_number=number, md5=md5, store_etag=etag))
        return sent


@pytest.fixture
def data() -> bytes:
    return random_bytes(SIZE)


@pytest.fixture(params=["local", "s3"])
def side(
    request: pytest.FixtureRequest, open_world: Callable[..., World], tmp_path: Path, data: bytes
) -> Iterator[Side]:
    settings: dict[str, object] = {}
    proxy = FaultProxy(lambda _: None)
    if request.param == "s3":
        server: seaweed.SeaweedFS = request.getfixturevalue("seaweedfs")
        proxy_port = proxy.open_door(int(server.endpoint.rpartition(":")[2]))
        settings = {
            "store": "s3",
            "s3_bucket": seaweed.BUCKET,
            "s3_endpoint": server.endpoint,
            "s3_public_endpoint": f"http://127.0.0.1:{proxy_port}",
            "s3_region": seaweed.REGION,
            "s3_access_key": seaweed.ACCESS_KEY_ID,
            "s3_secret_key": seaweed.SECRET_ACCESS_KEY,
        }
    else:
        port = free_port()
        settings = {"http_port": port, "public_http_url": f"http://127.0.0.1:{proxy.open_door(port)}"}
    world = open_world(**settings)
    world.register(ID, data)
    world.start(ID)  # in small parts, which every client joins
    yield Side(world, proxy, tmp_path / "side", data)
    proxy.close()


def test_a_file_goes_up_and_comes_down_past_score(side: Side, data: bytes) -> None:
    result = side.upload()
    assert (result.part_total, result.kept_part_total, result.sent_bytes) == (4, 0, SIZE)
    assert side.listener.moved == side.listener.verified == SIZE
    assert side.proxy.count("up") >= SIZE
    down = side.download()
    assert down.md5 == hashlib.md5(data).hexdigest()
    assert down.path.read_bytes() == data
    assert side.proxy.count("down") >= SIZE
    assert list((side.folder / "state").iterdir()) == []


@pytest.mark.parametrize("streams", [1, 3])
def test_so_many_connections_as_are_asked_for(side: Side, data: bytes, streams: int) -> None:
    assert side.upload(streams=streams).sent_bytes == SIZE
    assert side.download(streams=streams).path.read_bytes() == data


@pytest.mark.parametrize(
    ("first", "then"), [(Transport.STREAM, Transport.SIGNED), (Transport.SIGNED, Transport.STREAM)]
)
def test_what_was_begun_one_way_is_finished_the_other(
    side: Side, data: bytes, first: Transport, then: Transport
) -> None:
    class Stop(Record):
        def verify(self, size_bytes: int) -> None:
            super().verify(size_bytes)
            if self.verified >= 2 * PART:
                raise KeyboardInterrupt

    watching = side.listener
    side.listener = Stop()
    with pytest.raises(KeyboardInterrupt):
        side.upload(first, streams=1)
    side.listener = watching
    result = side.upload(then)
    assert result.kept_part_total >= 1
    assert result.sent_bytes == SIZE - result.kept_part_total * PART
    side.listener = Stop()
    with pytest.raises(KeyboardInterrupt):
        side.download(first, streams=1)
    side.listener = watching
    down = side.download(then)
    assert down.kept_part_total >= 1
    assert down.fetched_bytes == SIZE - down.kept_part_total * PART
    assert down.path.read_bytes() == data


@pytest.mark.parametrize("transport", [Transport.SIGNED, Transport.STREAM])
def test_parts_that_were_put_and_not_recorded_are_not_sent_again(side: Side, transport: Transport) -> None:
    side.put(1, 3)
    side.proxy.plan([])
    result = side.upload(transport)
    assert (result.kept_part_total, result.sent_bytes) == (2, SIZE - 2 * PART)
    assert side.proxy.count("up") < SIZE - PART


def test_a_part_in_the_store_with_other_bytes_than_the_file_is_sent_again(side: Side, data: bytes) -> None:
    right = side.data
    side.data = random_bytes(SIZE, seed=9)
    side.put(2)
    side.data = right
    assert side.upload().sent_bytes == SIZE
    assert side.download().path.read_bytes() == data


def test_a_byte_changed_on_its_way_up_costs_that_part_alone(side: Side, data: bytes) -> None:
    side.proxy.plan([Fault("flip", "up", PART + MIB, 3)])
    assert side.upload(streams=1).stored_object.md5 == hashlib.md5(data).hexdigest()
    assert SIZE + PART <= side.proxy.count("up") < SIZE + PART + MIB


def test_a_byte_changed_on_its_way_down_costs_that_part_alone(side: Side, data: bytes) -> None:
    side.upload()
    side.proxy.plan([Fault("flip", "down", PART + MIB, 3)])
    assert side.download(streams=1).path.read_bytes() == data
    assert SIZE + PART <= side.proxy.count("down") < SIZE + PART + MIB


@pytest.mark.parametrize("streams", [1, 4])
def test_connections_that_are_cut_cost_what_was_under_way(side: Side, data: bytes, streams: int) -> None:
    side.proxy.plan([Fault("cut", "up", MIB, 0), Fault("cut", "up", 2 * PART, 0)])
    assert side.upload(streams=streams).sent_bytes == SIZE
    assert side.proxy.count("up") <= SIZE + 2 * PART + MIB
    side.proxy.plan([Fault("cut", "down", MIB, 0), Fault("cut", "down", 2 * PART, 0)])
    assert side.download(streams=streams).path.read_bytes() == data
    assert side.proxy.count("down") <= SIZE + 2 * PART + MIB


def test_a_store_that_answers_with_errors_is_asked_again(side: Side, data: bytes) -> None:
    side.proxy.plan([Fault("refuse", "up", PART // 2, 3)])
    assert side.upload(streams=2).sent_bytes == SIZE
    assert any("503" in said or "500" in said for said in side.listener.said)
    side.proxy.plan([Fault("refuse", "down", PART // 2, 3)])
    assert side.download(streams=2).path.read_bytes() == data


def test_urls_that_expired_on_their_way_are_signed_again(side: Side) -> None:
    side.client = ImpatientScore
    side.proxy.plan([Fault("stall", "up", 10, 2.5)])
    before = ImpatientScore.asked_parts
    assert side.upload(streams=1).sent_bytes == SIZE
    assert ImpatientScore.asked_parts - before == 5


def test_a_download_outlives_its_urls(side: Side, data: bytes) -> None:
    side.upload()
    side.client = ImpatientScore
    down = side.download(streams=1, rate=RateLimit(PART / 1.2))
    assert down.path.read_bytes() == data
    assert side.listener.moved == 2 * SIZE


def test_under_a_limit_bytes_go_in_pieces_so_small_that_none_of_many_streams_stands_still(
    side: Side, data: bytes
) -> None:
    limit = RateLimit(8 * MIB)
    side.upload(streams=4, rate=limit)
    assert side.download(streams=4, rate=limit).path.read_bytes() == data
    assert side.listener.moved == 2 * SIZE
    assert side.listener.largest_move == limit.piece_bytes == MIB // 2


def test_a_signature_that_is_refused_time_and_again_is_told(side: Side) -> None:
    class LateScore(ImpatientScore):
        """By the time its URLs are used they have expired."""

        def sign_upload_parts(
            self, upload_id: str, parts: object, *, lifetime_seconds: int = 0
        ) -> SignUploadPartsResponse:
            """Dawdle."""
            signed = super().sign_upload_parts(upload_id, parts, lifetime_seconds=lifetime_seconds)
            time.sleep(2.5)
            return signed

    side.client = LateScore
    with pytest.raises(AccessError, match="403"):
        side.upload(streams=1)


def test_a_store_that_does_not_answer_is_given_up_and_the_next_run_resumes(side: Side) -> None:
    side.max_tries = 2
    side.proxy.plan([Fault("cut", "up", at, 0) for at in range(PART + MIB, 9 * PART, 100_000)])
    with pytest.raises(UnavailableError, match="does not answer"):
        side.upload(streams=1)
    side.proxy.heal()
    result = side.upload()
    assert (result.kept_part_total, result.sent_bytes) == (1, SIZE - PART)


def test_an_upload_aborted_meanwhile_ends_saying_so(side: Side) -> None:
    class Abort(Record):
        def move(self, size_bytes: int) -> None:
            super().move(size_bytes)
            if self.moved == PART + MIB:
                with ScoreClient.open(side.world.score.address) as score:
                    score.abort_upload(upload_id)

    upload_id = side.world.start(ID).upload_id
    side.listener = Abort()
    with pytest.raises(UploadAbortedError):
        side.upload(streams=1)


def test_a_wrong_file_is_named_and_a_mended_one_sends_what_differs(side: Side, data: bytes) -> None:
    wrong = bytearray(data)
    wrong[2 * PART + 1] ^= 1
    side.file.write_bytes(wrong)
    with pytest.raises(ObjectDigestMismatchError):
        side.upload()
    side.file.write_bytes(data)
    assert side.upload().sent_bytes == PART
    assert side.download().md5 == hashlib.md5(data).hexdigest()


def test_bytes_that_come_wrong_time_and_again_are_an_integrity_error(side: Side) -> None:
    side.upload()
    with side.open(Transport.SIGNED) as score:
        manifest = score.get_chunk_manifest(ID, allow_unpublished=True)
    assert len(manifest.parts) == 4
    assert all(part.xxh3_128 for part in manifest.parts)
    side.max_tries = 2
    flips = [Fault("flip", "down", at, 1) for at in range(MIB, 4 * SIZE, PART // 2)]
    side.proxy.plan(flips)
    with pytest.raises(IntegrityError, match="other bytes"):
        side.download(streams=1)


def test_ranges_come_by_signed_urls_whatever_breaks(side: Side, data: bytes) -> None:
    side.upload()
    side.client = ImpatientScore
    side.proxy.plan([Fault("cut", "down", 3 * MIB, 0), Fault("refuse", "down", 5 * MIB, 2)])
    with side.open(Transport.SIGNED) as score:
        stored = score.get_object(ID, allow_unpublished=True)
        reader = ObjectReader(score, stored, allow_unpublished=True, rate=RateLimit(4 * MIB), listener=side.listener)
        found = b"".join(bytes(piece) for piece in reader.chunks(7, SIZE - 9))
    assert found == data[7:-2]
    assert side.listener.moved == SIZE + SIZE - 9


def test_an_empty_file_needs_no_url(side: Side) -> None:
    side.world.register("object-2", b"")
    side.file.write_bytes(b"")
    with side.open(Transport.SIGNED) as score:
        result = upload_file(score, "object-2", side.file, state_dir=side.folder / "state")
        assert result.part_total == 0
        target = side.folder / "empty"
        assert download_object(score, "object-2", target, allow_unpublished=True).path.read_bytes() == b""


@pytest.fixture
def narrow_gate(side: Side) -> Iterator[FaultProxy]:
    """A way to Score that cuts whatever brings more than calls do."""
    gate = FaultProxy(lambda _: None)
    side.address = f"127.0.0.1:{gate.open_door(int(side.world.score.address.rpartition(':')[2]))}"
    yield gate
    gate.close()


def test_where_streams_alone_are_cut_signed_urls_are_taken(side: Side, data: bytes, narrow_gate: FaultProxy) -> None:
    narrow_gate.plan([Fault("cut", "up", at, 0) for at in range(60_000, 2_000_000, 60_000)])
    assert side.upload(Transport.AUTO, streams=1).sent_bytes == SIZE
    assert any("signed URLs" in said for said in side.listener.said)
    assert side.proxy.count("up") >= SIZE
    narrow_gate.plan([Fault("cut", "down", at, 0) for at in range(60_000, 2_000_000, 60_000)])
    assert side.download(Transport.AUTO, streams=1).path.read_bytes() == data


def test_a_forced_way_is_not_exchanged_for_the_other(side: Side, narrow_gate: FaultProxy) -> None:
    side.max_tries = 4
    narrow_gate.plan([Fault("cut", "up", at, 0) for at in range(60_000, 2_000_000, 60_000)])
    with pytest.raises(UnavailableError):
        side.upload(Transport.STREAM, streams=1)
    assert side.proxy.count("up") == 0


Headers = Callable[[int, int], dict[str, str]]
Body = Callable[[int, int], bytes]


class Store:
    """A store that answers each request for a range in a way of its own, and remembers what it was sent."""

    def __init__(self, status: int, headers: Headers, body: Body) -> None:
        self.asked: list[dict[str, str]] = []
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
                """Say nothing."""

            def do_GET(self) -> None:
                store.asked.append({name.lower(): value for name, value in self.headers.items()})
                first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                found = body(int(first), int(last) + 1)
                self.send_response(status)
                for name, value in headers(int(first), int(last) + 1).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(found)))
                self.end_headers()
                self.wfile.write(found)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/bucket/key?X-Amz-Signature=secret"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Read a range as a download does."""
        signed = SignedRequest(method="GET", url=self.url, headers=[HttpHeader(name="x-mark", value="7")])
        buffer = memoryview(bytearray(100_000))
        with closing(HttpConnections()) as http:
            return b"".join(map(bytes, read_range(http, signed, offset, size_bytes, "part 1 of a.bam", buffer)))

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


WHOLE = random_bytes(300_000)


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (206, lambda a, b: {"Content-Range": f"bytes {a}-{b - 1}/300000"}, lambda a, b: WHOLE[a:b]),
        (200, lambda a, b: {"Content-Range": f"bytes {a}-{b - 1}/300000"}, lambda a, b: WHOLE[a:b]),
        (200, lambda _a, _b: {}, lambda _a, _b: WHOLE),
        (206, lambda a, b: {"Content-Range": f"bytes {a - 9}-{b - 1}/300000"}, lambda a, b: WHOLE[a - 9 : b]),
    ],
    ids=["a range", "a range with 200", "the whole", "a little more"],
)
def test_a_range_is_understood_however_a_store_sends_it(status: int, headers: Headers, body: Body) -> None:
    store = Store(status, headers, body)
    assert store.read(100_000, 150_000) == WHOLE[100_000:250_000]
    (asked,) = store.asked
    assert asked["range"] == "bytes=100000-249999"
    assert asked["x-mark"] == "7"
    assert "authorization" not in asked
    store.close()


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (206, lambda _a, _b: {"Content-Range": "bytes 5-9/10"}, lambda a, b: WHOLE[a + 5 : b]),
        (206, lambda a, b: {"Content-Range": f"bytes {a + 1}-{b}/300000"}, lambda a, b: WHOLE[a + 1 : b]),
        (206, lambda _a, _b: {}, lambda a, b: WHOLE[a:b]),
        (200, lambda _a, _b: {}, lambda _a, _b: b"short"),
    ],
    ids=["too few bytes", "a later range", "no range named", "another file"],
)
def test_another_range_than_was_asked_for_is_no_answer(status: int, headers: Headers, body: Body) -> None:
    store = Store(status, headers, body)
    with pytest.raises(UnavailableError, match="does not answer") as raised:
        store.read(100_000, 150_000)
    assert "secret" not in str(raised.value)
    store.close()


@pytest.mark.parametrize(
    ("status", "body", "error", "is_transient"),
    [
        (403, b"<Error><Code>AccessDenied</Code></Error>", AccessError, False),
        (407, b"", AccessError, False),
        (404, b"<Error><Code>NoSuchKey</Code></Error>", NotFoundError, True),
        (400, b"<Error><Code>BadDigest</Code></Error>", IntegrityError, True),
        (400, b'{"reason": "CHUNK_CORRUPT", "message": "x"}', IntegrityError, True),
        (400, b"<Error><Code>RequestTimeout</Code></Error>", UnavailableError, True),
        (408, b"", UnavailableError, True),
        (429, b'{"reason": "TOO_MANY_STREAMS"}', UnavailableError, True),
        (500, b"<Error><Code>InternalError</Code></Error>", UnavailableError, True),
        (503, b"\xff\xfe", UnavailableError, True),
        (507, b'{"reason": "STORE_FULL"}', StoreFullError, False),
        (301, b"", ServiceError, False),
        (416, b"[]", ServiceError, False),
    ],
)
def test_a_refusal_is_told_apart_by_status_and_code_and_names_no_url(
    status: int, body: bytes, error: type[ServiceError], is_transient: bool
) -> None:
    store = Store(status, lambda _a, _b: {"Retry-After": "2"}, lambda _a, _b: body)
    with pytest.raises(error, match=f"part 1 of a.bam: the store answers {status}") as raised:
        store.read(0, 10)
    assert raised.value.is_transient == is_transient
    if type(raised.value) is UnavailableError:
        assert raised.value.retry_after_seconds == 2
    assert "secret" not in str(raised.value)
    store.close()
