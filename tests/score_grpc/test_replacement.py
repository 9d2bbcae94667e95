"""Objects are replaced, mended and deleted: generations, the marks of changes, and the bytes that go later."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from score.v1.download_service_pb2 import OpenObject, ReadObjectRequest, ReadRange
from score.v1.object_service_pb2 import DeleteObjectRequest, GetObjectRequest
from score.v1.stored_object_pb2 import VERIFICATION_VERIFIED, StoredObject
from score.v1.upload_pb2 import (
    ABORT_REASON_REPLACED,
    UPLOAD_STATE_ABORTED,
    UPLOAD_STATE_COMPLETED,
    UPLOAD_STATE_OPEN,
    Upload,
)
from score.v1.upload_service_pb2 import (
    FinishSmallObject,
    GetUploadRequest,
    ListUploadsRequest,
    OpenSmallObject,
    SmallObjectChunk,
    StartUploadRequest,
    StartUploadResponse,
    WriteObjectsRequest,
)
from song_score_client.errors import ServiceError
from sqlalchemy import insert

from score_grpc.database.adoptions import Adoptions
from score_grpc.database.generations import make_visible
from score_grpc.database.rows import upload_values
from score_grpc.database.tables import UPLOADS
from score_grpc.domain import limits
from score_grpc.domain.parts import plan_parts
from score_grpc.domain.registrations import Registration
from score_grpc.domain.stored_objects import new_object
from score_grpc.domain.uploads import UploadState, new_upload
from tests.servers.raw_score import bytes_of
from tests.servers.registry_song import TOKEN
from tests.servers.score_world import PART, World, random_bytes

SERVICE = (("authorization", f"Bearer {TOKEN}"),)
OLD, NEW = random_bytes(PART + 1000, seed=1), random_bytes(PART + 3000, seed=2)
NAME = "object-1"


def start(world: World, *, replace: bool = True) -> StartUploadResponse:
    request = StartUploadRequest(object_id=NAME, part_size_hint_bytes=PART, replace=replace)
    return world.raw.uploads.StartUpload(request)


def put(world: World, data: bytes) -> StoredObject:
    """Replace the object's bytes by an upload."""
    upload = start(world).upload
    world.send(upload, data)
    answer = world.complete(upload)
    assert answer.upload.state == UPLOAD_STATE_COMPLETED, answer.upload.last_failure
    return answer.stored_object


def delete(world: World, reason: str = "a mistake", generation: int = 0) -> StoredObject:
    request = DeleteObjectRequest(object_id=NAME, reason=reason, generation=generation)
    return world.raw.objects.DeleteObject(request, metadata=SERVICE).stored_object


def refused(world: World, call: Callable[[], object]) -> ServiceError:
    try:
        call()
    except grpc.RpcError as error:
        return world.raw.error(error)
    except ServiceError as error:
        return error
    raise AssertionError("the call was not refused")


def read(world: World, generation: int = 0) -> bytes:
    return bytes_of(world.raw.read(NAME, (0, None), generation=generation, unpublished=True))


def collect(world: World, after: timedelta = timedelta()) -> int:
    """Collect retired bytes as if so much time had gone by."""
    return world.score.collector.collect_retired(datetime.now(UTC) + after)


STREAM_AGE = timedelta(seconds=limits.STREAM_AGE_SECONDS + 1)


def test_other_bytes_become_the_next_generation(any_world: World) -> None:
    any_world.store(NAME, OLD)
    any_world.register(NAME, NEW)
    assert refused(any_world, lambda: start(any_world, replace=False)).reason == "OBJECT_EXISTS"
    assert read(any_world) == OLD
    stored = put(any_world, NEW)
    assert (stored.generation, stored.verification) == (2, VERIFICATION_VERIFIED)
    assert stored.md5 == hashlib.md5(NEW).hexdigest()
    assert not stored.is_changing
    assert read(any_world) == read(any_world, generation=2) == NEW
    error = refused(any_world, lambda: read(any_world, generation=1))
    assert (error.reason, error.metadata["generation"]) == ("GENERATION_CHANGED", "2")


