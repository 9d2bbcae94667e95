"""`score verify` and `score repair`, against a real Score."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.clients.conftest import MIB, ScoreCommand

PART = 16 * MIB
SIZE = 3 * PART + 1000


@pytest.fixture
def copy(score: ScoreCommand) -> Path:
    """A file that is stored, in four parts."""
    score.store("a.txt", size_bytes=SIZE)
    return score.folder / "a.txt"


def flip(path: Path, *offsets: int) -> None:
    with path.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            (byte,) = file.read(1)
            file.seek(offset)
            file.write(bytes([byte ^ 1]))


def test_a_right_file_is_right_and_nothing_is_fetched(score: ScoreCommand, copy: Path) -> None:
    arguments = ["--object-id", score.id_of("a.txt"), copy]
    for command in ("verify", "repair"):
        (done,) = score.events(command, *arguments)
        assert (done["moved_bytes"], done["part_total"], done["kept_part_total"]) == (0, 4, 4)
    assert "all 4 parts are right" in score("verify", *arguments).stderr


def test_parts_that_differ_are_named_and_they_alone_are_mended_in_place(score: ScoreCommand, copy: Path) -> None:
    right = copy.read_bytes()
    flip(copy, PART + 5, SIZE - 1)
    inode = copy.stat().st_ino
    arguments = ["--object-id", score.id_of("a.txt"), copy]
    (failed,) = score.events("verify", *arguments, code=6, event="failed")
    assert failed["reason"] == "OBJECT_DIGEST_MISMATCH"
    assert "2 of 4 parts differ (2, 4)" in failed["message"]
    assert "score repair" in failed["message"]
    (done,) = score.events("repair", *arguments)
    assert (done["moved_bytes"], done["kept_part_total"]) == (PART + 1000, 2)
    assert copy.read_bytes() == right
    assert copy.stat().st_ino == inode
    assert score("verify", *arguments).exit_code == 0


def test_people_are_told_what_was_mended_and_what_was_right(score: ScoreCommand, copy: Path) -> None:
    arguments = ["repair", "--object-id", score.id_of("a.txt"), copy]
    assert score(*arguments).stderr.splitlines() == [
        f"score: {copy}: all 4 parts are right",
        "score: 1 of 1 files already right",
    ]
    flip(copy, 5)
    assert score(*arguments).stderr.splitlines() == [
        f"score: {copy}: 1 of 4 parts was wrong, and is mended",
        "score: 1 of 1 files mended",
    ]
    with copy.open("ab") as file:
        file.write(b"more")
    assert score(*arguments).stderr.splitlines() == [
        f"score: {copy}: all 4 parts are right; it was too long, and is cut to its size",
        "score: 1 of 1 files mended",
    ]


def test_the_sum_tells_files_that_are_right_those_that_differ_and_those_that_could_not_be_looked_at(
    score: ScoreCommand, tmp_path: Path
) -> None:
    ids = score.store("a.txt", "b.txt", "c.txt")
    assert score("download", "--object-id", *ids, "--output-dir", tmp_path).exit_code == 0
    flip(tmp_path / "b.txt", 5)
    (tmp_path / "c.txt").unlink()
    chosen = [word for object_id in ids for word in ("--object-id", object_id)]
    result = score("verify", *chosen, tmp_path)
    *told, total = result.stderr.splitlines()
    assert (result.exit_code, total) == (9, "score: 1 of 3 files right, 1 different, 1 failed")
    assert f"score: {tmp_path / 'a.txt'}: its one part is right" in told
    assert f"score: {tmp_path / 'c.txt'} is not there: `score download` fetches it" in told
    right = score("verify", "--object-id", ids[0], tmp_path)
    assert right.stderr.splitlines()[-1] == "score: 1 of 1 files right"


def test_a_repair_of_a_file_that_is_not_there_names_the_download(score: ScoreCommand, tmp_path: Path) -> None:
    (object_id,) = score.store("a.txt")
    result = score("repair", "--object-id", object_id, tmp_path / "a.txt")
    assert (result.exit_code, "`score download` fetches it" in result.stderr) == (8, True)
    # What can't be looked at may be there.
    (tmp_path / "file").touch()
    result = score("repair", "--object-id", object_id, tmp_path / "file" / "a.txt")
    assert (result.exit_code, "Not a directory" in result.stderr) == (8, True)


@pytest.mark.parametrize(("size", "fetched"), [(SIZE - 1, 1000), (SIZE + 7, 0), (PART, SIZE - PART)])
def test_a_file_of_another_length_is_mended_too(score: ScoreCommand, copy: Path, size: int, fetched: int) -> None:
    right = copy.read_bytes()
    copy.write_bytes((right + b"1234567")[:size])
    arguments = ["--object-id", score.id_of("a.txt"), copy]
    (failed,) = score.events("verify", *arguments, code=6, event="failed")
    assert f"it has {size} bytes, the object {SIZE}" in failed["message"]
    (done,) = score.events("repair", *arguments)
    assert done["moved_bytes"] == fetched
    assert copy.read_bytes() == right


def test_another_file_altogether_is_left_as_it_is_unless_forced(score: ScoreCommand, copy: Path) -> None:
    other = copy.with_name("precious.txt")
    other.write_bytes(os.urandom(SIZE))
    arguments = ["repair", "--object-id", score.id_of("a.txt"), other]
    before = other.read_bytes()
    result = score(*arguments)
    assert (result.exit_code, "looks like another file" in result.stderr) == (8, True)
    assert other.read_bytes() == before
    assert score(*arguments, "--force").exit_code == 0
    assert other.read_bytes() == copy.read_bytes()


def test_nothing_is_written_through_a_symbolic_link(score: ScoreCommand, copy: Path, tmp_path: Path) -> None:
    flip(copy, 0)
    link = tmp_path / "a.txt"
    link.symlink_to(copy)
    result = score("repair", "--object-id", score.id_of("a.txt"), link)
    assert (result.exit_code, "symbolic link" in result.stderr) == (8, True)


def test_copies_are_found_by_manifest_folder_analysis_and_names(score: ScoreCommand, tmp_path: Path) -> None:
    first, second = score.store("a.txt", "b.txt")
    out, by_id = tmp_path / "out", tmp_path / "by-id"
    assert score("download", "--object-id", first, second, "--output-dir", out).exit_code == 0
    assert (
        score("download", "--object-id", first, second, "--output-dir", by_id, "--output-layout", "id").exit_code == 0
    )
    (by_id / "not-whole.partial").touch()
    (by_id / f".{first}.score").touch()
    manifest = score.manifest("a.txt", "b.txt")
    ways: list[list[object]] = [
        ["--manifest", manifest],
        ["--manifest", manifest, out],
        ["--analysis-id", "any", out],
        ["--object-id", first, "--object-id", second, out],
        ["--object-id", first, "--object-id", second, "--output-layout", "id", by_id],
        [by_id],
        [by_id / first, by_id / second],
    ]
    for way in ways:
        assert len(score.events("verify", *way)) == 2, way
    flip(by_id / first, 3)
    (failed,) = score.events("verify", by_id, code=6, event="failed")
    assert failed["object_id"] == first
    assert len(score.events("repair", by_id)) == 2


def test_every_copy_is_looked_at_and_one_that_is_missing_is_named(score: ScoreCommand, tmp_path: Path) -> None:
    first, second = score.store("a.txt", "b.txt")
    assert score("download", "--object-id", first, "--output-dir", tmp_path).exit_code == 0
    arguments = ["verify", "--object-id", first, "--object-id", second, "--object-id", "unknown", tmp_path]
    failed = score.events(*arguments, code=9, event="failed")
    assert [(line["object_id"], line["exit_code"]) for line in failed] == [(second, 8), ("unknown", 4)]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--object-id", "x"],
        ["--object-id", "x", "--manifest", "m", "f"],
        ["--object-id", "x", "f", "g"],
        ["no-object.id"],
        ["--stored"],
        ["--stored", "--object-id", "x", "f"],
    ],
)
def test_wrong_usage_is_two(score: ScoreCommand, arguments: list[str]) -> None:
    assert score("verify", *arguments).exit_code == 2


def test_an_empty_folder_and_a_download_manifest_alone_are_refused(score: ScoreCommand, tmp_path: Path) -> None:
    assert score("verify", tmp_path).exit_code == 8
    manifest = tmp_path / "m"
    manifest.write_text("heading\n" + "\t".join(["x"] * 11) + "\n")
    result = score("verify", "--manifest", manifest)
    assert (result.exit_code, "names no paths" in result.stderr) == (2, True)


def test_a_repair_that_was_killed_goes_on_where_it_was(score: ScoreCommand, copy: Path) -> None:
    right = copy.read_bytes()
    flip(copy, 0, PART, 2 * PART, 3 * PART)
    arguments = ["repair", "--object-id", score.id_of("a.txt"), copy]
    with score.process(*arguments, "--max-rate", "16M", stderr=subprocess.DEVNULL) as process:
        while copy.read_bytes()[:PART] != right[:PART]:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (done,) = score.events(*arguments)
    assert 1 <= done["kept_part_total"] <= 3
    assert copy.read_bytes() == right


def test_two_repairs_of_one_file_do_not_meet(score: ScoreCommand, copy: Path) -> None:
    flip(copy, 0, PART, 2 * PART, 3 * PART)
    arguments = ["repair", "--object-id", score.id_of("a.txt"), copy]
    with score.process(*arguments, "--max-rate", "4M", "--json", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it is under way
        while (result := score(*arguments, "--max-rate", "1G")).exit_code == 0:
            pytest.fail("the second repair should have found the first at work")
        assert (result.exit_code, "another process is at work" in result.stderr) == (8, True)


def test_score_reads_what_it_stores_again_when_asked(score: ScoreCommand) -> None:
    first, second = score.store("a.txt", "b.txt")
    done = score.events("verify", "--stored", "--object-id", first, "--object-id", second)
    assert [(line["file"], line["md5_verified"]) for line in done] == [("a.txt", True), ("b.txt", True)]
    assert "read again by Score" in score("verify", "--stored", "--object-id", first).stderr
    assert score("verify", "--stored", "--object-id", "unknown").exit_code == 4


def test_damage_in_the_store_is_told_with_its_parts(score: ScoreCommand, score_data_dir: Path) -> None:
    (object_id,) = score.store("a.txt", size_bytes=SIZE)
    (stored,) = [path for path in score_data_dir.rglob("*") if path.is_file() and path.name == object_id]
    stored.chmod(0o644)
    flip(stored, PART + 1)
    (failed,) = score.events("verify", "--stored", "--object-id", object_id, code=6, event="failed")
    assert "1 of its 4 parts are damaged in Score's store (2)" in failed["message"]
    # The same file mends it.
    assert score("upload", "--manifest", score.manifest("a.txt")).exit_code == 0
    assert score("verify", "--stored", "--object-id", object_id).exit_code == 0
