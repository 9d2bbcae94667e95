"""Events in SQL: written in the transaction of the change they tell of, read in the order the relay gave them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, insert, literal, select

from song_grpc.database.engine import note_event
from song_grpc.database.tables import outbox
from song_grpc.database.text_bytes import text_bytes
from song_grpc.database.times import from_microseconds, to_microseconds
from song_grpc.domain.analysis import Analysis, AnalysisState
from song_grpc.domain.canonical import canonical_json
from song_grpc.domain.events import Event, EventFilter
from song_grpc.domain.ids import new_event_id
from song_grpc.domain.states import EventAction

_COLUMNS = outbox.c


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """What is known of an event before it is read."""

    position: int
    study_id: str
    state: AnalysisState
    time: datetime
    json_bytes: int


def add(connection: Connection, action: EventAction, analysis: Analysis) -> None:
    """Store the event of a change; `analysis` as it is after the change."""
    add_all(connection, action, [analysis])


def add_all(connection: Connection, action: EventAction, changed: Sequence[Analysis]) -> None:
    """Store one event for each of these analyses, in their order."""
    rows = [
        {
            "event_id": new_event_id(),
            "analysis_id": analysis.analysis_id,
            "study_id": analysis.study_id,
            "action": action.value,
            "state": analysis.state.value,
            "time": to_microseconds(analysis.update_time),
            "analysis_json": canonical_json(analysis),
            "type_name": analysis.type_name,
        }
        for analysis in changed
    ]
    # Inline: no query for the number of a single row.
    connection.execute(insert(outbox).inline(), rows)
    note_event(connection)


def find_between(
    connection: Connection, after: int, last: int, limit: int, wanted: EventFilter | None = None
) -> Sequence[FoundEvent]:
    """Return the first events after a position, up to the position `last`, that fit the filter, in their order."""
    json_bytes = text_bytes(_COLUMNS.analysis_json).label("json_bytes")
    query = (
        select(_COLUMNS.position, _COLUMNS.study_id, _COLUMNS.state, _COLUMNS.time, json_bytes)
        .where(_COLUMNS.position > after, _COLUMNS.position <= last, *_conditions(wanted or EventFilter()))
        .order_by(_COLUMNS.position)
        .limit(limit)
    )
    return [
        FoundEvent(row.position, row.study_id, AnalysisState(row.state), from_microseconds(row.time), row.json_bytes)
        for row in connection.execute(query)
    ]


def read(connection: Connection, positions: Sequence[int], *, hide_analysis: bool = False) -> Sequence[Event]:
    """Return the events at these positions that are kept, in their order."""
    text: ColumnElement[str] = literal("") if hide_analysis else _COLUMNS.analysis_json
    query = select(
        *(_COLUMNS.position, _COLUMNS.event_id, _COLUMNS.action, _COLUMNS.analysis_id, _COLUMNS.study_id),
        *(_COLUMNS.type_name, _COLUMNS.state, _COLUMNS.time, text.label("text")),
    ).where(_COLUMNS.position.in_(positions))
    return [
        Event(
            position=row.position,
            event_id=row.event_id,
            action=EventAction(row.action),
            analysis_id=row.analysis_id,
            study_id=row.study_id,
            type_name=row.type_name,
            state=AnalysisState(row.state),
            time=from_microseconds(row.time),
            analysis_json=row.text,
        )
        for row in connection.execute(query.order_by(_COLUMNS.position))
    ]


def last_unplaced_number(connection: Connection) -> int | None:
    """Return the last number of an event without position; None where all have one."""
    query = select(func.max(_COLUMNS.number)).where(_COLUMNS.position.is_(None))
    found: int | None = connection.execute(query).scalar_one()
    return found


def has_unplaced(connection: Connection, last_number: int | None = None) -> bool:
    """Say whether an event, up to a number, has no position yet."""
    query = select(_COLUMNS.number).where(_COLUMNS.position.is_(None))
    if last_number is not None:
        query = query.where(_COLUMNS.number <= last_number)
    return connection.execute(query.order_by(_COLUMNS.number).limit(1)).first() is not None


def first_position_since(connection: Connection, time: datetime) -> int | None:
    """Return the first position of an event at or after a time; None where there is none."""
    # Times and positions have nearly one order, not quite: a change takes its time before it is committed.
    query = select(func.min(_COLUMNS.position)).where(_COLUMNS.time >= to_microseconds(time))
    found: int | None = connection.execute(query).scalar_one()
    return found


def find_position(connection: Connection, event_id: str) -> tuple[int | None] | None:
    """Return the position of an event, None in it for one that has none yet; None where there is no such event."""
    row = connection.execute(select(_COLUMNS.position).where(_COLUMNS.event_id == event_id)).first()
    return None if row is None else (row.position,)


def _conditions(wanted: EventFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.study_ids:
        conditions.append(_COLUMNS.study_id.in_(wanted.study_ids))
    if wanted.type_names:
        conditions.append(_COLUMNS.type_name.in_(wanted.type_names))
    if wanted.actions:
        conditions.append(_COLUMNS.action.in_([action.value for action in wanted.actions]))
    return conditions
