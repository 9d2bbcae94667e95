"""WriteObjects and ReadObjects over real gRPC: many small objects over one stream, on every store."""

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from score.v1.download_service_pb2 import ReadObjectsRequest
from score.v1.error_reason_pb2 import ErrorReason
from score.v1.object_service_pb2 import BatchGetObjectsRequest, GetObjectRequest
from score.v1.stored_object_pb2 import VERIFICATION_VERIFIED, StoredObject
from score.v1.upload_pb2 import UPLOAD_STATE_OPEN
from score.v1.upload_service_pb2 import (
    AnnounceObjects,
    FinishSmallObject,
    GetUploadRequest,
    OpenSmallObject,
    SmallObjectChunk,
    StartUploadRequest,
    WriteObjectsRequest,
    WriteObjectsResponse,
)
from song_score_client.errors import (
    FieldInvalidError,
    LedgerUnavailableError,
    ServiceError,
    SongUnavailableError,
)
from sqlalchemy import text
from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

from score_grpc.domain import limits
from score_grpc.domain.access import Principal
from score_grpc.domain.errors import StoreFullError, StoreUnavailableError
from score_grpc.gateways.objects.port import ObjectStore, StoredBytes
from score_grpc.transport.caller import Callers
from score_grpc.use_cases.small_memory import SmallObject
from tests.servers.raw_score import MIB
from tests.servers.score_world import PART, World, random_bytes

OpenWorld = Callable[..., World]


@dataclass
class Small:
    """One object as it is sent."""

    object_id: str
    data: bytes
    size_bytes: int | None = None
    expected_md5: str = ""
    replace: bool = False
    chunk_bytes: int = MIB
    xxh3_64: int | None = field(default=None, kw_only=True)
    """In place of the right one."""

    def messages(self) -> Iterator[WriteObjectsRequest]:
        size_bytes = len(self.data) if self.size_bytes is None else self.size_bytes
        yield WriteObjectsRequest(
            open=OpenSmallObject(
                object_id=self.object_id,
                size_bytes=size_bytes,
                expected_md5=self.expected_md5,
                replace=self.replace,
            )
        )
        for start in range(0, len(self.data), self.chunk_bytes):
            piece = self.data[start : start + self.chunk_bytes]
            digest = xxh3_64_intdigest(piece) if self.xxh3_64 is None else self.xxh3_64
            yield WriteObjectsRequest(chunk=SmallObjectChunk(data=piece, xxh3_64=digest))
        yield WriteObjectsRequest(finish=FinishSmallObject())


def announce(*object_ids: str) -> WriteObjectsRequest:
    return WriteObjectsRequest(announce=AnnounceObjects(object_ids=object_ids))


def stream(world: World, *messages: WriteObjectsRequest) -> list[WriteObjectsResponse]:
    """Send messages as they are. Raises ServiceError."""
    try:
        return list(world.raw.uploads.WriteObjects(iter(messages)))
    except grpc.RpcError as error:
        raise world.raw.error(error) from error


def write(world: World, *smalls: Small, announced: bool = True) -> list[WriteObjectsResponse]:
    """Send objects over one stream and return the answers, which come in their order. Raises ServiceError."""
    messages = [announce(*dict.fromkeys(small.object_id for small in smalls))] if announced else []
    messages += [message for small in smalls for message in small.messages()]
    answers = stream(world, *messages)
    assert [answer.index for answer in answers] == list(range(len(smalls)))
    return answers


def reasons(answers: Sequence[WriteObjectsResponse]) -> list[str]:
    """Return each answer's reason, OK where the object is stored."""
    return [
        ErrorReason.Name(answer.refusal.reason).removeprefix("ERROR_REASON_") if answer.HasField("refusal") else "OK"
        for answer in answers
    ]


def register(world: World, total: int, size_bytes: int = 1000, seed: int = 1, **facts: object) -> list[Small]:
    """Register objects of these and those sizes."""
    chance = random.Random(seed)
    smalls = [Small(f"object-{number}", chance.randbytes(size_bytes + number)) for number in range(total)]
    for small in smalls:
        world.register(small.object_id, small.data, **facts)
    return smalls


def visible(world: World, *object_ids: str) -> dict[str, StoredObject]:
    request = BatchGetObjectsRequest(object_ids=object_ids, allow_unpublished=True)
    return {stored.object_id: stored for stored in world.raw.objects.BatchGetObjects(request).stored_objects}


