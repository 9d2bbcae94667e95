"""Objects that were in the store before the ledger knew of them. Each method is one transaction."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from runtime_grpc.database import Database
from score_grpc.database.generations import make_visible
from score_grpc.database.rows import part_values, upload_values
from score_grpc.database.tables import GENERATIONS, OBJECTS, UPLOAD_PARTS, UPLOADS
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.domain.uploads import Upload, UploadPart, UploadState


class _KnownError(Exception):
    """The ledger knows the object by now: undo the transaction."""


class Adoptions:
    """Adds objects whose bytes no upload of ours has brought."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unknown(self, object_ids: Sequence[str]) -> list[str]:
        """Return those of the ids that the ledger has never heard of: no object, no upload, none that was deleted."""
        with self._database.read() as connection:
            known = _known(connection, object_ids)
        return [object_id for object_id in object_ids if object_id not in known]

    def add(self, upload: Upload, stored: StoredObject, parts: Sequence[UploadPart]) -> bool:
        """Make an object visible; False if the ledger knows its id by now.

        Its parts hang on an upload, as all parts do, which is COMPLETED from the beginning.
        """
        # At first live, of which an object has but one: whoever starts an upload at this moment waits.
        begun = upload_values(replace(upload, state=UploadState.OPEN))
        try:
            with self._database.write() as connection:
                connection.execute(insert(UPLOADS).values(begun))
                _require_unknown(connection, upload)  # after the wait that this may have been
                fields = {"upload_id": stored.upload_id, "stream_epoch": 0}
                if rows := [fields | part_values(part) for part in parts]:
                    connection.execute(insert(UPLOAD_PARTS), rows)
                make_visible(connection, stored, replaces_generation=0)
                is_upload = UPLOADS.c.upload_id == stored.upload_id
                connection.execute(update(UPLOADS).where(is_upload).values(state=UploadState.COMPLETED.value))
        except (IntegrityError, _KnownError):
            return False
        return True


def _require_unknown(connection: Connection, upload: Upload) -> None:
    others = (UPLOADS.c.object_id == upload.object_id) & (UPLOADS.c.upload_id != upload.upload_id)
    has_others = connection.execute(select(UPLOADS.c.upload_id).where(others)).first() is not None
    if has_others or _known_objects(connection, [upload.object_id]):
        raise _KnownError


def _known(connection: Connection, object_ids: Sequence[str]) -> set[str]:
    uploads = select(UPLOADS.c.object_id).where(UPLOADS.c.object_id.in_(object_ids))
    return _known_objects(connection, object_ids) | set(connection.execute(uploads).scalars())


def _known_objects(connection: Connection, object_ids: Sequence[str]) -> set[str]:
    known: set[str] = set()
    for table in (OBJECTS, GENERATIONS):
        known.update(connection.execute(select(table.c.object_id).where(table.c.object_id.in_(object_ids))).scalars())
    return known
