"""`song-score submit`, against a real Song and a real Score that know each other."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from song.v1.analysis_pb2 import ANALYSIS_STATE_PUBLISHED, ANALYSIS_STATE_UNPUBLISHED
from song.v1.analysis_type_pb2 import ENTITY_MODEL_NONE, AnalysisTypeOptions
from song.v1.study_pb2 import Study
from song_score_client.commands.song_score import build
from song_score_client.song import SongClient
from typer.testing import CliRunner, Result

from tests.servers.processes import ServiceProcess
from tests.servers.score_world import random_bytes

MIB = 1024 * 1024
TYPE = {"type": "object", "required": ["run"], "properties": {"run": {"type": "integer", "minimum": 1}}}


def _serve_nothing(_arguments: list[str]) -> None:
    raise AssertionError("nobody asked for that")


@dataclass
class Submit:
    """Runs `song-score submit`, with payloads and files to submit."""

    song: SongClient
    study: str
    folder: Path
    environment: dict[str, str]

    def __call__(self, *arguments: object) -> Result:
        """Run it in this process."""
        words = ["submit", *map(str, arguments)]
        return CliRunner().invoke(build(_serve_nothing), words, env=self.environment, prog_name="song-score")

    def events(self, *arguments: object, code: int = 0, event: str = "submitted") -> list[dict[str, Any]]:
        """Run it with --json, and return its events of one kind; fail on any other exit code."""
        result = self(*arguments, "--json")
        assert result.exit_code == code, result.output
        return [line for line in map(json.loads, result.stdout.splitlines()) if line["event"] == event]

    def process(self, *arguments: object) -> subprocess.Popen[str]:
        """Run it in a process of its own."""
        program = "from song_score.commands import song_score; song_score()"
        return subprocess.Popen(
            [sys.executable, "-c", program, "submit", *map(str, arguments)],
            env={**os.environ, **self.environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def payload(self, name: str, size_bytes: int = 1000, *, run: object = 1) -> Path:
        """Write a file and the payload that describes it."""
        data = random_bytes(size_bytes, seed=sum(f"{self.study}{name}".encode()))
        (self.folder / f"{name}.bam").write_bytes(data)
        document = {
            "studyId": self.study,
            "analysisType": {"name": self.study},
            "files": [
                {
                    "fileName": f"{name}.bam",
                    "fileSize": len(data),
                    "fileMd5sum": hashlib.md5(data).hexdigest(),
                    "fileType": "BAM",
                    "fileAccess": "open",
                    "dataType": "reads",
                }
            ],
            "run": run,
        }
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(document))
        return path

    def states(self) -> list[int]:
        """Return the states of all analyses of the study."""
        text = "state = UNPUBLISHED OR state = PUBLISHED OR state = SUPPRESSED"
        return [analysis.state for analysis in self.song.list_analyses(self.study, filter_expression=text)]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Song and Score in one process, for all tests of the command."""
    folder = tmp_path_factory.mktemp("services")
    arguments = ["-m", "song_score", "serve", "--song-port=0", "--score-port=0", f"--data-dir={folder / 'data'}"]
    process = ServiceProcess(arguments, folder / "log")
    song, score = process.address.replace(",", "").split()[1:4:2]
    yield {"SONG_URL": song, "SCORE_URL": score}
    assert process.terminate() == 0


@pytest.fixture
def submit(services: dict[str, str], tmp_path: Path) -> Iterator[Submit]:
    """The command, with a study and a type of its own."""
    folder = tmp_path / "files"
    folder.mkdir()
    study = f"S{uuid4().hex[:8]}"
    environment = {
        **services,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "COLUMNS": "200",
    }
    with SongClient.open(services["SONG_URL"]) as song:
        song.create_study(Study(study_id=study))
        song.register_analysis_type(
            study, json.dumps(TYPE), options=AnalysisTypeOptions(entity_model=ENTITY_MODEL_NONE)
        )
        yield Submit(song, study, folder, environment)


def test_a_payload_comes_all_the_way(submit: Submit) -> None:
    path = submit.payload("a")
    (done,) = submit.events(path, "--publish")
    assert (done["file"], done["study_id"], done["state"], done["file_total"]) == (
        str(path),
        submit.study,
        "PUBLISHED",
        1,
    )
    assert submit.states() == [ANALYSIS_STATE_PUBLISHED]
    assert submit.song.get_analysis(submit.study, done["analysis_id"]).state == ANALYSIS_STATE_PUBLISHED


def test_without_publish_it_stops_before_and_goes_on_later(submit: Submit) -> None:
    path = submit.payload("a")
    (first,) = submit.events(path)
    assert first["state"] == "UNPUBLISHED"
    # What is stored needs no local file any more.
    (submit.folder / "a.bam").unlink()
    (second,) = submit.events(path, "--publish")
    assert (second["analysis_id"], second["state"]) == (first["analysis_id"], "PUBLISHED")
    result = submit(path, "--publish")
    assert (result.exit_code, "is PUBLISHED already" in result.stderr) == (0, True)
    assert len(submit.states()) == 1


