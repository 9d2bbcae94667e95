"""`score url`, `ls` and `rm`, against a real Score."""

from __future__ import annotations

import json
import os
import pty
import urllib.request
from pathlib import Path
from uuid import uuid4

import pytest
from song_score_client.score import ScoreClient

from tests.clients.conftest import MIB, ScoreCommand
from tests.servers.score_world import random_bytes
from tests.servers.terminal import run_at_terminal


def one_analysis(score: ScoreCommand, *names: str) -> None:
    """Put registered files into one analysis."""
    for name in names:
        score.song.registered[score.id_of(name)].file.analysis_id = f"analysis-{score.study}"


def test_a_url_is_printed_alone_and_brings_the_bytes_without_a_token(score: ScoreCommand) -> None:
    (object_id,) = score.store("a.txt")
    result = score("url", "--object-id", object_id)
    assert result.exit_code == 0, result.output
    (url,) = result.stdout.splitlines()
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.read() == (score.folder / "a.txt").read_bytes()
    asked = urllib.request.Request(url, headers={"Range": "bytes=10-19"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert (answer.status, answer.read()) == (206, (score.folder / "a.txt").read_bytes()[10:20])


def test_urls_of_several_come_in_order_with_their_indexes(score: ScoreCommand) -> None:
    first, second, _ = score.store("a.bam", "b.txt", "a.bam.bai", state="UNPUBLISHED")
    one_analysis(score, "a.bam", "b.txt", "a.bam.bai")
    # What was stored knows its analysis from when it was stored: so each is stored anew.
    result = score("url", "--object-id", first, second, "--unpublished", "--expires", "60", "--json")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["object_id"] for line in lines] == [first, second]
    assert {line["method"] for line in lines} == {"GET"}
    assert all(line["expire_time"].endswith("Z") for line in lines)


def test_the_index_of_a_file_has_its_url_too(score: ScoreCommand) -> None:
    for name in ("a.bam", "a.bam.bai"):
        score.make(name)
    one_analysis(score, "a.bam", "a.bam.bai")
    assert score("upload", "--manifest", score.manifest("a.bam", "a.bam.bai")).exit_code == 0
    arguments = ["url", "--object-id", score.id_of("a.bam"), "--unpublished", "--json"]
    names = [json.loads(line)["file_name"] for line in score(*arguments, "--index").stdout.splitlines()]
    assert names == ["a.bam", "a.bam.bai"]
    assert len(score(*arguments).stdout.splitlines()) == 1


def test_an_id_that_is_not_there_does_not_hinder_the_others(score: ScoreCommand) -> None:
    (object_id,) = score.store("a.txt")
    result = score("url", "--object-id", "unknown", "--object-id", object_id)
    assert (result.exit_code, len(result.stdout.splitlines())) == (4, 1)
    assert "unknown" in result.stderr
    assert score("url", "--object-id", "unknown", object_id, "--fail-fast").stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["url"],
        ["url", "--object-id", "x", "--expires", "0"],
        ["url", "--object-id", "x", "--expires", "86401"],
        ["ls", "--object-id", "x"],
        ["ls", "--uploads", "--verification", "VERIFIED"],
        ["ls", "--limit", "0"],
        ["rm", "x"],
        ["rm", "x", "--reason", "y"],
        ["rm", "--upload", "x"],
    ],
)
def test_wrong_usage_is_two(score: ScoreCommand, arguments: list[str]) -> None:
    assert score(*arguments).exit_code == 2


def test_objects_are_listed_newest_first_and_filtered(score: ScoreCommand) -> None:
    first, second = score.store("a.txt", "b.txt")
    assert score("upload", "--manifest", score.manifest("a.txt")).exit_code in {0, 5}
    listed = json.loads(score("ls").stdout)
    assert sorted(line["object_id"] for line in listed) == [first, second]
    assert {line["verification"] for line in listed} == {"VERIFIED"}
    assert {line["size_bytes"] for line in listed} == {1000}
    assert len(json.loads(score("ls", "--limit", "1").stdout)) == 1
    assert json.loads(score("ls", "--verification", "unverified").stdout) == []
    assert json.loads(score("ls", "--analysis-id", "another").stdout) == []
    assert json.loads(score("ls", "--before", "2020-01-01").stdout) == []
    assert len(json.loads(score("ls", "--since", "2020-01-01T00:00:00").stdout)) == 2
    assert json.loads(score("ls", "--study-id", "OTHER").stdout) == []
    score.song.set_state(first, "UNPUBLISHED")
    assert [line["object_id"] for line in json.loads(score("ls", "--unpublished").stdout)].count(first) == 1


