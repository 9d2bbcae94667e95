"""A real S3 that fails: what may be tried again is, nothing is acknowledged that is not stored, no object is wrong."""

import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence

import pytest

from score_grpc.domain.errors import StoredBytesCorruptError, StoreUnavailableError
from score_grpc.gateways.objects.http_streams import ATTEMPTS
from score_grpc.gateways.objects.port import PIECE_BYTES, StagedPart, Staging
from score_grpc.gateways.objects.s3 import S3ObjectStore
from tests.contract.stores import s3_options
from tests.servers.faulty_s3 import ABORT, BEGIN, COMPLETE, GET, HEAD, LIST_PARTS, PART, Fault, FaultyS3
from tests.servers.seaweedfs import BUCKET, SeaweedFS

MIB = 1024 * 1024
PART_BYTES = 5 * MIB
CONTENT = random.Random(1).randbytes(PART_BYTES + 12_345)
OTHER = random.Random(2).randbytes(len(CONTENT))
BOUND_SECONDS = 60
"""Generous: four tries with pauses of some seconds in between, on a busy machine."""


@pytest.fixture
def key() -> str:
    return f"data/{uuid.uuid4()}"


@pytest.fixture
def faulty(seaweedfs: SeaweedFS) -> Iterator[FaultyS3]:
    with FaultyS3(seaweedfs) as proxy:
        yield proxy


@pytest.fixture
def store(faulty: FaultyS3) -> Iterator[S3ObjectStore]:
    store = S3ObjectStore(s3_options(faulty, progress_timeout_seconds=3))
    yield store
    store.close()


def write(store: S3ObjectStore, staging: Staging, number: int, content: bytes = CONTENT) -> StagedPart:
    offset = (number - 1) * PART_BYTES
    part = content[offset : offset + PART_BYTES]
    writer = store.open_part(staging, number, offset, len(part))
    try:
        writer.write(memoryview(part))
        return StagedPart(number, offset, len(part), writer.commit())
    finally:
        writer.discard()


def write_both(store: S3ObjectStore, staging: Staging) -> list[StagedPart]:
    return [write(store, staging, 1), write(store, staging, 2)]


def read(store: S3ObjectStore, key: str) -> bytes:
    stored = store.stat(key)
    assert stored is not None
    return b"".join(map(bytes, store.read(key, stored.version, 0, stored.size_bytes)))


def put(store: S3ObjectStore, key: str) -> None:
    staging = store.begin(key)
    store.assemble(staging, write_both(store, staging))


TRANSIENT = {
    "500": Fault(matching="", status=500, error_code="InternalError"),
    "503 SlowDown": Fault(matching="", status=503, error_code="SlowDown"),
    "an answer swallowed": Fault(matching="", swallows_answer=True),
    "a connection dropped": Fault(matching="", request_bytes=0),
    "silence": Fault(matching="", delay_seconds=4),
}
CALLS: dict[str, tuple[str, Callable[[S3ObjectStore, Staging, Sequence[StagedPart]], object]]] = {
    "begin": (BEGIN, lambda store, staging, _: store.begin(staging.key)),
    "assemble": (COMPLETE, lambda store, staging, parts: store.assemble(staging, parts)),
    "abort": (ABORT, lambda store, staging, _: store.abort(staging)),
    "stat": (HEAD, lambda store, staging, _: store.stat(staging.key)),
    "check": (HEAD, lambda store, _, __: store.check()),
    "delete": (r"DELETE /[^?]+$", lambda store, staging, _: store.delete(staging.key)),
}


def fault_of(kind: str, matching: str, times: int) -> Fault:
    known = TRANSIENT[kind]
    return Fault(
        matching=matching,
        times=times,
        status=known.status,
        error_code=known.error_code,
        delay_seconds=known.delay_seconds,
        request_bytes=known.request_bytes,
        swallows_answer=known.swallows_answer,
    )


