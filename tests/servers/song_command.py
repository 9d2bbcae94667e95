"""The `song` command against a real Song, a process of its own as it is run in earnest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pytest
from song_score_client.commands.song import app
from song_score_client.song import SongClient
from typer.testing import CliRunner, Result

from tests.servers.processes import ServiceProcess

NUMBERS = '"numbers":[9007199254740993,0.10,1E+5]'


class RunSong(Protocol):
    """Runs `song` with these arguments."""

    def __call__(self, *arguments: str, stdin: str = "") -> Result: ...


@pytest.fixture(scope="session")
def song_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Song in a process of its own, for all tests of the command."""
    directory = tmp_path_factory.mktemp("song-command")
    settings = {"SONG_SERVER_PORT": "0", "SONG_SERVER_DATA_DIR": str(directory)}
    process = ServiceProcess(["-m", "song_grpc"], directory / "log", settings | {"PYTHONPATH": str(Path.cwd())})
    yield process.address
    assert process.terminate() == 0


@pytest.fixture
def song_study() -> str:
    """The id of a study that `run_song` creates."""
    return f"study-{uuid4().hex[:8]}"


@pytest.fixture
def song_environment(song_address: str, song_study: str, tmp_path: Path) -> dict[str, str]:
    return {"SONG_URL": song_address, "SONG_STUDY_ID": song_study, "XDG_CONFIG_HOME": str(tmp_path)}


@pytest.fixture
def run_song(song_environment: dict[str, str]) -> RunSong:
    def run(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin, env=song_environment, prog_name="song")

    assert run("create-study", "--name", "Name").exit_code == 0
    return run


@pytest.fixture
def song_client(song_address: str, run_song: RunSong) -> Iterator[SongClient]:  # noqa: ARG001 - creates the study
    with SongClient.open(song_address) as client:
        yield client


def make_payload(study: str, files: list[dict[str, Any]] | None = None) -> str:
    """Return a payload of the built-in type `variantCall` with two files, and with numbers in its dynamic data."""
    document = {
        "studyId": study,
        "analysisType": {"name": "variantCall"},
        "samples": [
            {
                "submitterSampleId": "sample-1",
                "sampleType": "Total DNA",
                "matchedNormalSubmitterSampleId": None,
                "specimen": {
                    "submitterSpecimenId": "specimen-1",
                    "specimenTissueSource": "Solid tissue",
                    "tumourNormalDesignation": "Normal",
                    "specimenType": "Normal",
                },
                "donor": {"submitterDonorId": "donor-1", "gender": "Other"},
            }
        ],
        "files": files or [make_file("a.vcf", 3, "a" * 32), make_file("b.vcf", 0, "b" * 32)],
        "experiment": {"variantCallingTool": "tool", "matchedNormalSampleSubmitterId": "sample-0"},
    }
    return f"{json.dumps(document)[:-1]},{NUMBERS}}}"


def make_file(name: str, size_bytes: int, md5: str) -> dict[str, Any]:
    return {
        "dataType": "calls",
        "fileName": name,
        "fileSize": size_bytes,
        "fileType": "VCF",
        "fileAccess": "open",
        "fileMd5sum": md5,
    }


def submit(run_song: RunSong, study: str) -> str:
    """Submit that payload and return the id of the analysis."""
    return str(json.loads(run_song("submit", "-f", "-", stdin=make_payload(study)).stdout)["analysisId"])
