"""Events in SQL, written in the transaction of the change they tell of. A relay reads them later."""

from sqlalchemy import Connection, insert

from song_grpc.database.tables import outbox
from song_grpc.database.times import to_microseconds
from song_grpc.domain.analysis import Analysis
from song_grpc.domain.canonical import canonical_json
from song_grpc.domain.ids import new_event_id
from song_grpc.domain.states import EventAction


def add(connection: Connection, action: EventAction, analysis: Analysis) -> None:
    """Store the event of a change; `analysis` as it is after the change."""
    connection.execute(
        insert(outbox).values(
            event_id=new_event_id(),
            analysis_id=analysis.analysis_id,
            study_id=analysis.study_id,
            action=action.value,
            state=analysis.state.value,
            time=to_microseconds(analysis.update_time),
            analysis_json=canonical_json(analysis),
            type_name=analysis.type_name,
        )
    )
