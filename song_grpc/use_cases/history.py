"""List what happened to an analysis."""

from collections.abc import Sequence
from dataclasses import replace

from song_grpc.database import analyses, history
from song_grpc.domain import access, ids, paging
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.errors import AnalysisNotFoundError
from song_grpc.domain.history import HistoryEntry
from song_grpc.use_cases.environment import Environment


def list_page(
    environment: Environment, principal: Principal, study_id: str, analysis_id: str, page: paging.PageRequest
) -> tuple[Sequence[HistoryEntry], str]:
    """Return a page of an analysis' history, oldest first, and the token of the next.

    Who reads the analysis only because it is PUBLISHED learns what happened and when, but not who did it, why, and
    to what.
    """
    limit = page.limit
    scope = ("history", study_id, analysis_id)
    after = paging.read_token(page.token, scope, (int,))
    if not (ids.can_exist(study_id) and ids.can_exist(analysis_id)):
        raise AnalysisNotFoundError(study_id, analysis_id)
    with environment.database.read() as connection:
        state = analyses.find_state(connection, study_id, analysis_id)
        facts = Facts(study_id=study_id, state=state)
        if state is None or not access.decide(principal, Action.READ_ANALYSIS, facts).allowed:
            raise AnalysisNotFoundError(study_id, analysis_id)
        found = history.list_after(connection, analysis_id, 0 if after is None else int(after[0]), limit + 1)
    rows = [paging.Row((entry.revision,), entry.wire_bytes) for entry in found]
    shown = paging.cut(rows, limit)
    entries = found[: len(shown)]
    if not access.decide(principal, Action.READ_ANALYSIS, Facts(study_id=study_id)).allowed:
        entries = [replace(entry, cause=replace(entry.cause, actor="", reason=""), subjects=()) for entry in entries]
    return entries, paging.next_token(scope, rows, shown)
