"""Clients and servers killed in the middle of transfers over HTTP/1.1: nothing that was persisted goes twice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from song_score_client.score import ScoreClient

from tests.servers import seaweedfs as seaweed
from tests.servers.http1_proxy import HttpOneProxy
from tests.servers.processes import ServiceProcess, free_port
from tests.servers.registry_song import TOKEN, RegistrySong
from tests.servers.score_world import random_bytes

MIB = 1024 * 1024
PART = 16 * MIB
SIZE = 4 * PART + 3 * MIB + 17
PARTS = 5
ID = "object-1"
STREAMS = 4
"""What a client begins with: so many parts may be under way when it dies."""
SLOW = str(30 * MIB)
"""Bytes per second, so that there is a middle to be killed in."""


class Place:
    """A file, a Score on the local store or S3 that can be killed, and a proxy before it that lets no HTTP/2 pass."""

    def __init__(self, folder: Path, song: RegistrySong, store: dict[str, str]) -> None:
        self.folder, self._store = folder, store
        self.file = folder / "reads.bam"
        data = random_bytes(SIZE)
        self.file.write_bytes(data)
        self.md5 = hashlib.md5(data).hexdigest()
        song.register(ID, SIZE, self.md5)
        self._song_address, self._port, self._http_port = song.address, free_port(), free_port()
        self.proxy = HttpOneProxy(f"127.0.0.1:{self._http_port}")
        self.score = self.start()

    def start(self) -> ServiceProcess:
        settings = {
            "PORT": str(self._port),
            "HTTP_PORT": str(self._http_port),
            "PUBLIC_HTTP_URL": self.proxy.url,
            "DATA_DIR": str(self.folder / "data"),
            "SONG_ADDRESS": self._song_address,
            "SERVICE_TOKEN": TOKEN,
            **self._store,
        }
        environment = {f"SCORE_SERVER_{name}": value for name, value in settings.items()}
        return ServiceProcess(["-m", "score_grpc"], self.folder / "log", environment)

    def close(self) -> None:
        self.score.kill()
        self.proxy.close()

    def client(self, direction: str, path: Path, *rate: str) -> subprocess.Popen[str]:
        """Start a client, which knows no other way than the proxy."""
        program = [sys.executable, "tests/e2e/uploader.py", direction, self.proxy.url, ID, str(path)]
        paths = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
        return subprocess.Popen(
            [*program, str(self.folder / "state"), *rate],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )

    def persisted(self) -> int:
        """How many parts the server has."""
        with ScoreClient.open(f"127.0.0.1:{self._port}") as score:
            started = score.start_upload(ID)
            return started.upload.persisted_part_total if started.HasField("upload") else PARTS

    def kept(self) -> int:
        """How many parts a download's journal has."""
        journal = self.folder / ".out.bam.score"
        return len(journal.read_text().splitlines()) - 1 if journal.exists() else 0


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    store = {}
    if request.param == "s3":
        server: seaweed.SeaweedFS = request.getfixturevalue("seaweedfs")
        store = {
            "STORE": "s3",
            "S3_BUCKET": seaweed.BUCKET,
            "S3_ENDPOINT": server.endpoint,
            "S3_REGION": seaweed.REGION,
            "S3_ACCESS_KEY": seaweed.ACCESS_KEY_ID,
            "S3_SECRET_KEY": seaweed.SECRET_ACCESS_KEY,
        }
    song = RegistrySong()  # type: ignore[abstract] # the rest is not asked for
    place = Place(tmp_path, song, store)
    yield place
    place.close()
    song.stop()


def result_of(client: subprocess.Popen[str]) -> dict[str, object]:
    output, _ = client.communicate(timeout=120)
    assert client.returncode == 0
    found: dict[str, object] = json.loads(output)
    return found


def await_that(is_so: Callable[[], bool], client: subprocess.Popen[str]) -> None:
    while not is_so():
        assert client.poll() is None, "the client has ended before"
        time.sleep(0.02)


def test_a_client_killed_at_random_moments_resumes_both_ways(place: Place) -> None:
    moments = seeded()
    for killed in (1, 2):
        client = place.client("up", place.file, SLOW)
        await_that(lambda wanted=killed: place.persisted() >= wanted, client)  # type: ignore[misc]  # a loop's value
        time.sleep(moments.uniform(0, 0.2))
        before = place.persisted()
        client.kill()
        client.communicate()
        assert place.persisted() >= before, "a persisted part is gone"
    before = place.persisted()
    result = result_of(place.client("up", place.file))
    assert int(str(result["kept"])) >= before
    target = place.folder / "out.bam"
    for killed in (1, 2):
        client = place.client("down", target, SLOW)
        await_that(lambda wanted=killed: place.kept() >= wanted, client)  # type: ignore[misc]  # as above
        time.sleep(moments.uniform(0, 0.2))
        client.kill()
        client.communicate()
    kept = place.kept()
    result = result_of(place.client("down", target))
    assert result["kept"] == kept
    assert hashlib.md5(target.read_bytes()).hexdigest() == place.md5
    assert place.proxy.cut_connections == 0


def test_a_server_killed_at_random_moments_loses_nothing_it_was_given(place: Place) -> None:
    moments = seeded()
    client = place.client("up", place.file, SLOW)
    persisted = 0
    for _ in range(2):
        time.sleep(moments.uniform(0.4, 1.0))
        place.score.kill()
        place.score = place.start()
        now = place.persisted()
        assert now >= persisted, "a persisted part is gone"
        persisted = now
    result_of(client)
    target = place.folder / "out.bam"
    client = place.client("down", target, SLOW)
    time.sleep(moments.uniform(0.4, 1.0))
    place.score.kill()
    place.score = place.start()
    assert result_of(client)["md5"] == place.md5
    assert place.proxy.body_bytes_up <= SIZE + 2 * STREAMS * PART + MIB


def seeded() -> random.Random:
    """Return moments to kill at, and print what repeats them."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    return random.Random(seed)