@dataclass
class Read:
    """What came of one object."""

    stored: StoredObject | None = None
    data: bytearray = field(default_factory=bytearray)
    xxh3_128: str | None = None
    reason: str = ""


def read(world: World, *object_ids: str, unpublished: bool = True) -> list[Read]:
    """Read objects over one stream, checking order and digests. Raises ServiceError."""
    request = ReadObjectsRequest(object_ids=object_ids, allow_unpublished=unpublished)
    found = [Read() for _ in object_ids]
    last = -1
    try:
        for answer in world.raw.downloads.ReadObjects(request):
            assert answer.index in {last, last + 1}
            last, one = answer.index, found[answer.index]
            assert one.xxh3_128 is None
            assert not one.reason
            match answer.WhichOneof("message"):
                case "stored_object":
                    assert one.stored is None
                    one.stored = answer.stored_object
                case "data":
                    assert answer.data.xxh3_64 == xxh3_64_intdigest(answer.data.data)
                    one.data += answer.data.data
                case "end":
                    one.xxh3_128 = answer.end.xxh3_128
                case "refusal":
                    one.reason = ErrorReason.Name(answer.refusal.reason).removeprefix("ERROR_REASON_")
    except grpc.RpcError as error:
        raise world.raw.error(error) from error
    return found


def test_objects_are_stored_in_one_stream_and_come_back_the_same(any_world: World) -> None:
    world = any_world
    smalls = [*register(world, 40, 3000), Small("empty", b""), Small("a-byte", b"x"), Small("full", bytes(MIB))]
    for small in smalls[40:]:
        world.register(small.object_id, small.data)
    calls = world.song.calls
    answers = write(world, *smalls)
    assert reasons(answers) == ["OK"] * len(smalls)
    assert world.song.calls - calls < len(smalls)
    for small, answer in zip(smalls, answers, strict=True):
        stored = answer.stored_object
        assert (stored.object_id, stored.size_bytes, stored.generation) == (small.object_id, len(small.data), 1)
        assert stored.md5 == hashlib.md5(small.data).hexdigest()
        assert stored.verification == VERIFICATION_VERIFIED
        assert stored.part_total == (1 if small.data else 0)
        assert stored.HasField("verify_time")
    ids = [small.object_id for small in smalls]
    assert visible(world, *ids) == {answer.stored_object.object_id: answer.stored_object for answer in answers}
    for small, found in zip(smalls, read(world, *ids), strict=True):
        assert bytes(found.data) == small.data
        assert found.xxh3_128 == (xxh3_128_hexdigest(small.data) if small.data else "")
        # And by the ordinary way.
    pieces = world.raw.read("full", (0, None), unpublished=True)
    assert b"".join(answer.data.data for answer in pieces if answer.HasField("data")) == bytes(MIB)


def test_an_object_of_many_chunks_and_one_of_a_whole_part_go_the_same_way(any_world: World) -> None:
    world = any_world
    smalls = [
        Small("many-chunks", random_bytes(300_000), chunk_bytes=1000),
        Small("large", random_bytes(PART + 3 * MIB + 5, seed=2), chunk_bytes=2 * MIB - 1),
        Small("small", b"small"),
    ]
    for small in smalls:
        world.register(small.object_id, small.data)
    answers = write(world, *smalls)
    assert reasons(answers) == ["OK"] * 3
    for small, found in zip(smalls, read(world, *(small.object_id for small in smalls)), strict=True):
        assert bytes(found.data) == small.data
        assert found.xxh3_128 == xxh3_128_hexdigest(small.data)


def test_ids_that_were_not_announced_are_asked_about_as_they_come(world: World) -> None:
    smalls = register(world, 5)
    assert reasons(write(world, *smalls, announced=False)) == ["OK"] * 5


def test_more_may_be_announced_at_any_time_and_the_oldest_are_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SMALL_OBJECTS_ANNOUNCED", 3)
    smalls = register(world, 8)
    messages = [announce(*(small.object_id for small in smalls))]
    for small in smalls:
        opened, *rest = small.messages()
        messages += [opened, announce("nobody-knows-it", small.object_id), *rest]
    assert reasons(stream(world, *messages)) == ["OK"] * 8


