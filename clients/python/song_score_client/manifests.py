"""Reads manifests: a heading line, then one line per file, fields between tabs.

- upload, 3 fields: object id, path, MD5; relative paths are meant from where the manifest is
- download, 11 fields, of which the third is the object id
"""

from collections import Counter

from song_score_client.manifest_source import Manifest, ManifestError
from song_score_client.upload_manifest import ManifestEntry

UPLOAD_FIELDS = 3
DOWNLOAD_FIELDS = 11
_MD5_DIGITS = 32
_OBJECT_ID_FIELD = 2


def upload_entries(manifest: Manifest) -> list[ManifestEntry]:
    """Return the files to upload, in their order; at least one. Raises ManifestError."""
    entries = []
    for number, fields in _rows(manifest):
        _require(manifest, number, len(fields) == UPLOAD_FIELDS, f"{len(fields)} fields where 3 are expected")
        object_id, file_path, md5 = fields
        _require(manifest, number, bool(object_id), "no object id")
        _require(manifest, number, bool(file_path), "no path")
        _require(manifest, number, not md5 or is_md5(md5), f"{md5!r} is no MD5")
        entries.append(ManifestEntry(object_id, manifest.folder / file_path, md5.lower()))
    _require_distinct(manifest, [entry.object_id for entry in entries])
    return entries


def download_object_ids(manifest: Manifest) -> list[str]:
    """Return the object ids of a download or an upload manifest, in their order; at least one. Raises ManifestError."""
    object_ids = []
    for number, fields in _rows(manifest):
        _require(
            manifest,
            number,
            len(fields) in {UPLOAD_FIELDS, DOWNLOAD_FIELDS},
            f"{len(fields)} fields where 11, or the 3 of an upload manifest, are expected",
        )
        object_ids.append(fields[_OBJECT_ID_FIELD if len(fields) == DOWNLOAD_FIELDS else 0])
        _require(manifest, number, bool(object_ids[-1]), "no object id")
    _require_distinct(manifest, object_ids)
    return object_ids


def is_upload_manifest(manifest: Manifest) -> bool:
    """Whether its lines have three fields, so that it names paths. Raises ManifestError where it names no file."""
    return len(_rows(manifest)[0][1]) == UPLOAD_FIELDS


def is_md5(text: str) -> bool:
    """Whether this is an MD5, in any case."""
    return len(text) == _MD5_DIGITS and all(digit in "0123456789abcdef" for digit in text.lower())


def _rows(manifest: Manifest) -> list[tuple[int, list[str]]]:
    """Return line numbers, from 1, and trimmed fields of all lines after the heading that are not blank."""
    if manifest.name.lower().endswith(".xml"):
        raise ManifestError(f"{manifest.name}: XML manifests are not supported: give one with tabs")
    lines = enumerate(manifest.text.split("\n")[1:], start=2)
    rows = [(number, [field.strip() for field in line.split("\t")]) for number, line in lines if line.strip()]
    if not rows:
        raise ManifestError(f"{manifest.name} names no file: after the heading line there must be a line per file")
    return rows


def _require(manifest: Manifest, number: int, holds: bool, problem: str) -> None:  # noqa: FBT001 - the condition
    if not holds:
        raise ManifestError(f"{manifest.name}, line {number}: {problem}")


def _require_distinct(manifest: Manifest, object_ids: list[str]) -> None:
    twice = [object_id for object_id, times in Counter(object_ids).items() if times > 1]
    if twice:
        raise ManifestError(f"{manifest.name} names these object ids more than once: {', '.join(twice)}")
