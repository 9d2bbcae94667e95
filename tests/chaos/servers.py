"""Scores that die and are started again, and the questions a test has for them."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc
from score.v1.object_service_pb2 import BatchGetObjectsRequest
from score.v1.stored_object_pb2 import StoredObject
from score.v1.upload_pb2 import Upload, UploadPart
from score.v1.upload_service_pb2 import GetUploadRequest, StartUploadRequest

from tests.chaos.drawn import PART, Drawn
from tests.chaos.figures import Figures
from tests.servers.processes import ServiceProcess, free_port
from tests.servers.raw_score import RawScore
from tests.servers.registry_song import TOKEN, RegistrySong

LIMITS = {"LEASE_SECONDS": 5.0, "SWEEP_PERIOD_SECONDS": 0.5}
"""So that a completion whose server has died is taken up soon."""
URL_KEYS = "chaos:0123456789abcdef0123456789abcdef"
PATIENCE_SECONDS = 60

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The servers that all scenarios share."""

    song: RegistrySong
    s3_settings: Mapping[str, object]
    """Of a Score on the S3, but for the endpoint."""
    s3_port: int
    new_database: Callable[[], str]
    postgresql_processes: Callable[[], list[int]]


class Servers:
    """One Score, or two replicas. They are started again whenever they have died."""

    def __init__(self, drawn: Drawn, around: Surroundings, folder: Path, figures: Figures) -> None:
        """Choose ports; `start` starts them."""
        self._drawn, self._around, self._folder, self._figures = drawn, around, folder, figures
        self.grpc_ports = [free_port() for _ in range(drawn.replicas)]
        self.http_ports = [free_port() for _ in range(drawn.replicas)]
        self.full_flag = folder / "full"
        """As long as this file is there, the store is full."""
        self.deaths = 0
        self._kills = 0
        self._database_url = around.new_database() if drawn.is_on_postgresql else ""
        self._doors: dict[str, object] = {}
        self._processes: list[ServiceProcess] = []
        self._unexpected: list[str] = []
        self._is_closing = False
        self._supervisor = threading.Thread(target=self._supervise)

    def start(self, http_url: str, store_url: str, public_store_url: str) -> None:
        """Start them; the URLs lead to them and to the store, past what may go wrong on the way."""
        self._doors = {"public_http_url": http_url}
        if self._drawn.is_on_s3:
            self._doors |= {"s3_endpoint": store_url, "s3_public_endpoint": public_store_url}
        self._processes = [self._serve(number) for number in range(self._drawn.replicas)]
        self._supervisor.start()

    def close(self) -> None:
        """Stop them in good order. Raises AssertionError where one ended otherwise than it should."""
        self._is_closing = True
        self._supervisor.join()
        self.full_flag.unlink(missing_ok=True)
        for process in self._processes:
            code = process.terminate() if process.is_running() else -signal.SIGKILL
            if code not in {0, -signal.SIGKILL}:
                self._unexpected.append(f"a server ended with {code}")
        assert not self._unexpected, f"{self._unexpected}: {self.log()}"

    def kill_one(self) -> None:
        """Kill one of them, each in its turn."""
        self._kills += 1
        self._processes[self._kills % len(self._processes)].process.kill()

    def start_upload(self, object_id: str, *, replace: bool) -> Upload:
        """Start the upload in small parts, past everything that goes wrong between client and Score."""
        request = StartUploadRequest(object_id=object_id, part_size_hint_bytes=PART, replace=replace)
        started = self._ask(lambda raw: raw.uploads.StartUpload(request, timeout=10))
        assert started.HasField("upload"), started
        return started.upload

    def parts(self, upload_id: str) -> Sequence[UploadPart]:
        """Return what is persisted of an upload."""
        request = GetUploadRequest(upload_id=upload_id)
        return self._ask(lambda raw: raw.uploads.GetUpload(request, timeout=10).parts)

    def objects(self, object_ids: Sequence[str]) -> dict[str, StoredObject]:
        """Return those that are visible."""
        request = BatchGetObjectsRequest(object_ids=object_ids, allow_unpublished=True)
        found = self._ask(lambda raw: raw.objects.BatchGetObjects(request, timeout=10).stored_objects)
        return {stored.object_id: stored for stored in found}

    def settings(self) -> dict[str, object]:
        """Return the settings they have in common."""
        settings: dict[str, object] = {
            "song_address": self._around.song.address,
            "service_token": TOKEN,
            "data_dir": str(self._folder / "data"),
            "url_keys": URL_KEYS,
            "signed_urls": "score" if self._drawn.score_signs else "store",
            "drain_seconds": 2,
        }
        if self._drawn.is_on_postgresql:
            settings["database_url"] = self._database_url
        if self._drawn.is_on_s3:
            settings |= self._around.s3_settings
        return settings | self._doors

    def log(self) -> str:
        """Return the end of what they logged."""
        return "".join(path.read_text() for path in sorted(self._folder.glob("score-*.log")))[-6000:]

    def _ask(self, call: Callable[[RawScore], Answer]) -> Answer:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            for port in self.grpc_ports:
                raw = RawScore(f"127.0.0.1:{port}")
                try:
                    return call(raw)
                except grpc.RpcError as error:
                    if time.monotonic() > deadline:
                        raise AssertionError(f"{error} {self.log()}") from error
                finally:
                    raw.channel.close()
            time.sleep(0.1)

    def _serve(self, number: int, *, may_die: bool = True) -> ServiceProcess:
        started = len(list(self._folder.glob("score-*.log")))
        place = self._drawn.place if may_die and number == 0 else "nowhere"
        ports = {"port": self.grpc_ports[number], "http_port": self.http_ports[number]}
        limits = dict(LIMITS)
        if seconds := self._drawn.url_seconds:
            limits |= {"SIGNED_PART_SECONDS": seconds, "SIGNED_READ_SECONDS": seconds}
        arguments = ["-m", "tests.chaos.chaos_score", place, str(self._drawn.place_count)]
        arguments += [json.dumps(self.settings() | ports), json.dumps(limits), str(self.full_flag)]
        return ServiceProcess(arguments, self._folder / f"score-{started:02}.log", python_path())

    def _supervise(self) -> None:
        while not self._is_closing:
            for number, process in enumerate(self._processes):
                if process.is_running():
                    continue
                self.deaths += 1
                self._figures.server_deaths += 1
                if process.process.returncode != -signal.SIGKILL:
                    self._unexpected.append(f"a server ended by itself with {process.process.returncode}")
                try:
                    self._processes[number] = self._serve(number, may_die=False)
                except AssertionError as error:
                    self._unexpected.append(str(error))
            time.sleep(0.02)


def python_path() -> dict[str, str]:
    """Return the variable with which processes find the tests' modules."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))}


class Clients:
    """Runs one client after the other, any of which may be killed."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._running: subprocess.Popen[str] | None = None

    def run(
        self, command: Sequence[str], environment: Mapping[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run one to its end. Raises AssertionError if it has none."""
        self._running = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **python_path(), **environment},
        )
        try:
            output, problem = self._running.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._running.kill()
            output, problem = self._running.communicate()
            raise AssertionError(f"the client does not come to rest: {output[-2000:]} {problem[-2000:]}") from None
        return subprocess.CompletedProcess(command, self._running.returncode, output, problem)

    def kill(self) -> None:
        """Kill the one that runs."""
        if self._running is not None and self._running.poll() is None:
            self._figures.client_kills += 1
            self._running.kill()

    def close(self) -> None:
        """Leave none running."""
        if self._running is not None:
            self._running.kill()
