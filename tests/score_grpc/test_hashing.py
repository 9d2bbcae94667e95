"""The hasher that follows an upload, and the streams that leave it its time."""

import threading
from collections.abc import Iterator

import pytest

from score_grpc.domain import limits
from score_grpc.gateways.objects.port import Staging
from tests.servers.raw_score import MIB
from tests.servers.score_world import PART, World, random_bytes

OBJECT = "6f6ad7c1-3b35-5b0e-9a3c-1f2f6a0d1c11"
DATA = random_bytes(PART + MIB)
WAIT_SECONDS = 60.0


class HeldReads:
    """Holds every look into a staging until it is let go."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.released = threading.Event(), threading.Event()
        store = world.score.environment.store
        read_staged = store.read_staged

        def held(staging: Staging, offset: int, size_bytes: int) -> Iterator[memoryview] | None:
            self.begun.set()
            assert self.released.wait(WAIT_SECONDS)
            return read_staged(staging, offset, size_bytes)

        monkeypatch.setattr(store, "read_staged", held)


def test_a_stream_far_ahead_waits_until_the_hasher_has_finished_a_part(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HASH_PACE_SECONDS", WAIT_SECONDS)
    reads = HeldReads(world, monkeypatch)
    world.register(OBJECT, DATA)
    upload = world.start(OBJECT)
    world.send(upload, DATA, 1)
    assert reads.begun.wait(WAIT_SECONDS)
    hashing = world.score.environment.hashing
    went_on: list[int] = []

    def write_part_far_ahead() -> None:
        hashing.keep_pace(upload.upload_id, limits.HASH_LEAD_PARTS + 1)
        went_on.append(hashing.hashed_parts(upload.upload_id))

    stream = threading.Thread(target=write_part_far_ahead)
    stream.start()
    reads.released.set()
    stream.join(WAIT_SECONDS)
    assert went_on == [1]
    world.send(upload, DATA, 2)
    assert world.complete(upload).stored_object.size_bytes == len(DATA)


def test_a_hasher_that_gets_no_further_holds_no_stream_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HASH_PACE_SECONDS", 0.01)
    reads = HeldReads(world, monkeypatch)
    world.register(OBJECT, DATA)
    upload = world.start(OBJECT)
    world.send(upload, DATA, 1)
    assert reads.begun.wait(WAIT_SECONDS)
    hashing = world.score.environment.hashing
    hashing.keep_pace(upload.upload_id, limits.PARTS_MAX)
    assert hashing.hashed_parts(upload.upload_id) == 0
    reads.released.set()
    world.send(upload, DATA, 2)
    assert world.complete(upload).stored_object.size_bytes == len(DATA)


def test_a_stream_waits_for_no_hasher_that_has_nothing_to_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HASH_PACE_SECONDS", WAIT_SECONDS)
    world.register(OBJECT, DATA)
    upload = world.start(OBJECT)
    world.send(upload, DATA, 2)  # a hasher needs the first part first
    world.score.environment.hashing.keep_pace(upload.upload_id, limits.PARTS_MAX)
    world.send(upload, DATA, 1)
    assert world.complete(upload).stored_object.size_bytes == len(DATA)
