"""`score upload` from stdin, and in the place of other bytes; against a real Score."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import MIB, ScoreCommand
from tests.servers.score_world import random_bytes

PART = 16 * MIB
SIZE = 3 * PART + 1000


def pipe(score: ScoreCommand, data: bytes, *words: object, code: int = 0, event: str = "done") -> dict[str, Any]:
    """Upload by a pipe and return the one event of this kind."""
    arguments = ["upload", "--file", "-", "--object-id", score.id_of("a.txt"), "--json", *words]
    with score.process(
        *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False
    ) as process:
        shown, errors = process.communicate(data)
    assert process.returncode == code, (shown, errors)
    (found,) = [line for line in map(json.loads, shown.splitlines()) if line["event"] == event]
    return dict(found)


@pytest.fixture
def data(score: ScoreCommand) -> bytes:
    """Bytes that are registered, in four parts."""
    data = random_bytes(SIZE, seed=len(score.study))
    score.register("a.txt", data)
    return data


def test_what_comes_through_stdin_is_stored(score: ScoreCommand, data: bytes, tmp_path: Path) -> None:
    done = pipe(score, data)
    assert (done["file"], done["moved_bytes"], done["md5"]) == ("-", SIZE, hashlib.md5(data).hexdigest())
    arguments = ["download", "--object-id", score.id_of("a.txt"), "--unpublished", "--output-dir", tmp_path]
    assert score(*arguments).exit_code == 0
    assert (tmp_path / "a.txt").read_bytes() == data
    again = pipe(score, data)
    assert (again["moved_bytes"], again["kept_part_total"]) == (0, 4)
    assert (done["bytes"], done["total"]) == (again["bytes"], again["total"]) == (SIZE, SIZE)


def test_people_are_told_how_much_came_through_stdin(score: ScoreCommand, data: bytes) -> None:
    arguments = ["upload", "--file", "-", "--object-id", score.id_of("a.txt")]
    for words in ("48.0 MiB, sent, ", "48.0 MiB, already stored, "):
        with score.process(*arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=False) as process:
            _, told = process.communicate(data)
        assert f"score: -: {words}MD5 ".encode() in told


def test_an_empty_stdin_is_an_empty_file(score: ScoreCommand) -> None:
    score.register("a.txt", b"")
    assert pipe(score, b"")["md5"] == "d41d8cd98f00b204e9800998ecf8427e"


def test_a_pipe_that_broke_off_goes_on_with_what_is_missing(score: ScoreCommand, data: bytes) -> None:
    failed = pipe(score, data[: 2 * PART + 5], code=8, event="failed")
    assert f"ended after {2 * PART + 5} bytes, registered are {SIZE}" in failed["message"]
    done = pipe(score, data)
    assert (done["kept_part_total"], done["moved_bytes"]) == (2, SIZE - 2 * PART)


def test_a_pipe_of_other_bytes_is_never_stored(score: ScoreCommand, data: bytes) -> None:
    failed = pipe(score, data + b"x", code=8, event="failed")
    assert f"more than the {SIZE} bytes" in failed["message"]
    other = data[:-1] + bytes([data[-1] ^ 1])
    failed = pipe(score, other, code=6, event="failed")
    assert failed["reason"] == "OBJECT_DIGEST_MISMATCH"
    assert hashlib.md5(other).hexdigest() in failed["message"]
    # The right bytes replace the part that was wrong, and that part alone.
    done = pipe(score, data)
    assert (done["kept_part_total"], done["moved_bytes"]) == (3, 1000)
    failed = pipe(score, other, code=6, event="failed")
    assert failed["reason"] == "OBJECT_DIGEST_MISMATCH"


def test_an_md5_that_is_not_registered_is_refused_before_stdin_is_read(score: ScoreCommand, data: bytes) -> None:
    assert data
    arguments = ["upload", "--file", "-", "--object-id", score.id_of("a.txt"), "--md5", "0" * 32]
    with score.process(*arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.wait(60) == 6  # although nothing was written to it


def test_stdin_and_a_dry_run_do_not_go_together(score: ScoreCommand) -> None:
    assert score("upload", "--file", "-", "--object-id", "x", "--dry-run").exit_code == 2


@pytest.mark.parametrize("size_bytes", [1000, 2 * MIB])
def test_a_token_that_is_refused_is_explained_once_with_the_setting_it_came_from(
    score: ScoreCommand, size_bytes: int
) -> None:
    names = ["a.txt", "b.txt", "c.txt"]
    for name in names:
        score.make(name, size_bytes)
    refused = score("upload", "--manifest", score.manifest(*names), env={"SCORE_ACCESS_TOKEN": "wrong-secret"})
    first, second, third, total = refused.stderr.splitlines()
    assert (refused.exit_code, total) == (3, "score: 0 of 3 files sent, 3 failed")
    assert "SCORE_ACCESS_TOKEN" in first
    assert "authentication is off" in first
    assert [line.endswith(": the token is refused, as above") for line in (second, third)] == [True, True]


def test_other_bytes_are_replaced_only_by_force(score: ScoreCommand, tmp_path: Path) -> None:
    (object_id,) = score.store("a.txt", state="UNPUBLISHED")
    path = score.folder / "a.txt"
    path.write_bytes(b"corrected")
    score.register("a.txt", b"corrected")
    arguments = ["upload", "--manifest", score.manifest("a.txt")]
    (failed,) = score.events(*arguments, code=5, event="failed")
    assert failed["reason"] == "OBJECT_EXISTS"
    assert score(*arguments, "--force").exit_code == 0
    assert score("download", "--object-id", object_id, "--unpublished", "--output-dir", tmp_path).exit_code == 0
    assert (tmp_path / "a.txt").read_bytes() == b"corrected"


def test_a_live_upload_of_another_size_is_aborted_only_by_force(score: ScoreCommand, data: bytes) -> None:
    pipe(score, data[: PART + 5], code=8, event="failed")
    path = score.folder / "a.txt"
    path.write_bytes(b"shorter")
    score.register("a.txt", b"shorter")
    arguments = ["upload", "--manifest", score.manifest("a.txt")]
    (failed,) = score.events(*arguments, code=5, event="failed")
    assert failed["reason"] == "UPLOAD_CONFLICT"
    assert score(*arguments, "--force=true").exit_code == 0


def test_the_connection_is_looked_at_before_an_upload(score: ScoreCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    score.make("a.txt")
    arguments = ["upload", "--manifest", score.manifest("a.txt"), "--score", "localhost:1"]
    assert "score doctor" in score(*arguments).stderr
    assert "score doctor" not in score(*arguments, "--verify-connection", "false").stderr
