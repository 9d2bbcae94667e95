"""Song and Score as two processes of their own, found and used by the commands."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.servers.processes import ServiceProcess, free_port

BIN = Path(sys.executable).parent
EXAMPLE = Path("docs/example").absolute()


class Pair:
    """Both servers, and a user's shell."""

    def __init__(self, folder: Path, song_environment: Mapping[str, str], score_environment: Mapping[str, str]) -> None:
        self.folder = folder
        song_port, score_port = free_port(), free_port()
        common = [f"--data-dir={folder / 'data'}"]
        song = ["-m", "song_grpc", f"--port={song_port}", f"--score-address=127.0.0.1:{score_port}", *common]
        score = ["-m", "score_grpc", f"--port={score_port}", f"--song-address=127.0.0.1:{song_port}", *common]
        self.servers = [
            ServiceProcess(song, folder / "song.log", song_environment),
            ServiceProcess(score, folder / "score.log", score_environment),
        ]
        self._environment = os.environ | {
            "SONG_URL": f"127.0.0.1:{song_port}",
            "SCORE_URL": f"127.0.0.1:{score_port}",
            "SONG_STUDY_ID": "ABC",
            "XDG_STATE_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        words = [str(BIN / command[0]), *command[1:]]
        return subprocess.run(
            words, env=self._environment, cwd=self.folder, capture_output=True, text=True, check=False
        )

    def submit(self) -> str:
        assert self.run("song", "create-study").returncode == 0
        submitted = self.run("song", "submit", "-f", str(EXAMPLE / "payload.json"))
        analysis_id: str = json.loads(submitted.stdout)["analysisId"]
        return analysis_id


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    opened: list[Pair] = []
    yield opened
    for pair in opened:
        for server in pair.servers:
            assert server.terminate() == 0


@pytest.mark.parametrize("token", ["", "the same secret"])
def test_two_servers_do_the_main_job(token: str, pairs: list[Pair], tmp_path: Path) -> None:
    tokens = {"SONG_SERVER_SERVICE_TOKEN": token}, {"SCORE_SERVER_SERVICE_TOKEN": token}
    pairs.append(Pair(tmp_path, *tokens))
    analysis_id = pairs[0].submit()
    for command in (
        ("score", "upload", "--analysis-id", analysis_id, str(EXAMPLE)),
        ("song", "publish", "-a", analysis_id),
        ("score", "download", "--analysis-id", analysis_id, "--output-dir", "out"),
    ):
        done = pairs[0].run(*command)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/reads.fastq").read_bytes() == (EXAMPLE / "reads.fastq").read_bytes()


def test_servers_with_different_secrets_say_so(pairs: list[Pair], tmp_path: Path) -> None:
    tokens = {"SONG_SERVER_SERVICE_TOKEN": "one"}, {"SCORE_SERVER_SERVICE_TOKEN": "another"}
    pairs.append(Pair(tmp_path, *tokens))
    analysis_id = pairs[0].submit()
    refused = pairs[0].run("song", "publish", "-a", analysis_id)
    assert refused.returncode == 1
    assert "give both services the same service_token" in refused.stderr
    assert "another" not in refused.stderr + (tmp_path / "song.log").read_text() + (tmp_path / "score.log").read_text()
