"""Verifications asked for: jobs under a lease. Each method is one transaction."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, insert, select, update

from runtime_grpc.database import Database
from score_grpc.database.rows import microseconds, object_from
from score_grpc.database.tables import IS_VERIFYING, OBJECTS, UPLOAD_PARTS
from score_grpc.domain import limits
from score_grpc.domain.stored_objects import Findings, StoredObject, Verification

_IDLE = {"verify_start_time": 0, "verified_size_bytes": 0, "verify_owner": "", "verify_until": 0}


class Verifications:
    """Gives out objects to be read again, each to one process at a time."""

    def __init__(self, database: Database, owner: str) -> None:
        """`owner` names this process in leases."""
        self._database, self._owner = database, owner

    def ask(self, object_id: str) -> StoredObject | None:
        """Ask for a verification, unless one is under way; return the object, None where there is none."""
        is_object = OBJECTS.c.object_id == object_id
        asked = _IDLE | {"verify_start_time": microseconds()}
        with self._database.write() as connection:
            connection.execute(update(OBJECTS).where(is_object, OBJECTS.c.verify_start_time == 0).values(asked))
            row = connection.execute(select(OBJECTS).where(is_object)).one_or_none()
            return None if row is None else object_from(row)

    def take(self, limit: int) -> Sequence[StoredObject]:
        """Return objects that wait, at most `limit`: this process's to read for LEASE_SECONDS, and while it renews."""
        now = microseconds()
        query = select(OBJECTS).where(IS_VERIFYING, OBJECTS.c.verify_until <= now)
        query = query.order_by(OBJECTS.c.verify_until, OBJECTS.c.verify_start_time).limit(limit)
        with self._database.write(durable=False) as connection:
            taken = [object_from(row) for row in connection.execute(query.with_for_update(skip_locked=True))]
            ids = [stored.object_id for stored in taken]
            # Read from the first byte: what another process had read is not kept.
            lease = {"verify_owner": self._owner, "verify_until": _lease_end(now), "verified_size_bytes": 0}
            connection.execute(update(OBJECTS).where(OBJECTS.c.object_id.in_(ids)).values(lease))
        return taken

    def renew(self, stored: StoredObject, verified_size_bytes: int | None = None) -> bool:
        """Keep a verification, and say how far it is. False if it is no longer this process's."""
        values: dict[str, Any] = {"verify_until": _lease_end(microseconds())}
        if verified_size_bytes is not None:
            values["verified_size_bytes"] = verified_size_bytes
        with self._database.write(durable=False) as connection:
            return connection.execute(update(OBJECTS).where(self._is_held(stored)).values(values)).rowcount > 0

    def release(self, stored: StoredObject) -> None:
        """Give a verification back unfinished, for another process to take at once."""
        with self._database.write(durable=False) as connection:
            connection.execute(update(OBJECTS).where(self._is_held(stored)).values(verify_until=0))

    def release_all(self) -> None:
        """Give all back: for the start of the one process that owns the store."""
        with self._database.write(durable=False) as connection:
            connection.execute(update(OBJECTS).where(IS_VERIFYING).values(verify_until=0))

    def record(self, stored: StoredObject, findings: Findings) -> bool:
        """Note what a verification found. False if it is no longer this process's."""
        kind = Verification.VERIFIED if findings.is_verified else Verification.UNVERIFIED
        values = _IDLE | {
            "verification": kind.value,
            "verify_time": microseconds(datetime.now(UTC)),
            "damaged_parts": ",".join(map(str, findings.damaged_parts)),
            "md5": findings.md5,
        }
        parts = UPLOAD_PARTS.c
        with self._database.write() as connection:
            if not connection.execute(update(OBJECTS).where(self._is_held(stored)).values(values)).rowcount:
                return False
            for part in findings.read_parts:
                is_part = and_(parts.upload_id == stored.upload_id, parts.part_number == part.part_number)
                known = connection.execute(update(UPLOAD_PARTS).where(is_part).values(xxh3_128=part.xxh3_128))
                if not known.rowcount:
                    row = {
                        "upload_id": stored.upload_id,
                        "part_number": part.part_number,
                        "size_bytes": part.size_bytes,
                        "xxh3_128": part.xxh3_128,
                        "store_etag": part.store_etag,
                        "stream_epoch": 0,
                    }
                    connection.execute(insert(UPLOAD_PARTS).values(row))
            return True

    def _is_held(self, stored: StoredObject) -> ColumnElement[bool]:
        columns = OBJECTS.c
        return and_(
            columns.object_id == stored.object_id,
            columns.generation == stored.generation,
            columns.verify_owner == self._owner,
            IS_VERIFYING,
        )


def _lease_end(now: int) -> int:
    return now + round(limits.LEASE_SECONDS * 1e6)
