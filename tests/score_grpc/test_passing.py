"""What passes is hashed on its way, and the store vouches for it: nothing is read back. Anything else is."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from score.v1.upload_pb2 import UPLOAD_STATE_OPEN
from score.v1.upload_service_pb2 import CompleteUploadResponse, GetUploadRequest

from score_grpc.domain import limits
from score_grpc.domain.errors import StoreUnavailableError
from score_grpc.gateways.objects.port import ObjectStore, PartWriter, Staging
from score_grpc.gateways.objects.s3 import S3ObjectStore
from score_grpc.gateways.objects.s3_client import S3Options
from tests.servers import rclone
from tests.servers import seaweedfs as weed
from tests.servers.faulty_s3 import BEGIN, COMPLETE, Fault, FaultyS3
from tests.servers.raw_score import MIB, bytes_of, chunks_of
from tests.servers.score_world import PART, World, random_bytes

DATA = random_bytes(3 * PART + MIB + 17)


def s3_settings(endpoint: str) -> dict[str, object]:
    return {
        "store": "s3",
        "s3_bucket": weed.BUCKET,
        "s3_endpoint": endpoint,
        "s3_region": weed.REGION,
        "s3_access_key": weed.ACCESS_KEY_ID,
        "s3_secret_key": weed.SECRET_ACCESS_KEY,
    }


def options(endpoint: str) -> S3Options:
    return S3Options(
        bucket=weed.BUCKET,
        endpoint_url=endpoint,
        uses_path_style=True,
        access_key_id=weed.ACCESS_KEY_ID,
        secret_access_key=weed.SECRET_ACCESS_KEY,
    )


@pytest.fixture
def s3(open_world: Callable[..., World], seaweedfs: weed.SeaweedFS) -> World:
    """A Score on a store that was found to vouch."""
    world = open_world(**s3_settings(seaweedfs.endpoint))
    world.score.environment.store.check()
    return world


class Reads:
    """Counts the bytes that are read from the store."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.total_bytes = 0
        store = world.score.environment.store
        read = store.read

        def counted(key: str, version: str, offset: int, size_bytes: int) -> Iterator[memoryview]:
            for piece in read(key, version, offset, size_bytes):
                self.total_bytes += piece.nbytes
                yield piece

        monkeypatch.setattr(store, "read", counted)


def wrap_writers(world: World, monkeypatch: pytest.MonkeyPatch, wrap: Callable[[PartWriter, int], PartWriter]) -> None:
    """Have the store's writers of parts wrapped; `wrap` gets the part's number too."""
    store = world.score.environment.store
    open_part = store.open_part

    def wrapped(staging: Staging, part_number: int, offset: int, size_bytes: int) -> PartWriter:
        return wrap(open_part(staging, part_number, offset, size_bytes), part_number)

    monkeypatch.setattr(store, "open_part", wrapped)


class HurtWriter:
    """Does something to a part's second write, once."""

    def __init__(self, writer: PartWriter, hurt: Callable[[memoryview], memoryview]) -> None:
        self._writer, self._hurt, self._written = writer, hurt, 0
        self.commit, self.discard = writer.commit, writer.discard

    def write(self, data: memoryview) -> None:
        self._written += 1
        self._writer.write(self._hurt(data) if self._written == 2 else data)


def stored_right(world: World, answer: CompleteUploadResponse) -> bool:
    stored = answer.stored_object
    read = world.raw.read(stored.object_id, (0, None), unpublished=True)
    return stored.size_bytes == len(DATA) and bytes_of(read) == DATA


