"""Which files on this machine are copies of which objects: what `score verify` and `score repair` are about."""

from __future__ import annotations  # names that only types need are not imported

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from song_score_client.commands.copy_options import CopyOptions
from song_score_client.commands.score_session import ScoreSession
from song_score_client.commands.selection import chosen_object_ids, find_objects
from song_score_client.errors import ConfigurationError, LocalFileError, ServiceError
from song_score_client.manifest_source import load_manifest
from song_score_client.manifests import is_upload_manifest, upload_entries
from song_score_client.score import ScoreClient

_OBJECT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,34}[A-Za-z0-9]", re.ASCII)


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """A file that should hold an object's bytes."""

    object_id: str
    path: Path
    refusal: ServiceError | None = None
    """Why Score does not tell of the object, so that the path is not known."""


def local_copies(session: ScoreSession, score: ScoreClient, chosen: CopyOptions) -> list[LocalCopy]:
    """Return the files, at least one. Raises ClientError; ConfigurationError where it is not clear what is meant."""
    has_ids = bool(chosen.object_ids or chosen.manifest or chosen.analysis_id)
    if not has_ids:
        return [LocalCopy(path.name, path) for path in _named_by_ids(chosen.paths)]
    if chosen.manifest is not None and not chosen.paths:
        manifest = load_manifest(chosen.manifest, session.configuration.portal_url)
        if not is_upload_manifest(manifest):
            raise ConfigurationError(f"{manifest.name} names no paths: give the folder of the files too")
        return [LocalCopy(entry.object_id, entry.path) for entry in upload_entries(manifest)]
    if len(chosen.paths) != 1:
        raise ConfigurationError("give one path with --object-id, --manifest or --analysis-id: a file or the folder")
    (path,) = chosen.paths
    if not path.is_dir():
        if len(chosen.object_ids) != 1:
            raise ConfigurationError(f"{path} is no folder: a file goes with one --object-id")
        return [LocalCopy(chosen.object_ids[0], path)]
    object_ids = chosen_object_ids(session, chosen.object_ids, chosen.manifest, chosen.analysis_id, chosen.study_id)
    selection = find_objects(score, object_ids, allow_unpublished=chosen.allow_unpublished)
    targets = selection.targets(path, chosen.layout)
    return [
        LocalCopy(object_id, targets.get(object_id, path / object_id), selection.refused.get(object_id))
        for object_id in object_ids
    ]


def _named_by_ids(paths: Sequence[Path]) -> list[Path]:
    """Return files whose names are object ids, as `--output-layout id` gives them; those of a folder too."""
    files: list[Path] = []
    for path in paths:
        files += sorted(file for file in path.iterdir() if _is_copy(file)) if path.is_dir() else [path]
    if not files:
        raise LocalFileError(f"{', '.join(map(str, paths)) or 'nothing'}: there is no file to look at")
    strange = [str(path) for path in files if not _OBJECT_ID.fullmatch(path.name)]
    if strange:
        raise ConfigurationError(
            f"of which object is {strange[0]} a copy? Its name is no object id: use --object-id, --manifest or "
            "--analysis-id"
        )
    return files


def _is_copy(path: Path) -> bool:
    """Whether it is a file that is whole: not one that a download is filling."""
    return path.is_file() and not path.name.startswith(".") and path.suffix != ".partial"
