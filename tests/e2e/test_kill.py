"""Whatever dies, whenever it dies: no acknowledged part is sent again, and the right bytes come out."""

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from score.v1.stored_object_pb2 import StoredObject
from song_score_client.score import ScoreClient
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.upload import upload_file

from tests.servers import azurite as azure
from tests.servers import seaweedfs as seaweed
from tests.servers.dying_score import PLACES
from tests.servers.processes import ServiceProcess, free_port
from tests.servers.registry_song import TOKEN, RegistrySong

MIB = 1024 * 1024
PART = 16 * MIB
SIZE = 5 * PART + 3 * MIB + 17
DYING_SCORE = "tests/servers/dying_score.py"
UPLOADER = "tests/e2e/uploader.py"


class Place:
    """A file, a Song that knows it, and a Score that is started again and again on the same data."""

    def __init__(self, folder: Path, song: RegistrySong, store: dict[str, object], seed: int = 1) -> None:
        self.folder, self.song, self._store = folder, song, store
        self.object_id = f"object-{folder.name}"[:36]
        self.file = folder / "reads.bam"
        data = random.Random(seed).randbytes(SIZE)
        self.file.write_bytes(data)
        self.md5 = hashlib.md5(data).hexdigest()
        song.register(self.object_id, SIZE, self.md5)
        self.port = free_port()
        self.log = folder / "score.log"
        self._started: list[ServiceProcess] = []

    def start(self, place: str = "nowhere", count: int = 1) -> ServiceProcess:
        settings = {
            "port": self.port,
            "song_address": self.song.address,
            "service_token": TOKEN,
            "data_dir": str(self.folder / "data"),
            **self._store,
        }
        arguments = [DYING_SCORE, place, str(count), json.dumps(settings)]
        self._started.append(ServiceProcess(arguments, self.log, _python_path()))
        return self._started[-1]

    def end(self) -> None:
        """Kill what a failed test left running."""
        for process in self._started:
            process.kill()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def client(self, direction: str, path: Path, *rate: str) -> "subprocess.Popen[str]":
        """Start a client process."""
        command = [sys.executable, UPLOADER, direction, self.address, self.object_id, str(path)]
        command += [str(self.folder / "state"), *rate]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **_python_path()})

    def persisted(self) -> int:
        """How many parts the server has."""
        with ScoreClient.open(self.address) as score:
            started = score.start_upload(self.object_id)
            return started.upload.persisted_part_total if started.HasField("upload") else 6

    def part_bytes(self, number: int) -> int:
        """Length of a part."""
        return min(PART, SIZE - (number - 1) * PART)

    def check_object(self) -> None:
        """Download it, and compare."""
        target = self.folder / "downloaded.bam"
        target.unlink(missing_ok=True)
        client = self.client("down", target)
        result = json.loads(client.communicate(timeout=60)[0])
        assert result["md5"] == self.md5
        assert hashlib.md5(target.read_bytes()).hexdigest() == self.md5


class Count(Listener):
    """Counts what is sent, and how much of it was not acknowledged at any time."""

    def __init__(self) -> None:
        self.sent_bytes = self.acknowledged_bytes = self.most_in_flight_bytes = 0

    def move(self, size_bytes: int) -> None:
        self.sent_bytes += size_bytes
        self.most_in_flight_bytes = max(self.most_in_flight_bytes, self.sent_bytes - self.acknowledged_bytes)

    def verify(self, size_bytes: int) -> None:
        self.acknowledged_bytes += size_bytes


def _python_path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))}


AZURE_PLACES = (
    "in the middle of a part",
    "after the part is committed to the store",
    "before the part is in the ledger",
    "before assembly",
    "after assembly",
)
"""Of the failpoints, those that the store takes part in."""


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, song: RegistrySong) -> Iterator[Place]:
    store: dict[str, object] = {}
    if request.param == "s3":
        server: seaweed.SeaweedFS = request.getfixturevalue("seaweedfs")
        store = {
            "store": "s3",
            "s3_bucket": seaweed.BUCKET,
            "s3_endpoint": server.endpoint,
            "s3_region": seaweed.REGION,
            "s3_access_key": seaweed.ACCESS_KEY_ID,
            "s3_secret_key": seaweed.SECRET_ACCESS_KEY,
        }
    place = Place(tmp_path, song, store)
    yield place
    place.end()


