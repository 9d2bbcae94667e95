"""The analyses of one version of a type, by id."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from song_grpc.database.tables import analyses, studies
from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.study import StudyVisibility

_COLUMNS = analyses.c


@dataclass(frozen=True, slots=True)
class AnalysisRow:
    """What is known of an analysis before it is read."""

    analysis_id: str
    study_id: str
    state: AnalysisState
    visibility: StudyVisibility
    """Of the study."""
    wire_bytes: int


def list_after(
    connection: Connection, name: str, version: int, study_id: str, after: str, limit: int
) -> Sequence[AnalysisRow]:
    """Return the rows that follow an id, in the order of ids; an empty study id means all studies."""
    query = (
        select(*(_COLUMNS.analysis_id, _COLUMNS.study_id, _COLUMNS.state, _COLUMNS.wire_bytes), studies.c.visibility)
        .join_from(analyses, studies, studies.c.study_id == _COLUMNS.study_id)
        .where(_COLUMNS.type_name == name, _COLUMNS.type_version == version, _COLUMNS.analysis_id > after)
        .order_by(_COLUMNS.analysis_id)
        .limit(limit)
    )
    if study_id:
        query = query.where(_COLUMNS.study_id == study_id)
    return [
        AnalysisRow(
            row.analysis_id, row.study_id, AnalysisState(row.state), StudyVisibility(row.visibility), row.wire_bytes
        )
        for row in connection.execute(query)
    ]
