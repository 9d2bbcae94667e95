"""Names that submitters, servers and file systems may come up with: where their files go to, and where they don't.

Song registers letters, digits and `_.-[]()` alone, up to 255 of them; another server may send anything.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from song_score_client.commands.score import app
from typer.testing import CliRunner

from tests.clients.conftest import ScoreCommand
from tests.clients.test_submit_command import Submit, services, submit
from tests.servers.score_world import random_bytes

__all__ = ["services", "submit"]
COMPOSED, DECOMPOSED = "\u00e9.bam", "e\u0301.bam"
NAMES = {
    "-rf.bam": "-rf.bam",
    "--output-dir": "--output-dir",
    ".hidden.bam": "_hidden.bam",
    "..": "__",
    "../up.bam": "___up.bam",
    "/etc/passwd": "_etc_passwd",
    "a/../../b.bam": "a_.._.._b.bam",
    "two\nlines.bam": "two_lines.bam",
    "esc\x1b[2J.bam": "esc_[2J.bam",
    "turned\u202emab.bam": "turned_mab.bam",
    " edges ": " edges ",
    "tab\t.bam": "tab_.bam",
    COMPOSED: COMPOSED,
    DECOMPOSED: DECOMPOSED,
    "x" * 247: "x" * 247,
}
"""Of files, and what they are called here."""


@pytest.fixture
def odd(score: ScoreCommand, tmp_path: Path) -> dict[str, tuple[str, bytes]]:
    """Object ids and bytes of stored files with these names, all of one analysis."""
    stored, source = {}, tmp_path / "source"
    for number, name in enumerate(NAMES):
        object_id, data = f"{score.study}-{number}", random_bytes(100, seed=number)
        score.register(name, data, object_id=object_id)
        score.song.registered[object_id].file.analysis_id = f"analysis-{score.study}"
        source.write_bytes(data)
        assert score("upload", "--file", source, "--object-id", object_id).exit_code == 0
        stored[name] = object_id, data
    for object_id, _ in stored.values():
        score.song.set_state(object_id, "PUBLISHED")
    return stored


@pytest.mark.parametrize("layout", ["filename", "bundle", "id"])
def test_every_layout_keeps_odd_names_in_their_folder(
    score: ScoreCommand, odd: dict[str, tuple[str, bytes]], tmp_path: Path, layout: str
) -> None:
    out = tmp_path / "deep" / "out"
    out.parent.mkdir()
    words = [word for object_id, _ in odd.values() for word in ("--object-id", object_id)]
    done = score.events("download", *words, "--output-dir", out, "--output-layout", layout)
    folder = out / f"analysis-{score.study}" if layout == "bundle" else out
    wanted = {(object_id if layout == "id" else NAMES[name]): data for name, (object_id, data) in odd.items()}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == wanted
    assert len(done) == len(NAMES)
    assert sorted(path for path in (tmp_path / "deep").iterdir()) == [out]
    if layout != "id":
        arguments = [out, "--output-layout", layout, *words]
        assert score("verify", *arguments).exit_code == 0


def test_an_analysis_whose_id_would_leave_the_folder_stays_in_it(score: ScoreCommand, tmp_path: Path) -> None:
    score.make("a.bam")
    score.song.registered[score.id_of("a.bam")].file.analysis_id = "../../up"
    assert score("upload", "--manifest", score.manifest("a.bam")).exit_code == 0
    score.song.set_state(score.id_of("a.bam"), "PUBLISHED")
    out = tmp_path / "deep" / "out"
    out.parent.mkdir()
    arguments = ["--object-id", score.id_of("a.bam"), "--output-dir", out, "--output-layout", "bundle"]
    assert score("download", *arguments).exit_code == 0
    assert [str(path.relative_to(tmp_path / "deep")) for path in tmp_path.rglob("a.bam") if out in path.parents] == [
        "out/___.._up/a.bam"
    ]


def test_the_index_of_an_oddly_named_file_comes_along_and_stays_in_the_folder(
    score: ScoreCommand, tmp_path: Path
) -> None:
    names = ["../-x\n.bam", "../-x\n.bam.bai"]
    source = tmp_path / "source"
    for number, name in enumerate(names):
        data = random_bytes(100, seed=number)
        score.register(name, data, object_id=f"{score.study}-{number}")
        score.song.registered[f"{score.study}-{number}"].file.analysis_id = f"analysis-{score.study}"
        source.write_bytes(data)
        assert score("upload", "--file", source, "--object-id", f"{score.study}-{number}").exit_code == 0
    for number in range(2):
        score.song.set_state(f"{score.study}-{number}", "PUBLISHED")
    out = tmp_path / "deep" / "out"
    out.parent.mkdir()
    assert score("download", "--object-id", f"{score.study}-0", "--output-dir", out).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["___-x_.bam", "___-x_.bam.bai"]


def test_manifests_hold_odd_names_or_refuse_them(
    score: ScoreCommand, odd: dict[str, tuple[str, bytes]], tmp_path: Path
) -> None:
    download = ["manifest", "--analysis-id", f"analysis-{score.study}"]
    refused = score(*download)
    assert refused.exit_code == 8
    assert "can't stand in a manifest" in refused.stderr
    for name in ("two\nlines.bam", "tab\t.bam"):
        del score.song.registered[odd.pop(name)[0]]
    listed = score(*download)
    assert listed.exit_code == 0, listed.output
    (tmp_path / "m.tsv").write_text(listed.stdout)
    out = tmp_path / "out"
    assert score("download", "--manifest", tmp_path / "m.tsv", "--output-dir", out).exit_code == 0
    assert {path.name for path in out.iterdir()} == {NAMES[name] for name in odd}


def test_an_upload_manifest_may_name_files_that_begin_with_a_dash_or_have_accents(score: ScoreCommand) -> None:
    names = ["-", "-rf.bam", COMPOSED, DECOMPOSED]
    ids = [f"{score.study}-{number}" for number in range(len(names))]
    for name, object_id in zip(names, ids, strict=True):
        score.make(name, object_id=object_id)
    manifest = score.folder / "m.txt"
    lines = [f"{object_id}\t{name}\t\n" for name, object_id in zip(names, ids, strict=True)]
    manifest.write_text("an-analysis\t\t\n" + "".join(lines))
    assert [line["file"] for line in score.events("upload", "--manifest", manifest)] == sorted(names)


def test_a_file_that_is_called_dash_is_no_stdin(score: ScoreCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    path = score.make("-", object_id=f"{score.study}-dash")
    monkeypatch.chdir(score.folder)  # stdin is empty here
    (done,) = score.events("upload", "--file", "./-", "--object-id", f"{score.study}-dash")
    assert done["md5"] == hashlib.md5(path.read_bytes()).hexdigest()


def named(submit: Submit, name: str) -> Path:
    """Return a payload whose file is registered under this name."""
    payload = submit.payload("a")
    document = json.loads(payload.read_text())
    document["files"][0]["fileName"] = name
    payload.write_text(json.dumps(document))
    return payload


@pytest.mark.parametrize(
    ("name", "layout", "here"),
    [
        ("-rf.bam", "filename", "-rf.bam"),
        (".hidden.bam", "filename", "_hidden.bam"),
        ("a..b.bam", "filename", "a..b.bam"),
        ("[1](2).bam", "filename", "[1](2).bam"),
        ("x" * 255, "id", ""),
    ],
)
def test_what_song_registers_is_submitted_from_a_folder_and_comes_back(
    submit: Submit, tmp_path: Path, name: str, layout: str, here: str
) -> None:
    payload = named(submit, name)
    folder = tmp_path / "tab\tand space "
    submit.folder.rename(folder)
    (folder / "a.bam").rename(folder / name)
    (done,) = submit.events(folder / payload.name, "--dir", folder, "--publish")
    (file,) = submit.song.list_files(submit.study, done["analysis_id"])
    words = [
        "download",
        "--object-id",
        file.object_id,
        "--output-dir",
        str(tmp_path / "out"),
        "--output-layout",
        layout,
    ]
    assert CliRunner().invoke(app, words, env=submit.environment, prog_name="score").exit_code == 0
    (path,) = (tmp_path / "out").iterdir()
    assert path.name == (here or file.object_id)
    assert path.read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("..", 8, "is not a file"),
        ("a/b.bam", 2, "fileName"),
        ("../secret", 2, "fileName"),
        ("two\nlines", 2, "fileName"),
        ("esc\x1b[2J", 2, "fileName"),
        (COMPOSED, 2, "fileName"),
        ("x" * 256, 2, "fileName"),
    ],
)
def test_a_payload_with_a_name_that_is_none_submits_nothing(submit: Submit, name: str, code: int, words: str) -> None:
    result = submit(named(submit, name))
    assert (result.exit_code, words in result.stderr) == (code, True), result.output
    assert "\x1b" not in result.stderr
    assert submit.states() == []
