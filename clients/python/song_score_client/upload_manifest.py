"""The upload manifest: which object id belongs to which local file. `song manifest` writes it, `score upload` reads it.

The first line is `<analysisId>`, TAB, TAB; then one line per file: object id, TAB, absolute path, TAB, MD5.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from song.v1.file_pb2 import File

from song_score_client.errors import LocalFileError


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One file to upload."""

    object_id: str
    path: Path
    """Absolute."""
    md5: str
    """32 lower-case hexadecimal digits, as registered."""


def match_files(files: Sequence[File], directory: Path, *, check_md5: bool = False) -> list[ManifestEntry]:
    """Find each registered file in the directory, with the registered size.

    Raises LocalFileError naming every file that is absent or has another size; with `check_md5` also those with
    another MD5, which reads them whole. The upload compares MD5s anyway.
    """
    if not directory.is_dir():
        raise LocalFileError(f"{directory} is not a directory")
    entries, problems = [], []
    for file in files:
        path = (directory / file.file_name).absolute()
        problem = _problem(file, path, check_md5=check_md5)
        if problem:
            problems.append(f"  {file.file_name}: {problem}")
        entries.append(ManifestEntry(file.object_id, path, file.md5))
    if problems:
        heading = f"{len(problems)} of {len(files)} files in {directory} are not as registered:"
        raise LocalFileError("\n".join([heading, *problems]))
    return entries


def format_manifest(analysis_id: str, entries: Sequence[ManifestEntry]) -> str:
    """Return the manifest's text. Raises LocalFileError for a path that can't stand in one."""
    for entry in entries:
        path = str(entry.path)
        if "\t" in path or len(path.splitlines()) > 1 or path != path.strip():
            problem = "a tab, a line break or a space at its end can't stand in a manifest"
            raise LocalFileError(f"{path!r}: {problem}; `score upload --analysis-id` needs none")
    lines = [f"{analysis_id}\t\t", *(f"{entry.object_id}\t{entry.path}\t{entry.md5}" for entry in entries)]
    return "\n".join(lines) + "\n"


def _problem(file: File, path: Path, *, check_md5: bool) -> str | None:
    # The server promises a plain name, yet a path would lead out of the directory.
    if "/" in file.file_name:
        return "is no file name"
    try:
        size = path.stat().st_size
    except OSError as error:
        return error.strerror or str(error)
    except ValueError:
        return "is no file name"  # there is a null character in it
    if not path.is_file():
        return "is not a file"
    if size != file.size_bytes:
        return f"has {size} bytes, registered are {file.size_bytes}"
    return _md5_problem(file, path) if check_md5 else None


def _md5_problem(file: File, path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        return error.strerror or str(error)
    if md5 != file.md5:
        return f"has MD5 {md5}, registered is {file.md5}"
    return None
