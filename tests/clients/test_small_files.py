"""Many small files in one command: together over one stream, each with its own fate."""

import hashlib
import signal
import subprocess
import time
from pathlib import Path

import pytest
from song_score_client import errors
from song_score_client.connection import Connection, RetryPolicy
from song_score_client.score import ScoreClient
from song_score_client.transfer import small_downloads, small_uploads
from song_score_client.transfer.batch import Batch, Outcome, Receipt, Transfer
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.small_files import SMALL_FILE_BYTES
from song_score_client.transfer.small_uploads import SmallUpload, SmallUploads

from byte_path.digests import chunk_digest
from tests.clients.conftest import MIB, ScoreCommand
from tests.servers.processes import free_port

SOON_SECONDS = 120
"""Generous: a busy machine."""


def make(score: ScoreCommand, total: int, size_bytes: int = 1000) -> list[str]:
    """Make and register files of different sizes; return their names, in the order of the alphabet."""
    names = [f"reads{number:04}.bai" for number in range(total)]
    for number, name in enumerate(names):
        score.make(name, size_bytes + number)
    return names


def with_md5s(score: ScoreCommand, *names: str) -> Path:
    """Write a manifest as Song does: with MD5s."""
    lines = ["an-analysis\t\t"]
    for name in names:
        md5 = hashlib.md5((score.folder / name).read_bytes()).hexdigest()
        lines.append(f"{score.id_of(name)}\t{name}\t{md5}")
    path = score.folder / "manifest-with-md5s.txt"
    path.write_text("\n".join(lines))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def streams_opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each stream that small files go over."""
    opened: list[str] = []
    for kind in (small_uploads._Stream, small_downloads._Stream):
        run = kind.run

        def noted(self: object, *arguments: object, run: object = run, name: str = kind.__module__) -> None:
            opened.append(name.rpartition(".")[2])
            run(self, *arguments)  # type: ignore[operator]  # it is that class's own method

        monkeypatch.setattr(kind, "run", noted)
    return opened


def test_a_thousand_files_go_up_and_come_down_over_one_stream_each(
    score: ScoreCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = streams_opened(monkeypatch)
    names = make(score, 1000, 0)
    calls = score.song.calls
    done = score.events("upload", "--manifest", score.manifest(*names))
    assert [line["file"] for line in done] == names
    assert all(line["moved_bytes"] == line["bytes"] and line["md5_verified"] for line in done)
    assert opened == ["small_uploads"]
    assert score.song.calls - calls < 500
    for name in names:
        score.song.set_state(score.id_of(name), "PUBLISHED")
    arguments = ["download", "--manifest", score.manifest(*names), "--output-dir", tmp_path / "out", "--no-index"]
    fetched = score.events(*arguments)
    assert [line["file"] for line in fetched] == names
    assert {line["md5"] for line in fetched} == {line["md5"] for line in done}
    assert opened == ["small_uploads", "small_downloads"]
    assert content(tmp_path / "out") == {name: (score.folder / name).read_bytes() for name in names}


def test_large_files_and_empty_ones_and_single_ones_go_with_them(
    score: ScoreCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = streams_opened(monkeypatch)
    sizes = {"a.bam": 17 * MIB, "b.bai": 0, "c.bai": 1, "d.bam": SMALL_FILE_BYTES, "e.bam": SMALL_FILE_BYTES + 1}
    for name, size_bytes in sizes.items():
        score.make(name, size_bytes)
    done = score.events("upload", "--manifest", score.manifest(*sizes))
    assert {line["file"]: line["moved_bytes"] for line in done} == sizes
    assert {line["file"]: line["part_total"] for line in done} == {
        "a.bam": 2,
        "b.bai": 0,
        "c.bai": 1,
        "d.bam": 1,
        "e.bam": 1,
    }
    arguments = ["download", "--manifest", score.manifest(*sizes), "--unpublished", "--output-dir", tmp_path / "out"]
    score.events(*arguments)
    assert content(tmp_path / "out") == {name: (score.folder / name).read_bytes() for name in sizes}
    assert opened == ["small_uploads", "small_downloads"]
    score.events("upload", "--manifest", score.manifest("c.bai"))
    assert opened == ["small_uploads", "small_downloads"]


def test_files_that_are_done_are_not_moved_again(score: ScoreCommand, tmp_path: Path) -> None:
    names = make(score, 20)
    score.events("upload", "--manifest", score.manifest(*names))
    for manifest in (with_md5s(score, *names), score.manifest(*names)):
        again = score.events("upload", "--manifest", manifest)
        assert [(line["moved_bytes"], line["kept_part_total"]) for line in again] == [(0, 1)] * 20
    arguments = ["download", "--manifest", score.manifest(*names), "--unpublished", "--output-dir", tmp_path / "out"]
    score.events(*arguments)
    (tmp_path / "out" / names[3]).unlink()
    again = score.events(*arguments)
    assert [line["moved_bytes"] for line in again] == [1003 if name == names[3] else 0 for name in names]


def test_each_file_that_fails_says_why_and_the_others_go_through(score: ScoreCommand, tmp_path: Path) -> None:
    names = make(score, 12)
    (score.folder / names[1]).write_bytes(b"x" * 1001)
    (score.folder / names[2]).write_bytes(b"another size")
    (score.folder / names[3]).unlink()
    score.song.set_state(score.id_of(names[4]), "PUBLISHED")
    score.song.registered.pop(score.id_of(names[5]))
    (score.folder / names[6]).unlink()
    (score.folder / names[6]).mkdir()
    failed = score.events("upload", "--manifest", score.manifest(*names), code=9, event="failed")
    assert {line["file"]: line["reason"] for line in failed} == {
        names[1]: "OBJECT_DIGEST_MISMATCH",
        names[2]: "SIZE_NOT_REGISTERED",
        names[3]: "LocalFileError",
        names[4]: "ANALYSIS_NOT_UNPUBLISHED",
        names[5]: "OBJECT_NOT_REGISTERED",
        names[6]: "LocalFileError",
    }
    assert "is not the registered file" in failed[0]["message"]
    good = [names[0], *names[7:]]
    out = tmp_path / "out"
    out.mkdir()
    (out / names[0]).write_bytes(b"other bytes")
    (out / names[8]).mkdir()
    (out / f"{names[9]}.partial").symlink_to(tmp_path / "victim")
    arguments = ["download", "--manifest", score.manifest(*names), "--unpublished", "--output-dir", out]
    failed = score.events(*arguments, code=9, event="failed")
    assert {line["exit_code"] for line in failed if line["file"] in {names[0], names[8], names[9]}} == {8}
    assert {line["exit_code"] for line in failed} == {4, 8}
    assert {path.name for path in out.iterdir() if path.is_file() and not path.is_symlink()} == set(good) - {
        names[8],
        names[9],
    }
    assert not (tmp_path / "victim").exists()
    (out / names[8]).rmdir()
    (out / f"{names[9]}.partial").unlink()
    done = score.events(
        "download", "--manifest", score.manifest(*good), "--unpublished", "--output-dir", out, "--force"
    )
    assert len(done) == len(good)
    assert content(out) == {name: (score.folder / name).read_bytes() for name in good}


def test_the_first_failure_stops_all_where_that_is_wanted(score: ScoreCommand) -> None:
    names = make(score, 300, 100_000)
    (score.folder / names[0]).unlink()
    failed = score.events("upload", "--manifest", score.manifest(*names), "--fail-fast", code=8, event="failed")
    assert failed[0]["reason"] == "LocalFileError"
    assert {line["reason"] for line in failed[1:]} == {"StoppedError"}
    assert len(failed) > 100


def test_other_bytes_are_replaced_by_force_alone(score: ScoreCommand) -> None:
    names = make(score, 3)
    score.events("upload", "--manifest", score.manifest(*names))
    for name in names:
        data = (score.folder / name).read_bytes()[::-1]
        (score.folder / name).write_bytes(data)
        score.register(name, data)
    failed = score.events("upload", "--manifest", score.manifest(*names), code=5, event="failed")
    assert {line["reason"] for line in failed} == {"OBJECT_EXISTS"}
    done = score.events("upload", "--manifest", score.manifest(*names), "--force")
    assert len(done) == 3


def test_signed_urls_are_taken_file_by_file(score: ScoreCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = streams_opened(monkeypatch)
    names = make(score, 3)
    result = score("--transport", "signed", "upload", "--manifest", score.manifest(*names))
    assert result.exit_code == 0, result.output
    assert all(name in result.stderr for name in names)
    assert opened == []


def test_a_server_without_such_streams_is_served_file_by_file(
    score: ScoreCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_uploads, "METHOD", "/score.v1.UploadService/NoSuchMethod")
    monkeypatch.setattr(small_downloads, "METHOD", "/score.v1.DownloadService/NoSuchMethod")
    names = make(score, 3)
    done = score.events("upload", "--manifest", score.manifest(*names))
    assert [line["kept_part_total"] for line in done] == [0, 0, 0]
    arguments = ["download", "--manifest", score.manifest(*names), "--unpublished", "--output-dir", tmp_path / "out"]
    assert len(score.events(*arguments)) == 3
    assert content(tmp_path / "out") == {name: (score.folder / name).read_bytes() for name in names}


def test_a_file_that_has_grown_meanwhile_goes_by_itself(score: ScoreCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    names = make(score, 3, 5000)
    monkeypatch.setattr(small_uploads, "SMALL_FILE_BYTES", 5001)
    done = score.events("upload", "--manifest", score.manifest(*names))
    assert [line["file"] for line in done] == names


def test_the_rate_holds_for_small_files_too(score: ScoreCommand, tmp_path: Path) -> None:
    names = make(score, 10, 50_000)
    began = time.monotonic()
    score.events("upload", "--manifest", score.manifest(*names), "--max-rate", "250K")
    assert time.monotonic() - began > 1.0
    began = time.monotonic()
    arguments = ["download", "--manifest", score.manifest(*names), "--unpublished", "--output-dir", tmp_path / "out"]
    score.events(*arguments, "--max-rate", "250K")
    assert time.monotonic() - began > 1.0


def test_parts_alone_are_verified_where_that_is_asked_for(score: ScoreCommand, tmp_path: Path) -> None:
    names = make(score, 4)
    score.events("upload", "--manifest", score.manifest(*names))
    arguments = ["download", "--manifest", score.manifest(*names), "--unpublished", "--output-dir", tmp_path / "out"]
    done = score.events(*arguments, "--validate", "parts")
    assert {line["md5"] for line in done} == {None}


def test_damage_on_the_way_is_met_by_another_stream(
    score: ScoreCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = make(score, 30)
    score.events("upload", "--manifest", score.manifest(*names))
    opened = streams_opened(monkeypatch)
    seen: list[int] = []

    def wrong_once(data: memoryview) -> int:
        seen.append(data.nbytes)
        return chunk_digest(data) ^ (len(seen) == 10)

    monkeypatch.setattr("song_score_client.transfer.small_downloads.chunk_digest", wrong_once)
    arguments = ["download", "--manifest", score.manifest(*names), "--unpublished", "--output-dir", tmp_path / "out"]
    assert len(score.events(*arguments)) == 30
    assert opened == ["small_downloads"] * 2
    assert content(tmp_path / "out") == {name: (score.folder / name).read_bytes() for name in names}


def test_a_refusal_that_may_pass_is_tried_again(score: ScoreCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    names = make(score, 5)
    seen: list[int] = []

    def wrong_once(data: memoryview) -> int:
        seen.append(data.nbytes)
        return chunk_digest(data) ^ (len(seen) == 2)

    monkeypatch.setattr("song_score_client.transfer.small_uploads.chunk_digest", wrong_once)
    done = score.events("upload", "--manifest", score.manifest(*names))
    assert [line["file"] for line in done] == names
    assert [line["moved_bytes"] for line in score.events("upload", "--manifest", score.manifest(*names))] == [0] * 5
    assert len(seen) == 6


def run_group(score: ScoreCommand, names: list[str], batch: Batch, max_tries: int = 3) -> dict[str, Outcome]:
    """Upload files with the SDK, with fewer tries than the command has."""
    retry = RetryPolicy(max_tries, 0.01, 0.05)
    with ScoreClient(Connection("score", score.environment["SCORE_URL"], retry=retry)) as client:
        files = {score.id_of(name): SmallUpload(score.id_of(name), score.folder / name, "") for name in names}
        group = SmallUploads(client, files, replace=False, rate=None)

        def alone(_: Listener) -> Receipt:
            raise AssertionError("it goes with the others")

        transfers = [Transfer(name, score.id_of(name), 1000, alone, group) for name in names]
        outcomes = batch.run(transfers, lambda _: Listener(), lambda _: None)
    return {outcome.transfer.name: outcome for outcome in outcomes}


def test_a_refusal_that_does_not_pass_is_the_files_end(score: ScoreCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    names = make(score, 3)
    monkeypatch.setattr(
        "song_score_client.transfer.small_uploads.chunk_digest", lambda data: chunk_digest(data) ^ (data.nbytes == 1001)
    )
    outcomes = run_group(score, names, Batch(1))
    assert isinstance(outcomes[names[1]].error, errors.ChunkCorruptError)
    assert outcomes[names[0]].receipt
    assert outcomes[names[2]].receipt


def test_where_nothing_answers_each_file_says_so(score: ScoreCommand) -> None:
    names = make(score, 3)
    score.environment["SCORE_URL"] = f"127.0.0.1:{free_port()}"
    outcomes = run_group(score, names, Batch(1))
    assert {type(outcome.error) for outcome in outcomes.values()} == {errors.UnreachableError}


def test_a_defect_in_a_group_does_not_hang_the_batch(score: ScoreCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    names = make(score, 3)
    monkeypatch.setattr(small_uploads._Stream, "run", lambda *_: 1 / 0)
    outcomes = run_group(score, names, Batch(1))
    assert {type(outcome.error) for outcome in outcomes.values()} == {ZeroDivisionError}


def test_ctrl_c_ends_the_command_soon_and_it_can_be_run_again(score: ScoreCommand) -> None:
    names = make(score, 400, 50_000)
    manifest = score.manifest(*names)
    with score.process("upload", "--manifest", manifest, "--max-rate", "2M", stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert "sent" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SOON_SECONDS)
        assert process.returncode == 130
    done = score.events("upload", "--manifest", manifest)
    assert [line["file"] for line in done] == names
    assert any(line["kept_part_total"] for line in done)
