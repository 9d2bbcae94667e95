"""Manifests: from files, URLs and a portal; printed as they are and written for an analysis; index pairing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from song_score_client import manifest_source
from song_score_client.errors import ConfigurationError, UnreachableError
from song_score_client.index_files import index_name, may_have_index
from song_score_client.manifest_source import ManifestError, load_manifest

from tests.clients.conftest import ScoreCommand
from tests.servers.http_service import Answer, Asked, http_service

UUID = "8f8b7a34-3b6f-4c57-8b4c-6f6b0e9b1d11"
KEPT = f"/api/v1/manifests/{UUID}"
DOWNLOAD = "heading\n" + "\t".join(["x", "x", "id-1", *["x"] * 8]) + "\n"


def _answer(asked: Asked) -> Answer:
    """Keep one manifest, and lead astray where it is asked for."""
    assert not asked.authorization
    match asked.path.partition("?")[0]:
        case path if path == KEPT:
            return Answer(200, DOWNLOAD.encode())
        case "/elsewhere":
            return Answer(302, headers=(("location", KEPT),))
        case "/file":
            return Answer(302, headers=(("location", "file:///etc/passwd"),))
        case "/busy":
            return Answer(503)
        case _:
            return Answer(404)


@pytest.fixture
def portal() -> Iterator[str]:
    with http_service() as service:
        service.answer = _answer
        yield service.url


def test_a_manifest_comes_from_a_url_also_over_a_redirection(portal: str) -> None:
    for path in (KEPT, "/elsewhere"):
        manifest = load_manifest(f"{portal}{path}?secret=signature")
        assert manifest.text == DOWNLOAD
        assert manifest.folder == Path.cwd()
        assert "signature" not in manifest.name


def test_a_uuid_is_asked_of_the_portal_unless_it_names_a_file(
    portal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_manifest(UUID, f"{portal}/").text == DOWNLOAD
    with pytest.raises(ConfigurationError, match="SCORE_PORTAL_URL"):
        load_manifest(UUID)
    monkeypatch.chdir(tmp_path)
    (tmp_path / UUID).write_text("local")
    assert load_manifest(UUID, portal).text == "local"


@pytest.mark.parametrize(
    ("path", "kind", "problem"),
    [
        ("/none?token=secret", ManifestError, "/none answers 404"),
        ("/busy?token=secret", UnreachableError, "/busy answers 503"),
        ("/file", ManifestError, "/file answers 302"),
    ],
)
def test_an_answer_that_is_no_manifest_is_an_error_of_its_kind(
    portal: str, path: str, kind: type[Exception], problem: str
) -> None:
    with pytest.raises(kind) as caught:
        load_manifest(portal + path)
    assert problem in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_portal_that_is_away_is_a_passing_failure(score: ScoreCommand) -> None:
    result = score("download", "--manifest", "http://localhost:1/m?key=secret", "--output-dir", score.folder / "out")
    assert result.exit_code == 7
    assert "http://localhost:1/m" in result.stderr
    assert "secret" not in result.output


def test_a_user_in_a_url_and_a_portal_that_is_no_address_are_wrong_usage(score: ScoreCommand) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_manifest("http://user:secret@localhost/m")
    assert "secret" not in str(caught.value)
    result = score("manifest", "--manifest", UUID, env={"SCORE_PORTAL_URL": "ftp://portal"})
    assert result.exit_code == 2
    assert "is no http(s) address" in result.stderr


def test_a_manifest_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_source, "MAX_MANIFEST_BYTES", 10)
    (tmp_path / "m").write_bytes(b"x" * 11)
    with pytest.raises(ManifestError, match="too large"):
        load_manifest(tmp_path / "m")


def test_score_manifest_prints_one_as_it_is(score: ScoreCommand, portal: str) -> None:
    result = score("manifest", "--manifest", UUID, env={"SCORE_PORTAL_URL": portal})
    assert (result.exit_code, result.stdout) == (0, DOWNLOAD)


def test_score_manifest_writes_an_upload_manifest_of_an_analysis(score: ScoreCommand, tmp_path: Path) -> None:
    score.make("a.bam")
    score.make("b.bai")
    arguments = ["manifest", "--analysis-id", "any", "--kind", "upload"]
    result = score(*arguments, score.folder)
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert lines[0] == ["any", "", ""]
    assert [line[:2] for line in lines[1:]] == [
        [score.id_of(name), str(score.folder / name)] for name in ("a.bam", "b.bai")
    ]
    (tmp_path / "m").write_text(result.stdout)
    assert len(score.events("upload", "--manifest", tmp_path / "m")) == 2
    (score.folder / "a.bam").unlink()
    missing = score(*arguments, score.folder)
    assert (missing.exit_code, "a.bam: No such file" in missing.stderr) == (8, True)


def test_score_manifest_writes_a_download_manifest_with_index_and_donor(score: ScoreCommand, tmp_path: Path) -> None:
    ids = score.store("a.bam", "a.BAI", "c.vcf")
    text = score("manifest", "--analysis-id", "any").stdout
    heading, *rows = [line.split("\t") for line in text.splitlines()]
    assert heading[2:4] == ["object_id", "file_format"]
    assert [row[2] for row in rows] == ids
    assert [row[7] for row in rows] == [ids[1], "", ""]
    assert {row[8] for row in rows} == {"DO1"}
    (tmp_path / "m").write_text(text)
    assert len(score.events("download", "--manifest", tmp_path / "m", "--output-dir", tmp_path / "out")) == 3


@pytest.mark.parametrize(
    "arguments", [[], ["--manifest", "m", "--analysis-id", "a"], ["--analysis-id", "a", "--kind", "x"]]
)
def test_wrong_usage_of_score_manifest_is_two(score: ScoreCommand, arguments: list[str]) -> None:
    assert score("manifest", *arguments).exit_code == 2


@pytest.mark.parametrize(
    ("name", "others", "index"),
    [
        ("a.bam", ["a.bam.bai", "a.bai"], "a.bam.bai"),
        ("a.bam", ["b.bai", "a.bai"], "a.bai"),
        ("A.BAM", ["a.bam.BAI"], "a.bam.BAI"),
        ("a.bam", ["a.bam.csi"], "a.bam.csi"),
        ("a.cram", ["a.crai"], "a.crai"),
        ("a.vcf.gz", ["a.vcf.gz.tbi"], "a.vcf.gz.tbi"),
        ("a.vcf.gz", ["a.tbi"], "a.tbi"),
        ("a.vcf.gz", ["a.vcf.tbi"], "a.vcf.tbi"),
        ("a.vcf", ["a.vcf.idx"], "a.vcf.idx"),
        ("a.bcf", ["a.csi"], "a.csi"),
        ("a.bed.gz", ["a.bed.gz.tbi"], "a.bed.gz.tbi"),
        ("a.bam", ["a.crai", "a.tbi", "b.bam.bai"], None),
        ("a.txt", ["a.bai"], None),
    ],
)
def test_an_index_is_found_by_name(name: str, others: list[str], index: str | None) -> None:
    assert index_name(name, [name, *others]) == index


def test_only_files_that_may_have_an_index_are_worth_a_question() -> None:
    assert all(map(may_have_index, ["a.bam", "A.CRAM", "a.vcf", "a.vcf.gz", "a.bcf", "a.bed.gz"]))
    assert not any(map(may_have_index, ["a.bam.bai", "a.fastq.gz", "a.FQ.GZ", "a.txt"]))
