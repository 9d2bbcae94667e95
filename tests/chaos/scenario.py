"""One scenario: a file goes up and down again while things fail. All of it is drawn from a seed."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from score.v1.upload_pb2 import Upload, UploadPart
from score.v1.upload_service_pb2 import GetUploadRequest, StartUploadRequest

from score_grpc.settings import ScoreSettings
from score_grpc.stores import open_store
from tests.chaos.proxy import Direction, Fault, FaultProxy
from tests.servers.dying_score import PLACES
from tests.servers.processes import ServiceProcess, free_port
from tests.servers.raw_score import MIB, RawScore
from tests.servers.registry_song import TOKEN, RegistrySong

PART = 5 * MIB
SIZES = (0, PART, 2 * PART + 17, 4 * PART, 4 * PART + 1, 6 * PART, 5 * PART + MIB + 3, 8 * PART + 1)
ATTEMPTS = 25
"""How often a client is run, at most, until it has to be done."""
HEALED_AFTER = 8
"""Attempts after which nothing more is broken."""
CLIENT_SECONDS = 90
"""No client may take longer, whatever happens: both sides come to rest."""
REASONS_ANY_FAULT_MAY_END_WITH = {
    "",
    "STORE_UNAVAILABLE",
    "STORE_FULL",
    "LEDGER_UNAVAILABLE",
    "DRAINING",
    "CHUNK_CORRUPT",
}
_NETWORK = ("cut", "cut", "stall", "slow")
_KILLS = ("kill client", "kill server")


@dataclass
class Figures:
    """What happened, added up."""

    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    client_kills: int = 0
    server_deaths: int = 0
    client_errors: Counter[str] = field(default_factory=Counter)
    file_bytes: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0

    def __str__(self) -> str:
        again = self.sent_bytes - self.file_bytes, self.received_bytes - self.file_bytes
        return (
            f"{self.runs} runs, {self.client_kills} clients and {self.server_deaths} servers killed, "
            f"faults {dict(self.faults)}, clients ended with {dict(self.client_errors)}; files of "
            f"{self.file_bytes / MIB:.0f} MiB, sent again {again[0] / MIB:.0f} MiB, fetched again {again[1] / MIB:.0f}"
        )


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The servers that all scenarios share."""

    song: RegistrySong
    s3_settings: Mapping[str, object]
    """Of a Score on the S3, but for the endpoint."""
    s3_port: int
    new_database: Callable[[], str]
    postgresql_processes: Callable[[], list[int]]