def test_the_old_bytes_leave_the_store_once_no_stream_can_read_them(any_world: World) -> None:
    any_world.store(NAME, OLD)
    store = any_world.score.environment.store
    any_world.register(NAME, NEW)
    put(any_world, NEW)
    assert collect(any_world) == 0
    assert store.stat(f"data/{NAME}") is not None
    assert collect(any_world, STREAM_AGE) == 1
    assert store.stat(f"data/{NAME}") is None
    assert read(any_world) == NEW
    assert collect(any_world, STREAM_AGE) == 0


def test_a_stream_under_way_ends_whole_on_the_old_generation(any_world: World) -> None:
    any_world.store(NAME, OLD)
    replaced = threading.Event()

    def requests() -> Iterator[ReadObjectRequest]:
        yield ReadObjectRequest(open=OpenObject(object_id=NAME, allow_unpublished=True))
        yield ReadObjectRequest(range=ReadRange(read_id=1, size_bytes=1000))
        assert replaced.wait(60)
        yield ReadObjectRequest(range=ReadRange(read_id=2))

    answers = any_world.raw.downloads.ReadObject(requests())
    first = [next(answers), next(answers), next(answers)]
    assert bytes_of(first, 1) == OLD[:1000]
    any_world.register(NAME, NEW)
    put(any_world, NEW)
    collect(any_world)
    replaced.set()
    assert bytes_of(answers, 2) == OLD


def test_a_stream_whose_bytes_are_gone_is_told_that_they_were_replaced(any_world: World) -> None:
    any_world.store(NAME, OLD)
    gone = threading.Event()

    def requests() -> Iterator[ReadObjectRequest]:
        yield ReadObjectRequest(open=OpenObject(object_id=NAME, allow_unpublished=True))
        assert gone.wait(60)
        yield ReadObjectRequest(range=ReadRange())

    answers = any_world.raw.downloads.ReadObject(requests())
    next(answers)
    any_world.register(NAME, NEW)
    put(any_world, NEW)
    assert collect(any_world, STREAM_AGE) == 1
    gone.set()
    assert refused(any_world, lambda: list(answers)).reason == "GENERATION_CHANGED"


def test_a_second_process_collects_what_the_first_died_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.store(NAME, OLD)
    world.register(NAME, NEW)
    put(world, NEW)
    store = world.score.environment.store
    delete_bytes = store.delete

    def die(key: str) -> None:
        delete_bytes(key)
        raise ConnectionError("killed between store and ledger")

    monkeypatch.setattr(type(store), "delete", lambda _, key: die(key))
    with pytest.raises(ConnectionError):
        collect(world, STREAM_AGE)
    monkeypatch.undo()
    assert collect(world, STREAM_AGE) == 0  # the lease of the one that died
    with world.score._database.write() as connection:
        connection.exec_driver_sql("UPDATE retired_keys SET lease_until = 0")
    assert collect(world, STREAM_AGE) == 1
    assert collect(world, STREAM_AGE) == 0


def test_a_replacement_is_joined_and_needs_an_unpublished_analysis(world: World) -> None:
    world.store(NAME, OLD)
    world.register(NAME, NEW, state="PUBLISHED")
    assert refused(world, lambda: start(world)).reason == "ANALYSIS_NOT_UNPUBLISHED"
    world.song.set_state(NAME, "UNPUBLISHED")
    upload = start(world).upload
    world.send(upload, NEW, 1)
    joined = start(world).upload
    assert (joined.upload_id, joined.persisted_part_total) == (upload.upload_id, 1)
    world.song.set_state(NAME, "PUBLISHED")
    world.send(upload, NEW, 2)  # Song's word of half a minute ago
    assert world.complete(upload).upload.last_failure.reason == "ANALYSIS_NOT_UNPUBLISHED"
    assert world.raw.objects.GetObject(GetObjectRequest(object_id=NAME)).stored_object.generation == 1


def test_a_registration_that_is_corrected_back_finds_the_stored_object(world: World) -> None:
    world.store(NAME, OLD)
    world.register(NAME, NEW)
    start(world)
    world.register(NAME, OLD)
    assert start(world).stored_object.generation == 1


