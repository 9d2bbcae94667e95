"""Bytes in the store that lost their place: whose time has come. Each method is one transaction."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, exists, select, update
from sqlalchemy import delete as sql_delete

from runtime_grpc.database import Database
from score_grpc.database.rows import microseconds
from score_grpc.database.tables import OBJECTS, RETIRED_KEYS, UPLOAD_PARTS, UPLOADS
from score_grpc.domain import limits


class RetiredKeys:
    """Gives out keys to be deleted from the store, each to one process at a time."""

    def __init__(self, database: Database, owner: str) -> None:
        """`owner` names this process in leases."""
        self._database, self._owner = database, owner

    def take(self, now: datetime, limit: int) -> Sequence[str]:
        """Return keys that no stream reads any more by `now`, at most `limit`.

        They are this process's to delete for LEASE_SECONDS: whoever dies over it leaves them to the next one.
        """
        keys, moment = RETIRED_KEYS.c, microseconds()
        is_in_use = exists().where(and_(OBJECTS.c.object_id == keys.object_id, OBJECTS.c.store_key == keys.store_key))
        due = and_(keys.delete_time <= microseconds(now), keys.lease_until <= moment, ~is_in_use)
        query = select(keys.store_key).where(due).order_by(keys.delete_time).limit(limit)
        with self._database.write() as connection:
            taken = connection.execute(query.with_for_update(skip_locked=True, of=RETIRED_KEYS)).scalars().all()
            lease = {"lease_owner": self._owner, "lease_until": moment + round(limits.LEASE_SECONDS * 1e6)}
            connection.execute(update(RETIRED_KEYS).where(keys.store_key.in_(taken)).values(lease))
        return taken

    def forget(self, store_key: str) -> None:
        """Note that the store has the key no more, and forget the parts it was made of."""
        of_key = select(UPLOADS.c.upload_id).where(UPLOADS.c.staging_key == store_key)
        with self._database.write() as connection:
            connection.execute(sql_delete(RETIRED_KEYS).where(RETIRED_KEYS.c.store_key == store_key))
            connection.execute(sql_delete(UPLOAD_PARTS).where(UPLOAD_PARTS.c.upload_id.in_(of_key)))
