"""Streams of WriteObjects that are slow, silent or gone: their memory is another's before long."""

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import pytest
from score.v1.error_reason_pb2 import ERROR_REASON_TOO_MANY_STREAMS
from score.v1.upload_service_pb2 import (
    FinishSmallObject,
    OpenSmallObject,
    SmallObjectChunk,
    WriteObjectsRequest,
    WriteObjectsResponse,
)

from score_grpc.domain import limits
from score_grpc.gateways.objects.port import ObjectStore, StoredBytes
from score_grpc.use_cases.small_memory import SmallObject, StreamGoneError
from tests.servers.score_world import World, random_bytes

SIZE = 16_000
LOOKS, PAUSE_SECONDS = 1200, 0.05
DATA = {f"object-{number}": random_bytes(SIZE, seed=number) for number in range(8)}


class SlowStream:
    """A client's stream, which sends what it is told to, when it is told to."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._messages: list[WriteObjectsRequest | None] = []
        self._changed = threading.Condition()
        self.call = world.raw.uploads.WriteObjects(self._requests())
        self._pool = ThreadPoolExecutor(1)
        self.answers = self._pool.submit(list, self.call)

    def send(self, *messages: WriteObjectsRequest | None) -> None:
        """Send messages; None ends the stream."""
        with self._changed:
            self._messages += messages
            self._changed.notify_all()

    def _requests(self) -> Iterator[WriteObjectsRequest]:
        while True:
            with self._changed:
                while not self._messages:
                    self._changed.wait()
                message = self._messages.pop(0)
            if message is None:
                return
            yield message

    def close(self) -> None:
        """Leave."""
        self.call.cancel()
        self.send(None)
        self._pool.shutdown()


def opening(object_id: str) -> WriteObjectsRequest:
    return WriteObjectsRequest(open=OpenSmallObject(object_id=object_id, size_bytes=len(DATA[object_id])))


def chunk(data: bytes) -> WriteObjectsRequest:
    return WriteObjectsRequest(chunk=SmallObjectChunk(data=data))


FINISH = WriteObjectsRequest(finish=FinishSmallObject())


def whole(object_id: str) -> list[WriteObjectsRequest]:
    return [opening(object_id), chunk(DATA[object_id]), FINISH]


def write(world: World, *object_ids: str) -> list[WriteObjectsResponse]:
    return list(world.raw.uploads.WriteObjects(iter([message for name in object_ids for message in whole(name)])))


def until(is_so: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(LOOKS):
        if is_so():
            return
        pause.wait(PAUSE_SECONDS)
    raise AssertionError("it never comes to be so")


def held(world: World) -> int:
    return world.score._small_objects.memory.total_bytes


@pytest.fixture
def small_world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A Score with memory for three of the objects."""
    monkeypatch.setattr(limits, "SMALL_OBJECTS_HELD_TOTAL_BYTES", 3 * SIZE)
    monkeypatch.setattr(limits, "SMALL_OBJECTS_ROOM_SECONDS", 0.05)
    for name, data in DATA.items():
        world.register(name, data)
    return world


@pytest.fixture
def open_stream(small_world: World) -> Iterator[Callable[[], SlowStream]]:
    opened: list[SlowStream] = []

    def open_one() -> SlowStream:
        opened.append(SlowStream(small_world))
        return opened[-1]

    yield open_one
    for stream in opened:
        stream.close()


