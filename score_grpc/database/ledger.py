"""Where uploads and objects are remembered. Each method is one transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, Row, Select, func, insert, select, update
from sqlalchemy import delete as sql_delete
from sqlalchemy.exc import IntegrityError

from runtime_grpc.database import Database
from score_grpc.database.completion_ends import asker_json, note_end
from score_grpc.database.generations import make_visible
from score_grpc.database.rows import microseconds, object_from, part_from, part_values, upload_from, upload_values
from score_grpc.database.tables import OBJECTS, UPLOAD_PARTS, UPLOADS
from score_grpc.domain import limits
from score_grpc.domain.audit import Asker
from score_grpc.domain.errors import PartTakenOverError, UploadNotFoundError
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.domain.uploads import LIVE, AbortReason, Upload, UploadFailure, UploadPart, UploadState, require_open

_UPLOAD_ID_CHARS = 36
_LIVE_STATES = [state.value for state in LIVE]


class _TakenError(Exception):
    """The object is stored, or the key is taken: undo the transaction."""


class Ledger:
    """Uploads, parts and objects in SQL."""

    def __init__(self, database: Database, owner: str) -> None:
        """`owner` names this process in leases."""
        self._database, self._owner = database, owner

    # Uploads

    def count_uploads(self, object_id: str) -> int:
        """Return how many uploads this object has ever had."""
        with self._database.read() as connection:
            return connection.execute(
                select(func.count()).select_from(UPLOADS).where(UPLOADS.c.object_id == object_id)
            ).scalar_one()

    def add_upload(self, upload: Upload) -> bool:
        """Add a new upload.

        False if its object has a live one already, or another generation than it replaces, or the key is another's.
        """
        try:
            with self._database.write() as connection:
                connection.execute(insert(UPLOADS).values(upload_values(upload)))
                # After the row, which waits for a completion that is just being committed.
                _require_not_stored(connection, upload.object_id, upload.replaces_generation)
                _require_fresh_key(connection, upload.staging_key)
        except (IntegrityError, _TakenError):
            return False
        return True

    def live_upload(self, object_id: str) -> Upload | None:
        """Return the object's live upload, if it has one."""
        with self._database.read() as connection:
            row = connection.execute(
                select(UPLOADS).where(UPLOADS.c.object_id == object_id, UPLOADS.c.state.in_(_LIVE_STATES))
            ).one_or_none()
            return None if row is None else _with_totals(connection, row)

    def upload(self, upload_id: str) -> Upload:
        """Return an upload. Raises UploadNotFoundError."""
        with self._database.read() as connection:
            return _with_totals(connection, upload_row(connection, upload_id))

    def join(self, upload_id: str) -> tuple[Upload, int]:
        """Give a new stream its epoch. Raises UploadNotFoundError, UploadNotOpenError, UploadAbortedError."""
        with self._database.write(durable=False) as connection:
            upload = _with_totals(connection, upload_row(connection, upload_id, lock=True))
            require_open(upload)
            epoch = UPLOADS.c.stream_epoch
            of_upload = UPLOADS.c.upload_id == upload_id
            changed = {"stream_epoch": epoch + 1, "update_time": microseconds()}
            connection.execute(update(UPLOADS).where(of_upload).values(changed))
            return upload, connection.execute(select(epoch).where(of_upload)).scalar_one()

    def revisit(self, upload_id: str) -> Upload | None:
        """Note that a client came back to a live upload, and return it; None if it is no longer live."""
        with self._database.write(durable=False) as connection:
            row = upload_row(connection, upload_id, lock=True)
            if row.state == UploadState.OPEN.value:
                changed = {"update_time": microseconds()}
                connection.execute(update(UPLOADS).where(UPLOADS.c.upload_id == upload_id).values(changed))
                row = upload_row(connection, upload_id)
            return _with_totals(connection, row) if row.state in _LIVE_STATES else None

    def abort(self, upload_id: str, reason: AbortReason, *, only_late: bool = False) -> Upload:
        """Make a live upload ABORTED. Aborting an aborted one changes nothing. Raises UploadNotOpenError.

        With `only_late` an upload whose object has no generation beyond the one it is to replace is returned as it is.
        The lease of a completion under way stays, as nobody's: until it ends the store may still be assembling.
        """
        with self._database.write() as connection:
            row = upload_row(connection, upload_id, lock=True)
            upload = _with_totals(connection, row)
            if upload.state is UploadState.COMPLETED:
                require_open(upload)
            if only_late and upload.state in LIVE and not _is_late(connection, row):
                return upload
            if upload.state in LIVE:
                lease_until = row.lease_until if upload.state is UploadState.COMPLETING else 0
                ended = {"abort_reason": reason.value, "lease_owner": "", "lease_until": lease_until}
                _set_state(connection, upload_id, UploadState.ABORTED, **ended)
                connection.execute(sql_delete(UPLOAD_PARTS).where(UPLOAD_PARTS.c.upload_id == upload_id))
            if upload.state is UploadState.COMPLETING:
                note_end(connection, row, "UPLOAD_ABORTED", abort_reason=reason.value)
            return _with_totals(connection, upload_row(connection, upload_id))

    def note_freed(self, upload_id: str) -> None:
        """Note that the store holds nothing of an ABORTED upload any more.

        Not while the lease of its completion runs, see `abort`: who collects frees it once more after that.
        """
        is_assembling = (UPLOADS.c.lease_owner == "") & (UPLOADS.c.lease_until > microseconds())
        is_over = (UPLOADS.c.upload_id == upload_id) & (UPLOADS.c.state == UploadState.ABORTED.value) & ~is_assembling
        freed = {"is_freed": True, "lease_owner": "", "lease_until": 0}
        with self._database.write(durable=False) as connection:
            connection.execute(update(UPLOADS).where(is_over).values(freed))

    # Parts

    def part(self, upload_id: str, part_number: int) -> tuple[Upload, UploadPart | None]:
        """Return the upload and one of its parts, None where it is not persisted."""
        with self._database.read() as connection:
            upload = upload_from(upload_row(connection, upload_id))
            rows = list(_parts(connection, upload_id, part_number - 1, 1))
            found = rows[0] if rows and rows[0].part_number == part_number else None
            return upload, found

    def parts(self, upload_id: str, after: int, limit: int) -> Sequence[UploadPart]:
        """Return persisted parts with numbers above `after`, in order, at most `limit`."""
        with self._database.read() as connection:
            return list(_parts(connection, upload_id, after, limit))

    def add_part(self, upload_id: str, part: UploadPart, epoch: int, staging_token: str) -> None:
        """Record a part that the store has persisted in this staging.

        Raises UploadNotOpenError, UploadAbortedError, and PartTakenOverError if a newer stream recorded it or the
        upload goes on in another staging.
        """
        is_part = (UPLOAD_PARTS.c.upload_id == upload_id) & (UPLOAD_PARTS.c.part_number == part.part_number)
        with self._database.write(durable=False) as connection:
            upload = upload_from(upload_row(connection, upload_id, lock=True))
            require_open(upload)
            if upload.staging_token != staging_token:
                raise PartTakenOverError(f"part {part.part_number}: the upload goes on in another staging")
            known = connection.execute(select(UPLOAD_PARTS.c.stream_epoch).where(is_part)).scalar_one_or_none()
            if known is not None and known > epoch:
                raise PartTakenOverError(f"part {part.part_number}: a newer stream has written it")
            connection.execute(sql_delete(UPLOAD_PARTS).where(is_part))
            row = {"upload_id": upload_id, "stream_epoch": epoch, **part_values(part)}
            connection.execute(insert(UPLOAD_PARTS).values(row))
            touch(connection, upload_id)

    def withdraw_part(self, upload_id: str, part: UploadPart) -> None:
        """Make a part absent again, before it is replaced. Raises UploadNotOpenError, UploadAbortedError."""
        with self._database.write(durable=False) as connection:
            require_open(upload_from(upload_row(connection, upload_id, lock=True)))
            is_part = (UPLOAD_PARTS.c.upload_id == upload_id) & (UPLOAD_PARTS.c.part_number == part.part_number)
            connection.execute(sql_delete(UPLOAD_PARTS).where(is_part))
            touch(connection, upload_id)

    def restage(self, upload_id: str, lost_token: str, fresh_token: str) -> bool:
        """Go on in a fresh staging, without any part: the store has lost the one before.

        False if another stream was faster. Raises UploadNotOpenError, UploadAbortedError.
        """
        # An upload's first staging, undone by a power loss, is an orphan and is begun anew, as its parts are.
        with self._database.write(durable=bool(lost_token)) as connection:
            upload = upload_from(upload_row(connection, upload_id, lock=True))
            require_open(upload)
            if upload.staging_token != lost_token:
                return False
            of_upload = UPLOADS.c.upload_id == upload_id
            connection.execute(update(UPLOADS).where(of_upload).values(staging_token=fresh_token))
            connection.execute(sql_delete(UPLOAD_PARTS).where(UPLOAD_PARTS.c.upload_id == upload_id))
            touch(connection, upload_id)
            return True

    # Completion

    def begin_completion(self, upload_id: str, asker: Asker) -> bool:
        """Take an OPEN upload, or a COMPLETING one that nobody works on, for this process to complete.

        Its end is kept in the audit in the name of the asker, whichever process comes to it.

        False where there is nothing to take: another process holds the lease, or it is no longer live.
        """
        return self._take_completion(upload_id, LIVE, completion_asker_json=asker_json(asker))

    def resume_completion(self, upload_id: str) -> bool:
        """Take a COMPLETING upload that nobody else works on, for this process to complete; False as above.

        One that was led back to OPEN stays so until a client asks again: its parts may be replaced at this moment.
        """
        return self._take_completion(upload_id, [UploadState.COMPLETING])

    def _take_completion(self, upload_id: str, states: Sequence[UploadState], **also: str) -> bool:
        now = microseconds()
        with self._database.write() as connection:
            row = upload_row(connection, upload_id, lock=True)
            taken = row.state == UploadState.COMPLETING.value and row.lease_until > now
            if UploadState(row.state) not in states or (taken and row.lease_owner != self._owner):
                return False
            _set_state(
                connection,
                upload_id,
                UploadState.COMPLETING,
                lease_owner=self._owner,
                lease_until=now + _lease_microseconds(),
                failure_reason="",
                failure_message="",
                **also,
            )
            return True

    def completion(self, upload_id: str) -> Upload | None:
        """Return the upload if this process still holds its completion."""
        with self._database.read() as connection:
            row = upload_row(connection, upload_id)
            return _with_totals(connection, row) if self._holds(row) else None

    def renew(self, upload_id: str, hashed_size_bytes: int | None = None) -> bool:
        """Keep a completion, and say how far it is. False if it is no longer this process's."""
        with self._database.write(durable=False) as connection:
            held = self._holds(upload_row(connection, upload_id, lock=True))
            if held:
                values = {"lease_until": microseconds() + _lease_microseconds()}
                if hashed_size_bytes is not None:
                    values["hashed_size_bytes"] = hashed_size_bytes
                connection.execute(update(UPLOADS).where(UPLOADS.c.upload_id == upload_id).values(values))
            return held

    def complete(self, stored: StoredObject) -> bool:
        """Make the object visible as its next generation and its upload COMPLETED.

        False if the completion is no longer this process's. Raises as `make_visible`.
        """
        with self._database.write() as connection:
            row = upload_row(connection, stored.upload_id, lock=True)
            if not self._holds(row):
                return False
            visible = make_visible(connection, stored, row.replaces_generation)
            _set_state(
                connection,
                stored.upload_id,
                UploadState.COMPLETED,
                hashed_size_bytes=stored.size_bytes,
                lease_owner="",
                lease_until=0,
            )
            note_end(connection, row, "OK", generation=str(visible.generation))
            return True

    def reopen(self, upload: Upload, failure: UploadFailure, staging_token: str, parts: Sequence[UploadPart]) -> bool:
        """Lead a completion back to OPEN with this staging and these parts, and no others.

        False if the completion is no longer this process's.
        """
        with self._database.write() as connection:
            row = upload_row(connection, upload.upload_id, lock=True)
            if not self._holds(row):
                return False
            connection.execute(sql_delete(UPLOAD_PARTS).where(UPLOAD_PARTS.c.upload_id == upload.upload_id))
            fields = {"upload_id": upload.upload_id, "stream_epoch": row.stream_epoch}
            if rows := [fields | part_values(part) for part in parts]:
                connection.execute(insert(UPLOAD_PARTS), rows)
            _set_state(
                connection,
                upload.upload_id,
                UploadState.OPEN,
                staging_token=staging_token,
                hashed_size_bytes=0,
                computed_md5=failure.computed_md5,
                failure_reason=failure.reason,
                failure_message=failure.message,
                lease_owner="",
                lease_until=0,
            )
            note_end(connection, row, failure.reason)
            return True

    def release(self, upload_id: str) -> None:
        """Give a completion back unfinished, for another process to take at once."""
        with self._database.write() as connection:
            if self._holds(upload_row(connection, upload_id, lock=True)):
                connection.execute(update(UPLOADS).where(UPLOADS.c.upload_id == upload_id).values(lease_until=0))

    def release_all(self) -> None:
        """Give all completions back: for the start of the one process that owns the store."""
        with self._database.write() as connection:
            connection.execute(update(UPLOADS).where(UPLOADS.c.lease_until > 0).values(lease_until=0))

    def abandoned_completions(self, limit: int) -> Sequence[str]:
        """Return ids of COMPLETING uploads that nobody works on."""
        abandoned = (UPLOADS.c.state == UploadState.COMPLETING.value) & (UPLOADS.c.lease_until <= microseconds())
        with self._database.read() as connection:
            return connection.execute(select(UPLOADS.c.upload_id).where(abandoned).limit(limit)).scalars().all()

    # Objects

    def objects(self, object_ids: Sequence[str]) -> dict[str, StoredObject]:
        """Return the visible objects among these ids."""
        with self._database.read() as connection:
            rows = connection.execute(select(OBJECTS).where(OBJECTS.c.object_id.in_(object_ids)))
            return {row.object_id: object_from(row) for row in rows}

    def _holds(self, row: Row[tuple[object, ...]]) -> bool:
        return bool(row.state == UploadState.COMPLETING.value and row.lease_owner == self._owner)