def test_the_same_bytes_again_are_answered_with_the_object(any_world: World) -> None:
    world = any_world
    smalls = [*register(world, 5), Small("large", bytes(MIB + 1))]
    world.register("large", smalls[-1].data)
    first = write(world, *smalls)
    assert reasons(first) == ["OK"] * 6
    for small in smalls:
        world.song.set_state(small.object_id, "PUBLISHED")  # what is stored needs no upload, whatever the state
    again = write(world, *smalls)
    assert [answer.stored_object for answer in again] == [answer.stored_object for answer in first]
    twice = write(world, smalls[0], smalls[0], announced=False)
    assert [answer.stored_object for answer in twice] == [first[0].stored_object] * 2


def test_one_object_twice_on_a_stream_is_stored_once(world: World) -> None:
    (small,) = register(world, 1)
    first, second = write(world, small, small)
    assert first.stored_object == second.stored_object
    assert first.stored_object.generation == 1


REFUSALS: dict[str, tuple[str, Callable[[World], Small]]] = {}


def refused(reason: str) -> Callable[[Callable[[World], Small]], Callable[[World], Small]]:
    """Mark what makes an object that is refused so."""

    def mark(make: Callable[[World], Small]) -> Callable[[World], Small]:
        REFUSALS[make.__name__] = (reason, make)
        return make

    return mark


def _registered(world: World, **facts: object) -> Small:
    world.register("odd", b"the registered bytes", **facts)
    return Small("odd", b"the registered bytes")


@refused("OBJECT_NOT_REGISTERED")
def unknown(_: World) -> Small:
    return Small("nobody-knows-it", b"x")


@refused("FIELD_INVALID")
def no_object_id(_: World) -> Small:
    return Small("../../etc/passwd", b"x")


@refused("FIELD_INVALID")
def no_md5(world: World) -> Small:
    return Small("odd", _registered(world).data, expected_md5="not-an-md5")


@refused("FIELD_INVALID")
def too_large(world: World) -> Small:
    return Small("odd", _registered(world).data, size_bytes=16 * MIB + 1)


@refused("FIELD_INVALID")
def negative_size(world: World) -> Small:
    return Small("odd", _registered(world).data, size_bytes=-1)


@refused("FIELD_INVALID")
def fewer_bytes(world: World) -> Small:
    return Small("odd", _registered(world).data[:-1], size_bytes=20)


@refused("FIELD_INVALID")
def more_bytes(world: World) -> Small:
    return Small("odd", _registered(world).data + b"!", size_bytes=20)


@refused("FIELD_INVALID")
def chunk_too_large(world: World) -> Small:
    data = world.register("odd", bytes(3 * MIB))
    return Small("odd", data, chunk_bytes=2 * MIB + 1)


@refused("CHUNK_CORRUPT")
def damaged_on_the_way(world: World) -> Small:
    return Small("odd", _registered(world).data, xxh3_64=1)


@refused("SIZE_NOT_REGISTERED")
def other_size(world: World) -> Small:
    _registered(world)
    return Small("odd", b"shorter")


@refused("MD5_NOT_REGISTERED")
def other_md5(world: World) -> Small:
    return Small("odd", _registered(world).data, expected_md5="F" * 32)


@refused("OBJECT_DIGEST_MISMATCH")
def wrong_bytes_of_the_right_size(world: World) -> Small:
    return Small("odd", bytes(len(_registered(world).data)))


@refused("OBJECT_DIGEST_MISMATCH")
def large_wrong_bytes(world: World) -> Small:
    world.register("odd", bytes(MIB + 1))
    return Small("odd", b"\1" * (MIB + 1))


@refused("OBJECT_DIGEST_MISMATCH")
def wrong_bytes_of_what_is_stored(world: World) -> Small:
    small = _registered(world)
    write(world, small)
    return Small("odd", bytes(len(small.data)))


@refused("OBJECT_DIGEST_MISMATCH")
def large_wrong_bytes_of_what_is_stored(world: World) -> Small:
    world.register("odd", bytes(MIB + 1))
    write(world, Small("odd", bytes(MIB + 1)))
    return Small("odd", b"\1" * (MIB + 1))


@refused("ANALYSIS_NOT_UNPUBLISHED")
def published(world: World) -> Small:
    return _registered(world, state="PUBLISHED")


