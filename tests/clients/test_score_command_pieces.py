"""What the `score` command is made of: manifests, targets, quantities, meters, batches."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from score.v1.stored_object_pb2 import StoredObject
from song_score_client.commands import upload
from song_score_client.errors import LocalFileError, UnavailableError, UnreachableError
from song_score_client.manifest_source import ManifestError, load_manifest
from song_score_client.manifests import download_object_ids, upload_entries
from song_score_client.output_layout import OutputLayout
from song_score_client.progress import OUTAGE_SECONDS, FileProgress, JsonProgress, Meter, Outages, Progress
from song_score_client.quantities import format_bytes, format_seconds, parse_rate
from song_score_client.targets import DuplicateTargetsError, choose_targets, prepare_target, require_room, safe_name
from song_score_client.transfer.batch import Batch, Outcome, Receipt, StoppedError, Transfer
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.local_file import open_file

MD5 = "0123456789abcdef" * 2
RECEIPT = Receipt(1, 1, 0, MD5)


def write(folder: Path, text: str, name: str = "m.txt") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_an_upload_manifest_is_trimmed_and_its_paths_are_meant_from_where_it_is(tmp_path: Path) -> None:
    text = f"analysis\t\t\r\n id-1 \t sub/a.bam\t{MD5.upper()} \r\n\r\nid-2\t/abs/b c.bam\t\n"
    first, second = upload_entries(load_manifest(write(tmp_path, text)))
    assert (first.object_id, first.path, first.md5) == ("id-1", tmp_path / "sub/a.bam", MD5)
    assert (second.path, second.md5) == (Path("/abs/b c.bam"), "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "names no file"),
        ("heading\t\t\n", "names no file"),
        ("heading\t\t\n\n \n", "names no file"),
        ("h\nid\tpath\n", "line 2: 2 fields where 3"),
        ("h\nid\tpath\tmd5\tmore\n", "4 fields"),
        ("h\n\tpath\t\n", "no object id"),
        ("h\nid\t\t\n", "no path"),
        ("h\nid\tpath\tabc\n", "'abc' is no MD5"),
        ("h\nid\tp\t\nid\tq\t\n", "more than once: id"),
    ],
)
def test_a_bad_upload_manifest_is_named_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ManifestError, match=problem):
        upload_entries(load_manifest(write(tmp_path, text)))


def test_xml_manifests_and_other_column_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="XML"):
        download_object_ids(load_manifest(write(tmp_path, "<a/>\n<b/>", "m.XML")))
    with pytest.raises(ManifestError, match="10 fields where 11"):
        download_object_ids(load_manifest(write(tmp_path, "h\n" + "\t" * 9 + "x\n")))
    with pytest.raises(ManifestError, match="no object id"):
        download_object_ids(load_manifest(write(tmp_path, "h\nx" + "\t" * 10 + "x\n")))
    with pytest.raises(LocalFileError):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.bam", "a.bam"),
        ("HG001 [1](2).vcf.gz", "HG001 [1](2).vcf.gz"),
        ("../../etc/passwd", "___.._etc_passwd"),
        ("/etc/passwd", "_etc_passwd"),
        ("..\\x", "___x"),
        ("..", "__"),
        (".", "_"),
        ("", "_"),
        (".bashrc", "_bashrc"),
        ("a\x00b\x1b\n\u202ec", "a_b___c"),
    ],
)
def test_names_are_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@given(st.text())
def test_no_name_leaves_its_folder(name: str) -> None:
    path = Path("/out") / safe_name(name)
    assert path.parent == Path("/out")
    assert path.name.isprintable()
    assert not path.name.startswith(".")


def stored(object_id: str, file_name: str) -> StoredObject:
    return StoredObject(object_id=object_id, file_name=file_name, analysis_id="analysis")


def test_names_that_differ_only_before_they_are_made_safe_meet() -> None:
    with pytest.raises(DuplicateTargetsError, match=r"1 \(a/b\), 2 \(a_b\)"):
        choose_targets([stored("1", "a/b"), stored("2", "a_b")], Path("out"), OutputLayout.FILENAME)


def test_a_file_must_not_take_the_name_in_which_another_grows() -> None:
    objects = [stored("1", "a.bam"), stored("2", "a.bam.partial")]
    with pytest.raises(DuplicateTargetsError):
        choose_targets(objects, Path("out"), OutputLayout.BUNDLE)
    assert len(choose_targets(objects, Path("out"), OutputLayout.ID)) == 2


@pytest.mark.parametrize(
    ("text", "rate"),
    [("800000", 800000), ("50M", 50 * 1024**2), ("1.5G", 1.5 * 1024**3), ("2k", 2048), ("1 TiB/s", 1024**4)],
)
def test_rates_are_in_powers_of_1024(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "0", "-1M", "1.M", "5X", "inf", "0.0G"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        parse_rate(text)


def test_quantities_are_short() -> None:
    assert [format_bytes(size) for size in (0, 1023, 1024, 5 * 1024**4)] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KiB",
        "5.0 TiB",
    ]
    assert [format_seconds(seconds) for seconds in (4.21, 187, 3723)] == ["4.2 s", "3:07", "1:02:03"]


def test_the_rate_is_that_of_the_last_seconds_and_tells_what_remains() -> None:
    now = 0.0
    meter = Meter(1000, clock=lambda: now)
    assert meter.rate == 0.0
    now = 100.0
    meter.move(50)
    now = 105.0
    meter.move(50)
    meter.add(100)
    assert (meter.rate, meter.remaining_seconds) == (10.0, 90.0)
    now = 112.0
    assert meter.rate == 5.0
    now = 200.0
    assert meter.remaining_seconds is None


def test_an_outage_that_all_files_wait_for_is_told_once_and_what_one_file_waits_for_in_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    away = UnreachableError("Score is away", service="score", code=grpc.StatusCode.UNAVAILABLE)
    busy = UnavailableError("the object is changing", service="score", code=grpc.StatusCode.UNAVAILABLE)
    progress = Progress("score")
    files = [progress.watch(name, name, 1) for name in ("a", "b")]
    for error in (away, busy, away):
        for file in files:
            file.wait(error, 0.5)
    assert capsys.readouterr().err.splitlines() == [
        "score: Score is away; trying again",
        "score: a: the object is changing; going on in 0.5 s",
        "score: b: the object is changing; going on in 0.5 s",
    ]
    Progress("score", messages=False).watch("a", "a", 1).wait(away, 0.5)
    assert capsys.readouterr().err == ""
    JsonProgress("score").watch("a", "a", 1).wait(away, 0.5)
    assert json.loads(capsys.readouterr().out)["reason"] == "Score is away; going on in 0.5 s"


def test_an_outage_is_new_once_it_has_not_been_met_for_a_while() -> None:
    now = 0.0
    outages, error = Outages(lambda: now), OSError("away")
    assert [outages.is_new(error), outages.is_new(error), outages.is_new(OSError("slow"))] == [True, False, True]
    now = OUTAGE_SECONDS - 1
    assert not outages.is_new(error)
    now += OUTAGE_SECONDS - 1
    assert not outages.is_new(error)
    now += OUTAGE_SECONDS
    assert outages.is_new(error)


def test_a_meter_that_nobody_looks_at_does_not_grow() -> None:
    now = 0.0
    meter = Meter(clock=lambda: now)
    for number in range(1000):
        now = float(number)
        meter.move(1)
    assert len(meter._moved) <= 11


def test_a_transfer_that_begins_anew_loses_what_it_had_also_in_total() -> None:
    progress = Progress("score")
    file = progress.watch("a", "id", 100)
    assert isinstance(file, FileProgress)
    file.begin(100, 40)
    file.verify(30)
    file.withdraw(10)
    assert (file.meter.safe_bytes, progress.total.safe_bytes) == (60, 60)
    file.begin(120, 0)
    assert (file.meter.safe_bytes, file.meter.total_bytes, progress.total.safe_bytes) == (0, 120, 0)


def run(batch: Batch, *transfers: Transfer) -> list[Outcome]:
    ended: list[Outcome] = []
    outcomes = batch.run(transfers, lambda _transfer: Listener(), ended.append)
    assert sorted(map(id, ended)) == sorted(map(id, outcomes))
    return outcomes


def test_a_batch_moves_as_many_files_at_once_as_it_was_told() -> None:
    barrier = threading.Barrier(3)

    def move(_listener: Listener) -> Receipt:
        barrier.wait(10)
        return RECEIPT

    outcomes = run(Batch(3), *(Transfer(f"f{number}", f"o{number}", 1, move) for number in range(6)))
    assert [outcome.transfer.name for outcome in outcomes] == [f"f{number}" for number in range(6)]
    assert all(outcome.receipt == RECEIPT for outcome in outcomes)


def test_a_batch_of_no_files_is_done() -> None:
    assert run(Batch(4)) == []


def test_a_batch_that_fails_fast_stops_whoever_moves_or_waits_for_the_rate() -> None:
    batch = Batch(2, fail_fast=True)
    rate = batch.rate_limit(1)
    rate.take(3600)

    def wait(listener: Listener) -> Receipt:
        rate.take(1)
        listener.move(1)
        return RECEIPT

    def fail(_listener: Listener) -> Receipt:
        raise LocalFileError("gone")

    outcomes = run(
        batch, Transfer("slow", "1", 1, wait), Transfer("bad", "2", 1, fail), Transfer("later", "3", 1, wait)
    )
    assert [type(outcome.error) for outcome in outcomes] == [StoppedError, LocalFileError, StoppedError]


@pytest.mark.parametrize("length", [248, 255, 400])
def test_a_name_too_long_for_the_disk_is_its_own_files_failure(tmp_path: Path, length: int) -> None:
    target = tmp_path / ("x" * length)
    require_room(tmp_path, {target: 1})
    with pytest.raises(LocalFileError, match="--output-layout id"):
        prepare_target(target, tmp_path)


def test_a_path_that_no_file_can_have_is_its_own_files_failure() -> None:
    path = Path("a\0b")
    assert upload._size_bytes(path) == 0
    with pytest.raises(LocalFileError, match="null"), open_file(path):
        pass
