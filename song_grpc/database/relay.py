"""How far the relay of events got, in SQL, and whose turn it is.

The row `events` is locked by whatever gives positions or moves a mark, so that positions have no gap and are
visible in their order. The lease says which process may send: by the database's clock, so that the clocks of
servers don't matter.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, DateTime, Row, Update, delete, func, select, update

from song_grpc.database.tables import outbox, relay
from song_grpc.database.times import from_microseconds, to_microseconds
from song_grpc.domain.limits import RELAY_LEASE_SECONDS

_NAME = "events"
_COLUMNS = relay.c


@dataclass(frozen=True, slots=True)
class Marks:
    """Positions of the last events that have one, that the broker holds, that are no longer kept."""

    last: int
    sent: int
    pruned: int


def read_marks(connection: Connection, *, lock: bool = False) -> Marks:
    """Return how far the relay got."""
    row = _row(connection, lock=lock)
    return Marks(row.last_position, row.sent_position, row.pruned_position)


def may_take(connection: Connection, holder: str, *, is_alone: bool) -> bool:
    """Say whether `take` would give the lease just now. Locks nothing."""
    return _is_free(connection, _row(connection, lock=False), holder, is_alone=is_alone)


def take(connection: Connection, holder: str, *, is_alone: bool) -> bool:
    """Take the lease, or keep it for another time; say whether it is the holder's now.

    It lasts `RELAY_LEASE_SECONDS` from the begin of the transaction. `is_alone` says that no other process can use
    the database: whoever held the lease is dead.
    """
    row = _row(connection, lock=True)
    if not _is_free(connection, row, holder, is_alone=is_alone):
        return False
    until = _now(connection) + timedelta(seconds=RELAY_LEASE_SECONDS)
    connection.execute(_update().values(holder=holder, lease_until=to_microseconds(until)))
    return True


def give_up(connection: Connection, holder: str) -> None:
    """End the lease, if it is the holder's."""
    connection.execute(_update().where(_COLUMNS.holder == holder).values(holder="", lease_until=0))


def place(connection: Connection, limit: int) -> int:
    """Give the events that have no position the next ones, in the order of their numbers; return the last position.

    The lease must have been taken in this transaction. Of one analysis, a later event has the larger number, and is
    visible only where the earlier ones are: so its events keep their order, also where another event with a smaller
    number is committed late.
    """
    row = _row(connection, lock=True)
    columns = outbox.c
    numbered = (
        select(columns.number, func.row_number().over(order_by=columns.number).label("rank"))
        .where(columns.position.is_(None))
        .order_by(columns.number)
        .limit(limit)
        .subquery()
    )
    placed = connection.execute(
        update(outbox)
        .where(columns.number == numbered.c.number)
        .values(position=row.last_position + numbered.c.rank)
        .execution_options(synchronize_session=False)
    ).rowcount
    last: int = row.last_position + placed
    if placed:
        connection.execute(_update().values(last_position=last))
    return last


def move_sent(connection: Connection, holder: str, old: int, new: int) -> bool:
    """Say that the broker holds all events up to `new`; False where a replay, or another holder, came between."""
    statement = _update().where(_COLUMNS.holder == holder, _COLUMNS.sent_position == old)
    return connection.execute(statement.values(sent_position=new)).rowcount == 1


def send_again_from(connection: Connection, position: int) -> None:
    """Have the events from a position on sent, again where they have been."""
    before = position - 1
    connection.execute(_update().where(_COLUMNS.sent_position > before).values(sent_position=before))


def oldest_time(connection: Connection, marks: Marks) -> datetime | None:
    """Return the time of the first event that is kept; None where there is none."""
    columns = outbox.c
    query = select(columns.time).where(columns.position > marks.pruned).order_by(columns.position).limit(1)
    found = connection.execute(query).scalar_one_or_none()
    return None if found is None else from_microseconds(found)


def prune(connection: Connection, before: datetime, limit: int, *, only_sent: bool) -> int:
    """Forget the first events that are older than a time, so many at most; return how many.

    `only_sent` keeps those that the broker does not hold.
    """
    marks = read_marks(connection, lock=True)
    columns = outbox.c
    query = (
        select(columns.position, columns.time)
        .where(columns.position > marks.pruned, columns.position <= (marks.sent if only_sent else marks.last))
        .order_by(columns.position)
        .limit(limit)
    )
    pruned, count = marks.pruned, 0
    for row in connection.execute(query):
        if row.time >= to_microseconds(before):
            break
        pruned, count = row.position, count + 1
    if count:
        connection.execute(delete(outbox).where(columns.position > marks.pruned, columns.position <= pruned))
        connection.execute(_update().values(pruned_position=pruned, sent_position=max(marks.sent, pruned)))
    return count


def _update() -> Update:
    return update(relay).where(_COLUMNS.name == _NAME)


def _row(connection: Connection, *, lock: bool) -> Row[tuple[str, str, int, int, int, int]]:
    query = select(relay).where(_COLUMNS.name == _NAME)
    return connection.execute(query.with_for_update() if lock else query).one()


def _is_free(
    connection: Connection, row: Row[tuple[str, str, int, int, int, int]], holder: str, *, is_alone: bool
) -> bool:
    return is_alone or row.holder in {"", holder} or row.lease_until < to_microseconds(_now(connection))


def _now(connection: Connection) -> datetime:
    """Return the database's time at the begin of the transaction."""
    time = connection.execute(select(func.current_timestamp(type_=DateTime(timezone=True)))).scalar_one()
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
