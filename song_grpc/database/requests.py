"""Answers to requests with an id, in SQL, kept for at least 24 hours."""

import json
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, delete, insert, or_, select
from sqlalchemy.exc import IntegrityError

from song_grpc.database.tables import requests
from song_grpc.database.times import to_microseconds
from song_grpc.domain.limits import REQUEST_ID_KEPT_SECONDS
from song_grpc.domain.requests import RequestKey, reused

Answer = dict[str, str | int | bool]
_PRUNED_AT_ONCE = 100


def find(connection: Connection, key: RequestKey | None) -> Answer | None:
    """Return the first answer to this request, None for a new one. Raises RequestIdReusedError."""
    if key is None:
        return None
    query = select(requests.c.digest, requests.c.answer_json).where(
        requests.c.actor == key.actor, requests.c.method == key.method, requests.c.request_id == key.request_id
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if row.digest != key.digest:
        raise reused(key.request_id)
    answer: Answer = json.loads(row.answer_json)
    return answer


def add(connection: Connection, key: RequestKey | None, answer: Answer, now: datetime) -> None:
    """Keep an answer, and forget some that are old. Raises RequestIdReusedError where another caller was first."""
    if key is None:
        return
    _prune(connection, now)
    try:
        connection.execute(
            insert(requests).values(
                actor=key.actor,
                method=key.method,
                request_id=key.request_id,
                digest=key.digest,
                answer_json=json.dumps(answer),
                time=to_microseconds(now),
            )
        )
    except IntegrityError:
        # Repetitions of one request wait for each other: this was another one, at the same time.
        raise reused(key.request_id) from None


def _prune(connection: Connection, now: datetime) -> None:
    columns = requests.c
    before = to_microseconds(now - timedelta(seconds=REQUEST_ID_KEPT_SECONDS))
    old = connection.execute(
        select(columns.actor, columns.method, columns.request_id)
        .where(columns.time < before)
        .order_by(columns.time)
        .limit(_PRUNED_AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    if old:
        same = [
            and_(columns.actor == row.actor, columns.method == row.method, columns.request_id == row.request_id)
            for row in old
        ]
        connection.execute(delete(requests).where(or_(*same)))
