"""Update or patch the dynamic data of an analysis.

What it would be is held against its schema outside any transaction; then, under the analysis' lock, the analysis
must still be the one that was read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from song_grpc.database import analyses, analysis_types, changes
from song_grpc.domain import etags, export, history, payload, updates, violations
from song_grpc.domain.access import Principal
from song_grpc.domain.analysis import Analysis
from song_grpc.domain.analysis_type import AnalysisType, not_found
from song_grpc.domain.errors import AnalysisBusyError, AnalysisNotFoundError
from song_grpc.domain.history import Cause, HistoryAction
from song_grpc.domain.limits import UPDATE_ATTEMPTS
from song_grpc.domain.payload import WantedType
from song_grpc.domain.updates import Wanted
from song_grpc.domain.violations import Violations
from song_grpc.domain.work import Work
from song_grpc.use_cases import external_checks, wanted_types
from song_grpc.use_cases.change_state import check_may_change
from song_grpc.use_cases.environment import Environment


@dataclass(frozen=True, slots=True)
class Change:
    """What a caller wants to do to an analysis."""

    study_id: str
    analysis_id: str
    text: str
    """The update, or the patch, as JSON text."""
    etag: str
    reason: str
    is_wanted: Callable[[], bool] = field(default=lambda: True, compare=False)
    """Says whether the caller still waits."""


@dataclass(frozen=True, slots=True)
class Updated:
    """What came of it."""

    analysis: Analysis
    """As it is now."""
    changed: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """The type and the data an analysis is to have."""

    analysis_type: AnalysisType
    wanted: Wanted


def update(environment: Environment, principal: Principal, change: Change) -> Updated:
    """Replace all dynamic data of an analysis, and its type where the update names another."""
    _check_request(principal, change)
    document = payload.read(change.text, "update_json", "the update")
    wanted_type = payload.wanted_type(document, "update_json")

    def plan(analysis: Analysis, current: AnalysisType) -> _Plan:
        analysis_type = wanted_types.resolve(environment, wanted_type)
        model = current.options.entity_model
        updates.check_model(analysis, model, analysis_type)
        return _Plan(analysis_type, updates.replaced(document, model))

    return _change(environment, principal, change, HistoryAction.UPDATE, plan)


def patch(environment: Environment, principal: Principal, change: Change) -> Updated:
    """Merge a patch into the dynamic data of an analysis, which keeps its type and version."""
    _check_request(principal, change)
    document = payload.read(change.text, "patch_json", "the patch")

    def plan(analysis: Analysis, current: AnalysisType) -> _Plan:
        wanted_types.resolve(environment, WantedType(current.name, current.version))
        return _Plan(current, updates.patched(analysis, document, current.options.entity_model))

    return _change(environment, principal, change, HistoryAction.PATCH, plan)


def _check_request(principal: Principal, change: Change) -> None:
    check_may_change(principal, change.study_id, change.analysis_id)
    history.check_reason(change.reason)
    etags.require(change.etag, "etag")


def _change(
    environment: Environment,
    principal: Principal,
    change: Change,
    action: HistoryAction,
    plan: Callable[[Analysis, AnalysisType], _Plan],
) -> Updated:
    field_name = "update_json" if action is HistoryAction.UPDATE else "patch_json"
    for _ in range(UPDATE_ATTEMPTS):  # with an etag, the second one finds that it does not match any more
        analysis, current = _read(environment, change)
        planned = plan(analysis, current)
        wanted = planned.wanted
        if not wanted.violations and updates.is_same(analysis, planned.analysis_type, wanted.data):
            return Updated(analysis, changed=False)
        updated = updates.apply(analysis, planned.analysis_type, wanted.data, field_name)
        _validate(environment, change, updated, planned)
        with environment.database.write() as connection:
            if changes.lock(connection, change.study_id, change.analysis_id) == analysis.revision:
                cause = Cause(principal.name, environment.now(), change.reason)
                subjects = [updates.subject(updated)]
                return Updated(changes.record_update(connection, updated, action, cause, subjects), changed=True)
    raise AnalysisBusyError(
        f"analysis '{change.analysis_id}' changed while its update was checked, {UPDATE_ATTEMPTS} times: retry",
        analysis_id=change.analysis_id,
    )


def _read(environment: Environment, change: Change) -> tuple[Analysis, AnalysisType]:
    """Return the analysis, which may be updated, and its type."""
    with environment.database.read() as connection:
        analysis = analyses.find(connection, change.study_id, change.analysis_id)
        if analysis is None:
            raise AnalysisNotFoundError(change.study_id, change.analysis_id)
        etags.check(change.etag, analysis.etag, f"analysis '{change.analysis_id}'")
        updates.check_may_update(analysis)
        current = analysis_types.find(connection, analysis.type_name, analysis.type_version)
    if current is None:
        raise not_found(analysis.type_name)
    return analysis, current


def _validate(environment: Environment, change: Change, updated: Analysis, planned: _Plan) -> None:
    """Hold the whole analysis against base, type and options, and ask the type's external sources.

    Raises SchemaViolationError.
    """
    document, refused = export.payload_of(updated), planned.wanted.violations
    found = payload.violations(document, planned.analysis_type, Work(change.is_wanted))
    found = Violations([*refused, *found.first], len(refused) + found.total)
    if not found.total:
        found = external_checks.check(environment, change.study_id, document, planned.analysis_type, change.is_wanted)
    if found.total:
        raise violations.refuse("the analysis would break its schema", found)