def _is_late(connection: Connection, row: Row[tuple[object, ...]]) -> bool:
    is_object = OBJECTS.c.object_id == row.object_id
    generation = connection.execute(select(OBJECTS.c.generation).where(is_object)).scalar_one_or_none()
    return bool(generation is not None and generation > row.replaces_generation)


def _require_not_stored(connection: Connection, object_id: str, replaces_generation: int) -> None:
    is_object = OBJECTS.c.object_id == object_id
    generation = connection.execute(select(OBJECTS.c.generation).where(is_object)).scalar_one_or_none()
    if generation not in {None, replaces_generation}:
        raise _TakenError


def _require_fresh_key(connection: Connection, staging_key: str) -> None:
    """Two starts may have counted alike, and the other one's upload may be over by now: its leftovers have this key."""
    total = connection.execute(select(func.count()).where(UPLOADS.c.staging_key == staging_key)).scalar_one()
    if total > 1:
        raise _TakenError


def _lease_microseconds() -> int:
    return round(limits.LEASE_SECONDS * 1e6)


def upload_row(connection: Connection, upload_id: str, *, lock: bool = False) -> Row[tuple[object, ...]]:
    """Return an upload's row, locked up to the end of the transaction where wanted. Raises UploadNotFoundError."""
    if len(upload_id) > _UPLOAD_ID_CHARS or not upload_id.isprintable():
        raise UploadNotFoundError("there is no such upload: upload ids are UUIDs")
    query: Select[tuple[object, ...]] = select(UPLOADS).where(UPLOADS.c.upload_id == upload_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise UploadNotFoundError(f"there is no upload {upload_id!r}", upload_id=upload_id)
    return row


def _with_totals(connection: Connection, row: Row[tuple[object, ...]]) -> Upload:
    upload = upload_from(row)
    total, size_bytes = connection.execute(
        select(func.count(), func.coalesce(func.sum(UPLOAD_PARTS.c.size_bytes), 0)).where(
            UPLOAD_PARTS.c.upload_id == upload.upload_id
        )
    ).one()
    return replace(upload, persisted_part_total=total, persisted_size_bytes=int(size_bytes))


def _parts(connection: Connection, upload_id: str, after: int, limit: int) -> Iterable[UploadPart]:
    query = (
        select(UPLOAD_PARTS)
        .where(UPLOAD_PARTS.c.upload_id == upload_id, UPLOAD_PARTS.c.part_number > after)
        .order_by(UPLOAD_PARTS.c.part_number)
        .limit(limit)
    )
    return map(part_from, connection.execute(query))


def touch(connection: Connection, upload_id: str) -> None:
    """Note that parts have changed: what the last completion found no longer holds."""
    values = {"update_time": microseconds(), "computed_md5": "", "failure_reason": "", "failure_message": ""}
    connection.execute(update(UPLOADS).where(UPLOADS.c.upload_id == upload_id).values(values))


def _set_state(connection: Connection, upload_id: str, state: UploadState, **values: object) -> None:
    changed = {"state": state.value, "update_time": microseconds(), **values}
    connection.execute(update(UPLOADS).where(UPLOADS.c.upload_id == upload_id).values(changed))
