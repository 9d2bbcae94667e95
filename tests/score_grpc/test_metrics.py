"""What Prometheus reads, where a port is set."""

import re
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
from pydantic import ValidationError
from score.v1.object_service_pb2 import GetObjectRequest, VerifyObjectRequest
from score.v1.upload_service_pb2 import AbortUploadRequest

from score_grpc.settings import ScoreSettings
from tests.servers.processes import ServiceProcess
from tests.servers.raw_score import MIB
from tests.servers.registry_song import TOKEN
from tests.servers.score_world import World, random_bytes

DATA = random_bytes(MIB + 1)


def scrape(world: World) -> dict[str, float]:
    with urlopen(f"http://{world.score.metrics_address}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^([^#\s]+) (\S+)$", text, re.MULTILINE)}


def test_calls_bytes_and_work_that_waits_are_counted(open_world: Callable[..., World]) -> None:
    world = open_world(metrics_port=0, background_work=False)
    before = scrape(world)
    world.register("object-1", DATA)
    upload = world.start("object-1")
    world.send(upload, DATA)
    with pytest.raises(grpc.RpcError):
        world.raw.objects.GetObject(GetObjectRequest(object_id="object-1", allow_unpublished=True))
    world.register("object-2", DATA)
    aborted = world.start("object-2")
    world.raw.uploads.AbortUpload(AbortUploadRequest(upload_id=aborted.upload_id))
    after = scrape(world)

    def more(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert more('call_seconds_count{method="/score.v1.UploadService/StartUpload",result="ok"}') == 2
    assert more('call_seconds_count{method="/score.v1.ObjectService/GetObject",result="refused"}') == 1
    assert more('stream_bytes_total{direction="up"}') == len(DATA)
    assert after["score_completions_waiting"] == after["score_verifications_waiting"] == 0
    assert after["score_retired_keys"] == after["score_uploads_to_free"] == 0


def test_work_that_waits_and_bytes_down_are_seen(open_world: Callable[..., World]) -> None:
    world = open_world()
    world.store("object-1", DATA)
    world.score.stop()
    world = open_world(metrics_port=0, background_work=False)
    before = scrape(world)
    world.raw.read("object-1", (0, None), unpublished=True)
    metadata = (("authorization", f"Bearer {TOKEN}"),)
    world.raw.objects.VerifyObject(VerifyObjectRequest(object_id="object-1"), metadata=metadata)
    after = scrape(world)
    down = 'stream_bytes_total{direction="down"}'
    assert after[down] - before.get(down, 0) == len(DATA)
    assert after["score_verifications_waiting"] == 1


def test_without_a_port_nothing_is_served(world: World) -> None:
    assert world.score.metrics_address == ""


def test_metrics_are_served_on_loopback_alone(open_world: Callable[..., World]) -> None:
    world = open_world(metrics_port=0)
    host, _, port = world.score.metrics_address.partition(":")
    assert host == "127.0.0.1"
    with socket.create_connection((host, int(port)), timeout=30):
        pass


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["score_grpc", "--port=0"], r'"metrics_address": "(127\.0\.0\.1:\d+)"'),
        (["song_score", "serve", "--song-port=0", "--score-port=0"], r"Score's metrics (127\.0\.0\.1:\d+)"),
    ],
)
def test_the_log_says_which_free_port_was_taken(command: list[str], told: str, tmp_path: Path) -> None:
    log, environment = tmp_path / "log", {"SCORE_SERVER_METRICS_PORT": "0"}
    server = ServiceProcess(["-m", *command, f"--data-dir={tmp_path}"], log, environment)
    try:
        found = re.search(told, log.read_text())
        assert found is not None, log.read_text()
        with urlopen(f"http://{found[1]}/metrics", timeout=30) as answer:
            assert b"score_completions_waiting" in answer.read()
    finally:
        server.kill()


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ["-m", "score_grpc", "--port=0", f"--data-dir={tmp_path}", f"--metrics-port={port}"]
        with pytest.raises(AssertionError, match=rf"can't serve metrics on 127.0.0.1:{port}"):
            ServiceProcess(arguments, tmp_path / "log")


def test_several_workers_can_not_share_the_port() -> None:
    with pytest.raises(ValidationError, match="metrics_port"):
        ScoreSettings.model_validate(
            {"metrics_port": 9000, "workers": 2, "store": "s3", "database_url": "postgresql+psycopg://u:p@h/d"}
        )
