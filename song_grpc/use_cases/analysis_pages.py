"""Pages of analyses: from the rows that may be on it to what is shown."""

from collections.abc import Sequence
from dataclasses import replace

from song_grpc.database import analyses
from song_grpc.database.engine import Connection
from song_grpc.domain import access, paging, read_masks
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.analysis import Analysis, AnalysisState
from song_grpc.domain.limits import MAX_PAGE_BYTES
from song_grpc.domain.study import StudyVisibility


def visible_states(principal: Principal, study_id: str) -> list[AnalysisState]:
    """Return the states in which the caller may see analyses of the study."""
    return [
        state
        for state in AnalysisState
        if access.decide(principal, Action.READ_ANALYSIS, Facts(study_id=study_id, state=state)).allowed
    ]


def visible_fields(
    principal: Principal, study_id: str, visibility: StudyVisibility, wanted: frozenset[str]
) -> frozenset[str]:
    """Return those of the wanted fields that the caller may see."""
    shows_data = access.may_see_data(principal, study_id, visibility)
    return wanted if shows_data else wanted & read_masks.WITHOUT_DATA


def shown_to(principal: Principal, analysis: Analysis) -> Analysis:
    """Return an analysis without who changed its state, and why, for a caller who has no READ on its study."""
    if access.decide(principal, Action.READ_ANALYSIS, Facts(study_id=analysis.study_id)).allowed:
        return analysis
    changes = [replace(change, actor="", reason="") for change in analysis.state_changes]
    return replace(analysis, state_changes=changes)


def read_page(
    connection: Connection, rows: Sequence[paging.Row], limit: int, fields: frozenset[str]
) -> Sequence[Analysis]:
    """Return the first analyses of these rows that make a page: at most `limit`, at most 3 MiB, at least one.

    Rows know the size of whole analyses. Where only some fields are wanted, what is read is measured instead.
    """
    rest = rows[:limit]
    shown: list[Analysis] = []
    total = 0
    while rest:
        batch = paging.cut(rest, len(rest)) if fields & read_masks.LONG else rest
        for analysis in analyses.read(connection, [str(row.key[1]) for row in batch], fields):
            total += analysis.wire_bytes
            if shown and total > MAX_PAGE_BYTES:
                return shown
            shown.append(analysis)
        if fields >= read_masks.LONG:
            break  # the sizes of the rows were right
        rest = rest[len(batch) :]
    return shown
