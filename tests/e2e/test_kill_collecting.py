"""A server that is killed while it collects abandoned uploads leaves the rest to the next one."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from score.v1.upload_service_pb2 import StartUploadRequest
from song_score_client.score import ScoreClient
from song_score_client.transfer.upload import upload_file
from sqlalchemy import text

from runtime_grpc.database import Database
from score_grpc.settings import ScoreSettings
from score_grpc.stores import open_store
from tests.servers import seaweedfs as seaweed
from tests.servers.dying_score import COLLECTION_PLACES
from tests.servers.postgresql import new_database
from tests.servers.processes import ServiceProcess
from tests.servers.raw_score import MIB, RawScore, chunks_of
from tests.servers.registry_song import TOKEN, RegistrySong
from tests.servers.score_world import PART, random_bytes

SIZE = PART + MIB
DYING_SCORE = "tests/servers/dying_score.py"


class Server:
    """A Score that is started again and again on the same ledger and store."""

    def __init__(self, settings: Mapping[str, object], log: Path) -> None:
        self.settings = ScoreSettings.model_validate(settings)
        self._json, self._log = json.dumps(settings), log
        self._environment = {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
        self._process: ServiceProcess | None = None

    def start(self) -> str:
        self._process = ServiceProcess([DYING_SCORE, "nowhere", "1", self._json], self._log, self._environment)
        return self._process.address

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def die_at(self, place: str) -> None:
        """Start it, and have it killed at the place: it collects as soon as it starts."""
        command = [sys.executable, DYING_SCORE, place, "1", self._json]
        died = subprocess.run(
            command, env=os.environ | self._environment, capture_output=True, timeout=120, check=False
        )
        assert died.returncode == -9, died.stderr.decode()

    def execute(self, statement: str, **values: object) -> list[tuple[object, ...]]:
        """Run SQL on its ledger."""
        database = Database(self.settings.sql_url)
        with database.write() as connection:
            result = connection.execute(text(statement), values)
            rows = [tuple(row) for row in result] if result.returns_rows else []
        database.close()
        return rows

    def staged(self) -> set[str]:
        """The tokens of all stagings, while no server runs."""
        store = open_store(self.settings)
        found = {staging.token for staging in store.stagings("data/", datetime.now(UTC) + timedelta(days=1))}
        store.close()
        return found


@pytest.fixture(params=["local, sqlite", "s3, postgresql"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, RegistrySong]]:
    song = RegistrySong()  # type: ignore[abstract] # the rest is not asked for
    settings: dict[str, object] = {
        "port": 0,
        "song_address": song.address,
        "service_token": TOKEN,
        "data_dir": str(tmp_path / "data"),
    }
    if "postgresql" in request.param:
        settings["database_url"] = new_database(request)
    if "s3" in request.param:
        running: seaweed.SeaweedFS = request.getfixturevalue("seaweedfs")
        settings |= {
            "store": "s3",
            "s3_bucket": seaweed.BUCKET,
            "s3_endpoint": running.endpoint,
            "s3_region": seaweed.REGION,
            "s3_access_key": seaweed.ACCESS_KEY_ID,
            "s3_secret_key": seaweed.SECRET_ACCESS_KEY,
        }
    server = Server(settings, tmp_path / "score.log")
    yield server, song
    server.kill()
    song.stop()


@pytest.mark.parametrize("place", COLLECTION_PLACES)
def test_a_server_killed_while_it_collects_leaves_the_rest_to_the_next(
    server: tuple[Server, RegistrySong], place: str, tmp_path: Path
) -> None:
    score, song = server
    data = random_bytes(SIZE)
    md5 = hashlib.md5(data).hexdigest()
    abandoned, stored = f"abandoned-{uuid4().hex[:8]}", f"stored-{uuid4().hex[:8]}"
    file = tmp_path / "reads.bam"
    file.write_bytes(data)
    for object_id in (abandoned, stored):
        song.register(object_id, SIZE, md5)
    raw = RawScore(score.start())
    upload = raw.uploads.StartUpload(StartUploadRequest(object_id=abandoned, part_size_hint_bytes=PART)).upload
    raw.write(upload.upload_id, chunks_of(1, data[:PART]))
    with ScoreClient.open(raw.address) as client:
        upload_file(client, stored, file, state_dir=tmp_path)
    raw.channel.close()
    score.kill()
    ((token,),) = score.execute("SELECT staging_token FROM uploads WHERE upload_id = :id", id=upload.upload_id)
    assert token in score.staged()

    month = timedelta(days=29) // timedelta(microseconds=1)
    score.execute("UPDATE uploads SET update_time = update_time - :month", month=month)
    score.die_at(place)
    score.execute("UPDATE uploads SET lease_until = 0")  # half a minute later
    address = score.start()
    deadline = time.monotonic() + 120  # two periods of the collector
    while not score.execute("SELECT 1 FROM uploads WHERE upload_id = :id AND is_freed", id=upload.upload_id):
        assert time.monotonic() < deadline, "nobody took it up"
        time.sleep(0.05)
    with ScoreClient.open(address) as client:
        assert client.get_object(stored, allow_unpublished=True).md5 == md5
        again = upload_file(client, abandoned, file, state_dir=tmp_path)
        assert again.stored_object.md5 == md5
    score.kill()
    assert token not in score.staged()
