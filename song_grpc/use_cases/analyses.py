"""Get and list analyses, and list their files."""

from collections.abc import Sequence

from song_grpc.database import analyses, files, filtering, studies
from song_grpc.domain import access, filter_tree, filters, ids, ordering, paging, read_masks
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.analysis import Analysis, AnalysisState, File
from song_grpc.domain.errors import AnalysisNotFoundError, StudyNotFoundError
from song_grpc.use_cases.analysis_pages import read_page, shown_to, visible_fields, visible_states
from song_grpc.use_cases.environment import Environment


def get(
    environment: Environment,
    principal: Principal,
    study_id: str,
    analysis_id: str,
    fields: frozenset[str] = read_masks.ALL,
) -> tuple[Analysis, frozenset[str]]:
    """Return an analysis, and which of the wanted fields the caller may see.

    Raises AnalysisNotFoundError, also where the caller may not see the analysis.
    """
    if not (ids.can_exist(study_id) and ids.can_exist(analysis_id)):
        raise AnalysisNotFoundError(study_id, analysis_id)
    with environment.database.read() as connection:
        visibility = studies.find_visibility(connection, study_id)
        state = analyses.find_state(connection, study_id, analysis_id)
        if visibility is None or not _may_see(principal, study_id, state):
            raise AnalysisNotFoundError(study_id, analysis_id)
        shown = visible_fields(principal, study_id, visibility, fields)
        found = analyses.find(connection, study_id, analysis_id, fields=shown)
    if found is None:
        raise AnalysisNotFoundError(study_id, analysis_id)
    return shown_to(principal, found), shown


def list_page(
    environment: Environment,
    principal: Principal,
    study_id: str,
    selection: tuple[str, str],
    page: paging.PageRequest,
    fields: frozenset[str] = read_masks.ALL,
) -> tuple[Sequence[Analysis], frozenset[str], str]:
    """Return a page of a study's analyses, which of the wanted fields it shows, and the token of the next.

    `selection` is filter and order, as the request has them.
    """
    limit = page.limit
    wanted, order = filters.parse(selection[0]), ordering.parse(selection[1])
    scope = ("analyses", study_id, *selection)
    after = paging.read_token(page.token, scope, (int, str))
    if not ids.can_exist(study_id):
        raise StudyNotFoundError(study_id)
    with environment.database.read() as connection:
        visibility = studies.find_visibility(connection, study_id)
        if visibility is None:
            raise StudyNotFoundError(study_id)
        shows_data = access.may_see_data(principal, study_id, visibility)
        walks = {}
        for state in visible_states(principal, study_id):
            left = filter_tree.given(wanted, state, shows_data=shows_data)
            if left is not False:
                walks[state] = filtering.condition(connection, study_id, left)
        starts_with_ids = filtering.has_selective_id(wanted)
        rows = analyses.list_after(
            connection, study_id, walks, order, after, limit + 1, starts_with_ids=starts_with_ids
        )
        shown = visible_fields(principal, study_id, visibility, fields)
        found = read_page(connection, rows, limit, shown)
    return [shown_to(principal, one) for one in found], shown, paging.next_token(scope, rows, rows[: len(found)])


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


def _may_see(principal: Principal, study_id: str, state: AnalysisState | None) -> bool:
    """Say whether the caller may see an analysis in this state; None is one that is not there."""
    facts = Facts(study_id=study_id, state=state)
    return state is not None and access.decide(principal, Action.READ_ANALYSIS, facts).allowed
