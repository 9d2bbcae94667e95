"""Whatever dies while many small files go up or down: all of them arrive, and nothing is left over."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from score.v1.object_service_pb2 import BatchGetObjectsRequest
from score.v1.stored_object_pb2 import VERIFICATION_VERIFIED, StoredObject

from score_grpc.settings import ScoreSettings
from score_grpc.stores import open_store
from tests.servers import seaweedfs as seaweed
from tests.servers.dying_score import SMALL_OBJECT_PLACES
from tests.servers.postgresql import new_database
from tests.servers.processes import ServiceProcess, free_port
from tests.servers.raw_score import RawScore
from tests.servers.registry_song import TOKEN, RegistrySong

DYING_SCORE = "tests/servers/dying_score.py"
LIMITS = {"SMALL_OBJECT_LEASE_SECONDS": 1.0, "COLLECT_PERIOD_SECONDS": 0.5}
FILES = 120
SOON_SECONDS = 120
"""Generous: a busy machine."""


class Place:
    """Files, a Song that knows them, and a Score that is started again and again on the same data."""

    def __init__(self, folder: Path, song: RegistrySong, changes: Mapping[str, object]) -> None:
        self.folder, self.port = folder, free_port()
        self._settings = {
            "port": self.port,
            "song_address": song.address,
            "service_token": TOKEN,
            "data_dir": str(folder / "data"),
            **changes,
        }
        self._started: list[ServiceProcess] = []
        chance = random.Random(str(folder))
        prefix = f"o{chance.randrange(10**8)}"
        (folder / "files").mkdir()
        self.files: dict[str, bytes] = {}
        lines = ["an-analysis\t\t"]
        for number in range(FILES):
            object_id, data = f"{prefix}-{number}", chance.randbytes(chance.randrange(40_000))
            name = f"reads{number}.bai"
            self.files[object_id] = data
            md5 = hashlib.md5(data).hexdigest()
            song.register(object_id, len(data), md5, file_name=name)
            (folder / "files" / name).write_bytes(data)
            lines.append(f"{object_id}\t{folder / 'files' / name}\t{md5}")
        self.manifest = folder / "manifest.txt"
        self.manifest.write_text("\n".join(lines))

    def start(self, place: str = "nowhere", count: int = 1) -> ServiceProcess:
        arguments = [DYING_SCORE, place, str(count), json.dumps(self._settings), json.dumps(LIMITS)]
        self._started.append(ServiceProcess(arguments, self.folder / "score.log", _python_path()))
        return self._started[-1]

    def end(self) -> None:
        for process in self._started:
            process.kill()

    def command(self, *arguments: object) -> "subprocess.Popen[str]":
        """Start `score` in a process of its own."""
        program = [sys.executable, "-c", "from song_score_client.commands.score import main; main()"]
        environment = {
            **os.environ,
            **_python_path(),
            "SCORE_URL": f"127.0.0.1:{self.port}",
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }
        return subprocess.Popen(
            [*program, *map(str, arguments)],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def upload(self) -> "subprocess.Popen[str]":
        return self.command("upload", "--manifest", self.manifest)

    def download(self, target: Path) -> "subprocess.Popen[str]":
        return self.command("download", "--manifest", self.manifest, "--unpublished", "--output-dir", target)

    def visible(self) -> dict[str, StoredObject]:
        raw = RawScore(f"127.0.0.1:{self.port}")
        request = BatchGetObjectsRequest(object_ids=list(self.files), allow_unpublished=True)
        found = raw.objects.BatchGetObjects(request).stored_objects
        raw.channel.close()
        return {stored.object_id: stored for stored in found}

    def kept_keys(self) -> set[str]:
        """Return those keys that an attempt of ours may have used, and under which there is something."""
        store = open_store(ScoreSettings.model_validate({**self._settings, "data_dir": str(self.folder / "looked-at")}))
        if self._settings.get("store") != "s3":
            store.close()
            return {f"data/{path.name}" for path in (self.folder / "data/objects/data").iterdir()}
        tried = [f"data/{object_id}{again}" for object_id in self.files for again in ("", ".2", ".3")]
        found = {key for key in tried if store.stat(key) is not None}
        store.close()
        return found

    def check(self) -> None:
        """Every object is there once, is right, and nothing else is left after a while."""
        there = self.visible()
        assert set(there) == set(self.files)
        assert all(stored.verification == VERIFICATION_VERIFIED for stored in there.values())
        assert {stored.generation for stored in there.values()} == {1}
        target = self.folder / "out"
        client = self.download(target)
        said = client.communicate(timeout=SOON_SECONDS)[0]
        assert client.returncode == 0, said
        assert sorted(path.read_bytes() for path in target.iterdir()) == sorted(self.files.values())
        deadline = time.monotonic() + SOON_SECONDS
        while len(self.kept_keys()) > FILES and time.monotonic() < deadline:
            time.sleep(0.5)
        assert len(self.kept_keys()) == FILES


def _python_path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))}


@pytest.fixture
def place(tmp_path: Path, song: RegistrySong) -> Iterator[Place]:
    """On the local store and SQLite."""
    place = Place(tmp_path, song, {})
    yield place
    place.end()


@pytest.fixture
def place_in_s3(
    request: pytest.FixtureRequest, tmp_path: Path, song: RegistrySong, seaweedfs: seaweed.SeaweedFS
) -> Iterator[Place]:
    """On S3 and PostgreSQL."""
    settings = {
        "store": "s3",
        "s3_bucket": seaweed.BUCKET,
        "s3_endpoint": seaweedfs.endpoint,
        "s3_region": seaweed.REGION,
        "s3_access_key": seaweed.ACCESS_KEY_ID,
        "s3_secret_key": seaweed.SECRET_ACCESS_KEY,
        "database_url": new_database(request),
    }
    place = Place(tmp_path, song, settings)
    yield place
    place.end()


@pytest.mark.parametrize("failpoint", SMALL_OBJECT_PLACES)
def test_a_server_killed_at_a_failpoint_leaves_nothing_visible_that_is_not_whole(place: Place, failpoint: str) -> None:
    kill_at(place, failpoint)


@pytest.mark.parametrize("failpoint", ["after a small object is put", "before the group is in the ledger"])
def test_a_server_of_s3_killed_at_a_failpoint_leaves_nothing_either(place_in_s3: Place, failpoint: str) -> None:
    kill_at(place_in_s3, failpoint)


def kill_at(place: Place, failpoint: str) -> None:
    dying = place.start(failpoint, 30 if "put" in failpoint else 2)
    client = place.upload()
    assert dying.process.wait(SOON_SECONDS) == -9
    again = place.start()
    there = place.visible()
    assert all(hashlib.md5(place.files[object_id]).hexdigest() == stored.md5 for object_id, stored in there.items())
    said = client.communicate(timeout=SOON_SECONDS)[0]
    assert client.returncode == 0, said
    assert again.is_running()
    place.check()


def test_a_client_killed_again_and_again_gets_all_files_up_and_down(place: Place) -> None:
    place.start()
    for pause in (0.6, 1.0):
        client = place.upload()
        time.sleep(pause)
        client.kill()
        client.communicate()
    client = place.upload()
    said = client.communicate(timeout=SOON_SECONDS)[0]
    assert client.returncode == 0, said
    target = place.folder / "out"
    for pause in (0.6, 0.8, 1.0):
        client = place.download(target)
        time.sleep(pause)
        client.kill()
        client.communicate()
        for path in target.iterdir() if target.exists() else ():
            # What has its name is whole.
            assert path.suffix == ".partial" or path.name.startswith(".") or path.read_bytes() in place.files.values()
    place.check()
