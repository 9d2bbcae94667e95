"""Changes of analyses: the row, the history and the event, always together."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select, update

from song_grpc.database import outbox
from song_grpc.database.tables import analyses, history
from song_grpc.database.times import from_microseconds, to_microseconds
from song_grpc.domain.analysis import Analysis, AnalysisState, StateChange
from song_grpc.domain.history import ACTION_OF_STATE, Cause, HistoryAction, HistoryEntry, cut_subjects
from song_grpc.domain.states import ACTION_OF, EventAction

_COLUMNS = analyses.c


def lock(connection: Connection, study_id: str, analysis_id: str) -> int | None:
    """Keep others from changing an analysis; return its revision, None if the study has no such analysis.

    An analysis that was read before at this revision is still the same.
    """
    query = select(_COLUMNS.revision).where(_COLUMNS.analysis_id == analysis_id, _COLUMNS.study_id == study_id)
    # Rows that refer to it may still be added meanwhile.
    revision: int | None = connection.scalar(query.with_for_update(key_share=True))
    return revision


def find_mark(connection: Connection, analysis_id: str) -> datetime | None:
    """Return until when an analysis is marked as publishing, None where it is not."""
    until = connection.scalar(select(_COLUMNS.publishing_until).where(_COLUMNS.analysis_id == analysis_id))
    return None if until is None else from_microseconds(until)


def mark_publishing(connection: Connection, analysis_id: str, until: datetime) -> None:
    """Mark an analysis as publishing until a time. This is no change of it: no revision, no event."""
    query = update(analyses).where(_COLUMNS.analysis_id == analysis_id)
    connection.execute(query.values(publishing_until=to_microseconds(until)))


def unmark_publishing(connection: Connection, analysis_id: str, until: datetime, before: datetime | None) -> None:
    """Take back a mark, where it is the one that stands; what then stands is the mark from before, if any."""
    query = update(analyses).where(
        _COLUMNS.analysis_id == analysis_id, _COLUMNS.publishing_until == to_microseconds(until)
    )
    connection.execute(query.values(publishing_until=None if before is None else to_microseconds(before)))


def record_submissions(connection: Connection, submitted: Sequence[tuple[Analysis, Cause]]) -> None:
    """Store history and event of new analyses, whose rows are there already."""
    entries = [
        (analysis, HistoryEntry(analysis.revision, HistoryAction.SUBMIT, cause, analysis.state))
        for analysis, cause in submitted
    ]
    _add_entries(connection, entries)
    outbox.add_all(connection, EventAction.CREATE, [analysis for analysis, _ in submitted])


def record_update(
    connection: Connection, analysis: Analysis, action: HistoryAction, cause: Cause, subjects: list[str]
) -> Analysis:
    """Store that an analysis, locked by this transaction, was changed in anything but its state.

    `analysis` has the changes, which the caller has stored, and still the revision from before; returned is the
    analysis with its new revision and time.
    """
    changed = replace(analysis, revision=analysis.revision + 1, update_time=cause.time)
    connection.execute(
        update(analyses)
        .where(_COLUMNS.analysis_id == analysis.analysis_id)
        .values(
            revision=changed.revision,
            update_time=to_microseconds(cause.time),
            wire_bytes=changed.wire_bytes,
            type_name=changed.type_name,
            type_version=changed.type_version,
            data_json=changed.data_json,
        )
    )
    _add_entry(connection, changed, HistoryEntry(changed.revision, action, cause, changed.state, subjects))
    outbox.add(connection, EventAction.UPDATE, changed)
    return changed


def record_corrections(connection: Connection, corrected: Sequence[Analysis], cause: Cause, subject: str) -> None:
    """Store that what these analyses, locked by this transaction, refer to was corrected; all at once, for speed.

    They have the corrected entity, and still the revisions from before.
    """
    changed = [replace(analysis, revision=analysis.revision + 1, update_time=cause.time) for analysis in corrected]
    query = (
        update(analyses)
        .where(_COLUMNS.analysis_id == bindparam("of"))
        .values(revision=bindparam("new_revision"), update_time=bindparam("time"), wire_bytes=bindparam("bytes"))
    )
    time = to_microseconds(cause.time)
    rows = [
        {"of": one.analysis_id, "new_revision": one.revision, "time": time, "bytes": one.wire_bytes} for one in changed
    ]
    connection.execute(query, rows)
    action = HistoryAction.CORRECT_ENTITY
    _add_entries(
        connection, [(one, HistoryEntry(one.revision, action, cause, one.state, [subject])) for one in changed]
    )
    outbox.add_all(connection, EventAction.UPDATE, changed)


def record_state(connection: Connection, analysis: Analysis, state: AnalysisState, cause: Cause) -> Analysis:
    """Give an analysis, locked by this transaction, another state; `analysis` is as before, returned is it after."""
    change = StateChange(analysis.state, state, cause.time, cause.actor, cause.reason)
    changed = replace(
        analysis,
        state=state,
        update_time=cause.time,
        state_changes=[*analysis.state_changes, change],
        revision=analysis.revision + 1,
    )
    time = to_microseconds(cause.time)
    published = state is AnalysisState.PUBLISHED
    connection.execute(
        update(analyses)
        .where(_COLUMNS.analysis_id == analysis.analysis_id)
        .values(
            state=state.value,
            update_time=time,
            revision=changed.revision,
            wire_bytes=changed.wire_bytes,
            publishing_until=None,
            publish_time=time if published else _COLUMNS.publish_time,
            first_publish_time=func.coalesce(_COLUMNS.first_publish_time, time)
            if published
            else _COLUMNS.first_publish_time,
        )
    )
    _add_entry(connection, changed, HistoryEntry(changed.revision, ACTION_OF_STATE[state], cause, state))
    outbox.add(connection, ACTION_OF[state], changed)
    return changed


def _add_entry(connection: Connection, analysis: Analysis, entry: HistoryEntry) -> None:
    _add_entries(connection, [(analysis, entry)])


def _add_entries(connection: Connection, entries: Sequence[tuple[Analysis, HistoryEntry]]) -> None:
    connection.execute(
        insert(history),
        [
            {
                "analysis_id": analysis.analysis_id,
                "revision": entry.revision,
                "action": entry.action.value,
                "state": entry.state.value,
                "time": to_microseconds(entry.cause.time),
                "actor": entry.cause.actor,
                "reason": entry.cause.reason,
                "subjects_json": json.dumps(cut_subjects(entry.subjects)),
            }
            for analysis, entry in entries
        ],
    )
