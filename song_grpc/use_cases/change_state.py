"""Unpublish and suppress analyses."""

from song_grpc.database import analyses, changes
from song_grpc.domain import access, ids, states
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.errors import AnalysisNotFoundError
from song_grpc.domain.history import Cause
from song_grpc.use_cases.environment import Environment


def unpublish(environment: Environment, principal: Principal, study_id: str, analysis_id: str) -> bool:
    """Take an analysis back to UNPUBLISHED; return whether it was PUBLISHED."""
    return _change(environment, principal, (study_id, analysis_id), AnalysisState.UNPUBLISHED)


def suppress(environment: Environment, principal: Principal, study_id: str, analysis_id: str) -> bool:
    """Withdraw an analysis for good; return whether this call did."""
    return _change(environment, principal, (study_id, analysis_id), AnalysisState.SUPPRESSED)


def check_may_change(principal: Principal, study_id: str, analysis_id: str) -> None:
    """Raise unless the caller may change analyses of the study, and there can be such an analysis."""
    access.require(principal, Action.WRITE_STUDY, Facts(study_id=study_id))
    if not (ids.can_exist(study_id) and ids.can_exist(analysis_id)):
        raise AnalysisNotFoundError(study_id, analysis_id)


def _change(
    environment: Environment, principal: Principal, study_and_analysis: tuple[str, str], wanted: AnalysisState
) -> bool:
    study_id, analysis_id = study_and_analysis
    check_may_change(principal, study_id, analysis_id)
    with environment.database.write() as connection:
        analysis = analyses.find(connection, study_id, analysis_id, lock=True)
        if analysis is None:
            raise AnalysisNotFoundError(study_id, analysis_id)
        if not states.is_change(analysis_id, analysis.state, wanted):
            return False
        changes.record_state(connection, analysis, wanted, Cause(principal.name, environment.now()))
    return True