def test_a_live_upload_of_another_size_is_a_conflict_until_it_is_replaced(any_world: World) -> None:
    any_world.register(NAME, OLD)
    upload = start(any_world).upload
    any_world.send(upload, OLD, 1)
    any_world.register(NAME, NEW)
    error = refused(any_world, lambda: start(any_world, replace=False))
    assert (error.reason, error.metadata["upload_id"]) == ("UPLOAD_CONFLICT", upload.upload_id)
    other = start(any_world).upload
    assert other.upload_id != upload.upload_id
    ended = any_world.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload.upload_id)).upload
    assert (ended.state, ended.abort_reason) == (UPLOAD_STATE_ABORTED, ABORT_REASON_REPLACED)
    store = any_world.score.environment.store
    aborted = any_world.score.environment.ledger.upload(upload.upload_id)
    stagings = {staging.token for staging in store.stagings("data/", datetime.now(UTC) + timedelta(days=1))}
    assert aborted.staging_token not in stagings
    any_world.send(other, NEW)
    assert any_world.complete(other).stored_object.generation == 1


def test_an_upload_of_the_same_size_is_joined_even_with_replace(world: World) -> None:
    world.register(NAME, OLD)
    upload = start(world).upload
    world.register(NAME, random_bytes(len(OLD), seed=5))
    assert start(world).upload.upload_id == upload.upload_id


def adopted_meanwhile(world: World, data: bytes) -> None:
    """Make the object visible with bytes that no upload brought, whatever upload of it is under way."""
    environment, database = world.score.environment, world.score._database
    registration = environment.registry.resolve([NAME], fresh=True)[NAME]
    upload = new_upload(registration, plan_parts(len(data), PART), f"data/{NAME}-elsewhere", datetime.now(UTC))
    version = environment.store.put(upload.staging_key, [memoryview(data)]).version
    md5 = hashlib.md5(data).hexdigest()
    stored = new_object(registration, upload, md5, version, datetime.now(UTC), is_verified=False)
    assert not Adoptions(database).add(upload, stored, [])  # it never does this to an upload of ours
    with database.write() as connection:
        connection.execute(insert(UPLOADS).values(upload_values(replace(upload, state=UploadState.COMPLETED))))
        make_visible(connection, stored, replaces_generation=0)


@pytest.mark.parametrize("has_failed", [False, True], ids=["open", "tried to complete"])
def test_an_upload_that_an_adopted_object_came_before_gives_way_to_the_next(
    any_world: World, *, has_failed: bool
) -> None:
    any_world.register(NAME, NEW)
    late = start(any_world, replace=False).upload
    any_world.send(late, NEW)
    adopted_meanwhile(any_world, OLD)
    if has_failed:
        failed = any_world.complete(late).upload
        assert (failed.state, failed.last_failure.reason) == (UPLOAD_STATE_OPEN, "OBJECT_EXISTS")
    assert refused(any_world, lambda: start(any_world, replace=False)).reason == "OBJECT_EXISTS"
    assert put(any_world, NEW).generation == 2
    ended = any_world.raw.uploads.GetUpload(GetUploadRequest(upload_id=late.upload_id)).upload
    assert (ended.state, ended.abort_reason) == (UPLOAD_STATE_ABORTED, ABORT_REASON_REPLACED)
    assert read(any_world) == NEW


def test_an_upload_that_comes_too_late_gives_way_to_small_objects_too(world: World) -> None:
    small = world.register(NAME, b"small")
    late = start(world, replace=False).upload
    adopted_meanwhile(world, OLD)
    messages = [
        WriteObjectsRequest(open=OpenSmallObject(object_id=NAME, size_bytes=len(small), replace=True)),
        WriteObjectsRequest(chunk=SmallObjectChunk(data=small)),
        WriteObjectsRequest(finish=FinishSmallObject()),
    ]
    (answer,) = world.raw.uploads.WriteObjects(iter(messages))
    assert answer.stored_object.generation == 2
    ended = world.raw.uploads.GetUpload(GetUploadRequest(upload_id=late.upload_id)).upload
    assert ended.state == UPLOAD_STATE_ABORTED


