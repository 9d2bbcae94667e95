"""Long streams don't starve short calls."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import grpc
import pytest
from score.v1.upload_service_pb2 import GetUploadRequest, OpenUpload, StartUploadRequest, WriteUploadRequest
from song_score_client.errors import TooManyStreamsError

import runtime_grpc.server
from tests.score_grpc.test_upload import wait_until_streaming
from tests.servers.raw_score import MIB, chunks_of
from tests.servers.score_world import PART, World, random_bytes


def test_unary_calls_stay_fast_while_every_stream_slot_is_taken(open_world: Callable[..., World]) -> None:
    world = open_world(max_streams=20)
    data = random_bytes(PART + MIB)
    release = threading.Event()
    held: list[grpc.Call] = []

    def hold(upload_id: str) -> Iterator[WriteUploadRequest]:
        yield WriteUploadRequest(open=OpenUpload(upload_id=upload_id))
        yield WriteUploadRequest(chunk=next(chunks_of(1, data[:PART])))
        release.wait(60)

    uploads = []
    for number in range(20):
        object_id = f"object-{number}"
        world.register(object_id, data)
        upload = world.raw.uploads.StartUpload(
            StartUploadRequest(object_id=object_id, part_size_hint_bytes=PART)
        ).upload
        held.append(world.raw.uploads.WriteUpload(hold(upload.upload_id)))
        uploads.append(upload)
    try:
        for upload in uploads:
            wait_until_streaming(world, upload.upload_id)
        started = time.monotonic()
        with pytest.raises(TooManyStreamsError) as raised:
            world.raw.write(uploads[0].upload_id, [])
        assert raised.value.retry_after_seconds is not None
        for _ in range(50):
            world.raw.uploads.GetUpload(GetUploadRequest(upload_id=uploads[0].upload_id))
        assert time.monotonic() - started < 5  # a starved pool would answer when the streams end, after a minute
    finally:
        release.set()
        for call in held:
            call.cancel()
    deadline = time.monotonic() + 10
    while True:  # the slots are free again
        try:
            world.raw.write(uploads[1].upload_id, chunks_of(1, data[:PART]))
        except TooManyStreamsError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            break


def test_one_upload_admits_sixteen_streams(world: World) -> None:
    data = world.register("object-1", random_bytes(17 * PART))
    upload = world.start("object-1")
    release = threading.Event()

    def hold(number: int) -> Iterator[WriteUploadRequest]:
        yield WriteUploadRequest(open=OpenUpload(upload_id=upload.upload_id))
        yield WriteUploadRequest(chunk=next(chunks_of(number, data[:PART])))
        release.wait(60)

    held = [world.raw.uploads.WriteUpload(hold(number)) for number in range(1, 17)]
    try:
        claims = world.score.environment.claims
        deadline = time.monotonic() + 10
        while len(claims._claims) < 16:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(TooManyStreamsError, match="16 streams"):
            world.raw.write(upload.upload_id, chunks_of(17, data[:PART]))
    finally:
        release.set()
        for call in held:
            call.cancel()


def test_a_stream_on_which_nothing_moves_is_ended_and_its_slot_is_free(
    open_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_grpc.server, "STREAM_IDLE_SECONDS", 0.3)
    monkeypatch.setattr(runtime_grpc.server, "STREAM_LOOK_SECONDS", 0.05)
    world = open_world(max_streams=1)
    data = world.register("object-1", random_bytes(PART))
    upload = world.start("object-1")
    release = threading.Event()

    def silent() -> Iterator[WriteUploadRequest]:
        yield WriteUploadRequest(open=OpenUpload(upload_id=upload.upload_id))
        release.wait(60)

    with pytest.raises(grpc.RpcError) as raised:
        list(world.raw.uploads.WriteUpload(silent()))
    release.set()
    assert isinstance(raised.value, grpc.Call)
    assert raised.value.code() is grpc.StatusCode.CANCELLED
    deadline = time.monotonic() + 10
    while True:
        with suppress(TooManyStreamsError):
            world.send(upload, data)
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)