@pytest.mark.parametrize("trickles", [False, True], ids=["silent", "a byte now and then"])
def test_slow_streams_that_hold_all_memory_give_it_to_who_waits(
    small_world: World,
    open_stream: Callable[[], SlowStream],
    monkeypatch: pytest.MonkeyPatch,
    *,
    trickles: bool,
) -> None:
    monkeypatch.setattr(limits, "SMALL_OBJECT_BYTES_SECONDS", 1.0)
    slow, position, ended = [open_stream() for _ in range(3)], 0, threading.Event()
    for number, stream in enumerate(slow):
        stream.send(opening(f"object-{number}"))
        until(lambda total=number + 1: held(small_world) == total * SIZE)  # type: ignore[misc]  # mypy can't infer such a lambda

    def trickle() -> None:
        nonlocal position
        while trickles and not ended.wait(0.05):
            for number, stream in enumerate(slow):
                stream.send(chunk(DATA[f"object-{number}"][position : position + 1]))
            position += 1

    with ThreadPoolExecutor(1) as pool:
        trickling = pool.submit(trickle)
        answers = write(small_world, "object-3", "object-4", "object-5", "object-6")
        ended.set()
        trickling.result(60)
    assert [answer.stored_object.object_id for answer in answers] == [f"object-{number}" for number in range(3, 7)]
    # The one that was slow for longest is told, and its stream goes on; the others have lost nothing.
    slow[0].send(chunk(b"x"), *whole("object-0"), None)
    refused, stored = slow[0].answers.result(60)
    assert (refused.index, refused.refusal.reason, refused.refusal.retryable) == (
        0,
        ERROR_REASON_TOO_MANY_STREAMS,
        True,
    )
    assert (stored.index, stored.stored_object.object_id) == (1, "object-0")
    for number in (1, 2):
        slow[number].send(chunk(DATA[f"object-{number}"][position:]), FINISH, None)
        (stored,) = slow[number].answers.result(60)
        assert stored.stored_object.object_id == f"object-{number}"
    until(lambda: held(small_world) == 0)


