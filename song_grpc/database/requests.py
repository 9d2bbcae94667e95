"""Answers to requests with an id, in SQL, kept for at least 24 hours."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select
from sqlalchemy.exc import IntegrityError

from song_grpc.database.batches import in_batches
from song_grpc.database.tables import requests
from song_grpc.database.times import to_microseconds
from song_grpc.domain.limits import REQUEST_ID_KEPT_SECONDS
from song_grpc.domain.requests import RequestKey, reused

Answer = dict[str, str | int | bool]
Identity = tuple[str, str, str]
Kept = tuple[str, Answer]
"""The digest of a request's content, and the answer."""
_COLUMNS = requests.c
_KEPT = select(_COLUMNS.request_id, _COLUMNS.digest, _COLUMNS.answer_json).where(
    _COLUMNS.actor == bindparam("actor"),
    _COLUMNS.method == bindparam("method"),
    _COLUMNS.request_id.in_(bindparam("ids", expanding=True)),
)
_PRUNED_AT_ONCE = 100


def find(connection: Connection, key: RequestKey | None) -> Answer | None:
    """Return the first answer to this request, None for a new one. Raises RequestIdReusedError."""
    return None if key is None else answer_to(key, find_all(connection, [key]))


def find_all(connection: Connection, keys: Iterable[RequestKey]) -> dict[Identity, Kept]:
    """Return what is kept of these requests; see `answer_to`."""
    found: dict[Identity, Kept] = {}
    ids: dict[tuple[str, str], list[str]] = {}
    for key in keys:
        ids.setdefault((key.actor, key.method), []).append(key.request_id)
    for (actor, method), request_ids in ids.items():
        for batch in in_batches(request_ids):
            for row in connection.execute(_KEPT, {"actor": actor, "method": method, "ids": batch}):
                found[actor, method, row.request_id] = (row.digest, json.loads(row.answer_json))
    return found


def answer_to(key: RequestKey | None, kept: Mapping[Identity, Kept]) -> Answer | None:
    """Return the first answer to this request, None for a new one. Raises RequestIdReusedError."""
    if key is None or key.identity not in kept:
        return None
    digest, answer = kept[key.identity]
    if digest != key.digest:
        raise reused(key.request_id)
    return answer


def add(connection: Connection, key: RequestKey | None, answer: Answer, now: datetime) -> None:
    """Keep an answer, and forget some that are old. Raises RequestIdReusedError where another caller was first."""
    if key is not None:
        add_all(connection, [(key, answer)], now)


def add_all(connection: Connection, answered: Sequence[tuple[RequestKey, Answer]], now: datetime) -> None:
    """Keep answers, at most 100 of them, and forget some that are old.

    Where another caller was first with one, raises RequestIdReusedError if it is the only one, IntegrityError if not.
    """
    if not answered:
        return
    _prune(connection, now)
    try:
        connection.execute(
            insert(requests),
            [
                {
                    "actor": key.actor,
                    "method": key.method,
                    "request_id": key.request_id,
                    "digest": key.digest,
                    "answer_json": json.dumps(answer),
                    "time": to_microseconds(now),
                }
                for key, answer in answered
            ],
        )
    except IntegrityError:
        if len(answered) > 1:
            raise
        # Repetitions of one request wait for each other: this was another one, at the same time.
        raise reused(answered[0][0].request_id) from None


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
