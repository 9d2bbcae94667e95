"""The `score` command in this process or its own, against a real Score and a Song that knows what a test registers.

Score is one process for all tests, so that what it logs is not taken for what the command prints; each test has a
study and object ids of its own.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from song.v1.analysis_pb2 import Analysis
from song.v1.analysis_service_pb2 import GetAnalysisRequest, GetAnalysisResponse
from song.v1.analysis_service_pb2_grpc import AnalysisServiceServicer, add_AnalysisServiceServicer_to_server
from song.v1.entity_pb2 import Donor, Sample
from song.v1.file_service_pb2 import ListFilesRequest, ListFilesResponse
from song_score_client.commands.score import app
from typer.testing import CliRunner, Result

from tests.servers.processes import ServiceProcess
from tests.servers.registry_song import TOKEN, RegistrySong
from tests.servers.score_world import random_bytes

MIB = 1024 * 1024


class ListingSong(RegistrySong, AnalysisServiceServicer):
    """Lists what was registered: every study has one analysis, of all its files and one donor."""

    def add_to(self, server: grpc.Server) -> None:
        """Serve analyses too."""
        super().add_to(server)
        add_AnalysisServiceServicer_to_server(self, server)

    def GetAnalysis(self, request: GetAnalysisRequest, context: grpc.ServicerContext) -> GetAnalysisResponse:
        """Answer any id with one donor."""
        donor = Donor(donor_id="DO1")
        return GetAnalysisResponse(analysis=Analysis(analysis_id=request.analysis_id, samples=[Sample(donor=donor)]))

    def ListFiles(self, request: ListFilesRequest, context: grpc.ServicerContext) -> ListFilesResponse:
        """Answer from what was registered."""
        files = [found.file for found in self.registered.values() if found.file.study_id == request.study_id]
        return ListFilesResponse(files=files)


@dataclass
class ScoreCommand:
    """Runs `score`, with local files to move."""

    song: ListingSong
    study: str
    folder: Path
    environment: dict[str, str]

    def id_of(self, name: str) -> str:
        """Return the object id that a file is registered under."""
        return f"{self.study}-{name.replace('.', '-')}"

    def __call__(self, *arguments: object, env: Mapping[str, str] | None = None) -> Result:
        """Run it in this process."""
        environment = {**self.environment, **(env or {})}
        return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment, prog_name="score")

    def events(self, *arguments: object, code: int = 0, event: str = "done") -> list[dict[str, Any]]:
        """Run it with --json, and return its events of one kind by file; fail on any other exit code."""
        result = self(*arguments, "--json")
        assert result.exit_code == code, result.output
        every = [json.loads(line) for line in result.stdout.splitlines()]
        return sorted((line for line in every if line["event"] == event), key=lambda line: str(line.get("file")))

    @contextmanager
    def process(
        self,
        *arguments: object,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        text: bool = True,
    ) -> Iterator[subprocess.Popen[Any]]:
        """Run it in a process of its own."""
        program = [sys.executable, "-c", "from song_score_client.commands.score import main; main()"]
        with subprocess.Popen(
            [*program, *map(str, arguments)],
            env={**os.environ, **self.environment},
            text=text,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def make(self, name: str, size_bytes: int = 1000, *, object_id: str = "", state: str = "UNPUBLISHED") -> Path:
        """Write a local file and register it."""
        data = random_bytes(size_bytes, seed=sum(name.encode()))
        self.register(name, data, object_id=object_id, state=state)
        path = self.folder / name
        path.write_bytes(data)
        return path

    def register(self, name: str, data: bytes, *, object_id: str = "", state: str = "UNPUBLISHED") -> None:
        """Register a file with these bytes."""
        self.song.register(
            object_id or self.id_of(name),
            len(data),
            hashlib.md5(data).hexdigest(),
            state=state,
            study_id=self.study,
            file_name=name,
        )

    def manifest(self, *names: str) -> Path:
        """Write an upload manifest of these files, by relative paths and without MD5s."""
        path = self.folder / "manifest.txt"
        path.write_text("an-analysis\t\t\n" + "".join(f"{self.id_of(name)}\t{name}\t\n" for name in names))
        return path

    def store(self, *names: str, size_bytes: int = 1000, state: str = "PUBLISHED") -> list[str]:
        """Make, register and upload files, then give them this state; return their object ids."""
        for name in names:
            self.make(name, size_bytes)
        assert self("upload", "--manifest", self.manifest(*names)).exit_code == 0
        for name in names:
            self.song.set_state(self.id_of(name), state)
        return [self.id_of(name) for name in names]


@pytest.fixture(scope="session")
def listing_song() -> Iterator[ListingSong]:
    """A Song for all tests of the command."""
    song = ListingSong()  # type: ignore[abstract] # the rest is not asked for
    yield song
    song.stop()


@pytest.fixture(scope="session")
def score_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' Score keeps its bytes."""
    return tmp_path_factory.mktemp("score")


@pytest.fixture(scope="session")
def score_address(listing_song: ListingSong, score_data_dir: Path) -> Iterator[str]:
    """A Score for all tests of the command."""
    folder = score_data_dir
    settings = {
        "PORT": "0",
        "HTTP_PORT": "0",
        "DATA_DIR": str(folder),
        "SONG_ADDRESS": listing_song.address,
        "SERVICE_TOKEN": TOKEN,
    }
    environment = {f"SCORE_SERVER_{name}": value for name, value in settings.items()}
    process = ServiceProcess(["-m", "score_grpc"], folder / "log", environment)
    yield process.address
    assert process.terminate() == 0


@pytest.fixture
def score(listing_song: ListingSong, score_address: str, tmp_path: Path) -> ScoreCommand:
    """The command, with settings that lead to the tests' servers."""
    folder = tmp_path / "files"
    folder.mkdir()
    study = f"S{uuid4().hex[:8]}"
    environment = {
        "SCORE_URL": score_address,
        "SONG_URL": listing_song.address,
        "SONG_ACCESS_TOKEN": TOKEN,
        "SONG_STUDY_ID": study,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "COLUMNS": "200",
    }
    return ScoreCommand(listing_song, study, folder, environment)
