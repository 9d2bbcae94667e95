"""Analyses in SQL: rows, their history, and whole analyses put together without a query per analysis."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, insert, literal, select, text, tuple_

from song_grpc.database import entities, files
from song_grpc.database.batches import in_batches
from song_grpc.database.tables import analyses, history
from song_grpc.database.times import from_microseconds, to_microseconds
from song_grpc.domain import paging, read_masks
from song_grpc.domain.analysis import Analysis, AnalysisState, StateChange
from song_grpc.domain.history import STATE_ACTIONS, Cause, HistoryAction, HistoryEntry, state_changes
from song_grpc.domain.ordering import Ordering

_COLUMNS = analyses.c
_STATE_ACTIONS = [action.value for action in STATE_ACTIONS]


def add_all(connection: Connection, added: Sequence[Analysis]) -> None:
    """Store new analyses with their files and the links to their samples, which are there already.

    History and event are the business of `changes`.
    """
    connection.execute(
        insert(analyses),
        [
            {
                "analysis_id": analysis.analysis_id,
                "study_id": analysis.study_id,
                "state": analysis.state.value,
                "type_name": analysis.type_name,
                "type_version": analysis.type_version,
                "data_json": analysis.data_json,
                "create_time": to_microseconds(analysis.create_time),
                "update_time": to_microseconds(analysis.update_time),
                "wire_bytes": analysis.wire_bytes,
                "revision": analysis.revision,
            }
            for analysis in added
        ],
    )
    files.add(connection, [file for analysis in added for file in analysis.files])
    entities.link_all(connection, added)


def find_state(connection: Connection, study_id: str, analysis_id: str) -> AnalysisState | None:
    """Return the state of an analysis, None if the study has no such analysis."""
    query = select(_COLUMNS.state).where(_COLUMNS.analysis_id == analysis_id, _COLUMNS.study_id == study_id)
    state = connection.scalar(query)
    return None if state is None else AnalysisState(state)


def find(
    connection: Connection,
    study_id: str,
    analysis_id: str,
    *,
    lock: bool = False,
    fields: frozenset[str] = read_masks.ALL,
) -> Analysis | None:
    """Return an analysis, None if the study has no such; `lock` keeps others from changing it.

    Of the long fields, those that are not wanted are empty.
    """
    query = _select(fields).where(_COLUMNS.analysis_id == analysis_id, _COLUMNS.study_id == study_id)
    row = connection.execute(query.with_for_update(key_share=True) if lock else query).one_or_none()
    return None if row is None else _put_together(connection, [row], fields)[0]


def list_after(
    connection: Connection,
    study_id: str,
    walks: Mapping[AnalysisState, ColumnElement[bool]],
    ordering: Ordering,
    after: paging.Key | None,
    limit: int,
    *,
    starts_with_ids: bool = False,
) -> Sequence[paging.Row]:
    """Return the rows, in these states and each with its state's condition, that follow (time, analysis_id).

    Each state is a walk along its own part of an index, so that a page costs the same in a study of any size, as
    long as the condition selects much or has an index of its own. `starts_with_ids` says that the conditions name
    the few ids that can be meant.
    """
    if connection.dialect.name == "postgresql":
        # A plan made for any values would serve those that select much and those that select little alike.
        connection.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
    study: ColumnElement[str] = _COLUMNS.study_id
    state_of: ColumnElement[str] = _COLUMNS.state
    if starts_with_ids and connection.dialect.name == "sqlite":
        # SQLite can't know how few there are, and would walk; no index has these.
        study, state_of = study.concat(""), state_of.concat("")
    time = _COLUMNS[ordering.time.value]
    key = tuple_(time, _COLUMNS.analysis_id)
    order = (time.desc(), _COLUMNS.analysis_id.desc()) if ordering.is_descending else (time, _COLUMNS.analysis_id)
    found: list[paging.Row] = []
    for state, condition in walks.items():
        query = select(time.label("time"), _COLUMNS.analysis_id, _COLUMNS.wire_bytes).where(
            study == study_id, state_of == state.value, time.is_not(None), condition
        )
        if after is not None:
            query = query.where(key < tuple_(*after) if ordering.is_descending else key > tuple_(*after))
        rows = connection.execute(query.order_by(*order).limit(limit))
        found += [paging.Row((row.time, row.analysis_id), row.wire_bytes) for row in rows]
    return sorted(found, key=lambda row: row.key, reverse=ordering.is_descending)[:limit]


def read(
    connection: Connection, analysis_ids: Iterable[str], fields: frozenset[str] = read_masks.ALL
) -> Sequence[Analysis]:
    """Return the analyses that are there, in the order of the ids. Of the long fields, those not wanted are empty."""
    wanted = list(dict.fromkeys(analysis_ids))
    rows: dict[str, Row[Any]] = {}
    for batch in in_batches(wanted):
        query = _select(fields).where(_COLUMNS.analysis_id.in_(batch))
        rows |= {row.analysis_id: row for row in connection.execute(query)}
    return _put_together(connection, [rows[one] for one in wanted if one in rows], fields)


def _select(fields: frozenset[str]) -> Select[Any]:
    return select(
        *(_COLUMNS.analysis_id, _COLUMNS.study_id, _COLUMNS.state, _COLUMNS.type_name, _COLUMNS.type_version),
        *(_COLUMNS.create_time, _COLUMNS.update_time, _COLUMNS.revision),
        _COLUMNS.data_json if "data_json" in fields else literal("").label("data_json"),
    )


def _put_together(connection: Connection, rows: Sequence[Row[Any]], fields: frozenset[str]) -> list[Analysis]:
    ids = [row.analysis_id for row in rows]
    files_of = files.read_of(connection, ids) if "files" in fields else {}
    samples_of = entities.read_linked(connection, ids) if "samples" in fields else {}
    changes_of = _read_changes(connection, ids) if fields & read_masks.FROM_HISTORY else {}
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