def test_a_folder_of_payloads_is_submitted_each_by_itself(submit: Submit, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        submit.payload(name, run=0 if name == "b" else 1)
    payloads = tmp_path / "payloads"
    payloads.mkdir()
    for path in submit.folder.glob("*.json"):
        path.rename(payloads / path.name)
    arguments = [payloads, "--dir", submit.folder, "--publish"]
    result = submit(*arguments, "--json")
    assert result.exit_code == 2
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["file"]).name for line in events if line["event"] == "submitted"] == ["a.json", "c.json"]
    (refused,) = [line for line in events if line["event"] == "refused"]
    assert (refused["reason"], refused["violations"][0]["pointer"]) == ("SCHEMA_VIOLATION", "/run")
    assert submit.states() == [ANALYSIS_STATE_PUBLISHED] * 2
    (payloads / "b.json").write_text((payloads / "b.json").read_text().replace('"run": 0', '"run": 2'))
    assert len(submit.events(*arguments)) == 3
    assert submit.states() == [ANALYSIS_STATE_PUBLISHED] * 3


def test_with_fail_fast_the_first_refusal_ends_it(submit: Submit) -> None:
    paths = [submit.payload("a", run=0), submit.payload("b")]
    assert submit(*paths, "--fail-fast").exit_code == 2
    assert submit.states() == []


def test_nothing_is_submitted_while_a_file_is_missing_or_of_another_size(submit: Submit) -> None:
    path = submit.payload("a")
    (submit.folder / "a.bam").write_bytes(b"short")
    result = submit(path)
    assert (result.exit_code, "has 5 bytes" in result.stderr) == (8, True)
    (submit.folder / "a.bam").unlink()
    assert submit(path).exit_code == 8
    assert submit.states() == []


def test_a_wrong_file_of_the_right_size_is_submitted_and_not_published(submit: Submit) -> None:
    path = submit.payload("a")
    right = (submit.folder / "a.bam").read_bytes()
    (submit.folder / "a.bam").write_bytes(b"x" * len(right))
    assert submit(path, "--publish").exit_code == 6
    assert submit.states() == [ANALYSIS_STATE_UNPUBLISHED]
    (submit.folder / "a.bam").write_bytes(right)
    assert submit(path, "--publish").exit_code == 0
    assert submit.states() == [ANALYSIS_STATE_PUBLISHED]


def test_an_analysis_that_is_suppressed_is_submitted_again_only_when_asked(submit: Submit) -> None:
    path = submit.payload("a")
    (first,) = submit.events(path)
    submit.song.suppress(submit.study, first["analysis_id"])
    result = submit(path)
    assert (result.exit_code, "--anew" in result.stderr) == (5, True)
    (second,) = submit.events(path, "--anew", "--allow-duplicates")
    assert second["analysis_id"] != first["analysis_id"]


@pytest.mark.parametrize("content", ["no json", "[]", "{}"])
def test_what_is_no_payload_is_refused_with_its_name(submit: Submit, content: str) -> None:
    path = submit.folder / "bad.json"
    path.write_text(content)
    result = submit(path)
    assert result.exit_code in {2, 8}
    assert "bad.json" in result.stderr


def test_a_folder_without_payloads_is_a_local_error(submit: Submit, tmp_path: Path) -> None:
    result = submit(tmp_path)
    assert (result.exit_code, "no payload" in result.stderr) == (8, True)


def test_a_memory_that_is_damaged_is_named(submit: Submit, tmp_path: Path) -> None:
    path = submit.payload("a")
    assert submit(path).exit_code == 0
    (memory,) = (tmp_path / "state").rglob("submissions/*.json")
    memory.write_text("{}")
    result = submit(path)
    assert (result.exit_code, str(memory) in result.stderr) == (8, True)


@pytest.mark.parametrize("word", ["submitted as analysis", "resuming", "Score holds all"])
def test_killed_at_any_step_the_same_command_goes_on(submit: Submit, word: str) -> None:
    path = submit.payload("a", 40 * MIB)
    arguments = [path, "--publish", "--max-rate", "20M"]
    if word == "resuming":  # a first death in the middle of the bytes
        with submit.process(*arguments, "--json") as process:
            assert process.stdout is not None
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "progress" and event["bytes"] >= 16 * MIB:
                    process.send_signal(signal.SIGKILL)
                    break
    with submit.process(*arguments) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if word in line:
                process.send_signal(signal.SIGKILL)
                break
        else:
            pytest.fail("it ended before it could be killed")
    (done,) = submit.events(*arguments)
    assert done["state"] == "PUBLISHED"
    assert submit.states() == [ANALYSIS_STATE_PUBLISHED]


def test_killed_after_the_submission_and_before_it_was_noted_nothing_is_submitted_twice(
    submit: Submit, tmp_path: Path
) -> None:
    path = submit.payload("a")
    (first,) = submit.events(path)
    (memory,) = (tmp_path / "state").rglob("submissions/*.json")
    state = json.loads(memory.read_text())
    memory.write_text(json.dumps({**state, "analysis_id": ""}))
    (second,) = submit.events(path, "--publish")
    assert second["analysis_id"] == first["analysis_id"]
    assert len(submit.states()) == 1


def test_an_interruption_ends_at_once_and_says_how_to_go_on(submit: Submit) -> None:
    path = submit.payload("a", 40 * MIB)
    with submit.process(path, "--max-rate", "1M") as process:
        assert process.stderr is not None
        assert "submitted as analysis" in process.stderr.readline()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        message = process.stderr.read()
        assert process.wait(30) == 130
    assert "song-score: interrupted" in message
    assert "Traceback" not in message


def test_a_server_that_is_away_is_seven(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    path = submit.payload("a")
    submit.environment["SONG_URL"] = "localhost:1"
    assert submit(path).exit_code == 7


def test_help_and_version_need_no_server() -> None:
    program = "from song_score.commands import song_score; song_score()"
    for words, text in [
        (["submit", "--help"], "--publish"),
        (["--version"], "."),
        (["serve", "--help"], "--song-port"),
    ]:
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
        assert text in done.stdout
