"""`score upload` and `score download`, against a real Score."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.clients.conftest import MIB, ScoreCommand
from tests.servers.terminal import run_at_terminal


def test_a_manifest_is_uploaded_from_relative_paths_and_each_file_reported(score: ScoreCommand) -> None:
    score.make("a.bam", 17 * MIB)
    score.make("b.bai", 0)
    a, b = score.events("upload", "--manifest", score.manifest("a.bam", "b.bai"))
    assert (a["file"], a["object_id"], a["bytes"], a["moved_bytes"]) == (
        "a.bam",
        score.id_of("a.bam"),
        17 * MIB,
        17 * MIB,
    )
    assert (a["part_total"], a["kept_part_total"], a["md5_verified"]) == (2, 0, True)
    assert a["seconds"] > 0
    assert b["md5"] == "d41d8cd98f00b204e9800998ecf8427e"


def test_what_was_uploaded_comes_back_the_same(score: ScoreCommand, tmp_path: Path) -> None:
    source = score.make("a.bam", 17 * MIB)
    assert score("upload", "--file", source, "--object-id", score.id_of("a.bam"), "--streams", "2").exit_code == 0
    (done,) = score.events(
        "download", "--object-id", score.id_of("a.bam"), "--unpublished", "--output-dir", tmp_path / "out"
    )
    assert (done["moved_bytes"], done["kept_part_total"], done["md5_verified"]) == (17 * MIB, 0, True)
    assert (tmp_path / "out" / "a.bam").read_bytes() == source.read_bytes()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.bam"]


def test_people_get_a_line_per_file_on_stderr_and_nothing_on_stdout(score: ScoreCommand) -> None:
    score.make("a.bam")
    result = score("upload", "--manifest", score.manifest("a.bam"))
    assert result.stdout == ""
    line, total = result.stderr.splitlines()
    assert line.startswith("score: a.bam: 1000 bytes, sent, MD5 ")
    assert "verified" in line
    assert total == "score: 1 of 1 files sent"


def test_an_upload_run_again_sends_nothing_and_says_so(score: ScoreCommand) -> None:
    score.make("a.bam", 17 * MIB)
    manifest = score.manifest("a.bam")
    score.events("upload", "--manifest", manifest)
    (done,) = score.events("upload", "--manifest", manifest)
    assert (done["moved_bytes"], done["kept_part_total"]) == (0, 2)
    first, total = score("upload", "--manifest", manifest).stderr.splitlines()
    assert first.startswith("score: a.bam: 17.0 MiB, already stored, MD5 ")
    assert "/s" not in first
    assert total == "score: 1 of 1 files already stored"


def test_a_download_run_again_fetches_nothing_and_says_so(score: ScoreCommand, tmp_path: Path) -> None:
    score.store("a.bam", "b.bam", "c.bam")
    for names in (["a.bam", "b.bam"], ["a.bam", "b.bam", "c.bam"]):
        words = [word for name in names for word in ("--object-id", score.id_of(name))]
        result = score("download", *words, "--output-dir", tmp_path / "out")
        assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert [line for line in lines if "a.bam: 1000 bytes, already here, MD5" in line]
    assert [line for line in lines if "c.bam: 1000 bytes, fetched, MD5" in line]
    assert lines[-1] == "score: 2 of 3 files already here, 1 fetched"
    (summary,) = score.events("download", *words, "--output-dir", tmp_path / "out", event="summary")
    assert (summary["done"], summary["kept"], summary["moved_bytes"]) == (3, 3, 0)


@pytest.mark.parametrize("size_bytes", [1000, 17 * MIB])
def test_what_a_run_left_that_was_killed_at_its_end_is_cleared_by_the_next(
    score: ScoreCommand, tmp_path: Path, size_bytes: int
) -> None:
    score.store("a.bam", size_bytes=size_bytes)
    words = ("--object-id", score.id_of("a.bam"), "--output-dir", tmp_path / "out")
    score.events("download", *words)
    journal = tmp_path / "out" / ".a.bam.score"
    journal.write_text("{}\n")
    score.events("download", *words)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.bam"]


def test_an_analysis_is_uploaded_without_a_manifest(score: ScoreCommand) -> None:
    score.make("a.bam")
    score.make("b.bai")
    arguments = ["upload", "--analysis-id", "any", "--study-id", score.study]
    done = score.events(*arguments, score.folder)
    assert [line["file"] for line in done] == ["a.bam", "b.bai"]


def test_every_missing_file_of_an_analysis_is_named_before_anything_moves(score: ScoreCommand) -> None:
    score.make("a.bam")
    score.make("b.bai").unlink()
    score.make("c.vcf").write_bytes(b"short")
    result = score("upload", "--analysis-id", "any", "--study-id", score.study, score.folder)
    assert result.exit_code == 8
    assert "b.bai: No such file" in result.stderr
    assert "c.vcf: has 5 bytes" in result.stderr
    assert (
        score("download", "--object-id", score.id_of("a.bam"), "--unpublished", "--output-dir", score.folder).exit_code
        == 4
    )


def test_the_study_may_come_from_the_settings_or_under_overtures_name(score: ScoreCommand, tmp_path: Path) -> None:
    score.store("a.bam")
    out = tmp_path / "out"
    assert len(score.events("download", "--analysis-id", "any", "--output-dir", out)) == 1
    arguments = ["download", "--analysis-id", "any", "--program-id", "OTHER", "--output-dir", out]
    assert score.events(*arguments, event="summary")[0]["files"] == 0


def test_a_wrong_md5_or_size_is_refused_before_a_byte_moves(score: ScoreCommand) -> None:
    path = score.make("a.bam")
    arguments = ["upload", "--file", path, "--object-id", score.id_of("a.bam")]
    (failed,) = score.events(*arguments, "--md5", "A" * 32, code=6, event="failed")
    assert failed["reason"] == "MD5_NOT_REGISTERED"
    path.write_bytes(b"other size")
    (failed,) = score.events(*arguments, code=6, event="failed")
    assert failed["reason"] == "SIZE_NOT_REGISTERED"
    (failed,) = score.events(*arguments, "--dry-run", code=6, event="failed")
    assert failed["reason"] == "SIZE_NOT_REGISTERED"


def test_a_wrong_file_of_the_right_size_is_an_integrity_error(score: ScoreCommand) -> None:
    path = score.make("a.bam")
    path.write_bytes(b"x" * 1000)
    (failed,) = score.events("upload", "--file", path, "--object-id", score.id_of("a.bam"), code=6, event="failed")
    assert failed["reason"] == "OBJECT_DIGEST_MISMATCH"
    assert "is not the registered file" in failed["message"]


def test_a_dry_run_checks_everything_and_sends_nothing(score: ScoreCommand) -> None:
    score.store("stored.bam", state="UNPUBLISHED")
    score.make("new.bam", 2000)
    score.make("gone.bam").unlink()
    score.make("published.bam", state="PUBLISHED")
    (score.folder / "unknown.bam").touch()
    manifest = score.manifest("stored.bam", "new.bam", "gone.bam", "published.bam", "unknown.bam")
    failed = score.events("upload", "--manifest", manifest, "--dry-run", code=9, event="failed")
    assert [(line["file"], line["exit_code"]) for line in failed] == [
        ("gone.bam", 8),
        ("published.bam", 5),
        ("unknown.bam", 4),
    ]
    new, stored = score.events("upload", "--manifest", manifest, "--dry-run", code=9, event="checked")
    assert (new["file"], new["stored"], stored["stored"]) == ("new.bam", False, True)
    assert not list(Path(score.environment["XDG_STATE_HOME"]).rglob(f"{score.id_of('new.bam')}*"))
    good = score("upload", "--manifest", score.manifest("stored.bam", "new.bam"), "--dry-run=true")
    assert good.exit_code == 0
    assert "2 of 2 files can be uploaded, 2.0 KiB would be sent" in good.stderr


def test_downloads_by_each_manifest_and_by_several_ids_at_once(score: ScoreCommand, tmp_path: Path) -> None:
    first, second = score.store("a.bam", "b.bai")
    manifest = tmp_path / "download.tsv"
    columns = ["a heading of any kind"]
    rows = [["x", "x", object_id, *["x"] * 8] for object_id in (first, second)]
    manifest.write_text("\n".join("\t".join(row) for row in [columns, *rows]))
    ways: list[list[object]] = [
        ["--manifest", manifest],
        ["--manifest", score.manifest("a.bam", "b.bai")],
        ["--object-id", first, "--object-id", second, "--object-id", first],
        ["--object-id", first, second],
    ]
    for number, arguments in enumerate(ways):
        out = tmp_path / f"out-{number}"
        done = score.events("download", *arguments, "--output-dir", out)
        assert [line["file"] for line in done] == ["a.bam", "b.bai"]
        assert sorted(path.name for path in out.iterdir()) == ["a.bam", "b.bai"]


def test_layouts_put_files_where_they_say(score: ScoreCommand, tmp_path: Path) -> None:
    (object_id,) = score.store("a.bam")
    arguments = ["download", "--object-id", object_id, "--output-dir", tmp_path / "out", "--output-layout"]
    for layout in ["filename", "bundle", "id"]:
        assert score(*arguments, layout).exit_code == 0
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"a.bam", f"analysis-of-{object_id}/a.bam", object_id}


def test_equal_names_are_an_error_that_names_the_files_before_anything_moves(
    score: ScoreCommand, tmp_path: Path
) -> None:
    ids = [f"{score.study}-1", f"{score.study}-2"]
    for object_id in ids:
        path = score.make("same.bam", object_id=object_id)
        assert score("upload", "--file", path, "--object-id", object_id).exit_code == 0
    arguments = ["download", "--object-id", *ids, "--unpublished", "--output-dir", tmp_path / "out"]
    result = score(*arguments)
    assert result.exit_code == 2
    assert ", ".join(f"{object_id} (same.bam)" for object_id in ids) in result.stderr
    assert not (tmp_path / "out").exists()
    assert score(*arguments, "--output-layout", "bundle").exit_code == 0


def test_names_that_would_leave_the_folder_are_made_harmless(score: ScoreCommand, tmp_path: Path) -> None:
    object_id = f"{score.study}-evil"
    score.register("../../evil\x1b[31m.bam", b"evil", object_id=object_id)
    source = tmp_path / "source"
    source.write_bytes(b"evil")
    assert score("upload", "--file", source, "--object-id", object_id).exit_code == 0
    arguments = ["download", "--object-id", object_id, "--unpublished", "--output-dir", tmp_path / "deep" / "out"]
    (tmp_path / "deep").mkdir()
    assert score(*arguments).exit_code == 0
    assert [path.name for path in (tmp_path / "deep" / "out").iterdir()] == ["___.._evil_[31m.bam"]
    assert not (tmp_path / "evil.bam").exists()


@pytest.mark.parametrize("name", ["a.bam", "a.bam.partial", ".a.bam.score"])
def test_symbolic_links_are_neither_followed_nor_replaced(score: ScoreCommand, tmp_path: Path, name: str) -> None:
    (object_id,) = score.store("a.bam")
    out, victim = tmp_path / "out", tmp_path / "victim"
    out.mkdir()
    victim.write_text("precious")
    (out / name).symlink_to(victim)
    result = score("download", "--object-id", object_id, "--output-dir", out, "--force")
    assert result.exit_code == 8
    assert "symbolic link" in result.stderr
    assert victim.read_text() == "precious"
    assert (out / name).is_symlink()


def test_an_existing_file_with_other_bytes_is_replaced_only_by_force(score: ScoreCommand, tmp_path: Path) -> None:
    (object_id,) = score.store("a.bam")
    arguments = ["download", "--object-id", object_id, "--output-dir", tmp_path]
    (tmp_path / "a.bam").write_text("other")
    result = score(*arguments)
    assert (result.exit_code, (tmp_path / "a.bam").read_text()) == (8, "other")
    assert "--force" in result.stderr
    assert "score repair" in result.stderr
    assert score(*arguments, "--force", "true").exit_code == 0
    (done,) = score.events(*arguments)
    assert done["moved_bytes"] == 0


def test_only_the_last_element_of_the_output_folder_is_made(score: ScoreCommand, tmp_path: Path) -> None:
    (object_id,) = score.store("a.bam")
    result = score("download", "--object-id", object_id, "--output-dir", tmp_path / "no" / "such")
    assert result.exit_code == 8
    assert "can't make the folder" in result.stderr


@pytest.mark.parametrize(("word", "verified"), [("full", True), ("true", True), ("parts", False), ("false", False)])
def test_validation_is_of_the_whole_or_of_the_parts(
    score: ScoreCommand, tmp_path: Path, word: str, verified: bool
) -> None:
    (object_id,) = score.store("a.bam")
    (done,) = score.events("download", "--object-id", object_id, "--output-dir", tmp_path, "--validate", word)
    assert done["md5_verified"] is verified


@pytest.mark.parametrize("direction", ["upload", "download"])
def test_the_rate_is_that_of_the_option_for_all_files_together(
    score: ScoreCommand, tmp_path: Path, direction: str
) -> None:
    names = ["a.bam", "b.bam"]
    if direction == "download":
        score.store(*names, size_bytes=10 * MIB)
        arguments: list[object] = ["download", "--output-dir", tmp_path]
    else:
        for name in names:
            score.make(name, 10 * MIB)
        arguments = ["upload"]
    began = time.monotonic()
    score.events(*arguments, "--manifest", score.manifest(*names), "--max-rate", "8M")
    seconds = time.monotonic() - began
    assert 20 / 8 * 0.8 < seconds < 20 / 8 * 1.2 + 10  # the rest is not transfer, on a busy machine


def test_one_file_that_fails_does_not_stop_the_others(score: ScoreCommand) -> None:
    for name in ["a.bam", "b.bam", "c.bam", "d.bam"]:
        score.make(name, 3 * MIB)
    (score.folder / "b.bam").unlink()
    manifest = score.manifest("a.bam", "b.bam", "c.bam", "d.bam")
    result = score("upload", "--manifest", manifest, "--json", "--parallel", "2")
    assert result.exit_code == 8
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(line["file"] for line in events if line["event"] == "done") == ["a.bam", "c.bam", "d.bam"]
    assert [line["file"] for line in events if line["event"] == "failed"] == ["b.bam"]
    assert events[-1] == {
        "event": "summary",
        "files": 4,
        "done": 3,
        "kept": 0,
        "failed": 1,
        "moved_bytes": 9 * MIB,
        "exit_code": 8,
    }
    assert "b.bam: No such file" in result.stderr


def test_with_fail_fast_the_first_failure_stops_those_under_way_and_those_to_come(score: ScoreCommand) -> None:
    for name in ["a.bam", "b.bam", "c.bam"]:
        score.make(name, 20 * MIB)
    (score.folder / "b.bam").unlink()
    manifest = score.manifest("a.bam", "b.bam", "c.bam")
    began = time.monotonic()
    arguments = ["upload", "--manifest", manifest, "--fail-fast", "--parallel", "2", "--max-rate", "1M"]
    failed = score.events(*arguments, code=8, event="failed")
    assert time.monotonic() - began < 10
    assert [(line["file"], line["reason"]) for line in failed] == [
        ("a.bam", "StoppedError"),
        ("b.bam", "LocalFileError"),
        ("c.bam", "StoppedError"),
    ]


def test_quiet_prints_nothing_and_silent_neither(score: ScoreCommand, tmp_path: Path) -> None:
    score.make("a.bam")
    for word in ["--quiet", "--silent"]:
        result = score("upload", "--manifest", score.manifest("a.bam"), word)
        assert (result.exit_code, result.output) == (0, "")
    arguments = ["download", "--object-id", score.id_of("a.bam"), "--unpublished", "--output-dir", tmp_path, "--quiet"]
    assert score(*arguments).output == ""
    assert "unpublished" in score(*arguments[:3], *arguments[4:]).stderr


def test_json_with_quiet_is_only_results(score: ScoreCommand) -> None:
    score.make("a.bam")
    result = score("--quiet", "upload", "--manifest", score.manifest("a.bam"), "--json")
    assert [json.loads(line)["event"] for line in result.stdout.splitlines()] == ["done", "summary"]
    assert result.stderr == ""


def test_json_tells_of_progress_with_rate_and_total(score: ScoreCommand) -> None:
    score.make("a.bam", 17 * MIB)
    arguments = ["upload", "--manifest", score.manifest("a.bam"), "--max-rate", "10M"]
    lines = score.events(*arguments, event="progress")
    assert len(lines) > 1
    assert set(lines[0]) == {"event", "file", "object_id", "bytes", "total", "rate", "remaining_seconds"}
    assert lines[-1]["total"] == 17 * MIB
    assert 5 * MIB < lines[-1]["rate"] < 20 * MIB


def test_a_person_at_a_terminal_sees_bars(score: ScoreCommand) -> None:
    score.make("a.bam", 6 * MIB)
    arguments = ["upload", "--manifest", score.manifest("a.bam"), "--max-rate", "4M"]
    shown = run_at_terminal("score", *arguments, environment=score.environment)
    assert shown.exit_code == 0
    text = shown.text
    assert "━" in text
    assert "MiB/s" in text
    assert "left" in text
    assert "a.bam: 6.0 MiB, sent, MD5" in text


def test_info_masks_tokens_and_names_sources(score: ScoreCommand) -> None:
    result = score("info", "--server", "elsewhere:1", "--song=there:2", env={"SCORE_ACCESS_TOKEN": "top-secret"})
    document = json.loads(result.stdout)
    assert document["score.url"] == {"value": "elsewhere:1", "source": "flag"}
    assert document["song.url"]["value"] == "there:2"
    assert document["score.access_token"] == {"value": "********", "source": "SCORE_ACCESS_TOKEN"}
    assert "top-secret" not in result.output


def test_the_version_is_printed_in_both_ways(score: ScoreCommand) -> None:
    assert score("version").stdout == score("--version").stdout != ""


def test_help_and_version_need_neither_grpc_nor_a_server() -> None:
    program = """
import sys
from typer.testing import CliRunner
from song_score_client.commands.score import app
for arguments in (["--help"], ["upload", "--help"], ["download", "--help"], ["version"]):
    assert CliRunner().invoke(app, arguments).exit_code == 0
assert "grpc" not in sys.modules and "google.protobuf" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
