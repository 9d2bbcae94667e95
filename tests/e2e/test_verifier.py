"""`score-server verifier`: processes without a listener do what servers leave to them, also after a SIGKILL."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from score.v1.object_service_pb2 import GetObjectRequest, VerifyObjectRequest
from score.v1.stored_object_pb2 import VERIFICATION_VERIFIED, StoredObject
from score.v1.upload_pb2 import UPLOAD_STATE_COMPLETED, UPLOAD_STATE_COMPLETING, Upload
from score.v1.upload_service_pb2 import CompleteUploadRequest, GetUploadRequest

from tests.servers import seaweedfs as seaweed
from tests.servers.postgresql import new_database
from tests.servers.processes import ServiceProcess
from tests.servers.registry_song import TOKEN
from tests.servers.score_world import PART, World, random_bytes

SERVICE = (("authorization", f"Bearer {TOKEN}"),)
NAME = "object-1"
DATA = random_bytes(8 * PART + 77)
StartVerifier = Callable[[], ServiceProcess]


@pytest.fixture
def shared(request: pytest.FixtureRequest, seaweedfs: seaweed.SeaweedFS) -> dict[str, object]:
    """A database and a store that processes can share."""
    return {
        "database_url": new_database(request),
        "store": "s3",
        "s3_bucket": seaweed.BUCKET,
        "s3_endpoint": seaweedfs.endpoint,
        "s3_region": seaweed.REGION,
        "s3_access_key": seaweed.ACCESS_KEY_ID,
        "s3_secret_key": seaweed.SECRET_ACCESS_KEY,
    }


@pytest.fixture
def world(open_world: Callable[..., World], shared: dict[str, object]) -> World:
    """A server that leaves the work to others."""
    return open_world(**shared, background_work=False)


@pytest.fixture
def start_verifier(world: World, shared: dict[str, object], tmp_path: Path) -> Iterator[StartVerifier]:
    """Start verifiers; all that still run are told to stop at the end."""
    settings = shared | {"song_address": world.song.address, "service_token": TOKEN, "data_dir": tmp_path / "verifier"}
    environment = {f"SCORE_SERVER_{name.upper()}": str(value) for name, value in settings.items()}
    started: list[ServiceProcess] = []

    def start() -> ServiceProcess:
        log = tmp_path / f"verifier-{len(started)}.log"
        started.append(ServiceProcess(["-m", "score_grpc", "verifier"], log, environment))
        return started[-1]

    yield start
    for process in started:
        if process.is_running():
            assert process.terminate() == 0


def until(is_so: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2400):
        if is_so():
            return
        pause.wait(0.05)
    raise AssertionError("it does not come about")


def upload_state(world: World, upload: Upload) -> int:
    return world.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload.upload_id)).upload.state


def look(world: World) -> StoredObject:
    return world.raw.objects.GetObject(GetObjectRequest(object_id=NAME), metadata=SERVICE).stored_object


def stored(world: World, start_verifier: StartVerifier) -> ServiceProcess:
    """Store DATA, by a verifier that goes on running."""
    world.register(NAME, DATA)
    upload = world.start(NAME)
    world.send(upload, DATA)
    answer = world.raw.uploads.CompleteUpload(CompleteUploadRequest(upload_id=upload.upload_id))
    assert answer.upload.state == UPLOAD_STATE_COMPLETING
    verifier = start_verifier()
    until(lambda: upload_state(world, upload) == UPLOAD_STATE_COMPLETED)
    return verifier


def test_a_completion_waits_for_a_verifier(world: World, start_verifier: StartVerifier) -> None:
    stored(world, start_verifier)
    assert look(world).md5 == hashlib.md5(DATA).hexdigest()
    assert look(world).verification == VERIFICATION_VERIFIED


def test_a_verification_is_done_by_the_verifier(world: World, start_verifier: StartVerifier) -> None:
    verifier = stored(world, start_verifier)
    before = look(world).verify_time.ToMicroseconds()
    world.raw.objects.VerifyObject(VerifyObjectRequest(object_id=NAME), metadata=SERVICE)
    until(lambda: not look(world).HasField("verification_run"))
    assert look(world).verify_time.ToMicroseconds() > before
    assert verifier.terminate() == 0


def lease(world: World) -> str:
    with world.score._database.read() as connection:
        owner: str = connection.exec_driver_sql("SELECT verify_owner FROM objects").scalar_one()
        return owner


def test_another_verifier_takes_over_what_a_killed_one_was_at(world: World, start_verifier: StartVerifier) -> None:
    stored(world, start_verifier).kill()
    killed_in_the_middle = False
    while not killed_in_the_middle:
        first = start_verifier()
        before = look(world).verify_time.ToMicroseconds()
        world.raw.objects.VerifyObject(VerifyObjectRequest(object_id=NAME), metadata=SERVICE)
        until(lambda: bool(lease(world)) or not look(world).HasField("verification_run"))
        first.kill()
        killed_in_the_middle = look(world).HasField("verification_run")
    with world.score._database.write() as connection:  # as if the lease's half minute had gone by
        connection.exec_driver_sql("UPDATE objects SET verify_until = 1")
    start_verifier()
    until(lambda: not look(world).HasField("verification_run"))
    assert look(world).verify_time.ToMicroseconds() > before
    assert look(world).verification == VERIFICATION_VERIFIED


def test_a_verifier_beside_a_server_on_sqlite_is_refused(open_world: Callable[..., World], tmp_path: Path) -> None:
    world = open_world()
    environment = {"SCORE_SERVER_DATA_DIR": str(world.settings.data_dir)}
    with pytest.raises(AssertionError, match="use PostgreSQL"):
        ServiceProcess(["-m", "score_grpc", "verifier"], tmp_path / "log", environment)


def test_a_server_that_works_itself_needs_none(open_world: Callable[..., World], shared: dict[str, object]) -> None:
    world = open_world(**shared)
    world.store(NAME, DATA)
    with pytest.raises(grpc.RpcError):
        world.raw.objects.VerifyObject(VerifyObjectRequest(object_id="object-2"), metadata=SERVICE)
    world.raw.objects.VerifyObject(VerifyObjectRequest(object_id=NAME), metadata=SERVICE)
    until(lambda: not look(world).HasField("verification_run"))
