"""Publish an analysis once Score holds every file.

Score is asked outside any transaction; then, under the analysis' lock, it must still be what was asked about.
"""

from song_grpc.database import analyses, analysis_types, changes
from song_grpc.domain import publishing, states
from song_grpc.domain.access import Principal
from song_grpc.domain.analysis import Analysis, AnalysisState
from song_grpc.domain.errors import AnalysisBusyError, AnalysisNotFoundError, TypeVersionNotLatestError
from song_grpc.domain.history import Cause
from song_grpc.domain.limits import PUBLISH_ATTEMPTS
from song_grpc.use_cases.change_state import check_may_change
from song_grpc.use_cases.environment import Environment

_PUBLISHED = AnalysisState.PUBLISHED


def publish(environment: Environment, principal: Principal, study_id: str, analysis_id: str) -> bool:
    """Publish an analysis; return whether it was UNPUBLISHED."""
    check_may_change(principal, study_id, analysis_id)
    for _ in range(PUBLISH_ATTEMPTS):
        with environment.database.read() as connection:
            asked = _present(analyses.find(connection, study_id, analysis_id), study_id, analysis_id)
            if not states.is_change(analysis_id, asked.state, _PUBLISHED):
                return False
            latest = analysis_types.latest_version(connection, asked.type_name)
        _check_latest(environment, asked, latest)
        publishing.check_has_files(analysis_id, asked.files)
        stored = environment.stored_objects.find([file.object_id for file in asked.files])
        publishing.check_stored(analysis_id, asked.files, stored)
        with environment.database.write() as connection:
            current = _present(analyses.find(connection, study_id, analysis_id, lock=True), study_id, analysis_id)
            if not states.is_change(analysis_id, current.state, _PUBLISHED):
                return False
            _check_latest(environment, current, analysis_types.latest_version(connection, current.type_name))
            if current.files == asked.files:
                changes.record_state(connection, current, _PUBLISHED, Cause(principal.name, environment.now()))
                return True
    raise AnalysisBusyError(
        f"the files of analysis '{analysis_id}' changed while Score was asked about them: retry",
        analysis_id=analysis_id,
    )


def _present(found: Analysis | None, study_id: str, analysis_id: str) -> Analysis:
    if found is None:
        raise AnalysisNotFoundError(study_id, analysis_id)
    return found


def _check_latest(environment: Environment, analysis: Analysis, latest: int | None) -> None:
    if environment.enforce_latest and latest is not None and latest != analysis.type_version:
        raise TypeVersionNotLatestError(analysis.type_name, analysis.type_version, latest)