@refused("ANALYSIS_NOT_UNPUBLISHED")
def suppressed_and_large(world: World) -> Small:
    return Small("odd", world.register("odd", bytes(MIB + 1), state="SUPPRESSED"))


@refused("OBJECT_EXISTS")
def other_bytes_stored(world: World) -> Small:
    write(world, _registered(world))
    return Small("odd", world.register("odd", b"other bytes"))


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_concerns_its_object_alone(world: World, name: str) -> None:
    reason, make = REFUSALS[name]
    smalls = register(world, 4)
    answers = write(world, *smalls[:2], make(world), *smalls[2:])
    assert reasons(answers) == ["OK", "OK", reason, "OK", "OK"]
    refusal = answers[2].refusal
    assert len(refusal.message) > 20
    assert refusal.retryable == (reason == "CHUNK_CORRUPT")
    assert set(visible(world, *(small.object_id for small in smalls))) == {small.object_id for small in smalls}
    if name not in {"wrong_bytes_of_what_is_stored", "large_wrong_bytes_of_what_is_stored", "other_bytes_stored"}:
        assert not visible(world, "odd", "nobody-knows-it")


def test_who_may_only_read_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    smalls = [*register(world, 2), Small("large", world.register("large", bytes(MIB + 1)))]
    reader = Principal("a reader", frozenset({"PROGRAMDATA-ABC.READ"}))
    monkeypatch.setattr(Callers, "of", lambda *_: reader)
    answers = write(world, *smalls)
    assert reasons(answers) == ["SCOPE_MISSING"] * 3
    assert answers[0].refusal.metadata["scope"] == "PROGRAMDATA-ABC.WRITE"
    assert not list((world.settings.data_dir / "objects/data").glob("object-*"))


def test_other_bytes_take_the_place_of_stored_ones_where_they_are_to(any_world: World) -> None:
    world = any_world
    (small,) = register(world, 1)
    write(world, small)
    new = Small(small.object_id, world.register(small.object_id, b"other bytes"), replace=True)
    (answer,) = write(world, new)
    assert (answer.stored_object.generation, answer.stored_object.size_bytes) == (2, len(new.data))
    (found,) = read(world, small.object_id)
    assert bytes(found.data) == new.data


def test_an_open_upload_of_the_same_object_is_taken_over_and_completed(any_world: World) -> None:
    world = any_world
    data = world.register("odd", random_bytes(PART + MIB))
    upload = world.start("odd")
    wrong = bytes(PART)
    world.send(upload, wrong, 1)
    tiny = world.register("tiny", b"tiny")
    tiny_upload = world.start("tiny")
    answers = write(world, Small("odd", data), Small("tiny", tiny))
    assert reasons(answers) == ["OK", "OK"]
    for begun in (upload, tiny_upload):
        seen = world.raw.uploads.GetUpload(GetUploadRequest(upload_id=begun.upload_id))
        assert seen.stored_object in [answer.stored_object for answer in answers]
    assert [bytes(found.data) for found in read(world, "odd", "tiny")] == [data, tiny]


def test_an_upload_that_it_could_not_complete_stays_open(world: World) -> None:
    world.register("tiny", b"tiny")
    upload = world.start("tiny")
    (answer,) = write(world, Small("tiny", b"nope"))
    assert reasons([answer]) == ["OBJECT_DIGEST_MISMATCH"]
    seen = world.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload.upload_id)).upload
    assert seen.state == UPLOAD_STATE_OPEN


@pytest.mark.parametrize("size_bytes", [20_000, MIB + 1], ids=["held", "an upload of its own"])
def test_two_streams_with_the_same_objects_make_one_of_each(any_world: World, size_bytes: int) -> None:
    world = any_world
    smalls = register(world, 4 if size_bytes > MIB else 30, size_bytes)
    answers: dict[int, list[WriteObjectsResponse]] = {}

    def send(number: int) -> None:
        order = smalls if number % 2 else list(reversed(smalls))
        answers[number] = write(world, *order)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 3
    for found in answers.values():
        assert set(reasons(found)) <= {"OK", "CHANGING", "STORE_UNAVAILABLE"}
        assert all(answer.refusal.retryable for answer in found if answer.HasField("refusal"))
    there = visible(world, *(small.object_id for small in smalls))
    # Each stream may have taken an object over from another one: whoever is refused so sends it again.
    if missing := [small for small in smalls if small.object_id not in there]:
        assert size_bytes > MIB
        assert set(reasons(write(world, *missing))) == {"OK"}
        there = visible(world, *(small.object_id for small in smalls))
    assert len(there) == len(smalls)
    assert all(stored.generation == 1 for stored in there.values())
    for found in answers.values():
        for answer in found:
            if answer.HasField("stored_object"):
                assert answer.stored_object == there[answer.stored_object.object_id]
    for small, one in zip(smalls, read(world, *(small.object_id for small in smalls)), strict=True):
        assert bytes(one.data) == small.data


