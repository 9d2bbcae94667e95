"""Generations of an object: one becomes visible in the place of another, one is deleted, under the mark of a change.

Bytes that lose their place are retired, not deleted: streams may still read them. Numbers never come twice.
"""

from dataclasses import replace

from sqlalchemy import Connection, Row, Select, insert, select, update
from sqlalchemy import delete as sql_delete

from runtime_grpc.database import Database
from score_grpc.database.audit import add_entries
from score_grpc.database.rows import microseconds, object_from, object_values
from score_grpc.database.tables import GENERATIONS, OBJECTS, RETIRED_KEYS
from score_grpc.domain import limits
from score_grpc.domain.audit import AuditEntry
from score_grpc.domain.errors import ChangingError, ObjectExistsError
from score_grpc.domain.stored_objects import StoredObject


class Generations:
    """Marks objects as changing, and deletes them. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def mark(self, stored: StoredObject, changer: str) -> None:
        """Mark this generation as changing for CHANGING_SECONDS, or for so much longer.

        `changer` names who changes it: the id of an upload or, of a deletion, any other. Raises ChangingError where
        another one's mark stands, or it is no longer the current generation.
        """
        moment = microseconds()
        with self._database.write() as connection:
            row = _current(connection, stored.object_id)
            if row is None or row.generation != stored.generation:
                raise _changing(stored, "was replaced or deleted")
            if row.changing_until > moment and row.changing_by != changer:
                raise _changing(stored, "is being replaced or deleted by another call")
            until = moment + round(limits.CHANGING_SECONDS * 1e6)
            is_object = OBJECTS.c.object_id == stored.object_id
            connection.execute(update(OBJECTS).where(is_object).values(changing_until=until, changing_by=changer))

    def unmark(self, stored: StoredObject, changer: str) -> None:
        """Take the mark back, if it still is this one's."""
        is_mine = (OBJECTS.c.object_id == stored.object_id) & (OBJECTS.c.changing_by == changer)
        with self._database.write(durable=False) as connection:
            connection.execute(update(OBJECTS).where(is_mine).values(changing_until=0, changing_by=""))

    def delete(self, stored: StoredObject, changer: str, entry: AuditEntry) -> None:
        """Make the object invisible for good, and say so in the audit.

        Raises ChangingError unless this one's mark still stands.
        """
        with self._database.write() as connection:
            row = _current(connection, stored.object_id)
            if row is None or row.generation != stored.generation:
                raise _changing(stored, "was replaced or deleted")
            _require_mark(row, changer)
            _retire(connection, row)
            _note_generation(connection, stored.object_id, stored.generation)
            connection.execute(sql_delete(OBJECTS).where(OBJECTS.c.object_id == stored.object_id))
            add_entries(connection, [entry])


def make_visible(connection: Connection, stored: StoredObject, replaces_generation: int) -> StoredObject:
    """Make an object visible as the next generation of its id; return it with its number.

    It takes the place of the generation it replaces (0: none), whose bytes are retired; nothing may be there by now as
    well. Raises ObjectExistsError where another generation is, and ChangingError where other bytes lose their place
    without a mark in the name of `stored.upload_id`.
    """
    row = _current(connection, stored.object_id)
    if row is not None:
        if row.generation != replaces_generation:
            raise ObjectExistsError(
                f"{stored.file_name}: object {stored.object_id} has got other bytes meanwhile, generation "
                f"{row.generation}: start the upload again",
                object_id=stored.object_id,
                stored_md5=row.md5,
            )
        if not object_from(row).holds(stored.size_bytes, stored.md5):
            _require_mark(row, stored.upload_id)
        _retire(connection, row)
        connection.execute(sql_delete(OBJECTS).where(OBJECTS.c.object_id == stored.object_id))
    last = connection.execute(
        select(GENERATIONS.c.last_generation).where(GENERATIONS.c.object_id == stored.object_id)
    ).scalar_one_or_none()
    generation = max(last or 0, 0 if row is None else row.generation) + 1
    _note_generation(connection, stored.object_id, generation)
    visible = replace(stored, generation=generation)
    connection.execute(insert(OBJECTS).values(object_values(visible)))
    return visible


def _current(connection: Connection, object_id: str) -> Row[tuple[object, ...]] | None:
    query: Select[tuple[object, ...]] = select(OBJECTS).where(OBJECTS.c.object_id == object_id)
    return connection.execute(query.with_for_update()).one_or_none()


def _require_mark(row: Row[tuple[object, ...]], changer: str) -> None:
    """Raise ChangingError unless the mark stands, and will for so long that other clocks agree."""
    if row.changing_by != changer or row.changing_until < microseconds() + round(limits.CHANGING_MARGIN_SECONDS * 1e6):
        raise _changing(object_from(row), "was no longer marked as changing when it was to be changed")


def _changing(stored: StoredObject, what: str) -> ChangingError:
    return ChangingError(f"{stored.file_name}: object {stored.object_id} {what}: retry", object_id=stored.object_id)


def _retire(connection: Connection, row: Row[tuple[object, ...]]) -> None:
    """Have the bytes of this generation deleted once no stream reads them any more."""
    values = {
        "store_key": row.store_key,
        "object_id": row.object_id,
        "generation": row.generation,
        "delete_time": microseconds() + round(limits.STREAM_AGE_SECONDS * 1e6),
    }
    connection.execute(insert(RETIRED_KEYS).values(values))


def _note_generation(connection: Connection, object_id: str, generation: int) -> None:
    is_object = GENERATIONS.c.object_id == object_id
    known = connection.execute(update(GENERATIONS).where(is_object).values(last_generation=generation))
    if not known.rowcount:
        connection.execute(insert(GENERATIONS).values(object_id=object_id, last_generation=generation))