@pytest.fixture
def place_in_azure(azurite: azure.Azurite, tmp_path: Path, song: RegistrySong) -> Iterator[Place]:
    place = Place(tmp_path, song, azure.settings(azurite))
    yield place
    place.end()


@pytest.mark.parametrize("failpoint", PLACES)
def test_a_server_killed_at_a_failpoint_loses_nothing_it_acknowledged(place: Place, failpoint: str) -> None:
    kill_at(place, failpoint)


@pytest.mark.parametrize("failpoint", AZURE_PLACES)
def test_a_server_of_azure_killed_at_a_failpoint_loses_nothing(place_in_azure: Place, failpoint: str) -> None:
    kill_at(place_in_azure, failpoint)


def kill_at(place: Place, failpoint: str) -> None:
    about_a_part = "part" in failpoint
    dying = place.start(failpoint, 3 if about_a_part else 1)
    result: list[StoredObject | Exception] = []
    count = Count()

    def upload() -> None:
        try:
            with ScoreClient.open(place.address) as score:
                done = upload_file(score, place.object_id, place.file, state_dir=place.folder, listener=count)
                result.append(done.stored_object)
        except Exception as error:  # noqa: BLE001 - looked at below
            result.append(error)

    client = threading.Thread(target=upload)
    client.start()
    assert dying.process.wait(60) == -9
    again = place.start()
    client.join(60)
    assert result, "the client did not come back"
    assert isinstance(result[0], StoredObject), result[0]
    assert result[0].md5 == place.md5
    # One stream, one kill: only what was not acknowledged then went twice.
    assert count.sent_bytes <= SIZE + count.most_in_flight_bytes
    place.check_object()
    again.kill()


def test_a_client_killed_at_random_moments_sends_no_persisted_part_again(place: Place) -> None:
    moments = seeded()
    score = place.start()
    for killed in range(1, 4):
        client = place.client("up", place.file, str(60 * MIB))
        while place.persisted() < killed:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.2))
        before = place.persisted()
        client.kill()
        client.communicate()
        assert place.persisted() >= before, "a persisted part is gone"
    before = place.persisted()
    client = place.client("up", place.file)
    result = json.loads(client.communicate(timeout=60)[0])
    assert result["kept"] >= before
    assert result["bytes"] <= SIZE - sum(place.part_bytes(number) for number in range(1, before + 1))
    place.check_object()
    score.kill()


def test_a_server_killed_at_random_moments_loses_nothing(place: Place) -> None:
    moments = seeded()
    score = place.start()
    client = place.client("up", place.file, str(60 * MIB))
    persisted = 0
    for _ in range(3):
        time.sleep(moments.uniform(0.3, 0.9))
        score.kill()
        score = place.start()
        now = place.persisted()
        assert now >= persisted, "a persisted part is gone"
        persisted = now
    output, _ = client.communicate(timeout=120)
    assert client.returncode == 0
    assert json.loads(output)["bytes"] <= SIZE
    place.check_object()
    score.kill()


def test_a_download_killed_at_random_moments_resumes_by_its_parts(place: Place) -> None:
    moments = seeded()
    score = place.start()
    uploader = place.client("up", place.file)
    uploader.communicate(timeout=60)
    assert uploader.returncode == 0
    target = place.folder / "out.bam"
    journal = place.folder / ".out.bam.score"

    def journaled() -> int:
        return len(journal.read_text().splitlines()) - 1 if journal.exists() else 0

    for killed in range(1, 4):
        client = place.client("down", target, str(40 * MIB))
        while journaled() < killed:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.2))
        client.kill()
        client.communicate()
    kept = journaled()
    client = place.client("down", target)
    result = json.loads(client.communicate(timeout=60)[0])
    assert result["kept"] == kept
    assert result["bytes"] <= SIZE - (kept - 1) * PART
    assert hashlib.md5(target.read_bytes()).hexdigest() == place.md5
    assert not journal.exists()
    assert not target.with_name("out.bam.partial").exists()
    score.kill()


def seeded() -> random.Random:
    """Return moments to kill at, and print what repeats them."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    return random.Random(seed)