def test_an_upload_that_began_while_another_start_was_looking_is_joined(
    any_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stored has been deleted between two looks: the upload that came after that is not too late."""
    any_world.store(NAME, OLD)
    any_world.register(NAME, NEW)
    ledger, began = any_world.score.environment.ledger, list[str]()
    live_upload = ledger.live_upload

    def slow_look(object_id: str) -> object:
        if not began:
            began.append("")
            delete(any_world, "to make room")
            upload = start(any_world, replace=False).upload
            any_world.send(upload, NEW)
            began[0] = upload.upload_id
        return live_upload(object_id)

    monkeypatch.setattr(ledger, "live_upload", slow_look)
    upload = start(any_world).upload
    assert upload.upload_id == began[0]
    assert any_world.complete(upload).stored_object.generation == 2
    assert read(any_world) == NEW


def test_an_object_is_deleted_with_a_reason(any_world: World) -> None:
    any_world.store(NAME, OLD)
    deleted = delete(any_world, "uploaded by mistake")
    assert (deleted.object_id, deleted.generation) == (NAME, 1)
    assert refused(any_world, lambda: read(any_world)).reason == "OBJECT_NOT_FOUND"
    assert refused(any_world, lambda: delete(any_world)).reason == "OBJECT_NOT_FOUND"
    assert any_world.score.environment.store.stat(f"data/{NAME}") is not None
    assert collect(any_world, STREAM_AGE) == 1
    assert any_world.score.environment.store.stat(f"data/{NAME}") is None
    with any_world.score._database.read() as connection:
        rows = connection.exec_driver_sql("SELECT principal, result, facts_json FROM audit WHERE action = 'delete'")
        kept = [row for row in rows if row.result == "OK"]
    assert [row.principal for row in kept] == ["service"]
    assert "uploaded by mistake" in kept[0].facts_json
    assert TOKEN not in kept[0].facts_json


def test_numbers_of_generations_never_come_twice(world: World) -> None:
    world.store(NAME, OLD)
    delete(world)
    assert start(world, replace=False).upload.state == UPLOAD_STATE_OPEN
    assert put(world, OLD).generation == 2
    delete(world)
    assert put(world, OLD).generation == 3


@pytest.mark.parametrize("other", [2, -1])
def test_a_deletion_that_names_a_generation_leaves_others_alone(any_world: World, other: int) -> None:
    any_world.store(NAME, OLD)
    assert refused(any_world, lambda: delete(any_world, generation=other)).reason == "GENERATION_CHANGED"
    assert read(any_world) == OLD
    assert delete(any_world, generation=1).generation == 1
    assert put(any_world, OLD).generation == 2
    assert refused(any_world, lambda: delete(any_world, generation=1)).reason == "GENERATION_CHANGED"
    assert read(any_world) == OLD


def test_an_upload_that_was_to_replace_a_deleted_object_takes_the_empty_place(world: World) -> None:
    world.store(NAME, OLD)
    world.register(NAME, NEW)
    upload = start(world).upload
    delete(world)
    world.send(upload, NEW)
    assert world.complete(upload).stored_object.generation == 2


def test_an_object_that_song_no_longer_knows_can_be_deleted(world: World) -> None:
    world.store(NAME, OLD)
    del world.song.registered[NAME]
    assert delete(world).object_id == NAME


@pytest.mark.parametrize("state", ["UNPUBLISHED", "SUPPRESSED"])
def test_objects_of_withdrawn_analyses_can_be_deleted(world: World, state: str) -> None:
    world.store(NAME, OLD)
    world.song.set_state(NAME, state)
    assert delete(world).object_id == NAME


def test_deletion_is_refused_while_the_analysis_is_published(world: World) -> None:
    world.store(NAME, OLD)
    world.song.set_state(NAME, "PUBLISHED")
    assert refused(world, lambda: delete(world)).reason == "DELETE_REFUSED"
    assert not world.raw.objects.GetObject(GetObjectRequest(object_id=NAME)).stored_object.is_changing
    assert read(world) == OLD


@pytest.mark.parametrize("reason", ["", "   ", "x" * 1001, "a\0b"])
def test_deletion_needs_a_reason(world: World, reason: str) -> None:
    world.store(NAME, OLD)
    error = refused(world, lambda: delete(world, reason))
    assert (error.reason, error.metadata["field"]) == ("FIELD_INVALID", "reason")


def test_deletion_needs_a_system(world: World) -> None:
    world.store(NAME, OLD)
    request = DeleteObjectRequest(object_id=NAME, reason="why")
    error = refused(world, lambda: world.raw.objects.DeleteObject(request))
    assert (error.reason, error.metadata["scope"]) == ("SCOPE_MISSING", "score.WRITE")


def test_deletion_fails_while_song_is_down_and_leaves_no_mark(world: World) -> None:
    world.store(NAME, OLD)
    world.song.stop()
    assert refused(world, lambda: delete(world)).reason == "SONG_UNAVAILABLE"
    stored = world.raw.objects.GetObject(GetObjectRequest(object_id=NAME), metadata=SERVICE).stored_object
    assert not stored.is_changing


def test_nothing_changes_while_song_publishes(any_world: World) -> None:
    any_world.store(NAME, OLD)
    any_world.song.registered[NAME].publishing = True
    assert refused(any_world, lambda: delete(any_world)).reason == "CHANGING"
    any_world.register(NAME, NEW)
    upload = start(any_world).upload
    any_world.send(upload, NEW)
    any_world.song.registered[NAME].publishing = True
    failed = any_world.complete(upload).upload
    assert (failed.state, failed.last_failure.reason) == (UPLOAD_STATE_OPEN, "CHANGING")
    assert read(any_world) == OLD
    any_world.song.registered[NAME].publishing = False
    assert any_world.complete(upload).stored_object.generation == 2
    assert read(any_world) == NEW


def test_an_object_says_that_it_is_changing_while_song_is_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.store(NAME, OLD)
    world.register(NAME, NEW)
    upload = start(world).upload
    world.send(upload, NEW)
    seen: list[bool] = []
    refusals: list[str] = []
    song = world.score.environment.registry._registry
    resolve = song.resolve

    def look(object_ids: Sequence[str]) -> Mapping[str, Registration]:
        found = resolve(object_ids)
        monkeypatch.setattr(song, "resolve", resolve)  # what is asked meanwhile is answered at once
        stored = world.raw.objects.GetObject(GetObjectRequest(object_id=NAME), metadata=SERVICE).stored_object
        seen.append(stored.is_changing)
        if stored.is_changing:
            refusals.append(refused(world, lambda: delete(world)).reason)
        monkeypatch.setattr(song, "resolve", look)
        return found

    monkeypatch.setattr(song, "resolve", look)
    world.complete(upload)
    assert seen[-1]
    assert not seen[0]
    assert refusals == ["CHANGING"]
    monkeypatch.setattr(song, "resolve", resolve)
    assert read(world) == NEW


def test_a_mark_that_grew_old_lets_nothing_be_changed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.store(NAME, OLD)
    monkeypatch.setattr(limits, "CHANGING_SECONDS", limits.CHANGING_MARGIN_SECONDS - 1)
    assert refused(world, lambda: delete(world)).reason == "CHANGING"
    assert read(world) == OLD
    world.register(NAME, NEW)
    upload = start(world).upload
    world.send(upload, NEW)
    assert world.complete(upload).upload.last_failure.reason == "CHANGING"
    assert read(world) == OLD


def test_the_upload_that_marked_an_object_goes_on_after_a_crash(world: World) -> None:
    world.store(NAME, OLD)
    world.register(NAME, NEW)
    upload = start(world).upload
    world.send(upload, NEW)
    stored = world.score.environment.ledger.objects([NAME])[NAME]
    world.score.environment.generations.mark(stored, upload.upload_id)  # by the process that died
    assert refused(world, lambda: delete(world)).reason == "CHANGING"
    assert world.complete(upload).stored_object.generation == 2


def live(world: World) -> list[Upload]:
    return list(world.raw.uploads.ListUploads(ListUploadsRequest()).uploads)


def test_an_aborted_replacement_leaves_the_object_as_it_is(any_world: World) -> None:
    any_world.store(NAME, OLD)
    any_world.register(NAME, NEW)
    upload = start(any_world).upload
    any_world.send(upload, NEW)
    any_world.song.set_state(NAME, "SUPPRESSED")
    any_world.complete(upload)
    assert live(any_world) == []
    any_world.register(NAME, OLD)
    assert read(any_world) == OLD
    assert collect(any_world, STREAM_AGE) == 0
