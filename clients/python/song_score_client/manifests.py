"""Reads manifests: a heading line, then one line per file, fields between tabs.

- upload, 3 fields: object id, path, MD5; relative paths are meant from where the manifest is
- download, 11 fields, of which the third is the object id
"""

from collections import Counter
from pathlib import Path

from song_score_client.errors import ClientError, LocalFileError
from song_score_client.upload_manifest import ManifestEntry

UPLOAD_FIELDS = 3
DOWNLOAD_FIELDS = 11
_MD5_DIGITS = 32
_OBJECT_ID_FIELD = 2


class ManifestError(ClientError):
    """The file is no manifest of the kind that is wanted; the message names file and line."""


def read_upload_manifest(path: Path) -> list[ManifestEntry]:
    """Return the files to upload, in their order; at least one. Raises ManifestError, LocalFileError."""
    entries = []
    for number, fields in _rows(path):
        _require(path, number, len(fields) == UPLOAD_FIELDS, f"{len(fields)} fields where 3 are expected")
        object_id, file_path, md5 = fields
        _require(path, number, bool(object_id), "no object id")
        _require(path, number, bool(file_path), "no path")
        _require(path, number, not md5 or is_md5(md5), f"{md5!r} is no MD5")
        entries.append(ManifestEntry(object_id, path.absolute().parent / file_path, md5.lower()))
    _require_distinct(path, [entry.object_id for entry in entries])
    return entries


def read_download_manifest(path: Path) -> list[str]:
    """Return the object ids of a download or an upload manifest. Raises ManifestError, LocalFileError."""
    object_ids = []
    for number, fields in _rows(path):
        _require(
            path,
            number,
            len(fields) in {UPLOAD_FIELDS, DOWNLOAD_FIELDS},
            f"{len(fields)} fields where 11, or the 3 of an upload manifest, are expected",
        )
        object_ids.append(fields[_OBJECT_ID_FIELD if len(fields) == DOWNLOAD_FIELDS else 0])
        _require(path, number, bool(object_ids[-1]), "no object id")
    _require_distinct(path, object_ids)
    return object_ids


def is_md5(text: str) -> bool:
    """Whether this is an MD5, in any case."""
    return len(text) == _MD5_DIGITS and all(digit in "0123456789abcdef" for digit in text.lower())


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return line numbers, from 1, and trimmed fields of all lines after the heading that are not blank."""
    if path.suffix.lower() == ".xml":
        raise ManifestError(f"{path}: XML manifests are not supported: give one with tabs")
    try:
        # A path may hold bytes that are no UTF-8; they go through as they are.
        text = path.read_text("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise LocalFileError(f"can't read {path}: {error.strerror}") from None
    lines = enumerate(text.split("\n")[1:], start=2)
    rows = [(number, [field.strip() for field in line.split("\t")]) for number, line in lines if line.strip()]
    if not rows:
        raise ManifestError(f"{path} names no file: after the heading line there must be a line per file")
    return rows


def _require(path: Path, number: int, holds: bool, problem: str) -> None:  # noqa: FBT001 - the condition
    if not holds:
        raise ManifestError(f"{path}, line {number}: {problem}")


def _require_distinct(path: Path, object_ids: list[str]) -> None:
    twice = [object_id for object_id, times in Counter(object_ids).items() if times > 1]
    if twice:
        raise ManifestError(f"{path} names these object ids more than once: {', '.join(twice)}")
