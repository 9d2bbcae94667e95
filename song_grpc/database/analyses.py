"""Analyses in SQL: rows, their history, and whole analyses put together without a query per analysis."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, tuple_

from song_grpc.database import entities, files
from song_grpc.database.batches import in_batches
from song_grpc.database.tables import analyses, history
from song_grpc.database.times import from_microseconds, to_microseconds
from song_grpc.domain import paging
from song_grpc.domain.analysis import Analysis, AnalysisState, StateChange
from song_grpc.domain.history import STATE_ACTIONS, Cause, HistoryAction, HistoryEntry, state_changes

_COLUMNS = analyses.c
_STATE_ACTIONS = [action.value for action in STATE_ACTIONS]


def add(connection: Connection, analysis: Analysis) -> None:
    """Store a new analysis with its files and the links to its samples, which are there already.

    History and event are the business of `changes`.
    """
    connection.execute(
        insert(analyses).values(
            analysis_id=analysis.analysis_id,
            study_id=analysis.study_id,
            state=analysis.state.value,
            type_name=analysis.type_name,
            type_version=analysis.type_version,
            data_json=analysis.data_json,
            create_time=to_microseconds(analysis.create_time),
            update_time=to_microseconds(analysis.update_time),
            wire_bytes=analysis.wire_bytes,
            revision=analysis.revision,
        )
    )
    files.add(connection, analysis.files)
    entities.link(connection, analysis.analysis_id, analysis.samples)


def find_state(connection: Connection, study_id: str, analysis_id: str) -> AnalysisState | None:
    """Return the state of an analysis, None if the study has no such analysis."""
    query = select(_COLUMNS.state).where(_COLUMNS.analysis_id == analysis_id, _COLUMNS.study_id == study_id)
    state = connection.scalar(query)
    return None if state is None else AnalysisState(state)


def find(connection: Connection, study_id: str, analysis_id: str, *, lock: bool = False) -> Analysis | None:
    """Return a whole analysis, None if the study has no such; `lock` keeps others from changing it."""
    query = select(analyses).where(_COLUMNS.analysis_id == analysis_id, _COLUMNS.study_id == study_id)
    row = connection.execute(query.with_for_update(key_share=True) if lock else query).one_or_none()
    return None if row is None else _put_together(connection, [row])[0]


def list_after(
    connection: Connection, study_id: str, states: Sequence[AnalysisState], after: paging.Key | None, limit: int
) -> Sequence[paging.Row]:
    """Return the rows in one of these states that follow (create_time, analysis_id), oldest first.

    Each state is a walk along its own part of the index, so that a page costs the same in a study of any size.
    """
    found: list[paging.Row] = []
    for state in states:
        query = select(_COLUMNS.create_time, _COLUMNS.analysis_id, _COLUMNS.wire_bytes).where(
            _COLUMNS.study_id == study_id, _COLUMNS.state == state.value
        )
        if after is not None:
            query = query.where(tuple_(_COLUMNS.create_time, _COLUMNS.analysis_id) > tuple_(*after))
        query = query.order_by(_COLUMNS.create_time, _COLUMNS.analysis_id).limit(limit)
        found += [paging.Row((row.create_time, row.analysis_id), row.wire_bytes) for row in connection.execute(query)]
    return sorted(found, key=lambda row: row.key)[:limit]


def read(connection: Connection, analysis_ids: Iterable[str]) -> Sequence[Analysis]:
    """Return whole analyses, oldest first."""
    rows: list[Row[Any]] = []
    for batch in in_batches(analysis_ids):
        rows += connection.execute(select(analyses).where(_COLUMNS.analysis_id.in_(batch)))
    return _put_together(connection, sorted(rows, key=lambda row: (row.create_time, row.analysis_id)))


def _put_together(connection: Connection, rows: Sequence[Row[Any]]) -> list[Analysis]:
    ids = [row.analysis_id for row in rows]
    files_of = files.read_of(connection, ids)
    samples_of = entities.read_linked(connection, ids)
    changes_of = _read_changes(connection, ids)
    return [
        Analysis(
            analysis_id=row.analysis_id,
            study_id=row.study_id,
            state=AnalysisState(row.state),
            type_name=row.type_name,
            type_version=row.type_version,
            samples=samples_of.get(row.analysis_id, []),
            files=files_of.get(row.analysis_id, []),
            data_json=row.data_json,
            create_time=from_microseconds(row.create_time),
            update_time=from_microseconds(row.update_time),
            state_changes=changes_of.get(row.analysis_id, []),
            revision=row.revision,
        )
        for row in rows
    ]


def _read_changes(connection: Connection, analysis_ids: Iterable[str]) -> dict[str, list[StateChange]]:
    found: dict[str, list[HistoryEntry]] = {}
    for batch in in_batches(analysis_ids):
        query = select(history).where(history.c.analysis_id.in_(batch), history.c.action.in_(_STATE_ACTIONS))
        for row in connection.execute(query.order_by(history.c.analysis_id, history.c.revision)):
            cause = Cause(row.actor, from_microseconds(row.time), row.reason)
            entry = HistoryEntry(row.revision, HistoryAction(row.action), cause, AnalysisState(row.state))
            found.setdefault(row.analysis_id, []).append(entry)
    return {analysis_id: state_changes(entries) for analysis_id, entries in found.items()}
