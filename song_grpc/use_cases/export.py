"""Export analyses as payloads that can be submitted again.

Each batch is a reading transaction of its own, closed before its payloads are given out: a slow reader holds none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from song_grpc.database import analyses, exporting, studies
from song_grpc.database.exporting import Head
from song_grpc.domain import access, export, ids, paging
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.analysis import Analysis, AnalysisState
from song_grpc.domain.errors import AnalysisNotFoundError, ParameterError, StudyNotFoundError
from song_grpc.domain.limits import EXPORT_BATCH_ANALYSES, MAX_EXPORTED_IDS
from song_grpc.use_cases.environment import Environment


@dataclass(frozen=True, slots=True)
class Export:
    """What to export: a study, or ids."""

    study_id: str
    analysis_ids: Sequence[str]
    omit_type_version: bool
    after_analysis_id: str


@dataclass(frozen=True, slots=True)
class Exported:
    """One analysis."""

    analysis_id: str
    study_id: str
    payload_json: str


def export_analyses(
    environment: Environment, principal: Principal, wanted: Export
) -> Iterator[Exported | AnalysisNotFoundError]:
    """Yield the analyses of a study, oldest first, or those of the ids, in the order asked, with an error for each
    that the caller can't have.
    """
    if bool(wanted.study_id) == bool(wanted.analysis_ids):
        raise ParameterError("study_id", "give a study or analysis ids, one of the two")
    if wanted.study_id:
        yield from _of_study(environment, principal, wanted)
        return
    if len(wanted.analysis_ids) > MAX_EXPORTED_IDS:
        raise ParameterError("analysis_ids", f"give at most {MAX_EXPORTED_IDS} ids")
    if wanted.after_analysis_id:
        raise ParameterError("after_analysis_id", "goes with a study, not with ids")
    yield from _of_ids(environment, principal, wanted)


def _of_study(environment: Environment, principal: Principal, wanted: Export) -> Iterator[Exported]:
    study_id, after_id = wanted.study_id, wanted.after_analysis_id
    if not ids.can_exist(study_id):
        raise StudyNotFoundError(study_id)
    after: paging.Key | None = None
    with environment.database.read() as connection:
        if not studies.exists(connection, study_id):
            raise StudyNotFoundError(study_id)
        if after_id:
            known = exporting.find_heads(connection, [after_id] if ids.can_exist(after_id) else [])
            head = known.get(after_id)
            if head is None or head.study_id != study_id or not _may_export(principal, head):
                raise ParameterError("after_analysis_id", f"is no analysis of study '{study_id}'")
            after = (head.create_time, after_id)
    while True:
        with environment.database.read() as connection:
            study = studies.find(connection, study_id)
            if study is None:
                return
            whole = access.may_see_data(principal, study_id, study.visibility)
            states = [state for state in AnalysisState if whole and _may_see(principal, study_id, state)]
            rows = exporting.list_after(connection, study_id, states, after, EXPORT_BATCH_ANALYSES)
            shown = paging.cut(rows, EXPORT_BATCH_ANALYSES)
            found = analyses.read(connection, [str(row.key[1]) for row in shown])
        if not shown:
            return
        after = shown[-1].key
        for analysis in found:
            yield _exported(analysis, wanted)


def _of_ids(
    environment: Environment, principal: Principal, wanted: Export
) -> Iterator[Exported | AnalysisNotFoundError]:
    position = 0
    while position < len(wanted.analysis_ids):
        window = wanted.analysis_ids[position : position + EXPORT_BATCH_ANALYSES]
        with environment.database.read() as connection:
            heads = exporting.find_heads(connection, filter(ids.can_exist, window))
            visible = {analysis_id: head for analysis_id, head in heads.items() if _may_export(principal, head)}
            rows = [paging.Row((one,), visible[one].wire_bytes if one in visible else 0) for one in window]
            shown = window[: len(paging.cut(rows, EXPORT_BATCH_ANALYSES))]
            read = analyses.read(connection, [one for one in shown if one in visible])
        found = {analysis.analysis_id: analysis for analysis in read}
        for analysis_id in shown:
            if analysis_id in found:
                yield _exported(found[analysis_id], wanted)
            else:
                yield AnalysisNotFoundError(None, analysis_id)
        position += len(shown)


def _may_export(principal: Principal, head: Head) -> bool:
    """Say whether the caller may see the whole analysis."""
    return _may_see(principal, head.study_id, head.state) and access.may_see_data(
        principal, head.study_id, head.visibility
    )


def _may_see(principal: Principal, study_id: str, state: AnalysisState) -> bool:
    return access.decide(principal, Action.READ_ANALYSIS, Facts(study_id=study_id, state=state)).allowed


def _exported(analysis: Analysis, wanted: Export) -> Exported:
    text = export.payload_json(analysis, omit_type_version=wanted.omit_type_version)
    return Exported(analysis.analysis_id, analysis.study_id, text)