def test_uploads_are_listed_and_aborted(score: ScoreCommand) -> None:
    path = score.make("a.txt", 17 * MIB)
    arguments = ["upload", "--file", "-", "--object-id", score.id_of("a.txt")]
    with score.process(*arguments, stdin=-1, stderr=-1, text=False) as process:
        process.communicate(path.read_bytes()[: 16 * MIB + 1])
    (upload,) = json.loads(score("ls", "--uploads").stdout)
    assert (upload["object_id"], upload["state"], upload["persisted_part_total"]) == (score.id_of("a.txt"), "OPEN", 1)
    assert json.loads(score("ls", "--uploads", "--object-id", "another").stdout) == []
    (gone,) = score("rm", "--upload", upload["upload_id"], "--yes", "--json").stdout.splitlines()
    assert json.loads(gone)["event"] == "aborted"
    assert json.loads(score("ls", "--uploads").stdout) == []
    (aborted,) = json.loads(score("ls", "--uploads", "--state", "aborted").stdout)
    assert aborted["abort_reason"] == "CALLER"
    assert score("rm", "--upload", "unknown", "--yes").exit_code == 4


def test_a_caller_without_the_system_scope_deletes_nothing(score: ScoreCommand) -> None:
    (object_id,) = score.store("a.txt", state="UNPUBLISHED")
    result = score("rm", object_id, "--reason", "a test", "--yes")
    assert result.exit_code == 3
    assert len(json.loads(score("ls", "--unpublished").stdout)) == 1


def test_the_system_deletes_objects_that_are_not_published(score: ScoreCommand) -> None:
    first, second = score.store("a.txt", "b.txt", state="UNPUBLISHED")
    score.song.set_state(second, "PUBLISHED")
    system = {"SCORE_ACCESS_TOKEN": score.environment["SONG_ACCESS_TOKEN"]}
    result = score("rm", first, second, "unknown", "--reason", "a test", "--yes", "--json", env=system)
    assert result.exit_code == 9
    (deleted,) = map(json.loads, result.stdout.splitlines())
    assert (deleted["event"], deleted["object_id"], deleted["file"]) == ("deleted", first, "a.txt")
    assert "PUBLISHED" in result.stderr
    assert score("download", "--object-id", first, "--unpublished", "--output-dir", score.folder / "x").exit_code == 4


def test_a_person_is_asked_before_anything_goes(score: ScoreCommand) -> None:
    (object_id,) = score.store("a.txt", state="UNPUBLISHED")
    environment = {**os.environ, **score.environment, "SCORE_ACCESS_TOKEN": score.environment["SONG_ACCESS_TOKEN"]}
    for word, left in [(b"n\n", 1), (b"y\n", 0)]:
        keyboard, terminal = pty.openpty()
        os.write(keyboard, word)
        score.environment.update(environment)
        with score.process("rm", object_id, "--reason", "a test", stdin=terminal, stderr=-1) as process:
            assert process.stderr is not None
            asked = process.stderr.read()
            assert process.wait(60) == 0
        os.close(terminal)
        os.close(keyboard)
        assert f"Delete object {object_id} for good?" in asked
        assert len(json.loads(score("ls", "--unpublished").stdout)) == left


def test_people_get_tables(score: ScoreCommand, tmp_path: Path) -> None:
    (object_id,) = score.store("a.txt")
    reader, terminal = pty.openpty()
    with score.process("ls", stdout=terminal) as process:
        os.close(terminal)
        assert process.wait(60) == 0
    with os.fdopen(reader, "rb", buffering=0) as screen:
        shown = screen.read(65536).decode()
    assert object_id in shown
    assert "VERIFIED" in shown
    assert tmp_path.exists()


@pytest.mark.parametrize("columns", ["60", "100", "200"])
def test_a_narrow_terminal_cuts_no_id(score: ScoreCommand, columns: str) -> None:
    object_id, other = str(uuid4()), str(uuid4())
    path = score.folder / "a.txt"
    path.write_bytes(random_bytes(17 * MIB, seed=1))
    score.register("a.txt", path.read_bytes(), object_id=object_id)
    assert score("upload", "--file", path, "--object-id", object_id).exit_code == 0
    score.register("b.txt", path.read_bytes(), object_id=other)
    with ScoreClient.open(score.environment["SCORE_URL"]) as client:
        upload_id = client.start_upload(other).upload.upload_id
    environment = score.environment | {"COLUMNS": columns}
    objects = run_at_terminal("score", "ls", "--unpublished", environment=environment)
    uploads = run_at_terminal("score", "ls", "--uploads", environment=environment)
    assert (objects.exit_code, uploads.exit_code) == (0, 0)
    for shown, ids in ((objects, [object_id]), (uploads, [other, upload_id])):
        assert [one for one in ids if one not in shown.text] == []
        assert "…" not in shown.text
