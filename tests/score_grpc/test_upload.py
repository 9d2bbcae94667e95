"""Uploads over real gRPC, on every store."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import grpc
import pytest
from score.v1.stored_object_pb2 import VERIFICATION_VERIFIED
from score.v1.upload_pb2 import UPLOAD_STATE_ABORTED, UPLOAD_STATE_COMPLETED, UPLOAD_STATE_COMPLETING, UPLOAD_STATE_OPEN
from score.v1.upload_service_pb2 import (
    AbortUploadRequest,
    CompleteUploadRequest,
    GetUploadRequest,
    OpenUpload,
    StartUploadRequest,
    UploadChunk,
    WriteUploadRequest,
)
from song_score_client.errors import ChunkOutOfOrderError, PartsMissingError, PartTakenOverError, UploadAbortedError
from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

from score_grpc.database.ledger import Ledger
from score_grpc.domain import limits
from score_grpc.domain.audit import Asker
from score_grpc.domain.uploads import Upload
from score_grpc.gateways.objects.local import LocalObjectStore
from score_grpc.gateways.objects.port import StagedPart, Staging, StoredBytes
from score_grpc.use_cases.claims import Claims, PartClaim
from tests.servers.raw_score import CHUNK, MIB, bytes_of, chunks_of
from tests.servers.score_world import PART, World, random_bytes

SIZE = 2 * PART + 3 * MIB + 17


def test_parts_in_any_order_become_one_object(any_world: World) -> None:
    data = any_world.register("object-1", random_bytes(SIZE))
    upload = any_world.start("object-1")
    assert (upload.part_total, upload.part_size_bytes) == (3, PART)
    any_world.send(upload, data, 3, 1, 2)
    answer = any_world.complete(upload)
    assert answer.upload.state == UPLOAD_STATE_COMPLETED
    stored = answer.stored_object
    assert (stored.verification, stored.size_bytes, stored.generation) == (VERIFICATION_VERIFIED, SIZE, 1)
    assert bytes_of(any_world.raw.read("object-1", (0, None), unpublished=True)) == data


def test_an_empty_file_is_a_file(any_world: World) -> None:
    upload = any_world.store("empty-1", b"")
    assert upload.part_total == 0
    answers = any_world.raw.read("empty-1", (0, None), unpublished=True)
    assert [answer.WhichOneof("message") for answer in answers] == ["stored_object", "range_end"]


def test_the_ack_carries_the_digest_of_the_part(world: World) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    (answer,) = world.raw.write(upload.upload_id, chunks_of(3, data[2 * PART :]))
    assert answer.ack.part.xxh3_128 == xxh3_128_hexdigest(data[2 * PART :])
    listed = world.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload.upload_id))
    assert list(listed.parts) == [answer.ack.part]
    assert listed.upload.persisted_size_bytes == SIZE - 2 * PART


def test_starting_again_joins_the_live_upload_and_a_stored_object_needs_none(world: World) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    first, second = world.start("object-1"), world.start("object-1")
    assert first.upload_id == second.upload_id
    world.send(first, data)
    world.complete(first)
    again = world.raw.uploads.StartUpload(StartUploadRequest(object_id="object-1"))
    assert again.stored_object.size_bytes == SIZE


def test_many_callers_starting_at_once_get_one_upload(world: World) -> None:
    world.register("object-1", random_bytes(SIZE))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(world.start("object-1").upload_id)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert len(set(found)) == 1


def test_an_upload_that_completes_while_another_is_started_is_found_stored(
    any_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = any_world.register("object-1", random_bytes(SIZE))
    upload = any_world.start("object-1")
    any_world.send(upload, data)
    genuine, looks = Ledger.live_upload, []

    def live_upload(ledger: Ledger, object_id: str) -> Upload | None:
        looks.append(object_id)
        if len(looks) == 1:
            any_world.complete(upload)  # between the look for an object and the look for an upload
        return genuine(ledger, object_id)

    monkeypatch.setattr(Ledger, "live_upload", live_upload)
    answer = any_world.raw.uploads.StartUpload(StartUploadRequest(object_id="object-1"))
    assert answer.stored_object.size_bytes == SIZE


def test_a_persisted_part_is_acknowledged_and_not_taken_again(world: World) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    world.send(upload, data, 1)
    (answer,) = world.raw.write(upload.upload_id, chunks_of(1, bytes(PART)))
    assert answer.ack.part.xxh3_128 == xxh3_128_hexdigest(data[:PART])


def test_a_stream_that_breaks_inside_a_part_leaves_nothing_of_it(any_world: World) -> None:
    data = any_world.register("object-1", random_bytes(SIZE))
    upload = any_world.start("object-1")
    half = list(chunks_of(1, data[:PART]))[:3]
    assert any_world.raw.write(upload.upload_id, half) == []
    with pytest.raises(ChunkOutOfOrderError) as raised:
        any_world.raw.write(upload.upload_id, chunks_of(1, data[:PART], start=3 * CHUNK))
    assert raised.value.metadata["expected_offset"] == "0"
    any_world.send(upload, data)
    assert any_world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED


def test_a_corrupt_chunk_is_asked_for_again_and_later_ones_are_discarded(world: World) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    good = list(chunks_of(1, data[:PART]))
    bad = UploadChunk(part_number=1, offset=CHUNK, data=bytes(CHUNK), xxh3_64=good[1].xxh3_64)
    answers = world.raw.write(upload.upload_id, [good[0], bad, good[2], good[3], *good[1:]])
    assert (answers[0].resend.part_number, answers[0].resend.offset, answers[0].resend.reason) == (
        1,
        CHUNK,
        "CHUNK_CORRUPT",
    )
    assert answers[1].ack.part.xxh3_128 == xxh3_128_hexdigest(data[:PART])
    assert len(answers) == 2


def test_a_corrupt_first_chunk_is_asked_for_again(world: World) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    good = list(chunks_of(1, data[:PART]))
    bad = UploadChunk(part_number=1, offset=0, data=bytes(CHUNK), xxh3_64=good[0].xxh3_64)
    answers = world.raw.write(upload.upload_id, [bad, good[1], good[2], *good])
    assert [answer.WhichOneof("message") for answer in answers] == ["resend", "ack"]


def test_chunks_without_a_digest_are_taken_unchecked(world: World) -> None:
    world.register("object-1", b"grpcurl")
    upload = world.start("object-1")
    (answer,) = world.raw.write(upload.upload_id, [UploadChunk(part_number=1, data=b"grpcurl")])
    assert answer.ack.part.size_bytes == 7
    assert world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED


def test_other_bytes_than_registered_never_become_visible_and_lose_no_part(any_world: World) -> None:
    data = any_world.register("object-1", random_bytes(SIZE))
    wrong = bytearray(data)
    wrong[PART + 5] ^= 1
    upload = any_world.start("object-1")
    any_world.send(upload, bytes(wrong))
    answer = any_world.complete(upload)
    assert answer.upload.state == UPLOAD_STATE_OPEN
    assert answer.upload.last_failure.reason == "OBJECT_DIGEST_MISMATCH"
    assert not answer.HasField("stored_object")
    assert answer.upload.persisted_part_total == 3
    again = any_world.complete(upload)
    assert again.upload.last_failure == answer.upload.last_failure
    any_world.send(upload, data, 2, replace=True)
    answer = any_world.complete(upload)
    assert answer.upload.state == UPLOAD_STATE_COMPLETED
    assert bytes_of(any_world.raw.read("object-1", (0, None), unpublished=True)) == data


def test_a_corrected_registration_completes_without_sending_a_byte(any_world: World) -> None:
    data = random_bytes(SIZE)
    any_world.song.register("object-1", SIZE, "0" * 32)
    upload = any_world.start("object-1")
    any_world.send(upload, data)
    assert any_world.complete(upload).upload.last_failure.reason == "OBJECT_DIGEST_MISMATCH"
    any_world.register("object-1", data)
    assert any_world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED


def test_completion_names_missing_parts(world: World) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    world.send(upload, data, 2)
    with pytest.raises(grpc.RpcError) as raised:
        world.complete(upload)
    error = world.raw.error(raised.value)
    assert isinstance(error, PartsMissingError)
    assert (error.metadata["part_numbers"], error.metadata["part_count"]) == ("1,3", "2")


def test_the_newest_stream_takes_a_part_over(world: World) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    chunks = list(chunks_of(1, data[:PART]))
    taken_over = threading.Event()

    def older() -> Iterator[UploadChunk]:
        yield chunks[0]
        assert taken_over.wait(30)
        yield chunks[1]

    failure: list[Exception] = []

    def write_older() -> None:
        try:
            world.raw.write(upload.upload_id, older())
        except Exception as error:  # noqa: BLE001 - looked at below
            failure.append(error)

    thread = threading.Thread(target=write_older)
    thread.start()
    wait_until_streaming(world, upload.upload_id)
    world.send(upload, data, 1)
    taken_over.set()
    thread.join()
    assert isinstance(failure[0], PartTakenOverError)
    world.send(upload, data, 2, 3)
    assert world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED


def test_a_part_persisted_while_another_stream_was_about_to_begin_it_stays_as_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    genuine, takes = Claims.take, []

    def take(claims: Claims, upload_id: str, part_number: int) -> PartClaim:
        takes.append(part_number)
        if len(takes) == 1:
            world.send(upload, data, 1)  # all of it, just before the other stream claims the part
        return genuine(claims, upload_id, part_number)

    monkeypatch.setattr(Claims, "take", take)
    (answer,) = world.raw.write(upload.upload_id, [UploadChunk(part_number=1, data=bytes(CHUNK))])
    assert answer.ack.part.xxh3_128 == xxh3_128_hexdigest(data[:PART])
    world.send(upload, data, 2, 3)
    assert world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED
    assert bytes_of(world.raw.read("object-1", (0, None), unpublished=True)) == data


def test_a_part_replaced_after_it_was_hashed_is_hashed_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    wrong = bytearray(data)
    wrong[5] ^= 1
    upload = world.start("object-1")
    world.send(upload, bytes(wrong))
    hashing = world.score.environment.hashing
    while hashing._prefix(upload.upload_id).hashed_parts < 3:
        time.sleep(0.01)
    monkeypatch.setattr(type(hashing), "restart", lambda *_: None)  # as if it came too late
    world.send(upload, data, 1, replace=True)
    assert world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED
    world.register("object-2", bytes(wrong))
    other = world.start("object-2")
    world.send(other, data, 1)
    world.send(other, bytes(wrong), 1, replace=True)
    world.send(other, bytes(wrong), 2, 3)
    assert world.complete(other).stored_object.md5 == hashlib.md5(wrong).hexdigest()


def test_many_completions_at_once_all_begin_and_end(world: World) -> None:
    uploads = []
    for number in range(16):
        data = random_bytes(100 + number)
        world.register(f"object-{number}", data)
        upload = world.start(f"object-{number}")
        world.send(upload, data)
        uploads.append(upload)
    answers: list[int] = []
    threads = [
        threading.Thread(
            target=lambda upload=upload: answers.append(
                world.raw.uploads.CompleteUpload(CompleteUploadRequest(upload_id=upload.upload_id)).upload.state
            )
        )
        for upload in uploads
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {UPLOAD_STATE_COMPLETING, UPLOAD_STATE_COMPLETED}
    assert all(world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED for upload in uploads)


def test_a_staging_cut_short_by_a_power_loss_asks_for_what_is_gone(world: World) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    world.send(upload, data)
    world.score.environment.hashing.forget(upload.upload_id)  # as after a restart
    (staging,) = (world.settings.data_dir / "objects" / "upload").iterdir()
    os.truncate(staging, 2 * PART + 10)
    answer = world.complete(upload)
    assert answer.upload.last_failure.reason == "PARTS_MISSING"
    world.send(upload, data, 3)
    assert world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED


def test_a_completion_that_ends_unexpectedly_is_tried_again_and_given_up_after_some_tries(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LEASE_SECONDS", 0.1)
    monkeypatch.setattr(limits, "SWEEP_PERIOD_SECONDS", 0.1)
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    world.send(upload, data)
    with monkeypatch.context() as patch:
        patch.setattr(type(world.score.environment.store), "assemble", lambda *_: 1 / 0)
        answer = world.complete(upload)
        assert (answer.upload.state, answer.upload.last_failure.reason) == (UPLOAD_STATE_OPEN, "STORE_UNAVAILABLE")
        assert answer.upload.persisted_part_total == 3
    assert world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED


def test_a_step_that_outlasts_the_lease_keeps_it(
    open_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(limits, "SWEEP_PERIOD_SECONDS", 0.1)
    world = open_world()
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    world.send(upload, data)
    genuine, taken = LocalObjectStore.assemble, []
    replica = Ledger(world.score._database, owner="another replica")

    def assemble(store: LocalObjectStore, staging: Staging, parts: Sequence[StagedPart]) -> StoredBytes:
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            taken.append(replica.begin_completion(upload.upload_id, Asker("somebody")))
            time.sleep(0.05)
        return genuine(store, staging, parts)

    monkeypatch.setattr(LocalObjectStore, "assemble", assemble)
    assert world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED
    assert taken
    assert not any(taken)


def wait_until_streaming(world: World, upload_id: str) -> None:
    """Wait until a stream has begun a part."""
    claims = world.score.environment.claims
    deadline = threading.Event()
    for _ in range(1000):
        if any(claim[0] == upload_id for claim in list(claims._claims)):
            return
        deadline.wait(0.01)
    raise AssertionError("no stream has begun a part")


def test_parallel_streams_carry_parts_of_one_upload(any_world: World) -> None:
    data = any_world.register("object-1", random_bytes(8 * PART + 5))
    upload = any_world.start("object-1")
    threads = [
        threading.Thread(target=any_world.send, args=(upload, data, *range(first, 10, 3))) for first in (1, 2, 3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any_world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED


def test_an_aborted_upload_is_gone_and_aborting_again_succeeds(any_world: World) -> None:
    data = any_world.register("object-1", random_bytes(SIZE))
    upload = any_world.start("object-1")
    any_world.send(upload, data, 1)
    for _ in range(2):
        aborted = any_world.raw.uploads.AbortUpload(AbortUploadRequest(upload_id=upload.upload_id)).upload
        assert aborted.state == UPLOAD_STATE_ABORTED
    with pytest.raises(UploadAbortedError):
        any_world.raw.write(upload.upload_id, chunks_of(1, data[:PART]))
    another = any_world.start("object-1")
    assert another.upload_id != upload.upload_id
    any_world.send(another, data)
    assert any_world.complete(another).upload.state == UPLOAD_STATE_COMPLETED


def test_suppression_during_the_upload_aborts_it(any_world: World) -> None:
    data = any_world.register("object-1", random_bytes(SIZE))
    upload = any_world.start("object-1")
    any_world.send(upload, data)
    any_world.song.set_state("object-1", "SUPPRESSED")
    assert any_world.complete(upload).upload.state == UPLOAD_STATE_ABORTED


def test_publication_during_the_upload_keeps_the_parts(world: World) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    world.send(upload, data)
    world.song.set_state("object-1", "PUBLISHED")
    answer = world.complete(upload)
    assert answer.upload.last_failure.reason == "ANALYSIS_NOT_UNPUBLISHED"
    assert answer.upload.persisted_part_total == 3
    world.song.set_state("object-1", "UNPUBLISHED")
    assert world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED


def test_everything_acknowledged_is_there_after_a_restart(
    open_world: Callable[..., World], store_settings: dict[str, object]
) -> None:
    before = open_world(**store_settings)
    data = before.register("object-1", random_bytes(SIZE))
    upload = before.start("object-1")
    before.send(upload, data, 1, 3)
    before.score.stop()
    after = open_world(**store_settings)
    listed = after.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload.upload_id))
    assert [part.part_number for part in listed.parts] == [1, 3]
    after.send(upload, data, 2)
    assert after.complete(upload).upload.state == UPLOAD_STATE_COMPLETED


def test_a_part_lost_in_the_store_is_asked_for_again(world: World) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    (staging,) = (world.settings.data_dir / "objects" / "upload").iterdir()
    world.send(upload, data, 2, 3)
    with staging.open("r+b") as file:
        file.seek(PART + 100)
        file.write(b"what a power loss left")
    world.send(upload, data, 1)
    answer = world.complete(upload)
    assert answer.upload.last_failure.reason == "PARTS_MISSING"
    parts = world.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload.upload_id)).parts
    assert [part.part_number for part in parts] == [1, 3]
    world.send(upload, data, 2)
    assert world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED


def test_a_staging_lost_in_the_store_is_begun_anew(any_world: World) -> None:
    data = any_world.register("object-1", random_bytes(SIZE))
    upload = any_world.start("object-1")
    any_world.send(upload, data, 1)
    known = any_world.score.environment.ledger.upload(upload.upload_id)
    any_world.score.environment.store.abort(Staging(known.staging_key, known.staging_token))
    part = data[PART : 2 * PART]
    answers = any_world.raw.write(upload.upload_id, [*chunks_of(2, part), *chunks_of(2, part)])
    kinds = [answer.WhichOneof("message") for answer in answers]
    assert (kinds[0], kinds[-1]) == ("resend", "ack")
    listed = any_world.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload.upload_id))
    assert [part.part_number for part in listed.parts] == [2]
    any_world.send(upload, data, 1, 3)
    assert any_world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED


def test_a_shutting_down_server_says_drain_and_finishes_the_part(world: World) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")

    def requests() -> Iterator[WriteUploadRequest]:
        yield WriteUploadRequest(open=OpenUpload(upload_id=upload.upload_id))
        for number, chunk in enumerate(chunks_of(1, data[:PART])):
            if number == 2:
                world.score.environment.draining.set()
            yield WriteUploadRequest(chunk=chunk)

    answers = list(world.raw.uploads.WriteUpload(requests()))
    assert [answer.WhichOneof("message") for answer in answers] == ["drain", "ack"]


def test_digests_are_of_the_canonical_form() -> None:
    assert xxh3_64_intdigest(b"") == 0x2D06800538D394C2
    assert xxh3_128_hexdigest(b"") == "99aa06d3014798d86001c324468d497f"
