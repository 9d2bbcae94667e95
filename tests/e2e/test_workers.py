"""Several worker processes on one port: one may die, the service goes on."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from song.v1.study_pb2 import Study
from song_score_client.score import ScoreClient
from song_score_client.song import SongClient
from song_score_client.transfer.download import download_object
from song_score_client.transfer.upload import upload_file

from tests.servers import seaweedfs as seaweed
from tests.servers.postgresql import new_database
from tests.servers.processes import ServiceProcess, free_port
from tests.servers.raw_score import RawScore, chunks_of
from tests.servers.registry_song import TOKEN, RegistrySong
from tests.servers.score_world import PART, random_bytes


class Supervised:
    """A `score-server` with workers, or a `song-server`."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.log = log
        self.server = ServiceProcess(arguments, log)

    def worker_ids(self) -> list[int]:
        """Return the processes that serve now, by what the log says of starts and deaths."""
        living: list[int] = []
        for line in self.log.read_text().splitlines():
            entry = json.loads(line) if line.startswith("{") else {}
            if entry.get("event") == "worker started":
                living.append(entry["worker"])
            elif entry.get("event") == "worker died":
                living.remove(entry["worker"])
        return living

    def await_workers(self, total: int, besides: int) -> None:
        """Wait until so many serve, none of them this one."""
        wait_until(lambda: len(self.worker_ids()) == total and besides not in self.worker_ids(), self.log)


def wait_until(is_so: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@pytest.fixture
def score_flags(song: RegistrySong, seaweedfs: seaweed.SeaweedFS, request: pytest.FixtureRequest) -> list[str]:
    flags = {
        "song-address": song.address,
        "service-token": TOKEN,
        "database-url": new_database(request),
        "store": "s3",
        "s3-bucket": seaweed.BUCKET,
        "s3-endpoint": seaweedfs.endpoint,
        "s3-access-key": seaweed.ACCESS_KEY_ID,
        "s3-secret-key": seaweed.SECRET_ACCESS_KEY,
        "drain-seconds": "1",
    }
    return ["-m", "score_grpc", *(f"--{name}={value}" for name, value in flags.items())]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[[list[str]], Supervised]]:
    started: list[Supervised] = []

    def supervise_one(arguments: list[str]) -> Supervised:
        started.append(Supervised(arguments, tmp_path / f"server-{len(started)}.log"))
        return started[-1]

    yield supervise_one
    for each in started:
        each.server.kill()


def is_serving(address: str) -> bool:
    """Ask over a connection of its own, which the kernel gives to any of the workers."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=30)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def process_lives(process_id: int) -> bool:
    status = Path(f"/proc/{process_id}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_a_killed_worker_is_replaced_while_the_others_serve_and_no_part_is_lost(
    song: RegistrySong, score_flags: list[str], supervise: Callable[[list[str]], Supervised], tmp_path: Path
) -> None:
    http_port = free_port()
    score = supervise([*score_flags, "--port=0", f"--http-port={http_port}", "--workers=3"])
    address = score.server.address
    assert f'"http_port": {http_port}' in score.log.read_text()
    assert len(set(score.worker_ids())) == 3
    data = random_bytes(3 * PART + 17)
    song.register("worked-on", len(data), hashlib.md5(data).hexdigest())
    file = tmp_path / "reads.bam"
    file.write_bytes(data)
    with ScoreClient.open(address) as client:
        upload = client.start_upload("worked-on", part_size_hint_bytes=PART).upload
        for number in (1, 2):  # each over a connection of its own: the workers know of each other's parts
            raw = RawScore(address)
            raw.write(upload.upload_id, chunks_of(number, data[(number - 1) * PART : number * PART]))
            raw.channel.close()

        killed = score.worker_ids()[0]
        os.kill(killed, signal.SIGKILL)
        assert all(is_serving(address) for _ in range(10))
        with ScoreClient.open(f"http://127.0.0.1:{http_port}") as over_http:
            assert over_http.start_upload("worked-on").upload.upload_id == upload.upload_id
        score.await_workers(3, besides=killed)

        result = upload_file(client, "worked-on", file, state_dir=tmp_path)
        assert result.kept_part_total == 2
        assert download_object(client, "worked-on", tmp_path / "down.bam", allow_unpublished=True).md5 == (
            hashlib.md5(data).hexdigest()
        )
    assert score.server.terminate() == 0
    assert not any(process_lives(worker) for worker in score.worker_ids())


def test_workers_end_with_their_supervisor(
    score_flags: list[str], supervise: Callable[[list[str]], Supervised]
) -> None:
    score = supervise([*score_flags, "--port=0", "--workers=2"])
    workers = score.worker_ids()
    score.server.kill()
    wait_until(lambda: not any(process_lives(worker) for worker in workers), score.log)


def test_a_port_that_others_share_is_taken_all_the_same(
    score_flags: list[str], supervise: Callable[[list[str]], Supervised]
) -> None:
    port = supervise([*score_flags, "--port=0", "--workers=2"]).server.address.rpartition(":")[2]
    for workers in ("1", "2"):
        refused = run_to_its_end([*score_flags, f"--port={port}", f"--workers={workers}"])
        assert refused.returncode == 1
        assert "the port is taken" in refused.stderr


def test_workers_that_can_not_start_are_not_started_again_and_again(score_flags: list[str]) -> None:
    refused = run_to_its_end([*score_flags, "--port=0", "--workers=2", "--no-migrate"])  # the database is empty
    assert refused.returncode == 1
    assert "db upgrade" in refused.stderr
    assert "a worker ended before all were ready" in refused.stderr


def test_workers_are_refused_where_one_process_must_be_alone(score_flags: list[str]) -> None:
    on_sqlite = run_to_its_end(["-m", "score_grpc", "--workers=2", "--store=s3"])
    assert (on_sqlite.returncode, "several need PostgreSQL" in on_sqlite.stderr) == (2, True)
    on_a_folder = run_to_its_end([*score_flags, "--workers=2", "--store=local"])
    assert (on_a_folder.returncode, "a local store belongs to one process" in on_a_folder.stderr) == (2, True)


def test_songs_workers_share_a_port_too(
    request: pytest.FixtureRequest, supervise: Callable[[list[str]], Supervised]
) -> None:
    flags = [f"--database-url={new_database(request)}", "--port=0", "--workers=2", "--drain-seconds=1"]
    server = supervise(["-m", "song_grpc", *flags])
    with SongClient.open(server.server.address) as client:
        client.create_study(Study(study_id="ABC", name="Over several workers"))
    for _ in range(10):
        with SongClient.open(server.server.address) as client:
            assert client.get_study("ABC").study_id == "ABC"
    assert server.server.terminate() == 0


def run_to_its_end(arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False)