@pytest.mark.parametrize("kind", TRANSIENT)
def test_calls_that_fail_once_are_tried_again(store: S3ObjectStore, faulty: FaultyS3, key: str, kind: str) -> None:
    staging = store.begin(key)
    parts = write_both(store, staging)
    for name, (matching, call) in CALLS.items():
        if kind == "silence" and name != "assemble":
            continue  # seconds each
        fault = faulty.fail(fault_of(kind, matching, times=1))
        call(store, staging, parts)
        assert fault.seen == 1
        faulty.heal()
        if matching == COMPLETE:
            assert read(store, key) == CONTENT


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_keep_failing_say_so_in_bounded_time(
    store: S3ObjectStore, faulty: FaultyS3, key: str, name: str
) -> None:
    staging = store.begin(key)
    parts = write_both(store, staging)
    matching, call = CALLS[name]
    fault = faulty.fail(Fault(matching=matching, status=503, error_code="SlowDown"))
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="503") as raised:
        call(store, staging, parts)
    assert time.monotonic() - began < BOUND_SECONDS
    assert fault.seen == ATTEMPTS
    assert "words" not in str(raised.value)
    faulty.heal()
    # Nothing was made, and nothing is lost.
    if name != "abort":
        store.assemble(staging, parts)
        assert read(store, key) == CONTENT


@pytest.mark.parametrize(
    "fault",
    [
        Fault(matching=PART, status=500, error_code="InternalError"),
        Fault(matching=PART, status=503, error_code="SlowDown"),
        Fault(matching=PART, status=200, error_code="InternalError"),
        Fault(matching=PART, request_bytes=PART_BYTES // 2),
        Fault(matching=PART, request_bytes=PART_BYTES - 1),
        Fault(matching=PART, swallows_answer=True),
        Fault(matching=PART, delay_seconds=4),
    ],
    ids=["500", "SlowDown", "error in 200", "half a part", "all but a byte", "swallowed", "silence"],
)
def test_a_part_that_fails_is_not_acknowledged_and_can_be_written_again(
    store: S3ObjectStore, faulty: FaultyS3, key: str, fault: Fault
) -> None:
    staging = store.begin(key)
    fault.seen = 0
    faulty.fail(fault)
    before = faulty.count(PART)
    with pytest.raises(StoreUnavailableError):
        write(store, staging, 1, OTHER)
    assert faulty.count(PART) == before + 1, "the bytes of a part are gone: it is tried once"
    faulty.heal()
    store.assemble(staging, write_both(store, staging))
    assert read(store, key) == CONTENT


def test_a_part_cut_in_the_middle_is_not_in_the_store(store: S3ObjectStore, faulty: FaultyS3, key: str) -> None:
    staging = store.begin(key)
    first = write(store, staging, 1)
    faulty.fail(Fault(matching=PART, request_bytes=1000))
    with pytest.raises(StoreUnavailableError):
        write(store, staging, 2)
    faulty.heal()
    listed = store._client.list_parts(Bucket=BUCKET, Key=key, UploadId=staging.token)["Parts"]
    assert [(part["PartNumber"], part["Size"]) for part in listed] == [(1, first.size_bytes)]


def test_an_error_inside_a_success_is_no_assembly_until_it_is_one(
    store: S3ObjectStore, faulty: FaultyS3, key: str
) -> None:
    staging = store.begin(key)
    parts = write_both(store, staging)
    fault = faulty.fail(Fault(matching=COMPLETE, status=200, error_code="InternalError"))
    with pytest.raises(StoreUnavailableError):
        store.assemble(staging, parts)
    assert fault.seen == ATTEMPTS
    assert store.stat(key) is None
    faulty.heal()
    fault = faulty.fail(Fault(matching=COMPLETE, status=200, error_code="InternalError", times=2))
    store.assemble(staging, parts)
    assert fault.seen == 2
    assert read(store, key) == CONTENT


@pytest.mark.parametrize("body", [b"", b"<html>a gateway's page</html>", b"<Complete", b"\x00\xff not xml"])
def test_a_success_that_nobody_can_read_is_no_assembly(
    store: S3ObjectStore, faulty: FaultyS3, key: str, body: bytes
) -> None:
    staging = store.begin(key)
    parts = write_both(store, staging)
    faulty.fail(Fault(matching=COMPLETE, status=200, body=body))
    # StagingLostError would throw every part away.
    with pytest.raises(StoreUnavailableError):
        store.assemble(staging, parts)
    faulty.heal()
    store.assemble(staging, parts)
    assert read(store, key) == CONTENT


def test_an_answer_of_an_assembly_that_breaks_off_is_asked_for_again(
    store: S3ObjectStore, faulty: FaultyS3, key: str
) -> None:
    staging = store.begin(key)
    parts = write_both(store, staging)
    faulty.fail(Fault(matching=COMPLETE, answer_bytes=20, times=1))
    store.assemble(staging, parts)
    assert read(store, key) == CONTENT


@pytest.mark.parametrize("body", [b"", b"<html/>", b"<Initiate"])
def test_a_beginning_that_nobody_can_read_is_unavailable(
    store: S3ObjectStore, faulty: FaultyS3, key: str, body: bytes
) -> None:
    faulty.fail(Fault(matching=BEGIN, status=200, body=body))
    with pytest.raises(StoreUnavailableError):
        store.begin(key)


def test_a_read_that_breaks_off_goes_on_where_it_was(store: S3ObjectStore, faulty: FaultyS3, key: str) -> None:
    put(store, key)
    before = faulty.count(GET)
    faulty.fail(Fault(matching=GET, answer_bytes=PIECE_BYTES + 1000))
    # Each try brings a piece, so none is the last.
    assert read(store, key) == CONTENT
    assert faulty.count(GET) - before == -(-len(CONTENT) // PIECE_BYTES)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(matching=GET, answer_bytes=1000),
        Fault(matching=GET, status=503, error_code="SlowDown"),
        Fault(matching=GET, request_bytes=0),
    ],
    ids=["cut", "SlowDown", "dropped"],
)
def test_a_read_that_never_comes_further_ends_in_bounded_time(
    store: S3ObjectStore, faulty: FaultyS3, key: str, fault: Fault
) -> None:
    put(store, key)
    fault.seen = 0
    faulty.fail(fault)
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        read(store, key)
    assert time.monotonic() - began < BOUND_SECONDS
    assert fault.seen == ATTEMPTS
    faulty.heal()
    assert read(store, key) == CONTENT