@pytest.mark.parametrize(
    "messages",
    [
        [WriteObjectsRequest()],
        [WriteObjectsRequest(chunk=SmallObjectChunk(data=b"x"))],
        [WriteObjectsRequest(finish=FinishSmallObject())],
        [announce()],
        [announce(*["x" * 5] * 501)],
        [WriteObjectsRequest(open=OpenSmallObject(object_id="object-0", size_bytes=1))] * 2,
        [WriteObjectsRequest(open=OpenSmallObject(object_id="object-0", size_bytes=1))],
    ],
    ids=["nothing", "a chunk first", "finish first", "no id", "too many ids", "open in an object", "broken off"],
)
def test_a_message_out_of_its_order_ends_the_stream(world: World, messages: list[WriteObjectsRequest]) -> None:
    register(world, 1)
    with pytest.raises(FieldInvalidError) as raised:
        stream(world, *messages)
    assert raised.value.metadata["field"]
    assert not visible(world, "object-0")


def test_after_a_refusal_everything_up_to_the_next_open_is_discarded(world: World) -> None:
    (small,) = register(world, 1)
    bad = list(Small("nobody-knows-it", b"x" * 10, size_bytes=-1).messages())
    answers = stream(world, *bad, *bad[1:], *bad[1:], *small.messages(), *bad[:1], *small.messages())
    assert reasons(answers) == ["FIELD_INVALID", "OK", "FIELD_INVALID", "OK"]


def test_a_stream_that_breaks_inside_an_object_leaves_nothing_of_it(world: World) -> None:
    smalls = [*register(world, 2), Small("large", world.register("large", bytes(2 * MIB)))]
    for small in smalls:
        opened, chunk, *_ = small.messages()
        broken = threading.Event()

        def requests(first: WriteObjectsRequest, second: WriteObjectsRequest) -> Iterator[WriteObjectsRequest]:
            yield first
            yield second
            broken.wait(60)  # noqa: B023 - used before the next round

        call = world.raw.uploads.WriteObjects(requests(opened, chunk))
        call.cancel()
        broken.set()
    assert not visible(world, *(small.object_id for small in smalls))
    assert reasons(write(world, *smalls)) == ["OK"] * 3


def test_the_server_asks_to_drain_at_the_next_message(world: World) -> None:
    smalls = register(world, 3)

    def requests() -> Iterator[WriteObjectsRequest]:
        yield announce(*(small.object_id for small in smalls))
        yield from smalls[0].messages()
        world.score.environment.draining.set()
        yield from smalls[1].messages()

    answers = list(world.raw.uploads.WriteObjects(requests()))
    drains = [answer for answer in answers if answer.HasField("drain")]
    assert [answer.index for answer in drains] == [-1]
    assert reasons([answer for answer in answers if answer.index >= 0]) == ["OK", "OK"]


def write_once_song_is_back(world: World, *smalls: Small) -> list[WriteObjectsResponse]:
    """Write again and again while Score's channel to Song waits before it reconnects."""
    for _ in range(100):
        try:
            return write(world, *smalls)
        except SongUnavailableError:
            time.sleep(0.2)
    return write(world, *smalls)


def test_song_down_ends_the_stream_and_nothing_is_visible(world: World) -> None:
    smalls = register(world, 3)
    messages = [message for small in smalls for message in small.messages()]

    def requests() -> Iterator[WriteObjectsRequest]:
        yield announce(*(small.object_id for small in smalls))
        world.song.stop()
        yield from messages

    with pytest.raises(grpc.RpcError) as raised:
        list(world.raw.uploads.WriteObjects(requests()))
    assert isinstance(world.raw.error(raised.value), SongUnavailableError)
    assert world.score.environment.ledger.objects([small.object_id for small in smalls]) == {}
    world.song.start()
    assert reasons(write_once_song_is_back(world, *smalls)) == ["OK"] * 3