def test_an_object_whose_last_bytes_came_too_late_is_refused_as_it_ends(
    small_world: World, open_stream: Callable[[], SlowStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SMALL_OBJECT_BYTES_SECONDS", 0.1)
    streams = [open_stream() for _ in range(3)]
    for number, stream in enumerate(streams):
        stream.send(opening(f"object-{number}"), chunk(DATA[f"object-{number}"]))
    until(lambda: held(small_world) == 3 * SIZE)
    write(small_world, "object-3")
    for stream in streams:
        stream.send(FINISH, None)
    (refused,) = [answer for stream in streams for answer in stream.answers.result(60) if answer.HasField("refusal")]
    assert refused.refusal.reason == ERROR_REASON_TOO_MANY_STREAMS
    until(lambda: held(small_world) == 0)


def test_an_object_that_comes_in_the_smallest_chunks_takes_no_more_memory(
    small_world: World, open_stream: Callable[[], SlowStream]
) -> None:
    memory, stream, data = small_world.score._small_objects.memory, open_stream(), DATA["object-0"]
    stream.send(opening("object-0"), *(chunk(data[position : position + 1]) for position in range(SIZE)))
    until(lambda: any(item.received_bytes == SIZE for item in list(memory._coming)))
    (item,) = memory._coming
    (piece,) = item.pieces
    assert piece.nbytes == SIZE
    assert sys.getsizeof(piece.obj) < SIZE + 200
    stream.send(FINISH, None)
    (stored,) = stream.answers.result(60)
    assert stored.stored_object.md5 == hashlib.md5(data).hexdigest()
    assert b"".join(small_world.score.environment.store.read("data/object-0", "", 0, SIZE)) == data


def test_nobody_loses_memory_that_no_other_waits_for(
    small_world: World, open_stream: Callable[[], SlowStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SMALL_OBJECT_BYTES_SECONDS", 0.0)
    stream = open_stream()
    stream.send(opening("object-0"), chunk(DATA["object-0"][:1]))
    until(lambda: held(small_world) == SIZE)
    write(small_world, "object-1", "object-2")
    stream.send(chunk(DATA["object-0"][1:]), FINISH, None)
    (stored,) = stream.answers.result(60)
    assert stored.stored_object.object_id == "object-0"


def test_those_who_wait_for_memory_get_it_in_their_turn(
    small_world: World, open_stream: Callable[[], SlowStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SMALL_OBJECT_BYTES_SECONDS", 1.0)
    memory = small_world.score._small_objects.memory
    genuine, asked, given = memory.hold, list[str](), list[str]()

    def hold(item: SmallObject, *, waits: bool, is_active: Callable[[], bool]) -> bool:
        asked.append(item.object_id)
        is_held = genuine(item, waits=waits, is_active=is_active)
        given.append(item.object_id)
        return is_held

    monkeypatch.setattr(memory, "hold", hold)

    def is_in_its_turn(name: str) -> bool:
        return name in given or name in [item.object_id for item in list(memory._queue)]

    names = [f"object-{number}" for number in range(7)]
    for name in names:  # none of them ever sends a byte
        open_stream().send(opening(name))
        until(partial(is_in_its_turn, name))
    (answer,) = write(small_world, "object-7")  # it does not come before them, nor do they come twice
    assert answer.stored_object.object_id == "object-7"
    assert asked == given == [*names, "object-7"]


def test_a_stream_whose_client_has_left_waits_for_no_memory(
    small_world: World, open_stream: Callable[[], SlowStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = small_world.score._small_objects.memory
    slow, late = [open_stream() for _ in range(3)], open_stream()
    for number, stream in enumerate(slow):
        stream.send(opening(f"object-{number}"))
    until(lambda: held(small_world) == 3 * SIZE)
    is_waiting, has_gone = threading.Event(), threading.Event()
    genuine = memory.hold

    def hold(item: SmallObject, *, waits: bool, is_active: Callable[[], bool]) -> bool:
        is_waiting.set()
        try:
            return genuine(item, waits=waits, is_active=is_active)
        except StreamGoneError:
            has_gone.set()
            raise

    monkeypatch.setattr(memory, "hold", hold)
    late.send(opening("object-3"))
    assert is_waiting.wait(60)
    late.call.cancel()
    assert has_gone.wait(60)
    assert held(small_world) == 3 * SIZE
    for stream in slow:
        stream.call.cancel()
    until(lambda: held(small_world) == 0)


def test_who_waits_for_memory_of_a_server_that_shuts_down_goes_elsewhere(
    small_world: World, open_stream: Callable[[], SlowStream]
) -> None:
    slow, late = [open_stream() for _ in range(3)], open_stream()
    for number, stream in enumerate(slow):
        stream.send(opening(f"object-{number}"))
    until(lambda: held(small_world) == 3 * SIZE)
    late.send(*whole("object-3"))
    small_world.score.environment.draining.set()
    with pytest.raises(grpc.RpcError) as raised:
        late.answers.result(60)
    assert small_world.raw.error(raised.value).reason == "DRAINING"


def hold_puts(world: World, monkeypatch: pytest.MonkeyPatch, begin: Callable[[], None]) -> threading.Event:
    """Hold what is put into the store, from the first put that `begin` leads to; return what lets all go on."""
    store: ObjectStore = world.score.environment.store
    genuine, is_putting, may_put = store.put, threading.Event(), threading.Event()

    def put(key: str, data: Sequence[memoryview]) -> StoredBytes:
        is_putting.set()
        assert may_put.wait(60)
        return genuine(key, data)

    monkeypatch.setattr(store, "put", put)
    begin()
    assert is_putting.wait(60)
    return may_put


def test_what_is_whole_is_stored_also_while_the_client_is_silent(
    small_world: World, open_stream: Callable[[], SlowStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = open_stream()
    may_put = hold_puts(small_world, monkeypatch, lambda: stream.send(*whole("object-0")))
    stream.send(*whole("object-1"), *whole("object-2"))
    until(lambda: held(small_world) == 3 * SIZE)
    may_put.set()
    until(lambda: held(small_world) == 0)  # not a message has come since
    stream.send(None)
    assert [answer.stored_object.object_id for answer in stream.answers.result(60)] == [
        f"object-{number}" for number in range(3)
    ]


def test_what_is_whole_is_let_go_where_the_group_before_it_ends_the_stream(
    small_world: World, open_stream: Callable[[], SlowStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = open_stream()
    may_put = hold_puts(small_world, monkeypatch, lambda: stream.send(*whole("object-0")))
    stream.send(*whole("object-1"))
    until(lambda: held(small_world) == 2 * SIZE)
    small_world.song.stop()
    may_put.set()
    until(lambda: held(small_world) == 0)
    stream.send(*whole("object-2"))
    with pytest.raises(grpc.RpcError) as raised:
        stream.answers.result(60)
    assert small_world.raw.error(raised.value).reason == "SONG_UNAVAILABLE"
    small_world.song.start()
