"""VerifyObject: all bytes are read again, in the background; what is damaged is named, and mended by an upload."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial

import grpc
import pytest
from score.v1.download_service_pb2 import GetChunkManifestRequest
from score.v1.object_service_pb2 import GetObjectRequest, VerifyObjectRequest
from score.v1.stored_object_pb2 import VERIFICATION_UNVERIFIED, VERIFICATION_VERIFIED, StoredObject
from score.v1.upload_service_pb2 import StartUploadRequest
from song_score_client.errors import ServiceError
from xxhash import xxh3_128_hexdigest

from score_grpc.domain import limits
from score_grpc.domain.access import Principal
from score_grpc.domain.errors import StoreUnavailableError
from score_grpc.transport.caller import Callers
from tests.servers.raw_score import bytes_of
from tests.servers.registry_song import TOKEN
from tests.servers.score_world import PART, World, random_bytes

SERVICE = (("authorization", f"Bearer {TOKEN}"),)
NAME = "object-1"
DATA = random_bytes(2 * PART + 1000)


def refused(world: World, call: Callable[[], object]) -> ServiceError:
    try:
        call()
    except grpc.RpcError as error:
        return world.raw.error(error)
    except ServiceError as error:
        return error
    raise AssertionError("the call was not refused")


def ask(world: World) -> StoredObject:
    return world.raw.objects.VerifyObject(VerifyObjectRequest(object_id=NAME)).stored_object


def look(world: World) -> StoredObject:
    request = GetObjectRequest(object_id=NAME)
    return world.raw.objects.GetObject(request, metadata=SERVICE).stored_object


def wait(world: World) -> StoredObject:
    """Wait until no verification is under way."""
    pause = threading.Event()
    for _ in range(1200):
        stored = look(world)
        if not stored.HasField("verification_run"):
            return stored
        pause.wait(0.05)
    raise AssertionError("the verification does not end")


def verify(world: World) -> StoredObject:
    asked = ask(world)
    assert asked.HasField("verification_run")
    return wait(world)


def damage(world: World, offset: int) -> None:
    """Flip one byte of the stored object, in the local store."""
    path = world.settings.data_dir / f"objects/data/{NAME}"
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


def sql(world: World, statement: str) -> None:
    with world.score._database.write() as connection:
        connection.exec_driver_sql(statement)


def manifest(world: World) -> list[tuple[str, bool]]:
    request = GetChunkManifestRequest(object_id=NAME)
    parts = world.raw.downloads.GetChunkManifest(request, metadata=SERVICE).parts
    return [(part.xxh3_128, part.is_damaged) for part in parts]


PARTS = [DATA[:PART], DATA[PART : 2 * PART], DATA[2 * PART :]]
DIGESTS = [xxh3_128_hexdigest(part) for part in PARTS]


def test_whole_bytes_are_verified_again(any_world: World) -> None:
    any_world.store(NAME, DATA)
    before = look(any_world)
    after = verify(any_world)
    assert after.verification == VERIFICATION_VERIFIED
    assert after.verify_time.ToMicroseconds() > before.verify_time.ToMicroseconds() > 0
    assert (after.generation, after.md5, after.damaged_part_total) == (1, hashlib.md5(DATA).hexdigest(), 0)


def test_one_flipped_byte_is_found_and_its_part_named(world: World) -> None:
    world.store(NAME, DATA)
    damage(world, PART + 17)
    found = verify(world)
    assert found.verification == VERIFICATION_UNVERIFIED
    assert (list(found.damaged_part_numbers), found.damaged_part_total) == ([2], 1)
    assert manifest(world) == list(zip(DIGESTS, [False, True, False], strict=True))


def test_downloads_give_what_is_good_and_name_the_damaged_part(world: World) -> None:
    world.store(NAME, DATA)
    damage(world, PART)
    verify(world)
    first = world.raw.read(NAME, (0, PART), (2 * PART, None), unpublished=True)
    assert (bytes_of(first, 0), bytes_of(first, 1)) == (PARTS[0], PARTS[2])
    for offset, size in [(0, None), (PART, 1), (PART - 1, 2), (2 * PART - 1, None)]:
        error = refused(world, partial(world.raw.read, NAME, (offset, size), unpublished=True))
        assert (error.reason, error.metadata["part_numbers"]) == ("STORED_BYTES_CORRUPT", "2")


def test_an_object_that_became_shorter_has_damaged_parts_at_its_end(world: World) -> None:
    world.store(NAME, DATA)
    path = world.settings.data_dir / f"objects/data/{NAME}"
    with path.open("r+b") as file:
        file.truncate(PART + 5)
    assert list(verify(world).damaged_part_numbers) == [2, 3]


def test_an_object_that_is_gone_is_damaged_all_over(any_world: World) -> None:
    any_world.store(NAME, DATA)
    any_world.score.environment.store.delete(f"data/{NAME}")
    found = verify(any_world)
    assert (found.verification, list(found.damaged_part_numbers)) == (VERIFICATION_UNVERIFIED, [1, 2, 3])


@pytest.mark.parametrize("state", ["UNPUBLISHED", "PUBLISHED"])
def test_a_damaged_object_is_mended_by_the_same_bytes_whatever_the_state(world: World, state: str) -> None:
    world.store(NAME, DATA)
    world.song.set_state(NAME, state)
    damage(world, 5)
    verify(world)
    upload = world.start(NAME)
    world.send(upload, DATA)
    mended = world.complete(upload).stored_object
    assert (mended.generation, mended.verification, mended.damaged_part_total) == (2, VERIFICATION_VERIFIED, 0)
    assert bytes_of(world.raw.read(NAME, (0, None), unpublished=True)) == DATA


def test_a_damaged_object_of_a_suppressed_analysis_is_not_mended(world: World) -> None:
    world.store(NAME, DATA)
    damage(world, 5)
    verify(world)
    world.song.set_state(NAME, "SUPPRESSED")
    assert refused(world, lambda: world.start(NAME)).reason == "ANALYSIS_NOT_UNPUBLISHED"


def test_mending_a_published_object_with_other_bytes_is_refused(world: World) -> None:
    world.store(NAME, DATA)
    damage(world, 5)
    verify(world)
    world.register(NAME, random_bytes(len(DATA), seed=9), state="PUBLISHED")
    request = StartUploadRequest(object_id=NAME, replace=True)
    assert refused(world, lambda: world.raw.uploads.StartUpload(request)).reason == "ANALYSIS_NOT_UNPUBLISHED"


def test_digests_that_were_never_known_are_filled_in(any_world: World) -> None:
    """As of an adopted object, and of parts that came by signed URLs."""
    any_world.store(NAME, DATA)
    sql(any_world, "DELETE FROM upload_parts WHERE part_number = 1")
    md5 = hashlib.md5(PARTS[1]).hexdigest()
    sql(any_world, f"UPDATE upload_parts SET xxh3_128 = '', md5 = '{md5}' WHERE part_number = 2")
    sql(any_world, "UPDATE objects SET verification = 'UNVERIFIED', verify_time = 0, md5 = ''")
    assert refused(any_world, lambda: any_world.start(NAME)).reason == "OBJECT_EXISTS"
    found = verify(any_world)
    assert (found.verification, found.md5) == (VERIFICATION_VERIFIED, hashlib.md5(DATA).hexdigest())
    assert manifest(any_world) == [(digest, False) for digest in DIGESTS]


def test_an_object_that_was_never_read_and_is_not_the_registered_one_stays_unverified(world: World) -> None:
    world.store(NAME, DATA)
    sql(world, "UPDATE objects SET verification = 'UNVERIFIED', verify_time = 0, md5 = ''")
    world.register(NAME, random_bytes(len(DATA), seed=3))
    found = verify(world)
    assert (found.verification, found.damaged_part_total) == (VERIFICATION_UNVERIFIED, 0)
    assert found.md5 == hashlib.md5(DATA).hexdigest()


def test_parts_without_digests_are_suspected_where_the_whole_differs(world: World) -> None:
    world.store(NAME, DATA)
    sql(world, "UPDATE upload_parts SET xxh3_128 = '' WHERE part_number = 3")
    damage(world, len(DATA) - 1)
    assert list(verify(world).damaged_part_numbers) == [3]
    assert manifest(world)[2] == ("", True)


def test_a_part_with_an_md5_alone_is_compared_by_it(world: World) -> None:
    world.store(NAME, DATA)
    md5 = hashlib.md5(PARTS[1]).hexdigest()
    sql(world, f"UPDATE upload_parts SET xxh3_128 = '', md5 = '{md5}' WHERE part_number = 2")
    damage(world, PART + 1)
    assert list(verify(world).damaged_part_numbers) == [2]


def test_an_empty_object_is_verified(any_world: World) -> None:
    any_world.store(NAME, b"")
    assert verify(any_world).verification == VERIFICATION_VERIFIED


@pytest.fixture
def gate(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds reads back after their first piece until it is set."""
    go_on, store = threading.Event(), type(world.score.environment.store)
    read = store.read

    def slow(*arguments: object) -> Iterator[memoryview]:
        for piece in read(*arguments):  # type: ignore[arg-type]
            yield piece
            assert go_on.wait(60)

    monkeypatch.setattr(store, "read", slow)
    yield go_on
    go_on.set()


