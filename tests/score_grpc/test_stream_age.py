"""Streams that have had their time: they end with a part, and their clients go on in new ones."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from score.v1.download_service_pb2 import (
    OpenObject,
    ReadObjectRequest,
    ReadObjectResponse,
    ReadObjectsRequest,
    ReadRange,
)
from score.v1.upload_service_pb2 import (
    AnnounceObjects,
    FinishSmallObject,
    GetUploadRequest,
    OpenSmallObject,
    OpenUpload,
    SmallObjectChunk,
    WriteObjectsRequest,
    WriteUploadRequest,
)
from song_score_client.connection import Connection
from song_score_client.errors import ServiceError
from song_score_client.score import ScoreClient
from song_score_client.transfer.download import download_object
from song_score_client.transfer.upload import upload_file

from score_grpc.domain import limits
from score_grpc.transport import download, stream_end, upload
from tests.servers.raw_score import RawScore, bytes_of, chunks_of
from tests.servers.score_world import PART, World, random_bytes

SIZE = 2 * PART + 77


@pytest.fixture
def aged(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Every stream is old at once."""
    monkeypatch.setattr(limits, "STREAM_AGE_SECONDS", 0.0)
    return world


@pytest.fixture
def data() -> bytes:
    return random_bytes(SIZE)


@pytest.fixture
def stored(world: World, data: bytes, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same with an object in it."""
    world.store("object-1", data)
    monkeypatch.setattr(limits, "STREAM_AGE_SECONDS", 0.0)
    return world


@pytest.fixture
def stopped(aged: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """And whoever does not end it at once is stopped."""
    monkeypatch.setattr(limits, "STREAM_DRAIN_SECONDS", 0.0)
    return aged


def until_ended(raw: RawScore, answers: Iterator[Any]) -> tuple[list[Any], ServiceError]:
    """Return what came, and what the stream ended with."""
    came = []
    try:
        for answer in answers:
            came.append(answer)  # noqa: PERF402 - what came before it raises counts
    except grpc.RpcError as error:
        return came, raw.error(error)
    raise AssertionError("the stream ended in good order")


def require_resumable(error: ServiceError) -> None:
    assert error.reason == "DRAINING"
    assert error.is_transient
    assert "go on in a new one" in str(error)


def all_chunks(upload_id: str, data: bytes) -> Iterator[WriteUploadRequest]:
    yield WriteUploadRequest(open=OpenUpload(upload_id=upload_id))
    for number in (1, 2, 3):
        for chunk in chunks_of(number, data[(number - 1) * PART : number * PART]):
            yield WriteUploadRequest(chunk=chunk)


def read_ranges(world: World, *ranges: ReadRange) -> tuple[list[ReadObjectResponse], ServiceError]:
    requests = [ReadObjectRequest(open=OpenObject(object_id="object-1", allow_unpublished=True))]
    requests += [ReadObjectRequest(range=wanted) for wanted in ranges]
    return until_ended(world.raw, world.raw.downloads.ReadObject(iter(requests)))


def test_an_old_upload_stream_is_told_once_and_may_finish_what_it_has_begun(aged: World) -> None:
    data = aged.register("object-1", random_bytes(SIZE))
    begun = aged.start("object-1")
    answers = aged.raw.uploads.WriteUpload(all_chunks(begun.upload_id, data))
    assert [answer.WhichOneof("message") for answer in answers] == ["drain", "ack", "ack", "ack"]


def test_an_upload_stream_that_was_told_and_goes_on_ends_with_a_part(stopped: World) -> None:
    data = stopped.register("object-1", random_bytes(SIZE))
    begun = stopped.start("object-1")
    answers, error = until_ended(stopped.raw, stopped.raw.uploads.WriteUpload(all_chunks(begun.upload_id, data)))
    assert [answer.WhichOneof("message") for answer in answers] == ["drain", "ack"]
    require_resumable(error)
    listed = stopped.raw.uploads.GetUpload(GetUploadRequest(upload_id=begun.upload_id))
    assert [part.part_number for part in listed.parts] == [1]


def test_an_old_download_stream_ends_with_a_part_of_a_long_range(stored: World, data: bytes) -> None:
    for offset in (0, 5, PART - 1):
        answers, error = read_ranges(stored, ReadRange(read_id=0, offset=offset))
        require_resumable(error)
        found = bytes_of(answers)
        assert found == data[offset : offset + len(found)]
        assert 0 <= offset + len(found) - PART < limits.READ_MESSAGE_MAX_BYTES


def test_an_old_download_stream_begins_no_further_range(stored: World, data: bytes) -> None:
    answers, error = read_ranges(stored, ReadRange(read_id=0, offset=3, size_bytes=9), ReadRange(read_id=1, offset=0))
    require_resumable(error)
    assert bytes_of(answers) == data[3:12]
    assert answers[-1].range_end.read_id == 0


def test_a_stream_of_small_objects_that_was_told_and_goes_on_begins_no_further_one(stopped: World) -> None:
    for number in (1, 2):
        stopped.register(f"object-{number}", b"bytes")

    def requests() -> Iterator[WriteObjectsRequest]:
        yield WriteObjectsRequest(announce=AnnounceObjects(object_ids=["object-1", "object-2"]))
        for number in (1, 2):
            yield WriteObjectsRequest(open=OpenSmallObject(object_id=f"object-{number}", size_bytes=5))
            yield WriteObjectsRequest(chunk=SmallObjectChunk(data=b"bytes"))
            yield WriteObjectsRequest(finish=FinishSmallObject())

    answers, error = until_ended(stopped.raw, stopped.raw.uploads.WriteObjects(requests()))
    assert [answer.WhichOneof("result") for answer in answers][:1] == ["drain"]
    require_resumable(error)


def test_an_old_stream_that_reads_small_objects_begins_no_further_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        world.store(f"object-{number}", b"bytes")
    monkeypatch.setattr(limits, "STREAM_AGE_SECONDS", 0.0)
    request = ReadObjectsRequest(object_ids=["object-1", "object-2"], allow_unpublished=True)
    answers, error = until_ended(world.raw, world.raw.downloads.ReadObjects(request))
    assert [(answer.index, answer.WhichOneof("message")) for answer in answers] == [
        (0, "stored_object"),
        (0, "data"),
        (0, "end"),
    ]
    require_resumable(error)


def test_the_client_goes_on_by_itself(stopped: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[str] = []

    class Counted(stream_end.StreamEnd):
        def error(self) -> Exception:  # type: ignore[override]  # of the same class
            ends.append("ended")
            return super().error()

    monkeypatch.setattr(upload, "StreamEnd", Counted)
    monkeypatch.setattr(download, "StreamEnd", Counted)
    data = stopped.register("object-1", random_bytes(4 * 16 * 1024 * 1024))
    (tmp_path / "reads.bam").write_bytes(data)
    with ScoreClient(Connection("score", stopped.score.address)) as score:
        upload_file(score, "object-1", tmp_path / "reads.bam", state_dir=tmp_path / "state")
        uploading = len(ends)
        download_object(score, "object-1", tmp_path / "again.bam", allow_unpublished=True)
    assert hashlib.md5((tmp_path / "again.bam").read_bytes()).digest() == hashlib.md5(data).digest()
    assert len(ends) > uploading
