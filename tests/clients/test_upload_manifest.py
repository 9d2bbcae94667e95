from __future__ import annotations

from pathlib import Path

import pytest
from song.v1.file_pb2 import File
from song_score_client.errors import LocalFileError
from song_score_client.upload_manifest import ManifestEntry, format_manifest, match_files
from song_score_client.whole_file import write_whole

FILES = [
    File(object_id="o1", file_name="a.bam", size_bytes=3, md5="m1"),
    File(object_id="o2", file_name="b.bai", size_bytes=0, md5="m2"),
]


def test_a_manifest_has_a_heading_and_a_line_per_file(tmp_path: Path) -> None:
    (tmp_path / "a.bam").write_bytes(b"abc")
    (tmp_path / "b.bai").touch()
    text = format_manifest("id", match_files(FILES, tmp_path))
    assert text == f"id\t\t\no1\t{tmp_path}/a.bam\tm1\no2\t{tmp_path}/b.bai\tm2\n"


def test_paths_are_absolute_though_the_directory_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.bai").touch()
    monkeypatch.chdir(tmp_path)
    assert match_files(FILES[1:], Path())[0].path == tmp_path / "b.bai"


def test_every_file_that_is_absent_or_of_another_size_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.bam").write_bytes(b"abcd")
    with pytest.raises(LocalFileError) as caught:
        match_files(FILES, tmp_path)
    first, second, third = str(caught.value).splitlines()
    assert first.startswith("2 of 2 files")
    assert second.strip() == "a.bam: has 4 bytes, registered are 3"
    assert third.strip() == "b.bai: No such file or directory"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "b.bai").mkdir()
    with pytest.raises(LocalFileError, match="is not a file"):
        match_files(FILES[1:], tmp_path)


@pytest.mark.parametrize("name", ["../a.bam", "/etc/passwd", "a\0b"])
def test_a_file_name_never_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(LocalFileError, match="is no file name"):
        match_files([File(file_name=name)], tmp_path)


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_means_a_folder_is_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(LocalFileError, match="is not a file"):
        match_files([File(file_name=name)], tmp_path)


def test_a_path_that_would_break_the_lines_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "a\tb"
    directory.mkdir()
    (directory / "b.bai").touch()
    entries = match_files(FILES[1:], directory)
    with pytest.raises(LocalFileError, match="a tab, a line break"):
        format_manifest("id", entries)
    for name in ("a\nb", "a\x85b", "a "):
        with pytest.raises(LocalFileError, match="can't stand in a manifest"):
            format_manifest("id", [ManifestEntry("o1", tmp_path / name, "m1")])


def test_a_manifest_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "m.txt"
    write_whole("old", target)
    write_whole("new", target)
    assert target.read_text() == "new"

    def fail(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(LocalFileError, match="No space left"):
        write_whole("newer", target)
    assert [path.name for path in tmp_path.iterdir()] == ["m.txt"]
    assert target.read_text() == "new"


def test_a_manifest_that_cannot_be_written_names_its_path(tmp_path: Path) -> None:
    with pytest.raises(LocalFileError, match=r"can't write .*m\.txt"):
        write_whole("text", tmp_path / "nowhere" / "m.txt")