def test_an_upload_in_order_is_not_read_back(s3: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(s3, monkeypatch)
    s3.register("object-1", DATA)
    upload = s3.start("object-1")
    s3.send(upload, DATA)
    answer = s3.complete(upload)
    assert reads.total_bytes == 0
    assert stored_right(s3, answer)


def test_parts_out_of_order_are_read_back(s3: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(s3, monkeypatch)
    s3.register("object-1", DATA)
    upload = s3.start("object-1")
    s3.send(upload, DATA, 2, 1, 3, 4)
    answer = s3.complete(upload)
    assert reads.total_bytes == len(DATA)
    assert stored_right(s3, answer)


def test_bytes_that_change_on_their_way_to_the_store_are_found(s3: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hurt = [True]

    def flip(data: memoryview) -> memoryview:
        if not hurt.pop():
            return data
        changed = bytearray(data)
        changed[1000] ^= 1
        return memoryview(changed)

    wrap_writers(s3, monkeypatch, lambda writer, number: HurtWriter(writer, flip) if number == 2 and hurt else writer)
    s3.register("object-1", DATA)
    upload = s3.start("object-1")
    s3.send(upload, DATA)
    failed = s3.complete(upload).upload
    assert (failed.state, failed.last_failure.reason) == (UPLOAD_STATE_OPEN, "PARTS_MISSING")
    seen = s3.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload.upload_id))
    assert [part.part_number for part in seen.parts] == [1, 3, 4]
    s3.send(upload, DATA, 2)
    assert stored_right(s3, s3.complete(upload))


def test_a_part_that_the_store_dropped_is_hashed_when_it_comes_again(
    s3: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [True]

    def fail(data: memoryview) -> memoryview:
        if failures.pop():
            raise StoreUnavailableError("not now")
        return data

    wrap_writers(
        s3, monkeypatch, lambda writer, number: HurtWriter(writer, fail) if number == 2 and failures else writer
    )
    reads = Reads(s3, monkeypatch)
    s3.register("object-1", DATA)
    upload = s3.start("object-1")
    s3.send(upload, DATA, 1)
    answers = s3.raw.write(upload.upload_id, chunks_of(2, DATA[PART : 2 * PART]))
    assert [answer.WhichOneof("message") for answer in answers] == ["resend"]
    s3.send(upload, DATA, 2, 3, 4)
    answer = s3.complete(upload)
    assert reads.total_bytes == 0
    assert stored_right(s3, answer)


def test_a_replaced_part_has_the_whole_read_back(s3: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(s3, monkeypatch)
    s3.register("object-1", DATA)
    upload = s3.start("object-1")
    other = DATA[:PART] + random_bytes(PART, seed=2) + DATA[2 * PART :]
    s3.send(upload, other)
    assert s3.complete(upload).upload.last_failure.reason == "OBJECT_DIGEST_MISMATCH"
    assert reads.total_bytes == 0
    s3.send(upload, DATA, 2, replace=True)
    answer = s3.complete(upload)
    assert reads.total_bytes == len(DATA)
    assert stored_right(s3, answer)


def test_a_hash_that_falls_behind_for_long_gives_way_to_reading_back(
    s3: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HASH_PACE_SECONDS", 0.0)
    monkeypatch.setattr(limits, "PASSING_QUEUE_BYTES", 0)
    reads = Reads(s3, monkeypatch)
    s3.register("object-1", DATA)
    upload = s3.start("object-1")
    s3.send(upload, DATA)
    answer = s3.complete(upload)
    assert reads.total_bytes == len(DATA)
    assert stored_right(s3, answer)


def test_a_store_that_tells_no_digest_of_a_whole_is_read_back(tmp_path: Path) -> None:
    command = rclone.rclone_command()
    assert command is not None
    server = rclone.Rclone(command, tmp_path)
    server.start()
    try:
        assert not vouches(S3ObjectStore(options(server.endpoint)))
    finally:
        server.kill()


def vouches(store: ObjectStore) -> bool:
    try:
        store.check()
        return store.passing_digest() is not None
    finally:
        store.close()


@pytest.mark.parametrize("request_kind", [BEGIN, COMPLETE])
def test_a_store_that_refuses_to_vouch_is_not_asked_again(seaweedfs: weed.SeaweedFS, request_kind: str) -> None:
    with FaultyS3(seaweedfs) as faulty:
        faulty.fail(Fault(matching=request_kind, status=400, error_code="InvalidRequest", times=1))
        store = S3ObjectStore(options(faulty.endpoint))
        try:
            store.check()
            store.check()
            assert store.passing_digest() is None
            assert not [key for key in keys_of(seaweedfs) if key.startswith("upload/vouching")]
        finally:
            store.close()


def test_a_store_that_is_overloaded_is_asked_again(seaweedfs: weed.SeaweedFS) -> None:
    with FaultyS3(seaweedfs) as faulty:
        fault = Fault(matching=BEGIN, status=503, error_code="SlowDown")
        faulty.fail(fault)
        store = S3ObjectStore(options(faulty.endpoint))
        try:
            store.check()
            assert store.passing_digest() is None
            faulty.heal()
            assert vouches(store)
        finally:
            store.close()
    assert fault.seen
    assert not [key for key in keys_of(seaweedfs) if key.startswith("upload/vouching")]


def keys_of(server: weed.SeaweedFS) -> list[str]:
    client = server.client()
    try:
        return [found["Key"] for found in client.list_objects_v2(Bucket=weed.BUCKET).get("Contents", [])]
    finally:
        client.close()
