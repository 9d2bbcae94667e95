"""Changes of state: the analysis, its history and its event, always together."""

from dataclasses import replace

from sqlalchemy import Connection

from song_grpc.database import analyses, outbox
from song_grpc.domain.analysis import Analysis, StateChange
from song_grpc.domain.states import ACTION_OF


def record(connection: Connection, analysis: Analysis, change: StateChange) -> None:
    """Store a change of an analysis that this transaction has locked; `analysis` is as before."""
    analyses.change_state(connection, analysis.analysis_id, change)
    changed = replace(
        analysis,
        state=change.updated_state,
        update_time=change.time,
        state_changes=[*analysis.state_changes, change],
    )
    outbox.add(connection, ACTION_OF[change.updated_state], changed)
