"""Which analyses an export takes, in SQL: what is known of them before they are read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, true

from song_grpc.database.analyses import list_after as walk
from song_grpc.database.batches import in_batches
from song_grpc.database.tables import analyses, studies
from song_grpc.domain import paging
from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.ordering import Ordering
from song_grpc.domain.study import StudyVisibility

_COLUMNS = analyses.c


@dataclass(frozen=True, slots=True)
class Head:
    """What decides whether an analysis is exported."""

    study_id: str
    visibility: StudyVisibility
    """Of the study."""
    state: AnalysisState
    create_time: int
    """Microseconds."""
    wire_bytes: int


def find_heads(connection: Connection, analysis_ids: Iterable[str]) -> dict[str, Head]:
    """Return the heads of these analyses by id."""
    query = select(
        *(_COLUMNS.analysis_id, _COLUMNS.study_id, studies.c.visibility, _COLUMNS.state),
        *(_COLUMNS.create_time, _COLUMNS.wire_bytes),
    ).join_from(analyses, studies, studies.c.study_id == _COLUMNS.study_id)
    return {
        row.analysis_id: Head(
            row.study_id, StudyVisibility(row.visibility), AnalysisState(row.state), row.create_time, row.wire_bytes
        )
        for batch in in_batches(analysis_ids)
        for row in connection.execute(query.where(_COLUMNS.analysis_id.in_(batch)))
    }


def list_after(
    connection: Connection, study_id: str, states: Sequence[AnalysisState], after: paging.Key | None, limit: int
) -> Sequence[paging.Row]:
    """Return the rows in one of these states that follow (create_time, analysis_id), oldest first.

    An analysis keeps its place when its state changes.
    """
    return walk(connection, study_id, dict.fromkeys(states, true()), Ordering(), after, limit)
