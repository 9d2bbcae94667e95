"""What the store may still hold of uploads that are over, by the ledger. Each method is one transaction."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, or_, select, update
from sqlalchemy import delete as sql_delete

from runtime_grpc.database import Database
from score_grpc.database.rows import microseconds, upload_from
from score_grpc.database.tables import IS_UNFREED, UPLOAD_PARTS, UPLOADS
from score_grpc.domain import limits
from score_grpc.domain.uploads import LIVE, AbortReason, Upload, UploadState


class Leftovers:
    """Gives out uploads to be freed, each to one process at a time."""

    def __init__(self, database: Database, owner: str) -> None:
        """`owner` names this process in leases."""
        self._database, self._owner = database, owner

    def take(self, idle_before: datetime, started_before: datetime, limit: int) -> Sequence[Upload]:
        """Abort OPEN uploads that expired; return them with aborted ones that were not freed, at most `limit` in all.

        Expired are those last active, or started, before these moments. What is returned is this process's to free
        for LEASE_SECONDS: whoever dies over it leaves it to the next one.
        """
        now = microseconds()
        expired = and_(
            UPLOADS.c.state == UploadState.OPEN.value,
            or_(
                UPLOADS.c.update_time < microseconds(idle_before),
                UPLOADS.c.create_time < microseconds(started_before),
            ),
        )
        unfreed = and_(IS_UNFREED, UPLOADS.c.lease_until <= now)
        with self._database.write() as connection:
            taken: list[Upload] = []
            # Two looks, for each has an index of its own. A row that somebody holds is skipped: a part is just being
            # recorded, or another process takes it.
            for wanted in (expired, unfreed):
                rows = select(UPLOADS).where(wanted).order_by(UPLOADS.c.lease_until).limit(limit - len(taken))
                rows = rows.with_for_update(skip_locked=True)
                found = [upload_from(row) for row in connection.execute(rows)]
                self._take(connection, found, now)
                taken += found
        return taken

    def orphans_among(self, stagings: Sequence[tuple[str, str]], *, is_exclusive: bool) -> Sequence[tuple[str, str]]:
        """Return those of these (key, token) that belong to no live upload.

        In a store that others may use too, only those whose key an upload of ours has or had. A staging of an upload
        that is COMPLETING is never one: it may be about to go on in a staging that the ledger does not know yet.
        """
        keys, tokens = {key for key, _ in stagings}, {token for _, token in stagings}
        columns = (UPLOADS.c.staging_key, UPLOADS.c.staging_token, UPLOADS.c.state)
        ours = or_(UPLOADS.c.staging_key.in_(keys), UPLOADS.c.staging_token.in_(tokens))
        with self._database.read() as connection:
            rows = connection.execute(select(*columns).where(ours)).all()
        live_states = {state.value for state in LIVE}
        known_keys = {row.staging_key for row in rows}
        live_tokens = {row.staging_token for row in rows if row.state in live_states}
        completing_keys = {row.staging_key for row in rows if row.state == UploadState.COMPLETING.value}
        return [
            (key, token)
            for key, token in stagings
            if token not in live_tokens and key not in completing_keys and (is_exclusive or key in known_keys)
        ]

    def _take(self, connection: Connection, uploads: Collection[Upload], now: int) -> None:
        if not uploads:
            return
        ids = [upload.upload_id for upload in uploads]
        lease = {"lease_owner": self._owner, "lease_until": now + round(limits.LEASE_SECONDS * 1e6)}
        connection.execute(update(UPLOADS).where(UPLOADS.c.upload_id.in_(ids)).values(lease))
        expired = [upload.upload_id for upload in uploads if upload.state is UploadState.OPEN]
        ended = {
            "state": UploadState.ABORTED.value,
            "abort_reason": AbortReason.EXPIRED.value,
            "update_time": now,
        }
        connection.execute(update(UPLOADS).where(UPLOADS.c.upload_id.in_(expired)).values(ended))
        connection.execute(sql_delete(UPLOAD_PARTS).where(UPLOAD_PARTS.c.upload_id.in_(expired)))