def test_an_object_that_changes_while_a_read_is_broken_off_is_never_mixed(
    store: S3ObjectStore, faulty: FaultyS3, seaweedfs: SeaweedFS, key: str
) -> None:
    put(store, key)
    stored = store.stat(key)
    assert stored is not None
    faulty.fail(Fault(matching=GET, answer_bytes=2 * PIECE_BYTES + 5, times=1))
    pieces = store.read(key, stored.version, 0, stored.size_bytes)
    got = bytes(next(pieces))
    plain = seaweedfs.client()
    plain.put_object(Bucket=BUCKET, Key=key, Body=OTHER)
    plain.close()

    collected = bytearray(got)

    def collect() -> None:
        for piece in pieces:
            collected.extend(piece)

    with pytest.raises(StoredBytesCorruptError):
        collect()
    assert CONTENT.startswith(bytes(collected))


def test_a_reopening_that_fails_leaves_the_object(store: S3ObjectStore, faulty: FaultyS3, key: str) -> None:
    staging = store.begin(key)
    parts = write_both(store, staging)
    store.assemble(staging, parts)
    faulty.fail(Fault(matching=PART, status=200, error_code="InternalError"))
    with pytest.raises(StoreUnavailableError):
        store.reopen(staging, parts)
    faulty.heal()
    again, kept = store.reopen(staging, parts)
    store.assemble(again, kept)
    assert read(store, key) == CONTENT


def test_lost_parts_are_named_though_the_list_came_at_the_second_try(
    store: S3ObjectStore, faulty: FaultyS3, key: str
) -> None:
    staging = store.begin(key)
    parts = write_both(store, staging)
    store._demand_parts(staging, parts)
    fault = faulty.fail(Fault(matching=LIST_PARTS, answer_bytes=10, times=1))
    store._demand_parts(staging, parts)
    assert fault.seen == 1
    store.abort(staging)