def test_the_ledger_busy_ends_the_stream(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    smalls = register(world, 3)
    with world.score._database.write():
        monkeypatch.setattr("runtime_grpc.database.SQLITE_BUSY_TIMEOUT_SECONDS", 0)
        with pytest.raises(LedgerUnavailableError):
            write(world, *smalls)
    monkeypatch.undo()
    assert reasons(write(world, *smalls)) == ["OK"] * 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda world: world.song.set_state("object-1", "PUBLISHED"), "ANALYSIS_NOT_UNPUBLISHED"),
        (lambda world: world.song.set_state("object-1", "SUPPRESSED"), "ANALYSIS_NOT_UNPUBLISHED"),
        (lambda world: world.song.register("object-1", 1001, "0" * 32), "OBJECT_DIGEST_MISMATCH"),
        (lambda world: world.song.register("object-1", 5, "0" * 32), "SIZE_NOT_REGISTERED"),
        (lambda world: world.song.registered.pop("object-1", None), "OBJECT_NOT_REGISTERED"),
    ],
    ids=["published", "suppressed", "another MD5", "another size", "gone"],
)
def test_songs_word_at_the_end_counts(
    world: World, monkeypatch: pytest.MonkeyPatch, change: Callable[[World], object], reason: str
) -> None:
    smalls = register(world, 3)
    store: ObjectStore = world.score.environment.store
    real = store.put

    def put(key: str, data: Sequence[memoryview]) -> StoredBytes:
        change(world)  # while the bytes go to the store
        return real(key, data)

    monkeypatch.setattr(store, "put", put)
    assert reasons(write(world, *smalls)) == ["OK", reason, "OK"]
    assert set(visible(world, *(small.object_id for small in smalls))) == {"object-0", "object-2"}


