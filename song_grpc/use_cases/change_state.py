"""Unpublish and suppress analyses."""

from dataclasses import dataclass

from song_grpc.database import analyses, changes
from song_grpc.domain import access, etags, history, ids, states
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.errors import AnalysisNotFoundError
from song_grpc.domain.history import Cause
from song_grpc.use_cases.environment import Environment


@dataclass(frozen=True, slots=True)
class StateRequest:
    """Which analysis is to have another state."""

    study_id: str
    analysis_id: str
    etag: str = ""
    """Empty or `*`: whatever is there."""
    reason: str = ""


def unpublish(environment: Environment, principal: Principal, request: StateRequest) -> bool:
    """Take an analysis back to UNPUBLISHED; return whether it was PUBLISHED."""
    return _change(environment, principal, request, AnalysisState.UNPUBLISHED)


def suppress(environment: Environment, principal: Principal, request: StateRequest) -> bool:
    """Withdraw an analysis for good; return whether this call did."""
    return _change(environment, principal, request, AnalysisState.SUPPRESSED)


def check_may_change(principal: Principal, study_id: str, analysis_id: str) -> None:
    """Raise unless the caller may change analyses of the study, and there can be such an analysis."""
    access.require(principal, Action.WRITE_STUDY, Facts(study_id=study_id))
    if not (ids.can_exist(study_id) and ids.can_exist(analysis_id)):
        raise AnalysisNotFoundError(study_id, analysis_id)


def _change(environment: Environment, principal: Principal, request: StateRequest, wanted: AnalysisState) -> bool:
    study_id, analysis_id = request.study_id, request.analysis_id
    check_may_change(principal, study_id, analysis_id)
    history.check_reason(request.reason)
    with environment.database.write() as connection:
        analysis = analyses.find(connection, study_id, analysis_id, lock=True)
        if analysis is None:
            raise AnalysisNotFoundError(study_id, analysis_id)
        etags.check(request.etag, analysis.etag, f"analysis '{analysis_id}'")
        if not states.is_change(analysis_id, analysis.state, wanted):
            return False
        cause = Cause(principal.name, environment.now(), request.reason)
        changes.record_state(connection, analysis, wanted, cause)
    return True
