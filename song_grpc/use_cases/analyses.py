"""Get and list analyses and files."""

from collections.abc import Sequence

from song_grpc.database import analyses, files, studies
from song_grpc.domain import access, filters, ids, limits, paging
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.analysis import Analysis, AnalysisState, File
from song_grpc.domain.errors import AnalysisNotFoundError, ParameterError, StudyNotFoundError
from song_grpc.use_cases.environment import Environment


def get(environment: Environment, principal: Principal, study_id: str, analysis_id: str) -> Analysis:
    """Return an analysis. Raises AnalysisNotFoundError, also where the caller may not see it."""
    if not (ids.can_exist(study_id) and ids.can_exist(analysis_id)):
        raise AnalysisNotFoundError(study_id, analysis_id)
    with environment.database.read() as connection:
        state = analyses.find_state(connection, study_id, analysis_id)
        found = analyses.find(connection, study_id, analysis_id) if _may_see(principal, study_id, state) else None
    if found is None:
        raise AnalysisNotFoundError(study_id, analysis_id)
    return found


def list_page(
    environment: Environment, principal: Principal, study_id: str, text: str, page: paging.PageRequest
) -> tuple[Sequence[Analysis], str]:
    """Return a page of a study's analyses that a filter selects, oldest first, and the token of the next."""
    limit = page.limit
    wanted = filters.read_states(text)
    scope = ("analyses", study_id, *(state.value for state in wanted))
    after = paging.read_token(page.token, scope, (int, str))
    if not ids.can_exist(study_id):
        raise StudyNotFoundError(study_id)
    states = [state for state in wanted if _may_see(principal, study_id, state)]
    with environment.database.read() as connection:
        if not studies.exists(connection, study_id):
            raise StudyNotFoundError(study_id)
        rows = analyses.list_after(connection, study_id, states, after, limit + 1)
        shown = paging.cut(rows, limit)
        found = analyses.read(connection, [str(row.key[1]) for row in shown])
    return found, paging.next_token(scope, rows, shown)


def list_files(
    environment: Environment, principal: Principal, study_id: str, analysis_id: str, page: paging.PageRequest
) -> tuple[Sequence[File], str]:
    """Return a page of an analysis' files, by file name, and the token of the next."""
    limit = page.limit
    scope = ("files", study_id, analysis_id)
    after = paging.read_token(page.token, scope, (str,))
    if not (ids.can_exist(study_id) and ids.can_exist(analysis_id)):
        raise AnalysisNotFoundError(study_id, analysis_id)
    with environment.database.read() as connection:
        if not _may_see(principal, study_id, analyses.find_state(connection, study_id, analysis_id)):
            raise AnalysisNotFoundError(study_id, analysis_id)
        rows = files.list_after(connection, analysis_id, None if after is None else str(after[0]), limit + 1)
        shown = paging.cut(rows, limit)
        names = [str(row.key[0]) for row in shown]
        found = files.read_between(connection, analysis_id, names[0], names[-1]) if names else []
    return found, paging.next_token(scope, rows, shown)


def resolve_objects(
    environment: Environment, principal: Principal, object_ids: Sequence[str]
) -> tuple[Sequence[tuple[File, AnalysisState]], Sequence[str]]:
    """Return the files of these objects, without their info, in the order asked, and the ids that are missing."""
    if not 0 < len(object_ids) <= limits.MAX_RESOLVED_OBJECTS:
        raise ParameterError("object_ids", f"give 1 to {limits.MAX_RESOLVED_OBJECTS} ids")
    with environment.database.read() as connection:
        known = files.resolve(connection, [object_id for object_id in object_ids if ids.can_exist(object_id)])
    visible = {
        object_id: (file, state)
        for object_id, (file, state) in known.items()
        if _may_see(principal, file.study_id, state)
    }
    found = [visible[object_id] for object_id in object_ids if object_id in visible]
    return found, [object_id for object_id in object_ids if object_id not in visible]


def _may_see(principal: Principal, study_id: str, state: AnalysisState | None) -> bool:
    """Say whether the caller may see an analysis in this state; None is one that is not there."""
    facts = Facts(study_id=study_id, state=state)
    return state is not None and access.decide(principal, Action.READ_ANALYSIS, facts).allowed
