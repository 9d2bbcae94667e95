"""The audit: only added to, and pruned by age. Each method is one transaction."""

import json
from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

from sqlalchemy import Connection, insert, select
from sqlalchemy import delete as sql_delete

from runtime_grpc.database import Database
from score_grpc.database.rows import microseconds
from score_grpc.database.tables import AUDIT
from score_grpc.domain.audit import AuditEntry

_NAME_CHARS, _WORD_CHARS, _ID_CHARS = 255, 32, 36


class AuditLog:
    """Keeps entries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, entries: Sequence[AuditEntry]) -> None:
        """Keep entries; they survive the death of every process, of a power loss after a while."""
        with self._database.write(durable=False) as connection:
            add_entries(connection, entries)

    def prune(self, before: datetime, limit: int) -> int:
        """Forget entries of before this moment, at most `limit`, and return how many."""
        old = select(AUDIT.c.entry_id).where(AUDIT.c.time < microseconds(before)).order_by(AUDIT.c.time).limit(limit)
        with self._database.write(durable=False) as connection:
            return connection.execute(sql_delete(AUDIT).where(AUDIT.c.entry_id.in_(old))).rowcount


def add_entries(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    """Add entries within the transaction of what they tell of."""
    rows = [
        {
            "entry_id": str(uuid4()),
            "time": microseconds(entry.time),
            "principal": _text(entry.principal, _NAME_CHARS),
            "action": entry.action[:_WORD_CHARS],
            "object_id": _text(entry.object_id, _ID_CHARS),
            "study_id": _text(entry.study_id, _ID_CHARS),
            "result": entry.result,
            "facts_json": json.dumps(entry.cut_facts()),
        }
        for entry in entries
    ]
    if rows:
        connection.execute(insert(AUDIT), rows)


def _text(value: str, chars: int) -> str:
    """Cut what a caller made up, and keep what no database takes out of it."""
    return value[:chars].replace("\0", "�").encode(errors="replace").decode()