class Scenario:
    """Drawn from a seed, run once."""

    def __init__(self, seed: int, around: Surroundings, folder: Path, figures: Figures) -> None:
        self._draw = random.Random(seed)
        self._around, self._folder, self._figures = around, folder, figures
        self._name = f"chaos-{seed}-{random.randrange(10**6)}"  # several runs share a bucket
        self._is_on_s3 = self._draw.random() < 0.5
        self._is_on_postgresql = self._draw.random() < 0.4
        self._data = self._draw.randbytes(self._draw.choice(SIZES))
        self._md5 = hashlib.md5(self._data).hexdigest()
        self._place = self._draw.choice(PLACES) if self._draw.random() < 0.4 else "nowhere"
        self._database_url = around.new_database() if self._is_on_postgresql else ""
        # Where bytes change, less can be demanded: what a peer was told is not what the other one said.
        self._flips = ["flip", "flip"] if self._draw.random() < 0.3 else []
        self._is_closing = False
        self._flipped = False
        """Whether a byte was changed: then acknowledged bytes may have been lost on the way, and come again."""
        self._store_hurt = False
        self._store_faults = 0
        self._deaths = 0
        self._broken_clients = 0
        """Killed, or ended with an error."""
        self._unkept_bytes = 0
        self._client: subprocess.Popen[str] | None = None
        self._port = free_port()
        self._full_flag = folder / "full"
        self._proxy = FaultProxy(self._port, self._happen)
        self._store_proxy = FaultProxy(around.s3_port, self._happen_to_store)
        self._persisted: dict[int, str] = {}
        self._notes = folder / "notes"

    # What is done

    def run(self) -> None:
        """Upload and download; raises AssertionError where something does not hold."""
        self._around.song.register(self._name, len(self._data), self._md5)
        file, target = self._folder / "reads.bam", self._folder / "downloaded.bam"
        file.write_bytes(self._data)
        self._server = self._serve(self._place)
        supervisor = threading.Thread(target=self._supervise)
        supervisor.start()
        try:
            self._upload = self._start()
            self._plan("up")
            self._repeat("up", file)
            self._check_transfer("up")
            self._plan("down")
            self._repeat("down", target)
            assert hashlib.md5(target.read_bytes()).hexdigest() == self._md5, "the downloaded file is not the right one"
            self._check_transfer("down")
            left = [path.name for path in self._folder.iterdir() if "downloaded.bam" in path.name]
            assert left == [target.name], "the client left something behind"
        finally:
            self._is_closing = True
            supervisor.join()
            self._full_flag.unlink(missing_ok=True)
            if self._client is not None and self._client.poll() is None:
                self._client.kill()
            self._proxy.close()
            self._store_proxy.close()
            code = self._server.terminate() if self._server.is_running() else -9
        assert code in {0, -9}, f"the server ended with {code}: {self._log()}"
        self._check_store()
        self._figures.runs += 1
        self._figures.file_bytes += len(self._data)

    def _plan(self, direction: Direction) -> None:
        """Draw what is to go wrong."""
        draw, size_bytes = self._draw, max(len(self._data), 4096)
        kinds = [*_NETWORK, *_KILLS, *self._flips, *(["database"] if self._is_on_postgresql else [])]
        kinds += ["full"] if direction == "up" else []
        faults = [self._fault(draw.choice(kinds), direction, size_bytes) for _ in range(draw.randrange(5))]
        self._proxy.plan(faults)
        # Bytes go up to the store as parts, and down when the whole is read back and when it is downloaded.
        wanted = [draw.choice(["cut", "stall", "refuse", "refuse", *self._flips]) for _ in range(draw.randrange(3))]
        directions: tuple[Direction, Direction] = ("up", "down")
        self._store_proxy.plan([self._fault(kind, draw.choice(directions), size_bytes) for kind in wanted])

    def _fault(self, kind: str, direction: Direction, size_bytes: int) -> Fault:
        draw = self._draw
        amount = {
            "stall": draw.uniform(0.1, 1.5),
            "slow": draw.uniform(5, 40) * MIB,
            "refuse": draw.randrange(1, 7),
            "flip": draw.randrange(8),
            "full": draw.uniform(0.1, 1.0),
            "database": draw.uniform(0.2, 3.0),
        }
        return Fault(kind, direction, draw.randrange(round(size_bytes * 1.1)), amount.get(kind, 0.0))

    def _happen_to_store(self, fault: Fault) -> None:
        self._store_faults += 1
        self._store_hurt = self._store_hurt or fault.kind in {"cut", "refuse", "flip"}
        self._happen(fault)

    def _happen(self, fault: Fault) -> None:
        """Do what a proxy can't; called by a proxy in a thread of its own."""
        self._figures.faults[fault.kind] += 1
        match fault.kind:
            case "kill client":
                self._figures.client_kills += 1
                if self._client is not None:
                    self._client.kill()
            case "kill server":
                self._server.process.kill()
            case "flip":
                self._flipped = True
            case "full":
                self._full_flag.touch()
                time.sleep(fault.amount)
                self._full_flag.unlink(missing_ok=True)
            case "database":
                processes = self._around.postgresql_processes()
                _signal_all(processes, signal.SIGSTOP)
                time.sleep(fault.amount)
                _signal_all(processes, signal.SIGCONT)

    def _repeat(self, direction: Direction, path: Path) -> None:
        """Run the client until it is done, as its user would: the same command again."""
        for attempt in range(ATTEMPTS):
            if attempt == HEALED_AFTER:
                self._proxy.heal()
                self._store_proxy.heal()
            kept_bytes = self._persisted_bytes() if direction == "up" else self._journaled_bytes()
            verified_bytes = self._noted("verified")
            command = [sys.executable, "-m", "tests.chaos.client", direction, f"127.0.0.1:{self._proxy.port}"]
            command += [self._name, str(path), str(self._folder / "state"), str(self._notes)]
            self._client = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment()
            )
            try:
                output, problem = self._client.communicate(timeout=CLIENT_SECONDS)
            except subprocess.TimeoutExpired:
                self._client.kill()
                raise AssertionError(f"the {direction} client does not come to rest: {self._tail()}") from None
            verified_bytes = self._noted("verified") - verified_bytes
            if not self._flipped:
                assert verified_bytes <= len(self._data) - kept_bytes, "what was kept went again"
            if direction == "down":
                # Verified in memory, and not yet synced to the disk: that is not kept by a client that is killed.
                self._unkept_bytes += max(kept_bytes + verified_bytes - self._journaled_bytes(), 0)
            if self._client.returncode == 0:
                assert json.loads(output)["md5"] == self._md5
                return
            self._broken_clients += 1
            if self._client.returncode != -signal.SIGKILL:
                self._check_error(output, problem)
        raise AssertionError(f"the {direction} client is not done after {ATTEMPTS} times: {output} {self._tail()}")

    # What must hold

    def _check_error(self, output: str, problem: str) -> None:
        assert output, f"no clear error: {problem}"
        error = json.loads(output)
        self._figures.client_errors[error["reason"] or error["error"]] += 1
        assert error["message"]
        if not self._flipped:
            assert error["reason"] in REASONS_ANY_FAULT_MAY_END_WITH, error

    def _noted(self, kind: str) -> int:
        """Return the bytes that the clients of this direction noted as such."""
        notes = self._notes.read_text().splitlines() if self._notes.exists() else []
        return sum(int(line.split()[1]) for line in notes if line.startswith(kind))

    def _journaled_bytes(self) -> int:
        """Return the bytes of the parts that the download's journal has, all of them once it is done."""
        journal = self._folder / ".downloaded.bam.score"
        if not journal.exists():
            return len(self._data) if (self._folder / "downloaded.bam").exists() else 0
        numbers = {int(found) for found in re.findall(r'"part": ?(\d+), ?"xxh3_128": ?"\w+"}\n', journal.read_text())}
        return sum(min(PART, len(self._data) - (number - 1) * PART) for number in numbers)

    def _persisted_bytes(self) -> int:
        """Return the bytes of the persisted parts; what was persisted still is, with the same digests."""
        now = {part.part_number: part.xxh3_128 for part in self._parts()}
        if not self._flipped:
            assert self._persisted.items() <= now.items(), "persisted parts are gone"
        self._persisted = now
        return sum(min(PART, len(self._data) - (number - 1) * PART) for number in now)

    def _check_transfer(self, direction: Direction) -> None:
        """No acknowledged part went twice, and of the others no more than what was under way at each fault."""
        notes = self._notes.read_text().splitlines() if self._notes.exists() else []
        broken = sum(line.startswith("broken") for line in notes)
        if not self._flipped:
            assert self._noted("verified") <= len(self._data) + self._unkept_bytes, "what was kept went again"
            assert not self._noted("withdrawn"), "what was kept was lost"
            if not self._store_hurt:  # then the server asks for parts again by itself
                under_way = (broken + self._broken_clients + 1) * (2 * PART + 2 * MIB)
                assert self._proxy.count(direction) <= len(self._data) * 1.02 + under_way + self._unkept_bytes
        self._notes.unlink(missing_ok=True)
        self._broken_clients = self._unkept_bytes = 0
        if direction == "up":
            self._figures.sent_bytes += self._proxy.count("up")
        else:
            self._figures.received_bytes += self._proxy.count("down")

    def _check_store(self) -> None:
        """One object, and no staging but what deaths and lost answers of the store left, for the collector."""
        settings = ScoreSettings.model_validate(
            self._settings() | {"s3_endpoint": f"http://127.0.0.1:{self._around.s3_port}"}
        )
        store = open_store(settings)
        try:
            begun = store.stagings(f"data/{self._name}", datetime.now(UTC) + timedelta(days=1))
            left, stored = list(begun), store.stat(f"data/{self._name}")
        finally:
            store.close()
        assert stored is not None
        assert stored.size_bytes == len(self._data)
        assert self._deaths or self._flipped or self._store_faults or not left, left

    def _tail(self) -> str:
        notes = self._notes.read_text()[-2000:] if self._notes.exists() else ""
        return f"{notes}\n{self._log()[-3000:]}"

    def _log(self) -> str:
        return "".join(path.read_text() for path in sorted(self._folder.glob("score-*.log")))

    # The server

    def _serve(self, place: str) -> ServiceProcess:
        number = len(list(self._folder.glob("score-*.log")))
        count = 2 if "part" in place and len(self._data) > PART else 1
        text = json.dumps(self._settings())
        arguments = ["-m", "tests.chaos.chaos_score", place, str(count), text, str(self._full_flag)]
        return ServiceProcess(arguments, self._folder / f"score-{number:02}.log", _environment())

    def _settings(self) -> dict[str, object]:
        settings: dict[str, object] = {
            "port": self._port,
            "song_address": self._around.song.address,
            "service_token": TOKEN,
            "data_dir": str(self._folder / "data"),
            "drain_seconds": 2,
        }
        if self._is_on_postgresql:
            settings["database_url"] = self._database_url
        if self._is_on_s3:
            settings |= {**self._around.s3_settings, "s3_endpoint": f"http://127.0.0.1:{self._store_proxy.port}"}
        return settings

    def _supervise(self) -> None:
        """Start the server again whenever it has died."""
        while not self._is_closing:
            if not self._server.is_running():
                self._figures.server_deaths += 1
                self._deaths += 1
                assert self._server.process.returncode == -signal.SIGKILL, self._log()[-3000:]
                self._server = self._serve("nowhere")
            time.sleep(0.02)

    def _start(self) -> Upload:
        """Start the upload, in small parts, past the proxy."""
        deadline = time.monotonic() + 60
        while True:
            raw = RawScore(f"127.0.0.1:{self._port}")
            try:
                request = StartUploadRequest(object_id=self._name, part_size_hint_bytes=PART)
                return raw.uploads.StartUpload(request, timeout=10).upload
            except grpc.RpcError:
                assert time.monotonic() < deadline, self._log()[-3000:]
                time.sleep(0.1)
            finally:
                raw.channel.close()

    def _parts(self) -> list[UploadPart]:
        deadline = time.monotonic() + 60
        while True:
            raw = RawScore(f"127.0.0.1:{self._port}")
            try:
                request = GetUploadRequest(upload_id=self._upload.upload_id)
                return list(raw.uploads.GetUpload(request, timeout=10).parts)
            except grpc.RpcError:
                assert time.monotonic() < deadline, self._log()[-3000:]
                time.sleep(0.1)
            finally:
                raw.channel.close()


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


def _signal_all(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)
