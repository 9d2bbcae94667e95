"""Downloads over real gRPC, on every store."""

import hashlib
import time
from contextlib import suppress
from queue import SimpleQueue

import grpc
import pytest
from score.v1.download_service_pb2 import GetChunkManifestRequest, OpenObject, ReadObjectRequest, ReadRange
from score.v1.object_service_pb2 import BatchGetObjectsRequest
from song_score_client.errors import (
    AnalysisNotPublishedError,
    FieldInvalidError,
    RangeInvalidError,
    ServiceError,
    SongUnavailableError,
)
from xxhash import xxh3_128_hexdigest

from score_grpc.domain import limits
from tests.servers.raw_score import MIB, bytes_of
from tests.servers.registry_song import TOKEN
from tests.servers.score_world import PART, World, random_bytes

SIZE = 2 * PART + 3 * MIB + 17


@pytest.fixture
def data(any_world: World) -> bytes:
    """Bytes stored and published under `object-1`."""
    data = random_bytes(SIZE)
    any_world.store("object-1", data)
    any_world.song.set_state("object-1", "PUBLISHED")
    return data


def test_ranges_are_answered_in_the_order_asked(any_world: World, data: bytes) -> None:
    ranges = [(SIZE - 1, 1), (0, 1), (PART - 3, 7), (MIB, 3 * MIB + 1), (SIZE, None), (5, 0), (2 * PART, None)]
    answers = any_world.raw.read("object-1", *ranges)
    for read_id, (offset, size) in enumerate(ranges):
        expected = data[offset:] if size is None else data[offset : offset + size]
        assert bytes_of(answers, read_id) == expected
    ends = [answer.range_end.read_id for answer in answers if answer.WhichOneof("message") == "range_end"]
    assert ends == list(range(len(ranges)))
    assert answers[0].stored_object.md5 == hashlib.md5(data).hexdigest()


def test_the_chunk_manifest_describes_every_part(any_world: World, data: bytes) -> None:
    manifest = any_world.raw.downloads.GetChunkManifest(GetChunkManifestRequest(object_id="object-1"))
    assert [(part.offset, part.size_bytes) for part in manifest.parts] == [
        (0, PART),
        (PART, PART),
        (2 * PART, SIZE - 2 * PART),
    ]
    for part in manifest.parts:
        assert part.xxh3_128 == xxh3_128_hexdigest(data[part.offset : part.offset + part.size_bytes])


def test_the_chunk_manifest_comes_in_pages(world: World) -> None:
    world.store("object-1", random_bytes(SIZE))
    world.song.set_state("object-1", "PUBLISHED")
    offsets, token = [], ""
    while True:
        request = GetChunkManifestRequest(object_id="object-1", page_size=2, page_token=token)
        page = world.raw.downloads.GetChunkManifest(request)
        offsets += [part.offset for part in page.parts]
        token = page.next_page_token
        if not token:
            break
    assert offsets == [0, PART, 2 * PART]


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, -1), (SIZE + 1, None), (SIZE, 1), (1, SIZE), (2**62, 2**62)])
def test_a_range_beyond_the_object_is_refused(world: World, offset: int, size: int | None) -> None:
    world.store("object-1", random_bytes(SIZE))
    world.song.set_state("object-1", "PUBLISHED")
    with pytest.raises(RangeInvalidError) as raised:
        world.raw.read("object-1", (offset, size))
    assert raised.value.metadata["size_bytes"] == str(SIZE)


def test_unpublished_bytes_come_only_when_asked_for_and_suppressed_ones_never(world: World) -> None:
    data = random_bytes(MIB)
    world.store("object-1", data)
    with pytest.raises(AnalysisNotPublishedError):
        world.raw.read("object-1", (0, None))
    assert bytes_of(world.raw.read("object-1", (0, None), unpublished=True)) == data
    world.song.set_state("object-1", "PUBLISHED")
    assert bytes_of(world.raw.read("object-1", (0, None))) == data
    world.song.set_state("object-1", "SUPPRESSED")
    expire_decisions(world)
    for unpublished in (False, True):
        with pytest.raises(AnalysisNotPublishedError):
            world.raw.read("object-1", (0, None), unpublished=unpublished)