def test_songs_word_of_the_announcement_is_not_taken_for_a_no(world: World) -> None:
    smalls = register(world, 2, state="PUBLISHED")

    def requests() -> Iterator[WriteObjectsRequest]:
        yield announce(*(small.object_id for small in smalls))
        for small in smalls:
            world.song.set_state(small.object_id, "UNPUBLISHED")
            yield from small.messages()

    assert reasons(list(world.raw.uploads.WriteObjects(requests()))) == ["OK", "OK"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StoreFullError("the store is full: free some space"), "STORE_FULL"),
        (ZeroDivisionError("a defect"), "UNKNOWN_ERROR"),
    ],
    ids=["full", "a defect"],
)
def test_what_the_store_refuses_is_refused_alone_and_its_key_is_freed(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    smalls = register(world, 3)
    store: ObjectStore = world.score.environment.store
    real = store.put

    def put(key: str, data: Sequence[memoryview]) -> StoredBytes:
        stored = real(key, data)
        if key.endswith("object-1"):
            raise error
        return stored

    monkeypatch.setattr(store, "put", put)
    answers = write(world, *smalls)
    assert reasons(answers) == ["OK", reason, "OK"]
    assert not answers[1].refusal.retryable
    assert "defect" not in answers[1].refusal.message
    left = world.settings.data_dir / "objects/data/object-1"
    assert left.exists()  # it was stored, and then something failed
    assert world.score.collector.collect_expired(datetime.now(UTC)) == 1
    assert not left.exists()
    monkeypatch.undo()
    assert reasons(write(world, *smalls)) == ["OK"] * 3
    assert bytes(read(world, "object-1")[0].data) == smalls[1].data


def test_what_the_store_stores_after_all_though_it_gave_no_answer_is_freed_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    smalls = register(world, 3)
    store: ObjectStore = world.score.environment.store
    real = store.put

    def put(key: str, data: Sequence[memoryview]) -> StoredBytes:
        if key.endswith("object-1"):
            raise StoreUnavailableError("the store is away: retry in a while")
        return real(key, data)

    monkeypatch.setattr(store, "put", put)
    answers = write(world, *smalls)
    assert reasons(answers) == ["OK", "STORE_UNAVAILABLE", "OK"]
    assert answers[1].refusal.retryable
    assert world.score.collector.collect_expired(datetime.now(UTC)) == 0
    real("data/object-1", [memoryview(smalls[1].data)])
    left = world.settings.data_dir / "objects/data/object-1"
    assert left.exists()
    with world.score._database.write() as connection:  # the lease has run out
        connection.execute(text("UPDATE uploads SET lease_until = 1 WHERE lease_until > 0"))
    assert world.score.collector.collect_expired(datetime.now(UTC)) == 1
    assert not left.exists()
    monkeypatch.undo()
    assert reasons(write(world, *smalls)) == ["OK"] * 3
    assert bytes(read(world, "object-1")[0].data) == smalls[1].data


def test_a_group_that_took_longer_than_its_lease_is_not_made_visible_over_freed_bytes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SMALL_OBJECT_LEASE_SECONDS", -1.0)
    (small,) = register(world, 1)
    store: ObjectStore = world.score.environment.store
    real = store.put

    def put(key: str, data: Sequence[memoryview]) -> StoredBytes:
        stored = real(key, data)
        world.score.collector.collect_expired(datetime.now(UTC) + timedelta(seconds=1))
        return stored

    monkeypatch.setattr(store, "put", put)
    (answer,) = write(world, small)
    assert reasons([answer]) == ["OK"]  # by an upload of its own
    (found,) = read(world, small.object_id)
    assert bytes(found.data) == small.data


def test_what_one_stream_holds_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    smalls = register(world, 40, 200_000)
    store: ObjectStore = world.score.environment.store
    real, lock, held = store.put, threading.Lock(), []
    go_on = threading.Event()

    def put(key: str, data: Sequence[memoryview]) -> StoredBytes:
        with lock:
            held.append(sum(piece.nbytes for piece in data))
        go_on.wait(30)
        return real(key, data)

    monkeypatch.setattr(store, "put", put)
    taken = 0

    def requests() -> Iterator[WriteObjectsRequest]:
        nonlocal taken
        for small in smalls:
            yield from small.messages()
            taken += 1

    call = world.raw.uploads.WriteObjects(requests())
    waited = threading.Event()
    for _ in range(100):
        waited.wait(0.05)
        if held:
            break
    waited.wait(1.0)
    # What is held, and what waits in the buffers of HTTP/2.
    assert taken < 35
    go_on.set()
    assert reasons(list(call)) == ["OK"] * 40


def test_what_all_streams_hold_together_is_bounded_and_nothing_stays_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SMALL_OBJECTS_HELD_TOTAL_BYTES", 50_000)
    memory = world.score._small_objects.memory
    smalls = register(world, 24, 20_000)
    most = 0
    real = memory.hold

    def hold(item: SmallObject, *, waits: bool, is_active: Callable[[], bool]) -> bool:
        nonlocal most
        is_held = real(item, waits=waits, is_active=is_active)
        most = max(most, memory.total_bytes)
        return is_held

    monkeypatch.setattr(memory, "hold", hold)
    bad = [Small("nobody-knows-it", b"x" * 9), Small("object-1", b"x", size_bytes=9), Small("../..", b"x")]
    groups = [[*smalls[start::3], *bad] for start in range(3)]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda group: write(world, *group), groups))
    assert [reasons(found)[:8] for found in answers] == [["OK"] * 8] * 3
    assert 40_000 < most <= 50_000
    with pytest.raises(FieldInvalidError):
        stream(world, next(smalls[0].messages()))  # broken off in the middle of an object
    world.song.stop()
    with pytest.raises(SongUnavailableError):
        write(world, *smalls, announced=False)
    world.song.start()
    await_held(world, 0)


def await_held(world: World, size_bytes: int) -> None:
    """Wait until all streams together hold so much."""
    deadline = time.monotonic() + 60
    while world.score._small_objects.memory.total_bytes != size_bytes:
        assert time.monotonic() < deadline, world.score._small_objects.memory.total_bytes
        time.sleep(0.02)


# Reading


