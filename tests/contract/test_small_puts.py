"""What `ObjectStore.put` promises, of every store: a small object in one go, whole or not at all."""

import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from score_grpc.domain.errors import StoreUnavailableError
from score_grpc.gateways.objects.local import LocalObjectStore
from score_grpc.gateways.objects.port import ObjectStore
from score_grpc.gateways.objects.s3 import S3ObjectStore
from tests.contract.stores import Crash, StoreUnderTest, s3_options
from tests.servers.faulty_s3 import Fault, FaultyS3
from tests.servers.seaweedfs import BUCKET, SeaweedFS

CONTENT = random.Random(1).randbytes(1024 * 1024)
OTHER = random.Random(2).randbytes(1024 * 1024)
PUT = r"PUT /[^?]+$"


@pytest.fixture
def key() -> str:
    return f"data/{uuid.uuid4()}"


@pytest.fixture
def store(under_test: StoreUnderTest) -> ObjectStore:
    return under_test.store


def pieces_of(content: bytes | bytearray, *ends: int) -> list[memoryview]:
    """Cut the content at these places."""
    view = memoryview(content)
    return [view[start:end] for start, end in zip([0, *ends], [*ends, len(content)], strict=True)]


def read(store: ObjectStore, key: str, version: str, size_bytes: int) -> bytes:
    return b"".join(map(bytes, store.read(key, version, 0, size_bytes)))


@pytest.mark.parametrize("content", [CONTENT, b"x", b""], ids=["a MiB", "a byte", "empty"])
def test_what_is_put_is_there(under_test: StoreUnderTest, key: str, content: bytes) -> None:
    store = under_test.store
    stored = store.put(key, [memoryview(content)])
    assert stored.size_bytes == len(content)
    assert store.stat(key) == stored
    assert under_test.plain_bytes(key) == content
    assert read(store, key, stored.version, len(content)) == content
    under_test.restart()
    assert under_test.store.stat(key) == stored


def test_pieces_are_put_as_one_and_are_the_callers_again(under_test: StoreUnderTest, key: str) -> None:
    buffer = bytearray(CONTENT)
    under_test.store.put(key, pieces_of(buffer, 1, 1, 4096, 700_000))
    buffer[:] = bytes(len(buffer))
    assert under_test.plain_bytes(key) == CONTENT
    under_test.store.put(f"{key}.2", [])
    assert under_test.plain_bytes(f"{key}.2") == b""


def test_putting_again_replaces(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    store.put(key, [memoryview(OTHER)])
    stored = store.put(key, [memoryview(CONTENT)])
    assert store.stat(key) == stored
    assert under_test.plain_bytes(key) == CONTENT
    store.delete(key)
    assert store.stat(key) is None


def test_many_are_put_at_once(under_test: StoreUnderTest, key: str) -> None:
    contents = {f"{key}.{number}": OTHER[number * 1000 : number * 2000] for number in range(40)}
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda name: under_test.store.put(name, [memoryview(contents[name])]), contents))
    assert [found.size_bytes for found in stored] == [len(content) for content in contents.values()]
    assert {name: under_test.plain_bytes(name) for name in contents} == contents


def test_a_crash_at_any_step_leaves_all_or_nothing_and_it_can_be_put_again(
    under_test: StoreUnderTest, key: str
) -> None:
    steps = 0
    while True:
        steps += 1
        name = f"{key}.{steps}"
        try:
            with under_test.crashing(steps):
                under_test.store.put(name, [memoryview(CONTENT)])
        except Crash:
            under_test.restart()
            assert under_test.plain_bytes(name) in {None, CONTENT}
            stored = under_test.store.put(name, [memoryview(CONTENT)])
            assert under_test.store.stat(name) == stored
            assert under_test.plain_bytes(name) == CONTENT
        else:
            break
    assert steps > 2


@pytest.fixture
def bucket(seaweedfs: SeaweedFS) -> S3ObjectStore:
    return S3ObjectStore(s3_options(seaweedfs))


def with_another_etag(store: S3ObjectStore, *also: Any) -> None:  # noqa: ANN401 - a handler of the SDK's
    """Have the store answer a PUT with an etag that is no MD5, as it does where it encrypts."""

    def change(parsed: dict[str, Any], **_: object) -> None:
        for handler in also:
            handler()
        parsed["ETag"] = '"not-an-md5"'

    store._client.meta.events.register("after-call.s3.PutObject", change)


def test_where_the_etag_proves_nothing_the_bytes_are_read_back(bucket: S3ObjectStore, key: str) -> None:
    with_another_etag(bucket)
    assert bucket.put(key, [memoryview(CONTENT)]) == bucket.stat(key)
    assert bucket.put(f"{key}.2", []) == bucket.stat(f"{key}.2")


def test_other_bytes_in_the_store_are_no_success(bucket: S3ObjectStore, seaweedfs: SeaweedFS, key: str) -> None:
    plain = seaweedfs.client()
    overwritten = False

    def overwrite() -> None:
        nonlocal overwritten
        overwritten = True
        plain.put_object(Bucket=BUCKET, Key=key, Body=OTHER)

    with_another_etag(bucket, overwrite)
    with pytest.raises(StoreUnavailableError, match="other bytes"):
        bucket.put(key, [memoryview(CONTENT)])
    assert overwritten


@pytest.mark.parametrize(
    "fault",
    [
        Fault(matching=PUT, times=1, status=503, error_code="SlowDown"),
        Fault(matching=PUT, times=1, request_bytes=100_000),
        Fault(matching=PUT, times=1, swallows_answer=True),
    ],
    ids=["SlowDown", "broken off", "answer swallowed"],
)
def test_a_put_that_fails_once_is_tried_again(seaweedfs: SeaweedFS, key: str, fault: Fault) -> None:
    with FaultyS3(seaweedfs) as faulty:
        store = S3ObjectStore(s3_options(faulty, progress_timeout_seconds=3))
        faulty.fail(fault)
        stored = store.put(key, [memoryview(CONTENT)])
        assert fault.seen == 1
        assert store.stat(key) == stored
        faulty.heal()
        faulty.fail(Fault(matching=PUT, status=500, error_code="InternalError"))
        with pytest.raises(StoreUnavailableError):
            store.put(f"{key}.2", [memoryview(CONTENT)])
        store.close()


def test_a_put_that_the_disk_refuses_leaves_nothing(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    (tmp_path / "data/taken").mkdir(parents=True)
    (tmp_path / "data/taken/by-a-folder").touch()
    with pytest.raises(StoreUnavailableError):
        store.put("data/taken", [memoryview(CONTENT)])
    assert list((tmp_path / "upload").iterdir()) == []
    store.close()
