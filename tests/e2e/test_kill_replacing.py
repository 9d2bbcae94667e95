"""A server that is killed while it replaces or deletes an object: the object is the one or the other, never neither."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from score.v1.object_service_pb2 import DeleteObjectRequest, GetObjectRequest
from score.v1.stored_object_pb2 import StoredObject
from score.v1.upload_pb2 import UPLOAD_STATE_COMPLETED
from score.v1.upload_service_pb2 import CompleteUploadRequest, GetUploadRequest, StartUploadRequest
from song_score_client.errors import ServiceError

from runtime_grpc.database import Database
from score_grpc.settings import ScoreSettings
from tests.servers.processes import ServiceProcess
from tests.servers.raw_score import RawScore, bytes_of, chunks_of
from tests.servers.registry_song import TOKEN, RegistrySong
from tests.servers.score_world import PART, random_bytes

SERVICE = (("authorization", f"Bearer {TOKEN}"),)
NAME = "object-1"
OLD, NEW = random_bytes(PART + 100, seed=1), random_bytes(PART + 300, seed=2)
REPLACING_PLACES = (
    "after completion has begun",
    "before assembly",
    "after assembly",
    "before the object is marked",
    "after the object is marked",
    "before the object is in the ledger",
    "after the object is in the ledger",
)
DELETING_PLACES = (
    "before the object is marked",
    "after the object is marked",
    "before the object is deleted",
    "after the object is deleted",
)


class Server:
    """A Score on a local store that is started again and again."""

    def __init__(self, folder: Path, song: RegistrySong) -> None:
        values = {"port": 0, "song_address": song.address, "service_token": TOKEN, "data_dir": str(folder / "data")}
        self.song, self.settings = song, ScoreSettings.model_validate(values)
        self._json, self._log = json.dumps(values), folder / "score.log"
        self.process: ServiceProcess | None = None

    def start(self, place: str = "nowhere") -> RawScore:
        """Start it, to die at the place."""
        environment = {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
        arguments = ["tests/servers/dying_score.py", place, "1", self._json]
        self.process = ServiceProcess(arguments, self._log, environment)
        return RawScore(self.process.address)

    def await_death(self) -> None:
        assert self.process is not None
        assert self.process.process.wait(60) == -9

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def register(self, data: bytes) -> None:
        self.song.register(NAME, len(data), hashlib.md5(data).hexdigest())

    def retired(self) -> list[str]:
        database = Database(self.settings.sql_url)
        with database.read() as connection:
            keys = connection.exec_driver_sql("SELECT store_key FROM retired_keys").scalars().all()
        database.close()
        return list(keys)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    song = RegistrySong()  # type: ignore[abstract] # the rest is not asked for
    server = Server(tmp_path, song)
    yield server
    server.kill()
    song.stop()


def put(raw: RawScore, data: bytes) -> StoredObject:
    """Upload, joining what is there, until the object is stored."""
    pause = threading.Event()
    for _ in range(1200):
        request = StartUploadRequest(object_id=NAME, part_size_hint_bytes=PART, replace=True)
        started = raw.uploads.StartUpload(request)
        if started.HasField("stored_object"):
            return started.stored_object
        upload_id = started.upload.upload_id
        try:
            for number in range(1, started.upload.part_total + 1):
                raw.write(upload_id, chunks_of(number, data[(number - 1) * PART : number * PART]))
            raw.uploads.CompleteUpload(CompleteUploadRequest(upload_id=upload_id))
        except (grpc.RpcError, ServiceError):
            seen = raw.uploads.GetUpload(GetUploadRequest(upload_id=upload_id))
            if seen.upload.state != UPLOAD_STATE_COMPLETED:
                pause.wait(0.05)
    raise AssertionError("the object is never stored")


def read(raw: RawScore) -> bytes:
    return bytes_of(raw.read(NAME, (0, None), unpublished=True))


def prepare(server: Server) -> None:
    """Store OLD, and have no server run."""
    server.register(OLD)
    assert put(server.start(), OLD).generation == 1
    server.kill()


@pytest.mark.parametrize("place", REPLACING_PLACES)
def test_a_replacement_goes_on_after_a_kill(server: Server, place: str) -> None:
    prepare(server)
    server.register(NEW)
    dying = server.start(place)
    with pytest.raises(grpc.RpcError):
        put(dying, NEW)
    server.await_death()
    raw = server.start()
    assert read(raw) in {OLD, NEW}
    assert put(raw, NEW).generation == 2
    assert read(raw) == NEW
    server.kill()
    assert server.retired() == [f"data/{NAME}"]


@pytest.mark.parametrize("place", DELETING_PLACES)
def test_a_deletion_is_done_or_not_after_a_kill(server: Server, place: str) -> None:
    prepare(server)
    dying = server.start(place)
    with pytest.raises(grpc.RpcError):
        dying.objects.DeleteObject(DeleteObjectRequest(object_id=NAME, reason="why"), metadata=SERVICE)
    server.await_death()
    raw = server.start()
    if place == "after the object is deleted":
        with pytest.raises(grpc.RpcError):
            raw.objects.GetObject(GetObjectRequest(object_id=NAME, allow_unpublished=True))
    else:
        assert read(raw) == OLD
    server.kill()
    assert server.retired() == ([f"data/{NAME}"] if place == "after the object is deleted" else [])