def expire_decisions(world: World) -> None:
    """Let half a minute pass for the cache of Song's answers."""
    world.score.environment.registry._answers.clear()


class Conversation:
    """A ReadObject stream that asks for the next range only when told to."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked: SimpleQueue[ReadObjectRequest | None] = SimpleQueue()
        self._asked.put(ReadObjectRequest(open=OpenObject(object_id="object-1")))
        self._answers = world.raw.downloads.ReadObject(iter(self._asked.get, None))

    def ask(self, offset: int, size: int) -> bytes:
        """Ask for a range and return its bytes. Raises ServiceError."""
        self._asked.put(ReadObjectRequest(range=ReadRange(offset=offset, size_bytes=size)))
        answers = []
        try:
            for answer in self._answers:
                answers.append(answer)
                if answer.WhichOneof("message") == "range_end":
                    return bytes_of(answers)
        except grpc.RpcError as error:
            raise self._world.raw.error(error) from error
        raise AssertionError("the stream ended inside a range")

    def end(self) -> None:
        """Half-close; the stream must end well."""
        self._asked.put(None)
        assert list(self._answers) == []


def test_suppression_stops_a_download_under_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_bytes(SIZE)
    world.store("object-1", data)
    world.song.set_state("object-1", "PUBLISHED")
    conversation = Conversation(world)
    assert conversation.ask(0, 10) == data[:10]
    monkeypatch.setattr(limits, "SONG_CACHE_SECONDS", 0.0)
    expire_decisions(world)
    assert conversation.ask(10, 10) == data[10:20]
    world.song.set_state("object-1", "SUPPRESSED")
    with pytest.raises(AnalysisNotPublishedError):
        conversation.ask(0, SIZE)


def test_a_decision_outlives_song_for_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_bytes(SIZE)
    world.store("object-1", data)
    world.song.set_state("object-1", "PUBLISHED")
    conversation = Conversation(world)
    assert conversation.ask(0, 10) == data[:10]
    world.song.stop()
    expire_decisions(world)
    monkeypatch.setattr(limits, "SONG_CACHE_SECONDS", 0.0)
    assert conversation.ask(0, MIB) == data[:MIB]
    conversation.end()
    with pytest.raises(ServiceError) as raised:
        world.raw.read("object-1", (0, 1))
    assert raised.value.reason == "SONG_UNAVAILABLE"
    monkeypatch.setattr(limits, "DECISION_GRACE_SECONDS", 0.0)
    world.song.start()
    wait_for_song(world)
    conversation = Conversation(world)
    assert conversation.ask(0, 10) == data[:10]
    world.song.stop()
    expire_decisions(world)
    with pytest.raises(ServiceError) as raised:
        conversation.ask(0, 10)
    assert raised.value.reason == "SONG_UNAVAILABLE"


def wait_for_song(world: World) -> None:
    """Wait until Score has found Song again."""
    deadline = time.monotonic() + 20
    while True:
        with suppress(SongUnavailableError):
            world.raw.read("object-1", (0, 1))
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_batch_says_what_is_missing_and_asks_song_nothing_for_a_system_caller(world: World) -> None:
    world.store("object-1", random_bytes(10))
    world.store("object-2", random_bytes(10, seed=2))
    asked = BatchGetObjectsRequest(object_ids=["object-2", "nothing-here", "object-1", "object-2"])
    calls = world.song.calls
    answer = world.raw.objects.BatchGetObjects(asked, metadata=(("authorization", f"Bearer {TOKEN}"),))
    assert world.song.calls == calls
    assert [stored.object_id for stored in answer.stored_objects] == ["object-2", "object-1"]
    assert list(answer.missing_object_ids) == ["nothing-here"]
    as_anyone = world.raw.objects.BatchGetObjects(asked)
    assert list(as_anyone.missing_object_ids) == ["object-2", "nothing-here", "object-1"]
    as_submitter = BatchGetObjectsRequest(object_ids=["object-2", "object-1"], allow_unpublished=True)
    assert len(world.raw.objects.BatchGetObjects(as_submitter).stored_objects) == 2


def test_a_stream_must_open_first(world: World) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        list(world.raw.downloads.ReadObject(iter([ReadObjectRequest(range=ReadRange())])))
    assert isinstance(world.raw.error(raised.value), FieldInvalidError)
