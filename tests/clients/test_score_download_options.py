"""`score download` of less than files, to a pipe, with their indexes; against a real Score."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from song_score_client.quantities import format_bytes

from tests.chaos.proxy import Fault, FaultProxy
from tests.clients.conftest import MIB, ScoreCommand
from tests.servers.score_world import random_bytes

PART = 16 * MIB
SIZE = 2 * PART + 1000


@pytest.fixture
def object_id(score: ScoreCommand) -> str:
    """A stored object of three parts."""
    (object_id,) = score.store("a.txt", size_bytes=SIZE)
    return object_id


@pytest.fixture
def data(score: ScoreCommand, object_id: str) -> bytes:  # noqa: ARG001 - writes the file
    return (score.folder / "a.txt").read_bytes()


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 1), (5, 1000), (PART - 3, 7), (0, PART), (3, SIZE - 4), (PART, -1), (SIZE - 5, -1), (SIZE, -1), (7, 0)],
)
def test_a_range_has_a_file_of_its_own(
    score: ScoreCommand, object_id: str, data: bytes, tmp_path: Path, offset: int, length: int
) -> None:
    out = tmp_path / "out"
    arguments = ["download", "--object-id", object_id, "--output-dir", out, "--offset", offset, "--length", length]
    (done,) = score.events(*arguments)
    expected = data[offset:] if length < 0 else data[offset : offset + length]
    (path,) = out.iterdir()
    assert path.name == f"a.txt.range-{offset}-{len(expected)}"
    assert path.read_bytes() == expected
    assert (done["file"], done["total"], done["md5_verified"]) == ("a.txt", len(expected), False)
    (again,) = score.events(*arguments)
    assert again["moved_bytes"] == 0


def test_a_range_that_is_there_with_other_bytes_is_replaced_only_by_force(
    score: ScoreCommand, object_id: str, data: bytes, tmp_path: Path
) -> None:
    arguments = ["download", "--object-id", object_id, "--output-dir", tmp_path, "--offset", 7, "--length", PART + 20]
    path = tmp_path / f"a.txt.range-7-{PART + 20}"
    for other in [b"short", b"x" + data[8 : PART + 27], data[7 : PART + 26] + b"x"]:
        path.write_bytes(other)
        result = score(*arguments)
        assert (result.exit_code, "--force" in result.stderr, path.read_bytes()) == (8, True, other)
    assert score(*arguments, "--force").exit_code == 0
    assert path.read_bytes() == data[7 : PART + 27]


def test_a_range_that_was_interrupted_fetches_no_right_part_again(
    score: ScoreCommand, object_id: str, data: bytes, tmp_path: Path
) -> None:
    partial = tmp_path / f"a.txt.range-10-{SIZE - 10}.partial"
    partial.write_bytes(data[10 : 2 * PART] + b"torn")
    arguments = ["download", "--object-id", object_id, "--output-dir", tmp_path, "--offset", 10]
    (done,) = score.events(*arguments)
    assert (done["kept_part_total"], done["part_total"], done["moved_bytes"]) == (1, 3, SIZE - 10 - PART)
    assert (tmp_path / f"a.txt.range-10-{SIZE - 10}").read_bytes() == data[10:]
    assert not partial.exists()


def test_a_range_outside_the_object_is_wrong_usage_and_says_the_size(
    score: ScoreCommand, object_id: str, tmp_path: Path
) -> None:
    for offset, length in [(SIZE + 1, -1), (0, SIZE + 1)]:
        arguments = ["download", "--object-id", object_id, "--output-dir", tmp_path, "--offset", offset]
        (failed,) = score.events(*arguments, "--length", length, code=2, event="failed")
        assert (failed["reason"], f"has {SIZE} bytes" in failed["message"]) == ("RANGE_INVALID", True)


def test_an_object_goes_to_stdout_in_order_and_nothing_else_does(
    score: ScoreCommand, object_id: str, data: bytes
) -> None:
    with score.process(
        "download", "--object-id", object_id, "--output", "-", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        written = process.stdout.buffer.read()  # type: ignore[attr-defined] # a text file has one
        events = [json.loads(line) for line in process.stderr]
        assert process.wait() == 0
    assert written == data
    (done,) = [event for event in events if event["event"] == "done"]
    assert done["md5"] == hashlib.md5(data).hexdigest()


def test_a_range_goes_to_stdout(score: ScoreCommand, object_id: str, data: bytes) -> None:
    with score.process(
        "download", "--object-id", object_id, "--output=-", "--offset", PART - 2, "--length", 5, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.buffer.read() == data[PART - 2 : PART + 3]  # type: ignore[attr-defined] # as above


def test_a_reader_that_leaves_ends_the_download_without_a_traceback(score: ScoreCommand, object_id: str) -> None:
    with score.process(
        "download", "--object-id", object_id, "--output", "-", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        message = process.stderr.read()
        assert process.wait() == 8
    assert "nobody reads stdout any more" in message
    assert "Traceback" not in message


def test_stdout_takes_one_object(score: ScoreCommand, object_id: str) -> None:
    (other,) = score.store("b.txt")
    result = score("download", "--object-id", object_id, other, "--output", "-")
    assert (result.exit_code, "one object, not 2" in result.stderr) == (2, True)
    assert score("download", "--object-id", "not-there", "--output", "-").exit_code == 4


@pytest.mark.parametrize(
    "arguments",
    [
        ["--output", "file"],
        ["--output", "-", "--output-dir", "d"],
        ["--output-dir", "d", "--offset", "-1"],
        ["--output-dir", "d", "--length", "-2"],
    ],
)
def test_wrong_usage_is_two(score: ScoreCommand, arguments: list[str]) -> None:
    assert score("download", "--object-id", "x", *arguments).exit_code == 2


def test_disk_space_is_looked_at_before_anything_moves(
    score: ScoreCommand, object_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other,) = score.store("b.txt")
    with monkeypatch.context() as full:
        full.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=SIZE))
        result = score("download", "--object-id", object_id, other, "--output-dir", tmp_path / "out")
        assert (result.exit_code, f"{format_bytes(SIZE + 1000)} are to come" in result.stderr) == (8, True)
        assert not (tmp_path / "out").exists()
        # A range needs room for itself alone.
        arguments = ["download", "--object-id", object_id, other, "--output-dir", tmp_path / "out", "--length", 10]
        assert score(*arguments).exit_code == 0


def _with_index(score: ScoreCommand) -> str:
    for name in ("s.bam", "s.bam.BAI", "other.bai"):
        data = random_bytes(100, seed=len(name))
        score.register(name, data)
        score.song.registered[score.id_of(name)].file.analysis_id = f"analysis-{score.study}"
        (score.folder / name).write_bytes(data)
    assert score("upload", "--manifest", score.manifest("s.bam", "s.bam.BAI", "other.bai")).exit_code == 0
    for name in ("s.bam", "s.bam.BAI", "other.bai"):
        score.song.set_state(score.id_of(name), "PUBLISHED")
    return score.id_of("s.bam")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], {"s.bam", "s.bam.BAI"}),
        (["--index", "true"], {"s.bam", "s.bam.BAI"}),
        (["--index", "false"], {"s.bam"}),
        (["--no-index"], {"s.bam"}),
        (["--length", "10"], {"s.bam.range-0-10"}),
    ],
)
def test_the_index_of_a_file_comes_along(
    score: ScoreCommand, tmp_path: Path, words: list[str], names: set[str]
) -> None:
    out = tmp_path / "out"
    assert score("download", "--object-id", _with_index(score), "--output-dir", out, *words).exit_code == 0
    assert {path.name for path in out.iterdir()} == names


def test_an_index_that_is_asked_for_comes_once(score: ScoreCommand, tmp_path: Path) -> None:
    bam = _with_index(score)
    arguments = ["download", "--object-id", bam, score.id_of("s.bam.BAI"), "--output-dir", tmp_path]
    assert [line["file"] for line in score.events(*arguments)] == ["s.bam", "s.bam.BAI"]


def test_the_connection_is_looked_at_first_unless_told_otherwise(
    score: ScoreCommand, object_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    arguments = ["download", "--object-id", object_id, "--output-dir", tmp_path]
    assert score(*arguments, "--verify-connection", "false").exit_code == 0
    away = score(*arguments, "--score", "localhost:1")
    assert (away.exit_code, "score doctor" in away.stderr) == (7, True)
    away = score(*arguments, "--score", "localhost:1", "--verify-connection=false")
    assert (away.exit_code, "score doctor" in away.stderr) == (7, False)


def test_options_may_stand_before_the_command(score: ScoreCommand, object_id: str, tmp_path: Path) -> None:
    words = ["--json", "--max-rate", "1G", "--parallel=2", "--profile", "", "--no-index", "download", "--quiet"]
    result = score(*words, "--object-id", object_id, "--output-dir", tmp_path / "out", "--streams", "1")
    assert result.exit_code == 0, result.output
    assert [json.loads(line)["event"] for line in result.stdout.splitlines()] == ["done", "summary"]
    assert score("--nonsense", "download", "--object-id", object_id, "--output-dir", tmp_path).exit_code == 2


def test_a_byte_that_flips_on_the_way_costs_a_chunk_and_is_never_written(
    score: ScoreCommand, object_id: str, data: bytes, tmp_path: Path
) -> None:
    proxy = FaultProxy(lambda _: None)
    port = proxy.open_door(int(score.environment["SCORE_URL"].rpartition(":")[2]))
    proxy.plan([Fault("flip", "down", PART + 100_000, 3), Fault("cut", "down", 2 * PART)])
    arguments = ["download", "--object-id", object_id, "--output-dir", tmp_path, "--offset", 5]
    (done,) = score.events(*arguments, "--score", f"127.0.0.1:{port}")
    assert done["total"] == SIZE - 5
    assert (tmp_path / f"a.txt.range-5-{SIZE - 5}").read_bytes() == data[5:]


def test_help_is_there_at_once_and_names_every_option() -> None:
    program = "from song_score_client.commands.score import main; main()"
    shown = subprocess.run(
        [sys.executable, "-c", program, "download", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200"},
    ).stdout
    for option in ("--offset", "--length", "--index", "--output", "--verify-connection", "--validate", "--force"):
        assert option in shown
