"""Uploads that nobody comes back to: when they expire, what becomes of them, and what is never touched."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from score.v1.upload_pb2 import (
    ABORT_REASON_CALLER,
    ABORT_REASON_EXPIRED,
    UPLOAD_STATE_ABORTED,
    UPLOAD_STATE_COMPLETED,
    UPLOAD_STATE_OPEN,
    Upload,
)
from score.v1.upload_service_pb2 import AbortUploadRequest, GetUploadRequest
from song_score_client.errors import UploadAbortedError
from song_score_client.score import ScoreClient
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.upload import upload_file
from sqlalchemy import text

from runtime_grpc.database import Database
from score_grpc.database.leftovers import Leftovers
from score_grpc.database.retired import RetiredKeys
from score_grpc.domain.audit import Asker
from score_grpc.domain.errors import StoreUnavailableError
from score_grpc.gateways.objects.port import Staging
from score_grpc.use_cases.collect import Collector
from tests.servers.postgresql import new_database
from tests.servers.raw_score import MIB, bytes_of, chunks_of
from tests.servers.score_world import PART, World, random_bytes

SIZE = PART + MIB + 17
WEEK = timedelta(days=7)


def after(**span: float) -> datetime:
    return datetime.now(UTC) + timedelta(**span)


def seen(world: World, upload: Upload) -> Upload:
    return world.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload.upload_id)).upload


def staged(world: World) -> set[str]:
    """The tokens of all stagings in the store."""
    return {staging.token for staging in world.score.environment.store.stagings("data/", after(days=1))}


def token_of(world: World, upload: Upload) -> str:
    return world.score.environment.ledger.upload(upload.upload_id).staging_token


def shift(world: World, upload: Upload, column: str, span: timedelta) -> None:
    """Move one of an upload's times."""
    database = Database(world.settings.sql_url)
    moved = text(f"UPDATE uploads SET {column} = {column} + :span WHERE upload_id = :upload_id")
    with database.write() as connection:
        connection.execute(moved, {"span": span // timedelta(microseconds=1), "upload_id": upload.upload_id})
    database.close()


def test_an_upload_says_when_it_expires_and_activity_renews_it(world: World) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    assert upload.expire_time.ToDatetime() - upload.update_time.ToDatetime() == WEEK
    for act in (
        lambda: world.start("object-1"),
        lambda: world.raw.write(upload.upload_id, []),
        lambda: world.send(upload, data, 1),
    ):
        before = seen(world, upload).expire_time.ToNanoseconds()
        act()
        assert seen(world, upload).expire_time.ToNanoseconds() > before
    shift(world, upload, "create_time", -timedelta(days=29))
    left = seen(world, upload).expire_time.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(hours=23) < left < timedelta(hours=25), "at most 30 days in all"
    world.send(upload, data, 2)
    completed = world.complete(upload).upload
    assert completed.state == UPLOAD_STATE_COMPLETED
    assert not completed.HasField("expire_time")


def test_an_abandoned_upload_expires_and_frees_its_parts(any_world: World) -> None:
    world, collector = any_world, any_world.score.collector
    data = world.register("abandoned-1", random_bytes(SIZE))
    upload = world.start("abandoned-1")
    world.send(upload, data, 1)
    token = token_of(world, upload)
    collector.collect_expired(after(days=6.9))
    assert seen(world, upload).state == UPLOAD_STATE_OPEN
    assert token in staged(world)

    assert collector.collect_expired(after(days=7.1)) == 1
    ended = seen(world, upload)
    assert (ended.state, ended.abort_reason) == (UPLOAD_STATE_ABORTED, ABORT_REASON_EXPIRED)
    assert (ended.persisted_part_total, ended.HasField("expire_time")) == (0, False)
    assert token not in staged(world)
    with pytest.raises(UploadAbortedError, match=r"expired .* start a new one") as refused:
        world.raw.write(upload.upload_id, chunks_of(2, data[PART:]))
    assert refused.value.metadata["abort_reason"] == "EXPIRED"
    assert collector.collect_expired(after(days=7.1)) == 0

    again = world.start("abandoned-1")
    assert again.upload_id != upload.upload_id
    world.send(again, data)
    assert world.complete(again).upload.state == UPLOAD_STATE_COMPLETED
    assert collector.collect_expired(after(days=100)) == 0
    assert bytes_of(world.raw.read("abandoned-1", (0, None), unpublished=True)) == data


def test_an_upload_older_than_thirty_days_expires_however_active(world: World) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    shift(world, upload, "create_time", -timedelta(days=30, seconds=1))
    world.send(upload, data, 1)
    assert world.score.collector.collect_expired(after()) == 1
    assert seen(world, upload).abort_reason == ABORT_REASON_EXPIRED


def test_what_is_completing_or_complete_is_never_collected(any_world: World) -> None:
    world, environment = any_world, any_world.score.environment
    data = random_bytes(SIZE)
    world.store("complete-1", data)
    world.register("completing-1", data)
    upload = world.start("completing-1")
    world.send(upload, data)
    # By this process, which then does nothing of it.
    assert environment.ledger.begin_completion(upload.upload_id, Asker("somebody"))
    assert world.score.collector.collect_expired(after(days=100)) == 0
    token = token_of(world, upload)
    lost = environment.store.begin(environment.ledger.upload(upload.upload_id).staging_key)
    world.score.collector.collect_orphans(after(days=100))
    assert token in staged(world)
    if not environment.store.is_exclusive:
        assert lost.token in staged(world), "a completion of another process may be about to go on in it"
    environment.store.abort(lost)
    environment.ledger.release(upload.upload_id)
    assert world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED
    for object_id in ("complete-1", "completing-1"):
        assert bytes_of(world.raw.read(object_id, (0, None), unpublished=True)) == data


def test_what_the_store_could_not_free_is_freed_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    upload = world.start("object-1")
    world.send(upload, data, 1)
    token = token_of(world, upload)

    def fail(_: Staging) -> None:
        raise StoreUnavailableError("away")

    monkeypatch.setattr(world.score.environment.store, "abort", fail)
    with pytest.raises(StoreUnavailableError):
        world.score.collector.collect_expired(after(days=8))
    monkeypatch.undo()
    assert seen(world, upload).state == UPLOAD_STATE_ABORTED
    assert world.score.collector.collect_expired(after(days=8)) == 0, "it is under a lease"
    shift(world, upload, "lease_until", -timedelta(minutes=1))
    assert world.score.collector.collect_expired(after(days=8)) == 1
    assert token not in staged(world)


def test_a_staging_that_no_upload_knows_is_freed_once_it_is_old(any_world: World) -> None:
    world, store = any_world, any_world.score.environment.store
    data = world.register("orphan-1", random_bytes(SIZE))
    upload = world.start("orphan-1")
    world.send(upload, data, 1)
    orphan, stranger = store.begin("data/orphan-1"), store.begin("data/of-somebody-else")
    world.score.collector.collect_orphans(after(hours=23))
    assert {orphan.token, stranger.token} <= staged(world), "it may be one that is just being begun"
    assert world.score.collector.collect_orphans(after(hours=25)) >= 1
    left = staged(world)
    assert token_of(world, upload) in left
    assert orphan.token not in left
    assert (stranger.token in left) is not store.is_exclusive, "in a shared bucket only what was begun under our keys"
    store.abort(stranger)
    world.send(upload, data, 2)
    assert world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED


def test_an_upload_whose_start_broke_off_before_the_store_is_begun_by_the_next_start(
    any_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, store = any_world, any_world.score.environment.store
    data = world.register("broken-1", random_bytes(SIZE))

    def fail(_: str) -> Staging:
        raise StoreUnavailableError("away")

    monkeypatch.setattr(store, "begin", fail)
    with pytest.raises(Exception, match="away"):
        world.start("broken-1")
    monkeypatch.undo()
    upload = world.start("broken-1")
    world.send(upload, data)
    assert world.complete(upload).upload.state == UPLOAD_STATE_COMPLETED
    # One that is never begun has nothing to free.
    world.register("broken-2", data)
    monkeypatch.setattr(store, "begin", fail)
    with pytest.raises(Exception, match="away"):
        world.start("broken-2")
    monkeypatch.undo()
    assert world.score.collector.collect_expired(after(days=8)) == 1


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_collectors_at_once_free_each_upload_once(
    kind: str, open_world: Callable[..., World], request: pytest.FixtureRequest
) -> None:
    world = open_world(**({"database_url": new_database(request)} if kind == "postgresql" else {}))
    uploads = []
    for number in range(50):
        world.register(f"object-{number}", b"bytes")
        uploads.append(world.start(f"object-{number}"))
    database = Database(world.settings.sql_url)
    other = Collector(
        world.score.environment, Leftovers(database, "another process"), RetiredKeys(database, "another process")
    )
    together = threading.Barrier(2)

    def collect(collector: Collector) -> int:
        together.wait()
        return collector.collect_expired(after(days=8))

    with ThreadPoolExecutor(2) as pool:
        freed = list(pool.map(collect, [world.score.collector, other]))
    database.close()
    assert sum(freed) == len(uploads)
    assert {seen(world, upload).state for upload in uploads} == {UPLOAD_STATE_ABORTED}
    assert staged(world) == set()


def test_a_key_is_never_used_by_two_uploads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    data = world.register("object-1", random_bytes(SIZE))
    first = world.start("object-1")
    world.raw.uploads.AbortUpload(AbortUploadRequest(upload_id=first.upload_id))
    ledger = world.score.environment.ledger
    counts = iter([0, 0, 1])  # as if it had been counted before the other one was added
    monkeypatch.setattr(ledger, "count_uploads", lambda _: next(counts))
    second = world.start("object-1")
    assert ledger.upload(second.upload_id).staging_key != ledger.upload(first.upload_id).staging_key
    world.send(second, data)
    assert world.complete(second).upload.state == UPLOAD_STATE_COMPLETED


class Interrupt(Listener):
    """Does something once, when the first part was persisted."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act, self._is_done, self.said = act, False, ""

    def verify(self, size_bytes: int) -> None:
        if not self._is_done:
            self._is_done = True
            self._act()

    def say(self, message: str) -> None:
        self.said += message + "\n"


@pytest.fixture
def client(world: World) -> ScoreClient:
    return ScoreClient.open(world.score.address)


def test_a_client_whose_upload_expired_under_it_starts_anew_by_itself(
    world: World, client: ScoreClient, tmp_path: Path
) -> None:
    data = world.register("object-1", random_bytes(40 * MIB))
    file = tmp_path / "reads.bam"
    file.write_bytes(data)
    interrupt = Interrupt(lambda: world.score.collector.collect_expired(after(days=8)))
    with client:
        done = upload_file(client, "object-1", file, state_dir=tmp_path / "state", listener=interrupt)
    assert done.stored_object.md5 == hashlib.md5(data).hexdigest()
    assert "expired" in interrupt.said
    assert "starting anew" in interrupt.said


def test_a_client_whose_upload_was_aborted_on_purpose_stops(world: World, client: ScoreClient, tmp_path: Path) -> None:
    data = world.register("object-1", random_bytes(40 * MIB))
    file = tmp_path / "reads.bam"
    file.write_bytes(data)
    upload = client.start_upload("object-1").upload
    interrupt = Interrupt(lambda: client.abort_upload(upload.upload_id))
    with client, pytest.raises(UploadAbortedError):
        upload_file(client, "object-1", file, state_dir=tmp_path / "state", listener=interrupt)
    assert seen(world, upload).abort_reason == ABORT_REASON_CALLER
