"""Many small objects in one transaction: their keys before the store knows them, their visibility after.

No staging and no live upload is needed for bytes that are stored in one go, only a row by which whatever a dying
process leaves in the store is found. So an object's upload begins as ABORTED and not freed, under a lease, and becomes
COMPLETED together with the object: who dies in between has aborted it, and its key is freed as that of any other.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from runtime_grpc.database import Database
from score_grpc.database.completion_ends import note_visible
from score_grpc.database.rows import microseconds, object_from, object_values, part_from, part_values, upload_values
from score_grpc.database.tables import GENERATIONS, OBJECTS, UPLOAD_PARTS, UPLOADS
from score_grpc.domain import limits
from score_grpc.domain.audit import Asker
from score_grpc.domain.layout import Layout
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.domain.uploads import LIVE, AbortReason, Upload, UploadPart, UploadState

_LIVE_STATES = [state.value for state in LIVE]


class SmallObjects:
    """Reserves keys, and makes objects visible. Each method is one transaction."""

    def __init__(self, database: Database, owner: str, layout: Layout) -> None:
        """`owner` names this process in leases, and nobody else does: not the completions of this process either."""
        self._database, self._owner, self._layout = database, owner, layout

    def reserve(self, uploads: Sequence[Upload]) -> Sequence[Upload]:
        """Add uploads of different objects, each with a key of its own, for SMALL_OBJECT_LEASE_SECONDS.

        Returned are those whose object holds nothing and has no live upload, with their `staging_key`.
        """
        if not uploads:
            return []
        # In one order, so that two processes that reserve the same ids wait for each other and no more than that.
        wanted = sorted(uploads, key=lambda upload: upload.object_id)
        try:
            # What a power loss undoes here is begun anew, under the same key.
            with self._database.write(durable=False) as connection:
                return self._reserve(connection, wanted)
        except IntegrityError:  # of one of them a live upload has come meanwhile
            return [kept for upload in wanted for kept in self.reserve([upload])] if wanted[1:] else []

    def complete(
        self, objects: Sequence[tuple[StoredObject, UploadPart | None]], asker: Asker
    ) -> Mapping[str, StoredObject]:
        """Make objects visible that were reserved and stored, each with its one part, an empty one without.

        The audit has a row of each, in the name of the asker. Returned are those that are visible now, by object id,
        with their generation. Not among them: whose reservation has run out, whose object holds other bytes by now, or
        has a live upload.
        """
        if not objects:
            return {}
        found = sorted(objects, key=lambda item: item[0].object_id)
        try:
            with self._database.write() as connection:
                return self._complete(connection, found, asker)
        except IntegrityError:
            alone = [self.complete([item], asker) for item in found] if found[1:] else []
            return {object_id: stored for one in alone for object_id, stored in one.items()}

    def release(self, upload_ids: Collection[str]) -> None:
        """Give reservations up: what is under their keys may be freed at once."""
        ours = UPLOADS.c.upload_id.in_(upload_ids) & (UPLOADS.c.lease_owner == self._owner)
        with self._database.write(durable=False) as connection:
            connection.execute(update(UPLOADS).where(ours).values(lease_owner="", lease_until=0))

    def parts(self, upload_ids: Sequence[str]) -> Mapping[str, Sequence[UploadPart]]:
        """Return the parts of these uploads, in order, by upload id: of objects that have few."""
        found: dict[str, list[UploadPart]] = {upload_id: [] for upload_id in upload_ids}
        query = select(UPLOAD_PARTS).where(UPLOAD_PARTS.c.upload_id.in_(upload_ids))
        with self._database.read() as connection:
            for row in connection.execute(query.order_by(UPLOAD_PARTS.c.upload_id, UPLOAD_PARTS.c.part_number)):
                found[row.upload_id].append(part_from(row))
        return found

    def _reserve(self, connection: Connection, uploads: Sequence[Upload]) -> Sequence[Upload]:
        free = [replace(upload, state=UploadState.OPEN) for upload in uploads]
        taken = _live(connection, free) | set(_stored(connection, [upload.object_id for upload in free]))
        free = [upload for upload in free if upload.object_id not in taken]
        if not free:
            return []
        # Live for the length of this transaction: nobody else can count the same number meanwhile.
        connection.execute(insert(UPLOADS), [upload_values(upload) for upload in free])
        ids = [upload.object_id for upload in free]
        counted = select(UPLOADS.c.object_id, func.count()).where(UPLOADS.c.object_id.in_(ids))
        counts = {row[0]: row[1] for row in connection.execute(counted.group_by(UPLOADS.c.object_id))}
        taken = set(_stored(connection, ids))  # by a completion that the row waited for
        reserved = [
            replace(
                upload,
                staging_key=self._layout.key(upload.object_id, counts[upload.object_id]),
                state=UploadState.ABORTED,
            )
            for upload in free
        ]
        connection.execute(
            update(UPLOADS).where(UPLOADS.c.upload_id == bindparam("id")).values(staging_key=bindparam("key")),
            [{"id": upload.upload_id, "key": upload.staging_key} for upload in reserved],
        )
        connection.execute(
            update(UPLOADS)
            .where(UPLOADS.c.upload_id.in_([upload.upload_id for upload in reserved]))
            .values(
                state=UploadState.ABORTED.value,
                abort_reason=AbortReason.EXPIRED.value,
                lease_owner=self._owner,
                lease_until=microseconds() + round(limits.SMALL_OBJECT_LEASE_SECONDS * 1e6),
            )
        )
        return [upload for upload in reserved if upload.object_id not in taken]

    def _complete(
        self, connection: Connection, objects: Sequence[tuple[StoredObject, UploadPart | None]], asker: Asker
    ) -> Mapping[str, StoredObject]:
        held = select(UPLOADS.c.upload_id).where(
            UPLOADS.c.upload_id.in_([stored.upload_id for stored, _ in objects]),
            UPLOADS.c.lease_owner == self._owner,
            UPLOADS.c.state == UploadState.ABORTED.value,
        )
        ours = set(connection.execute(held.order_by(UPLOADS.c.upload_id).with_for_update()).scalars())
        taken = _live(connection, [stored for stored, _ in objects])
        kept = [item for item in objects if item[0].upload_id in ours and item[0].object_id not in taken]
        # Live first: whoever starts or completes an upload of the same object at this moment waits, or is waited for.
        _make_live(connection, [stored for stored, _ in kept])
        there = set(_stored(connection, [stored.object_id for stored, _ in kept]))
        late = [stored for stored, _ in kept if stored.object_id in there]
        _set_state(connection, late, UploadState.ABORTED, {"lease_owner": "", "lease_until": 0})
        kept = [item for item in kept if item[0].object_id not in there]
        visible = _numbered(connection, [stored for stored, _ in kept])
        parts = [
            {"upload_id": stored.upload_id, "stream_epoch": 0, **part_values(part)} for stored, part in kept if part
        ]
        if parts:
            connection.execute(insert(UPLOAD_PARTS), parts)
        if visible:
            connection.execute(insert(OBJECTS), [object_values(stored) for stored in visible])
        ended = {"hashed_size_bytes": UPLOADS.c.size_bytes, "abort_reason": "", "lease_owner": "", "lease_until": 0}
        _set_state(connection, visible, UploadState.COMPLETED, ended)
        note_visible(connection, visible, asker)
        return {stored.object_id: stored for stored in visible}


def _live(connection: Connection, items: Sequence[Upload | StoredObject]) -> set[str]:
    """Return those of their objects that have a live upload."""
    ids = [item.object_id for item in items]
    query = select(UPLOADS.c.object_id).where(UPLOADS.c.object_id.in_(ids), UPLOADS.c.state.in_(_LIVE_STATES))
    return set(connection.execute(query).scalars())


def _stored(connection: Connection, object_ids: Sequence[str]) -> Mapping[str, StoredObject]:
    rows = connection.execute(select(OBJECTS).where(OBJECTS.c.object_id.in_(object_ids)))
    return {row.object_id: object_from(row) for row in rows}


def _make_live(connection: Connection, objects: Sequence[StoredObject]) -> None:
    """Make each the live upload of its object, in the order given: two processes with the same objects queue up.

    One statement for all would take them in an order of the database's own, and two such lock each other out.
    """
    if objects:
        is_upload = UPLOADS.c.upload_id == bindparam("id")
        live = update(UPLOADS).where(is_upload).values(state=UploadState.COMPLETING.value)
        connection.execute(live, [{"id": stored.upload_id} for stored in objects])


def _set_state(
    connection: Connection, objects: Sequence[StoredObject], state: UploadState, also: Mapping[str, object]
) -> None:
    if objects:
        of_these = UPLOADS.c.upload_id.in_([stored.upload_id for stored in objects])
        values = {"state": state.value, "update_time": microseconds(), **also}
        connection.execute(update(UPLOADS).where(of_these).values(values))


def _numbered(connection: Connection, objects: Sequence[StoredObject]) -> Sequence[StoredObject]:
    """Return the objects as the next generations of their ids, which hold nothing now."""
    ids = [stored.object_id for stored in objects]
    rows = connection.execute(select(GENERATIONS).where(GENERATIONS.c.object_id.in_(ids)))
    last = {row.object_id: row.last_generation for row in rows}
    new = [object_id for object_id in ids if object_id not in last]
    if new:
        connection.execute(insert(GENERATIONS), [{"object_id": found, "last_generation": 1} for found in new])
    if last:
        again = update(GENERATIONS).where(GENERATIONS.c.object_id.in_(last))
        connection.execute(again.values(last_generation=GENERATIONS.c.last_generation + 1))
    return [replace(stored, generation=last.get(stored.object_id, 0) + 1) for stored in objects]
