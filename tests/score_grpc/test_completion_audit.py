"""Each end of a completion leaves one row in the audit, whoever comes to it, and in the name of who asked."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from score.v1.upload_pb2 import UPLOAD_STATE_COMPLETED, UPLOAD_STATE_COMPLETING, UPLOAD_STATE_OPEN
from score.v1.upload_service_pb2 import (
    AbortUploadRequest,
    CompleteUploadRequest,
    FinishSmallObject,
    GetUploadRequest,
    OpenSmallObject,
    SmallObjectChunk,
    WriteObjectsRequest,
)
from sqlalchemy import text

from score_grpc.domain import limits
from score_grpc.domain.access import Principal
from score_grpc.domain.audit import Asker
from score_grpc.transport.caller import Callers
from tests.servers.faulty_s3 import COMPLETE, Fault, FaultyS3
from tests.servers.postgresql import new_database
from tests.servers.processes import ServiceProcess
from tests.servers.raw_score import MIB, RawScore
from tests.servers.registry_song import TOKEN, RegistrySong
from tests.servers.score_world import PART, World, random_bytes
from tests.servers.seaweedfs import ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, SeaweedFS

DATA = random_bytes(PART + 100)
SUBMITTER = Principal("a submitter", frozenset({"PROGRAMDATA-ABC.WRITE"}))
LOOKS, PAUSE_SECONDS = 600, 0.1


@pytest.fixture
def faulty(seaweedfs: SeaweedFS) -> Iterator[FaultyS3]:
    with FaultyS3(seaweedfs) as proxy:
        yield proxy


def on_s3(proxy: FaultyS3) -> dict[str, object]:
    return {
        "store": "s3",
        "s3_bucket": BUCKET,
        "s3_endpoint": proxy.endpoint,
        "s3_access_key": ACCESS_KEY_ID,
        "s3_secret_key": SECRET_ACCESS_KEY,
    }


def ends(world: World) -> list[Any]:
    """Return the rows of ended completions, oldest first, the facts of each as `facts`."""
    query = text("SELECT * FROM audit WHERE action = 'complete' ORDER BY time")
    with world.score._database.read() as connection:
        rows = connection.execute(query).mappings().all()
    return [dict(row) | {"facts": json.loads(row["facts_json"])} for row in rows]


def await_end(world: World, upload_id: str) -> int:
    """Wait until the upload no longer completes, and return its state."""
    pause = threading.Event()
    for _ in range(LOOKS):
        state = world.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload_id)).upload.state
        if state != UPLOAD_STATE_COMPLETING:
            return state
        pause.wait(PAUSE_SECONDS)
    raise AssertionError("the completion comes to no end")


@pytest.mark.parametrize("is_right", [True, False], ids=["the right bytes", "other bytes"])
def test_a_completion_that_outlasts_its_call_has_one_row_for_its_end(
    open_world: Callable[..., World], faulty: FaultyS3, monkeypatch: pytest.MonkeyPatch, *, is_right: bool
) -> None:
    world, object_id = open_world(**on_s3(faulty)), f"outlasting-{is_right}"
    world.register(object_id, DATA)
    upload = world.start(object_id)
    world.send(upload, DATA if is_right else bytes(len(DATA)))
    monkeypatch.setattr(limits, "COMPLETION_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(Callers, "of", lambda *_: SUBMITTER)
    faulty.fail(Fault(matching=COMPLETE, times=1, delay_seconds=3))
    request = CompleteUploadRequest(upload_id=upload.upload_id)
    assert world.raw.uploads.CompleteUpload(request).upload.state == UPLOAD_STATE_COMPLETING
    world.raw.uploads.CompleteUpload(request)  # attaches
    assert await_end(world, upload.upload_id) == (UPLOAD_STATE_COMPLETED if is_right else UPLOAD_STATE_OPEN)
    world.raw.uploads.CompleteUpload(request)  # says what it came to
    (row,) = ends(world)
    expected = "OK" if is_right else "OBJECT_DIGEST_MISMATCH"
    assert (row["principal"], row["object_id"], row["study_id"], row["result"]) == (
        "a submitter",
        object_id,
        "ABC",
        expected,
    )
    assert row["facts"].pop("address").startswith("ipv4:127.0.0.1:")
    assert row["facts"].pop("client").startswith("grpc-python/")
    assert row["facts"] == {"upload_id": upload.upload_id} | ({"generation": "1"} if is_right else {})


def test_the_end_that_another_process_comes_to_is_told_once_in_the_name_of_who_asked(
    open_world: Callable[..., World],
    faulty: FaultyS3,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SWEEP_PERIOD_SECONDS", 0.1)
    monkeypatch.setattr(Callers, "of", lambda *_: SUBMITTER)
    shared = on_s3(faulty) | {"database_url": new_database(request)}
    asked = open_world(**shared, background_work=False)
    workers = [open_world(**shared) for _ in range(2)]
    asked.register("elsewhere-1", DATA)
    upload = asked.start("elsewhere-1")
    asked.send(upload, DATA)
    calls = [CompleteUploadRequest(upload_id=upload.upload_id)] * 3
    for world, call in zip([asked, *workers], calls, strict=True):
        world.raw.uploads.CompleteUpload(call)
    assert await_end(asked, upload.upload_id) == UPLOAD_STATE_COMPLETED
    (row,) = ends(asked)
    assert (row["principal"], row["result"]) == ("a submitter", "OK")
    assert row["facts"]["address"]


@pytest.mark.parametrize("place", ["before the object is in the ledger", "after the object is in the ledger"])
def test_a_process_that_is_killed_over_a_completion_leaves_one_row_of_its_end_in_all(
    place: str, song: RegistrySong, open_world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SWEEP_PERIOD_SECONDS", 0.1)
    values = {"port": 0, "song_address": song.address, "service_token": TOKEN, "data_dir": str(tmp_path / "score")}
    program = ServiceProcess(["tests/servers/dying_score.py", place, "1", json.dumps(values)], tmp_path / "log")
    try:
        dying = World(song, None, RawScore(program.address), None)  # type: ignore[arg-type]  # a process of its own
        dying.register("killed-1", DATA)
        upload = dying.start("killed-1")
        dying.send(upload, DATA)
        call = dying.raw.uploads.CompleteUpload.future(CompleteUploadRequest(upload_id=upload.upload_id))
        assert program.process.wait(60) == -9
        call.cancel()
        dying.raw.channel.close()
    finally:
        program.kill()
    world = open_world()
    assert await_end(world, upload.upload_id) == UPLOAD_STATE_COMPLETED
    (row,) = ends(world)
    assert (row["principal"], row["result"], row["facts"]["generation"]) == ("development", "OK", "1")


def test_a_completion_that_is_begun_again_has_an_end_again(world: World) -> None:
    world.register("again-1", DATA)
    upload = world.start("again-1")
    world.send(upload, bytes(len(DATA)))
    world.complete(upload)
    world.complete(upload)  # nothing has changed: nothing is begun
    world.send(upload, DATA, replace=True)
    world.complete(upload)
    assert [row["result"] for row in ends(world)] == ["OBJECT_DIGEST_MISMATCH", "OK"]


def test_an_upload_that_is_aborted_while_it_completes_has_an_end_too(world: World) -> None:
    world.register("aborted-1", DATA)
    for number in range(2):
        upload = world.start("aborted-1")
        world.send(upload, DATA)
        if number:
            assert world.score.environment.ledger.begin_completion(upload.upload_id, Asker("somebody"))
        world.raw.uploads.AbortUpload(AbortUploadRequest(upload_id=upload.upload_id))
        world.raw.uploads.AbortUpload(AbortUploadRequest(upload_id=upload.upload_id))
    (row,) = ends(world)  # the first one did not complete
    assert (row["principal"], row["result"]) == ("somebody", "UPLOAD_ABORTED")
    assert row["facts"] == {"upload_id": upload.upload_id, "abort_reason": "CALLER"}


def test_the_end_of_a_suppressed_analysis_upload_is_told(world: World) -> None:
    world.register("suppressed-1", DATA)
    upload = world.start("suppressed-1")
    world.send(upload, DATA)
    world.song.set_state("suppressed-1", "SUPPRESSED")
    world.complete(upload)
    (row,) = ends(world)
    assert (row["result"], row["facts"]["abort_reason"]) == ("UPLOAD_ABORTED", "SUPPRESSED")


def test_where_nobody_knows_who_asked_the_service_did(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SWEEP_PERIOD_SECONDS", 0.1)
    world.register("unknown-1", DATA)
    upload = world.start("unknown-1")
    world.send(upload, DATA)
    with world.score._database.write() as connection:  # as a Score before this one has left it
        connection.execute(text("UPDATE uploads SET state = 'COMPLETING'"))
    world.raw.uploads.CompleteUpload(CompleteUploadRequest(upload_id=upload.upload_id))
    assert await_end(world, upload.upload_id) == UPLOAD_STATE_COMPLETED
    (row,) = ends(world)
    assert (row["principal"], row["result"]) == ("service", "OK")


def small(object_id: str, data: bytes) -> list[WriteObjectsRequest]:
    return [
        WriteObjectsRequest(open=OpenSmallObject(object_id=object_id, size_bytes=len(data))),
        WriteObjectsRequest(chunk=SmallObjectChunk(data=data)),
        WriteObjectsRequest(finish=FinishSmallObject()),
    ]


@pytest.mark.parametrize("size_bytes", [1000, MIB + 1], ids=["in a group", "by an upload of its own"])
def test_a_small_object_has_one_row_however_it_goes_and_however_often_it_is_sent(world: World, size_bytes: int) -> None:
    data = world.register("small-1", random_bytes(size_bytes))
    for _ in range(2):
        (answer,) = world.raw.uploads.WriteObjects(iter(small("small-1", data)))
        assert answer.stored_object.size_bytes == size_bytes
    (row,) = ends(world)
    assert (row["principal"], row["result"], row["facts"]["generation"]) == ("development", "OK", "1")
    assert row["facts"]["address"].startswith("ipv4:127.0.0.1:")


def test_who_leaves_before_the_answer_has_stored_an_object_all_the_same_and_the_audit_knows(world: World) -> None:
    data, has_sent, may_end = world.register("small-1", b"small"), threading.Event(), threading.Event()

    def messages() -> Iterator[WriteObjectsRequest]:
        yield from small("small-1", data)
        has_sent.set()
        may_end.wait()

    call = world.raw.uploads.WriteObjects(messages())
    assert has_sent.wait(60)
    pause = threading.Event()
    for _ in range(LOOKS):
        if ends(world):
            break
        pause.wait(PAUSE_SECONDS)
    call.cancel()
    may_end.set()
    (row,) = ends(world)
    assert (row["object_id"], row["principal"], row["result"]) == ("small-1", "development", "OK")