def test_a_second_call_attaches_to_the_run_under_way(world: World, gate: threading.Event) -> None:
    world.store(NAME, DATA)
    first = ask(world)
    second = ask(world)
    assert second.verification_run.start_time == first.verification_run.start_time
    gate.set()
    assert wait(world).verification == VERIFICATION_VERIFIED


def test_progress_is_seen(world: World, gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COMPLETION_PROGRESS_SECONDS", 0.0)
    world.store(NAME, DATA)
    ask(world)
    pause = threading.Event()
    while not look(world).verification_run.verified_size_bytes:
        pause.wait(0.05)
    assert 0 < look(world).verification_run.verified_size_bytes < len(DATA)
    gate.set()
    assert wait(world).verification == VERIFICATION_VERIFIED


def test_a_replacement_ends_the_verification_of_the_generation_before(world: World, gate: threading.Event) -> None:
    world.store(NAME, DATA)
    ask(world)
    other = random_bytes(2000, seed=4)
    world.register(NAME, other)
    upload = world.raw.uploads.StartUpload(StartUploadRequest(object_id=NAME, replace=True)).upload
    world.send(upload, other)
    stored = world.complete(upload).stored_object
    assert (stored.generation, stored.HasField("verification_run")) == (2, False)
    gate.set()
    assert verify(world).md5 == hashlib.md5(other).hexdigest()


def test_a_verification_goes_on_in_the_next_process(
    world: World, open_world: Callable[..., World], gate: threading.Event
) -> None:
    world.store(NAME, DATA)
    before = look(world).verify_time.ToMicroseconds()
    ask(world)
    world.score.environment.draining.set()
    gate.set()
    world.score.stop()
    again = open_world()
    assert wait(again).verify_time.ToMicroseconds() > before
    assert look(again).verification == VERIFICATION_VERIFIED


def test_a_store_that_is_away_delays_and_decides_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEASE_SECONDS", 0.1)
    monkeypatch.setattr(limits, "SWEEP_PERIOD_SECONDS", 0.1)
    world.store(NAME, DATA)
    store = type(world.score.environment.store)
    tried = threading.Event()
    read = store.read

    def fail(*_: object) -> Iterator[memoryview]:
        tried.set()
        raise StoreUnavailableError("away")

    monkeypatch.setattr(store, "read", fail)
    ask(world)
    assert tried.wait(60)
    stored = look(world)
    assert stored.HasField("verification_run")
    assert stored.verification == VERIFICATION_VERIFIED
    monkeypatch.setattr(store, "read", read)
    assert wait(world).damaged_part_total == 0


def test_who_may_not_write_may_not_verify(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.store(NAME, DATA)
    monkeypatch.setattr(Callers, "of", lambda *_: Principal("a reader", frozenset({"PROGRAMDATA-ABC.READ"})))
    assert refused(world, lambda: ask(world)).metadata["scope"] == "PROGRAMDATA-ABC.WRITE"


@pytest.mark.parametrize("object_id", ["object-2", "object-3"])
def test_what_is_not_stored_is_not_verified(world: World, object_id: str) -> None:
    world.register("object-2", DATA)
    request = VerifyObjectRequest(object_id=object_id)
    assert refused(world, lambda: world.raw.objects.VerifyObject(request)).reason == "OBJECT_NOT_FOUND"


def test_a_system_asks_while_song_is_down(world: World) -> None:
    world.store(NAME, DATA)
    world.song.stop()
    world.raw.objects.VerifyObject(VerifyObjectRequest(object_id=NAME), metadata=SERVICE)
    assert wait(world).verification == VERIFICATION_VERIFIED
