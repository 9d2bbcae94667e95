"""Get, update and delete files of analyses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from song_grpc.database import analyses, changes, files
from song_grpc.domain import access, etags, file_updates, history, ids, update_masks
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.analysis import AnalysisState, File
from song_grpc.domain.errors import AnalysisNotFoundError, FileNotFoundInStudyError
from song_grpc.domain.file_updates import FileUpdateType, FileValues
from song_grpc.domain.history import Cause, HistoryAction
from song_grpc.use_cases.environment import Environment


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file with new values."""

    study_id: str
    object_id: str
    etag: str
    values: FileValues
    fields: Sequence[str]
    """Which of the values to take: paths of the update mask, checked by nobody yet."""


@dataclass(frozen=True, slots=True)
class UpdatedFile:
    """What an update came to."""

    update_type: FileUpdateType
    before: File
    after: File
    state: AnalysisState
    """Of the analysis."""


def get(environment: Environment, principal: Principal, study_id: str, object_id: str) -> File:
    """Return a file. Raises FileNotFoundInStudyError, also where the caller may not see its analysis."""
    if not (ids.can_exist(study_id) and ids.can_exist(object_id)):
        raise FileNotFoundInStudyError(study_id, object_id)
    with environment.database.read() as connection:
        found = files.find(connection, study_id, object_id)
    if found is not None:
        file, state = found
        if access.decide(principal, Action.READ_ANALYSIS, Facts(study_id=study_id, state=state)).allowed:
            return file
    raise FileNotFoundInStudyError(study_id, object_id)


def update(environment: Environment, principal: Principal, wanted: WantedFile, reason: str) -> UpdatedFile:
    """Change the description of a file. Values as they are change nothing, where an update is allowed at all."""
    study_id, object_id = wanted.study_id, wanted.object_id
    access.require(principal, Action.WRITE_STUDY, Facts(study_id=study_id))
    fields = update_masks.read(wanted.fields, file_updates.UPDATABLE)
    etags.require(wanted.etag, "file.etag")
    history.check_reason(reason)
    missing = FileNotFoundInStudyError(study_id, object_id)
    if not (ids.can_exist(study_id) and ids.can_exist(object_id)):
        raise missing
    with environment.database.write() as connection:
        found = files.find(connection, study_id, object_id)
        if found is None:
            raise missing
        analysis = analyses.find(connection, study_id, found[0].analysis_id, lock=True)
        # As it is now that nobody else can change it.
        before = next((file for file in analysis.files if file.object_id == object_id), None) if analysis else None
        if analysis is None or before is None:
            raise missing
        after = file_updates.update_file(before, wanted.values, fields)
        file_updates.check_not_suppressed(before, analysis.state)
        etags.check(wanted.etag, before.etag, f"file '{object_id}'")
        update_type = file_updates.classify(before, after)
        file_updates.check_allowed(before, analysis.state, update_type)
        if update_type is not FileUpdateType.NO_UPDATE:
            changed = replace(analysis, files=[after if file is before else file for file in analysis.files])
            file_updates.check_fits(changed, after)
            files.save(connection, after)
            cause = Cause(principal.name, environment.now(), reason)
            changes.record_update(connection, changed, HistoryAction.UPDATE_FILE, cause, [object_id])
    return UpdatedFile(update_type, before, after, analysis.state)


@dataclass(frozen=True, slots=True)
class UnwantedFiles:
    """Files to delete."""

    study_id: str
    analysis_id: str
    object_ids: Sequence[str]
    etag: str
    """Of the analysis; empty means whatever is there."""


def delete(environment: Environment, principal: Principal, unwanted: UnwantedFiles, reason: str) -> str:
    """Delete files from an UNPUBLISHED analysis, all or none; return the analysis' etag."""
    study_id, analysis_id = unwanted.study_id, unwanted.analysis_id
    access.require(principal, Action.WRITE_STUDY, Facts(study_id=study_id))
    file_updates.check_deleted(unwanted.object_ids)
    history.check_reason(reason)
    object_ids = list(dict.fromkeys(unwanted.object_ids))
    if not (ids.can_exist(study_id) and ids.can_exist(analysis_id)):
        raise AnalysisNotFoundError(study_id, analysis_id)
    with environment.database.write() as connection:
        analysis = analyses.find(connection, study_id, analysis_id, lock=True)
        if analysis is None:
            raise AnalysisNotFoundError(study_id, analysis_id)
        file_updates.check_deletable(analysis, object_ids)
        etags.check(unwanted.etag, analysis.etag, f"analysis '{analysis_id}'")
        changed = replace(analysis, files=file_updates.files_without(analysis, frozenset(object_ids)))
        files.remove(connection, object_ids)
        cause = Cause(principal.name, environment.now(), reason)
        changed = changes.record_update(connection, changed, HistoryAction.DELETE_FILES, cause, object_ids)
    return changed.etag
