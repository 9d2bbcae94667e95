"""Which objects a command is about: named one by one, by a manifest or by an analysis, and found in Score."""

from __future__ import annotations  # names that only types need are not imported

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from score.v1.object_service_pb2 import ListObjectsRequest
from score.v1.stored_object_pb2 import StoredObject

from song_score_client.commands.score_session import ScoreSession
from song_score_client.errors import ServiceError
from song_score_client.index_files import index_name, may_have_index
from song_score_client.manifest_source import load_manifest
from song_score_client.manifests import download_object_ids
from song_score_client.output_layout import OutputLayout
from song_score_client.score import ScoreClient
from song_score_client.targets import choose_targets

LIST_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Selection:
    """The objects asked for, in the order asked, and why some of them can't be had."""

    object_ids: list[str]
    """Each once."""
    found: dict[str, StoredObject] = field(default_factory=dict)
    refused: dict[str, ServiceError] = field(default_factory=dict)

    @property
    def objects(self) -> list[StoredObject]:
        """Those that can be had, in the order asked."""
        return [self.found[object_id] for object_id in self.object_ids if object_id in self.found]

    def targets(self, directory: Path, layout: OutputLayout) -> dict[str, Path]:
        """Return the path of each by its id. Raises DuplicateTargetsError where two would meet."""
        paths = choose_targets(self.objects, directory, layout)
        return {stored.object_id: path for stored, path in zip(self.objects, paths, strict=True)}


def chosen_object_ids(
    session: ScoreSession,
    given: Sequence[str],
    manifest: str | None,
    analysis_id: str | None,
    study_id: str | None,
) -> list[str]:
    """Return the ids of what is asked for, each once. Raises ClientError."""
    if manifest is not None:
        return download_object_ids(load_manifest(manifest, session.configuration.portal_url))
    if analysis_id is None:
        return list(dict.fromkeys(given))
    with session.open_song() as song:
        files = song.list_files(study_id or session.configuration.study_id, analysis_id, page_size=LIST_PAGE_SIZE)
        return [file.object_id for file in files]


def find_objects(score: ScoreClient, object_ids: Sequence[str], *, allow_unpublished: bool) -> Selection:
    """Ask Score for the objects. Raises ServiceError where it can't be asked at all."""
    answer = score.batch_get_objects(object_ids, allow_unpublished=allow_unpublished)
    selection = Selection(list(object_ids), {stored.object_id: stored for stored in answer.stored_objects})
    for object_id in answer.missing_object_ids:
        # A batch does not say why.
        try:
            selection.found[object_id] = score.get_object(object_id, allow_unpublished=allow_unpublished)
        except ServiceError as error:
            selection.refused[object_id] = error
    return selection


def with_indexes(score: ScoreClient, selection: Selection, *, allow_unpublished: bool) -> Selection:
    """Return the selection with the indexes of its files, those of the same analysis. Raises ServiceError."""
    chosen: dict[tuple[str, str], list[StoredObject]] = {}
    for stored in selection.objects:
        chosen.setdefault((stored.study_id, stored.analysis_id), []).append(stored)
    indexes: list[StoredObject] = []
    for (study_id, analysis_id), objects in chosen.items():
        names = [stored.file_name for stored in objects]
        lacking = [name for name in names if may_have_index(name) and index_name(name, names) is None]
        if not lacking:
            continue
        request = ListObjectsRequest(
            study_id=study_id,
            analysis_id=analysis_id,
            allow_unpublished=allow_unpublished,
            page_size=LIST_PAGE_SIZE,
        )
        indexes += _indexes_of(lacking, score.list_objects(request))
    found = selection.found | {stored.object_id: stored for stored in indexes}
    return Selection(list(dict.fromkeys([*selection.object_ids, *found])), found, selection.refused)


def _indexes_of(names: Iterable[str], listed: Iterable[StoredObject]) -> list[StoredObject]:
    siblings = {stored.file_name: stored for stored in listed}
    indexes = [index_name(name, siblings) for name in names]
    return [siblings[index] for index in indexes if index is not None]
