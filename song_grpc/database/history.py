"""What happened to analyses, in SQL. It is written by `changes`, with what it tells of."""

import json
from collections.abc import Sequence

from sqlalchemy import Connection, select

from song_grpc.database.tables import history
from song_grpc.database.times import from_microseconds
from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.history import Cause, HistoryAction, HistoryEntry


def list_after(connection: Connection, analysis_id: str, after: int, limit: int) -> Sequence[HistoryEntry]:
    """Return the entries that follow a revision, oldest first."""
    query = select(history).where(history.c.analysis_id == analysis_id, history.c.revision > after)
    return [
        HistoryEntry(
            row.revision,
            HistoryAction(row.action),
            Cause(row.actor, from_microseconds(row.time), row.reason),
            AnalysisState(row.state),
            json.loads(row.subjects_json),
        )
        for row in connection.execute(query.order_by(history.c.revision).limit(limit))
    ]
