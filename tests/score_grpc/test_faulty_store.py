"""Score on an S3 that fails: acknowledged parts stay, what is not stored is never acknowledged, reasons are told."""

import hashlib
import time
from collections.abc import Callable, Iterator

import grpc
import pytest
from score.v1.upload_pb2 import UPLOAD_STATE_COMPLETED, UPLOAD_STATE_OPEN
from score.v1.upload_service_pb2 import GetUploadRequest
from song_score_client.errors import ServiceError

from tests.servers.faulty_s3 import BEGIN, COMPLETE, GET, PART, Fault, FaultyS3
from tests.servers.raw_score import bytes_of, chunks_of
from tests.servers.score_world import PART as PART_BYTES
from tests.servers.score_world import World, random_bytes
from tests.servers.seaweedfs import ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, SeaweedFS

DATA = random_bytes(PART_BYTES + 12_345)
BOUND_SECONDS = 60


@pytest.fixture
def faulty(seaweedfs: SeaweedFS) -> Iterator[FaultyS3]:
    with FaultyS3(seaweedfs) as proxy:
        yield proxy


@pytest.fixture
def world(open_world: Callable[..., World], faulty: FaultyS3) -> World:
    return open_world(
        store="s3",
        s3_bucket=BUCKET,
        s3_endpoint=faulty.endpoint,
        s3_access_key=ACCESS_KEY_ID,
        s3_secret_key=SECRET_ACCESS_KEY,
    )


def persisted(world: World, upload_id: str) -> int:
    return world.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload_id)).upload.persisted_part_total


def test_a_store_that_is_down_at_the_start_is_named(world: World, faulty: FaultyS3) -> None:
    world.register("down-at-start", DATA)
    faulty.fail(Fault(matching=BEGIN, status=503, error_code="SlowDown"))
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as raised:
        world.start("down-at-start")
    assert world.raw.error(raised.value).reason == "STORE_UNAVAILABLE"
    assert time.monotonic() - began < BOUND_SECONDS


@pytest.mark.parametrize(
    "fault",
    [
        Fault(matching=PART, times=2, status=503, error_code="SlowDown"),
        Fault(matching=PART, times=2, swallows_answer=True),
        Fault(matching=PART, times=2, request_bytes=PART_BYTES // 2),
    ],
    ids=["SlowDown", "swallowed", "cut"],
)
def test_a_part_that_fails_is_asked_for_again_and_acknowledged_once(
    world: World, faulty: FaultyS3, fault: Fault, request: pytest.FixtureRequest
) -> None:
    object_id = f"part-{request.node.callspec.id.replace(' ', '-')}"
    world.register(object_id, DATA)
    upload = world.start(object_id)
    fault.seen = 0
    faulty.fail(fault)
    for _ in range(2):
        answers = world.raw.write(upload.upload_id, chunks_of(1, DATA[:PART_BYTES]))
        kinds = [answer.WhichOneof("message") for answer in answers]
        assert kinds == ["resend"]
        assert (answers[0].resend.part_number, answers[0].resend.offset) == (1, 0)
        assert persisted(world, upload.upload_id) == 0
    world.send(upload, DATA)
    assert persisted(world, upload.upload_id) == 2
    answer = world.complete(upload)
    assert answer.upload.state == UPLOAD_STATE_COMPLETED
    assert answer.stored_object.md5 == hashlib.md5(DATA).hexdigest()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(matching=COMPLETE, status=503, error_code="SlowDown"),
        Fault(matching=COMPLETE, status=200, error_code="InternalError"),
        Fault(matching=COMPLETE, status=200, body=b"<html>a gateway's page</html>"),
    ],
    ids=["SlowDown", "error-in-200", "unreadable"],
)
def test_a_completion_that_fails_leads_back_with_every_part_kept(
    world: World, faulty: FaultyS3, fault: Fault, request: pytest.FixtureRequest
) -> None:
    object_id = f"completion-{request.node.callspec.id}"
    world.register(object_id, DATA)
    upload = world.start(object_id)
    world.send(upload, DATA)
    fault.seen = 0
    faulty.fail(fault)
    answer = world.complete(upload)
    assert (answer.upload.state, answer.upload.last_failure.reason) == (UPLOAD_STATE_OPEN, "STORE_UNAVAILABLE")
    assert answer.upload.persisted_part_total == 2
    faulty.heal()
    parts_sent = faulty.count(PART)
    assert world.complete(upload).stored_object.md5 == hashlib.md5(DATA).hexdigest()
    assert faulty.count(PART) == parts_sent


def test_a_completion_whose_answer_is_swallowed_completes(world: World, faulty: FaultyS3) -> None:
    world.register("swallowed", DATA)
    upload = world.start("swallowed")
    world.send(upload, DATA, 2, 1)
    faulty.fail(Fault(matching=COMPLETE, swallows_answer=True, times=1))
    # Bytes that did not come in order are read back to be hashed: that breaks off too.
    cut = faulty.fail(Fault(matching=GET, answer_bytes=1_500_000, times=2))
    assert world.complete(upload).stored_object.md5 == hashlib.md5(DATA).hexdigest()
    assert cut.seen == 2


def test_a_download_gives_the_right_bytes_or_says_why_not(world: World, faulty: FaultyS3) -> None:
    world.store("download", DATA)
    faulty.fail(Fault(matching=GET, answer_bytes=1_500_000, times=2))
    assert bytes_of(world.raw.read("download", (0, None), unpublished=True)) == DATA
    faulty.heal()
    faulty.fail(Fault(matching=GET, status=503, error_code="SlowDown"))
    began = time.monotonic()
    with pytest.raises(ServiceError) as raised:
        world.raw.read("download", (0, None), unpublished=True)
    assert raised.value.reason == "STORE_UNAVAILABLE"
    assert time.monotonic() - began < BOUND_SECONDS
