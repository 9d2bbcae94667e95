"""What `score` exits with: each code, the table behind them, and interruption."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
import xxhash
from score.v1.download_service_pb2 import ObjectPart
from score.v1.stored_object_pb2 import StoredObject
from song_score_client import errors
from song_score_client.commands.exit_codes import ExitCode, combined_exit_code, exit_code
from song_score_client.errors import ClientError
from song_score_client.transfer import upload as upload_module
from song_score_client.transfer.batch import StoppedError
from song_score_client.transfer.partial_file import PartialFile

from tests.clients.conftest import MIB, ScoreCommand

ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ClientError)]
UNEXPECTED = {
    errors.ClientError,
    errors.ServiceError,
    errors.UnknownError,
    errors.UnimplementedError,
    errors.ChunkOutOfOrderError,
    errors.PageTokenInvalidError,
}


@pytest.mark.parametrize("kind", ERRORS)
def test_every_class_of_errors_has_its_code(kind: type[ClientError]) -> None:
    error = kind.__new__(kind)
    assert (exit_code(error) is ExitCode.UNEXPECTED) == (kind in UNEXPECTED)


@pytest.mark.parametrize(
    ("parent", "code"),
    [
        (errors.ConfigurationError, 2),
        (errors.FieldInvalidError, 2),
        (errors.AccessError, 3),
        (errors.NotFoundError, 4),
        (errors.StateConflictError, 5),
        (errors.IntegrityError, 6),
        (errors.UnavailableError, 7),
        (errors.LocalFileError, 8),
    ],
)
def test_the_families_have_the_documented_codes(parent: type[ClientError], code: int) -> None:
    for kind in ERRORS:
        if issubclass(kind, parent):
            assert exit_code(kind.__new__(kind)) == code


def test_errors_of_several_kinds_are_nine_and_stopped_files_do_not_count() -> None:
    local, config = errors.LocalFileError("x"), errors.ConfigurationError("y")
    assert combined_exit_code([]) == 0
    assert combined_exit_code([local, local, StoppedError("z")]) == 8
    assert combined_exit_code([local, config]) == 9
    assert combined_exit_code([OSError(28, "No space left on device")]) == 8


@pytest.mark.parametrize(
    "arguments",
    [
        ["upload"],
        ["upload", "--manifest", "m", "--file", "f"],
        ["upload", "--file", "f"],
        ["upload", "--object-id", "o"],
        ["upload", "--manifest", "m", "--md5", "a" * 32],
        ["upload", "--file", "f", "--object-id", "o", "--md5", "xyz"],
        ["upload", "--manifest", "m", "--max-rate", "fast"],
        ["upload", "--manifest", "m", "--max-rate", "0"],
        ["upload", "--manifest", "m", "--parallel", "0"],
        ["upload", "--manifest", "m", "--streams", "17"],
        ["download", "--object-id", "o"],
        ["download", "--output-dir", "d"],
        ["download", "o", "--output-dir", "d"],
        ["download", "--object-id", "o", "--manifest", "m", "--output-dir", "d"],
        ["download", "--object-id", "o", "--output-dir", "d", "--output-layout", "flat"],
        ["download", "--analysis-id", "a", "more", "--output-dir", "d"],
        ["nonsense"],
        ["info", "--config", "/no/such/file"],
        ["info", "--profile", "none"],
    ],
)
def test_wrong_usage_is_two(score: ScoreCommand, arguments: list[str]) -> None:
    assert score(*arguments).exit_code == 2


def test_an_upload_to_an_address_that_is_none_is_two(score: ScoreCommand) -> None:
    score.make("a.bam")
    assert score("upload", "--manifest", score.manifest("a.bam"), "--score", "ftp://x").exit_code == 2


def test_a_token_that_is_refused_is_three(score: ScoreCommand) -> None:
    score.make("a.bam")
    result = score("upload", "--manifest", score.manifest("a.bam"), env={"SCORE_ACCESS_TOKEN": "wrong-secret"})
    assert result.exit_code == 3
    assert "wrong-secret" not in result.output


def test_what_is_not_registered_or_not_there_is_four(score: ScoreCommand, tmp_path: Path) -> None:
    (score.folder / "a.bam").touch()
    assert score("upload", "--manifest", score.manifest("a.bam")).exit_code == 4
    assert score("download", "--object-id", "not-there", "--output-dir", tmp_path).exit_code == 4


def test_a_wrong_state_is_five(score: ScoreCommand, tmp_path: Path) -> None:
    score.make("a.bam", state="PUBLISHED")
    assert score("upload", "--manifest", score.manifest("a.bam")).exit_code == 5
    (object_id,) = score.store("b.bam", state="UNPUBLISHED")
    assert score("download", "--object-id", object_id, "--output-dir", tmp_path).exit_code == 5


def test_a_score_that_stays_away_is_seven_and_said_at_once(
    score: ScoreCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    score.make("a.bam")
    result = score("upload", "--manifest", score.manifest("a.bam"), "--score", "localhost:1")
    assert result.exit_code == 7
    assert "trying again" in result.stderr
    arguments = ["download", "--object-id", "o", "--output-dir", tmp_path, "--score", "localhost:1", "--silent"]
    silent = score(*arguments)
    assert silent.exit_code == 7
    assert "trying again" not in silent.stderr


@pytest.mark.parametrize("sizes", [[2 * MIB] * 5, [1000] * 5, [2 * MIB] * 3 + [1000] * 3])
def test_a_score_that_is_away_is_told_once_for_all_files(
    score: ScoreCommand, monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    names = [f"{number}.bam" for number in range(len(sizes))]
    for name, size_bytes in zip(names, sizes, strict=True):
        score.make(name, size_bytes)
    away = ["--score", "localhost:1", "--verify-connection", "false"]
    result = score("upload", "--manifest", score.manifest(*names), *away)
    assert result.exit_code == 7
    told = [line for line in result.stderr.splitlines() if "trying again" in line or "going on in" in line]
    assert len(told) == 1, told
    assert told[0].startswith("score: Score can't be reached at localhost:1: is it running?")


def test_a_missing_local_file_is_eight(score: ScoreCommand) -> None:
    score.make("a.bam").unlink()
    assert score("upload", "--manifest", score.manifest("a.bam")).exit_code == 8
    assert score("upload", "--manifest", score.folder / "none").exit_code == 8


def test_a_full_disk_is_eight_and_the_same_command_goes_on_once_there_is_room(
    score: ScoreCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (object_id,) = score.store("a.bam")
    arguments = ["download", "--object-id", object_id, "--output-dir", tmp_path]
    with monkeypatch.context() as full:
        full.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=10))
        result = score(*arguments)
    assert (result.exit_code, "1000 bytes are to come and 10 bytes are free" in result.stderr) == (8, True)
    assert score(*arguments).exit_code == 0


def test_an_object_whose_right_parts_make_a_wrong_whole_is_six(tmp_path: Path) -> None:
    stored = StoredObject(object_id="id", size_bytes=3, md5="0" * 32, part_total=1)
    partial = PartialFile(
        tmp_path / "a", stored, [ObjectPart(size_bytes=3, xxh3_128=xxhash.xxh3_128_hexdigest(b"abc"))], whole_md5=True
    )
    os.pwrite(partial.fd, b"abc", 0)
    partial.add(1)
    assert not partial.await_hash()
    with pytest.raises(errors.StoredBytesCorruptError, match="the object itself is damaged") as caught:
        partial.finish()
    partial.close()
    assert exit_code(caught.value) == 6
    assert not (tmp_path / "a").exists()


def test_failures_of_several_kinds_are_nine(score: ScoreCommand) -> None:
    score.make("a.bam").unlink()
    (score.folder / "b.bam").touch()
    score.make("c.bam")
    result = score("upload", "--manifest", score.manifest("a.bam", "b.bam", "c.bam"))
    assert result.exit_code == 9
    assert "1 of 3 files sent, 2 failed" in result.stderr


def test_a_defect_met_by_one_file_is_one(score: ScoreCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_arguments: object, **_options: object) -> NoReturn:
        raise RuntimeError("a defect")

    score.make("a.bam")
    monkeypatch.setattr(upload_module, "upload_file", break_down)
    result = score("upload", "--manifest", score.manifest("a.bam"))
    assert (result.exit_code, "a.bam: a defect" in result.stderr) == (1, True)


def _interrupt_after_a_part(process: subprocess.Popen[str], signal_number: int) -> float:
    """Send the signal once a part is verified; return how many seconds the process lived on."""
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "progress" and event["bytes"] > 0:
            break
    else:
        pytest.fail("ended before a part was verified")
    process.send_signal(signal_number)
    began = time.monotonic()
    process.stdout.read()
    process.wait(30)
    return time.monotonic() - began


@pytest.mark.parametrize(("direction", "number"), [("upload", signal.SIGINT), ("download", signal.SIGTERM)])
def test_an_interrupted_transfer_ends_at_once_and_goes_on_where_it_was(
    score: ScoreCommand, tmp_path: Path, direction: str, number: int
) -> None:
    size = 50 * MIB
    if direction == "download":
        score.store("a.bam", size_bytes=size)
        arguments: list[object] = [
            "download",
            "--object-id",
            score.id_of("a.bam"),
            "--output-dir",
            tmp_path / "out",
        ]
    else:
        score.make("a.bam", size)
        arguments = ["upload", "--manifest", score.manifest("a.bam")]
    with score.process(
        *arguments, "--json", "--max-rate", "16M", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        seconds = _interrupt_after_a_part(process, number)
        assert process.stderr is not None
        message = process.stderr.read()
    assert process.returncode == 130
    assert seconds < 10  # on a busy machine
    assert "the same command again resumes" in message
    assert "Traceback" not in message
    (done,) = score.events(*arguments)
    assert done["kept_part_total"] >= 1
    kept_bytes = min(size, done["kept_part_total"] * 16 * MIB)  # the last part is shorter
    assert done["moved_bytes"] <= size - kept_bytes
    if direction == "download":
        assert (tmp_path / "out" / "a.bam").read_bytes() == (score.folder / "a.bam").read_bytes()


def test_an_interruption_while_score_does_not_answer_ends_at_once(score: ScoreCommand) -> None:
    score.make("a.bam")
    arguments = ["upload", "--manifest", score.manifest("a.bam"), "--score", "localhost:1"]
    with score.process(*arguments, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert "can't be reached" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.wait(30) == 130
        assert time.monotonic() - began < 10  # far less than it would go on trying