def test_a_read_is_refused_object_by_object(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    smalls = register(world, 3)
    write(world, *smalls)
    world.song.set_state("object-0", "PUBLISHED")
    world.register("not-there", b"x", state="PUBLISHED")
    world.song.set_state("object-2", "SUPPRESSED")
    ids = ["object-0", "not-there", "object-1", "object-2", "nobody-knows-it", "../..", "object-0"]
    found = read(world, *ids, unpublished=False)
    assert [one.reason for one in found] == [
        "",
        "OBJECT_NOT_FOUND",
        "ANALYSIS_NOT_PUBLISHED",
        "ANALYSIS_NOT_PUBLISHED",
        "OBJECT_NOT_FOUND",
        "FIELD_INVALID",
        "",
    ]
    assert bytes(found[0].data) == bytes(found[-1].data) == smalls[0].data
    # A no is not given from memory.
    world.song.set_state("object-1", "PUBLISHED")
    assert [one.reason for one in read(world, "object-1", unpublished=False)] == [""]
    world.song.register("object-1", len(smalls[1].data), hashlib.md5(smalls[1].data).hexdigest(), is_open=False)
    world.song.set_state("object-1", "PUBLISHED")
    stranger = Principal("a stranger", frozenset())
    monkeypatch.setattr(Callers, "of", lambda *_: stranger)
    monkeypatch.setattr(limits, "SONG_CACHE_SECONDS", 0.0)
    world.score.environment.registry._answers.clear()
    assert [one.reason for one in read(world, "object-0", "object-1", unpublished=False)] == ["", "SCOPE_MISSING"]


def test_a_large_object_is_not_read_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_bytes(PART + 1)
    world.store("large", data)
    (found,) = read(world, "large")
    assert bytes(found.data) == data
    assert found.xxh3_128 == xxh3_128_hexdigest(data)
    monkeypatch.setattr(limits, "SMALL_OBJECT_MAX_BYTES", PART)
    (found,) = read(world, "large")
    assert (found.reason, found.stored) == ("FIELD_INVALID", None)


@pytest.mark.parametrize("ids", [[], ["x" * 5] * 501], ids=["none", "too many"])
def test_a_read_asks_for_one_to_500(world: World, ids: list[str]) -> None:
    with pytest.raises(FieldInvalidError):
        read(world, *ids)


@pytest.mark.parametrize("damage", ["another byte", "shorter", "gone"])
def test_damaged_bytes_never_come_to_an_end(world: World, damage: str) -> None:
    smalls = register(world, 3)
    large = Small("large", world.register("large", random_bytes(PART + MIB)))
    write(world, *smalls)
    world.store("large", large.data)
    for object_id, data in (("object-1", smalls[1].data), ("large", large.data)):
        path: Path = world.settings.data_dir / "objects/data" / object_id
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(data[:-1] + (b"" if damage == "shorter" else bytes([data[-1] ^ 1])))
    found = read(world, "object-0", "object-1", "large", "object-2")
    assert [one.reason for one in found] == ["", "STORED_BYTES_CORRUPT", "STORED_BYTES_CORRUPT", ""]
    assert found[1].data == b""  # what fits into one piece is looked at before
    assert found[2].xxh3_128 is None


def test_song_down_ends_a_read(world: World) -> None:
    smalls = register(world, 1)
    write(world, *smalls)
    world.score.environment.registry._answers.clear()
    world.song.stop()
    with pytest.raises(SongUnavailableError):
        read(world, "object-0")
    world.song.start()


def test_a_server_that_shuts_down_ends_a_read(world: World) -> None:
    write(world, *register(world, 2))
    world.score.environment.draining.set()
    with pytest.raises(ServiceError) as raised:
        read(world, "object-0", "object-1")
    assert raised.value.reason == "DRAINING"


def test_many_are_read_with_few_questions_to_song(world: World) -> None:
    smalls = register(world, 150, 10)
    write(world, *smalls)
    world.score.environment.registry._answers.clear()
    calls = world.song.calls
    found = read(world, *(small.object_id for small in smalls))
    assert [bytes(one.data) for one in found] == [small.data for small in smalls]
    assert world.song.calls - calls <= 3


def test_an_object_goes_up_by_one_way_and_may_be_looked_at_by_the_others(world: World) -> None:
    (small,) = register(world, 1)
    write(world, small)
    found = world.raw.objects.GetObject(GetObjectRequest(object_id="object-0", allow_unpublished=True))
    assert found.stored_object.md5 == hashlib.md5(small.data).hexdigest()
    started = world.raw.uploads.StartUpload(StartUploadRequest(object_id="object-0"))
    assert started.stored_object == found.stored_object
