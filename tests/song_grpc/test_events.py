"""The relay: positions in one order, one holder, nothing written where there is nothing to do."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from song_grpc.database import outbox, relay, tables
from song_grpc.database.engine import MIGRATIONS, Connection, Database, note_event
from song_grpc.domain import events
from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.events import Event, EventFormat, EventMessage
from song_grpc.domain.states import EventAction
from song_grpc.gateways.event_broker import EventBrokerError
from song_grpc.use_cases.event_progress import EventProgress
from song_grpc.use_cases.relay import Relay, RelayOptions
from tests.servers.postgresql import new_database
from tests.song_grpc.world import World, payload, running

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def database(own_database_url: str, folder: Path) -> Iterator[Database]:
    """An empty database of Song."""
    folder.mkdir()
    made = Database(own_database_url or f"sqlite:///{folder / 'song.db'}")
    made.upgrade(MIGRATIONS)
    with made.write() as connection:
        connection.execute(
            insert(tables.studies).values(
                study_id="S", name="", organization="", description="", info_json="", create_time=0, wire_bytes=0,
                visibility="OPEN",
            )
        )  # fmt: skip
    yield made
    made.close()


def add_analysis(connection: Connection, analysis_id: str) -> None:
    values = dict.fromkeys(("type_version", "create_time", "update_time", "wire_bytes", "revision"), 0)
    connection.execute(
        insert(tables.analyses).values(
            analysis_id=analysis_id, study_id="S", state="UNPUBLISHED", type_name="t", data_json="{}", **values
        )
    )


def add_event(connection: Connection, analysis_id: str, event_id: str) -> None:
    connection.execute(
        insert(tables.outbox).values(
            event_id=event_id, analysis_id=analysis_id, study_id="S", action="CREATE", state="UNPUBLISHED", time=0,
            analysis_json="{}", type_name="t",
        )
    )  # fmt: skip


def place(database: Database, holder: str = "me") -> int:
    with database.write() as connection:
        assert relay.take(connection, holder, is_alone=False)
        return relay.place(connection, 100)


def in_order(database: Database) -> list[str]:
    columns = tables.outbox.c
    with database.read() as connection:
        rows = connection.execute(
            select(columns.event_id, columns.position).where(columns.position.is_not(None)).order_by(columns.position)
        ).all()
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    return [row.event_id for row in rows]


def test_an_event_that_is_committed_late_comes_after_those_that_watchers_may_have_seen(
    request: pytest.FixtureRequest,
) -> None:
    database = Database(new_database(request))
    database.upgrade(MIGRATIONS)
    with database.write() as connection:
        connection.execute(
            insert(tables.studies).values(
                study_id="S", name="", organization="", description="", info_json="", create_time=0, wire_bytes=0,
                visibility="OPEN",
            )
        )  # fmt: skip
        for analysis_id in ("slow", "quick"):
            add_analysis(connection, analysis_id)
    with database.write() as slow:
        add_event(slow, "slow", "slow 1")  # has the smaller number
        with database.write() as quick:
            add_event(quick, "quick", "quick 1")
        with database.write() as quick:
            add_event(quick, "quick", "quick 2")
        assert place(database) == 2
        assert in_order(database) == ["quick 1", "quick 2"]
    with database.write() as later:
        add_event(later, "slow", "slow 2")
    assert place(database) == 4
    assert in_order(database) == ["quick 1", "quick 2", "slow 1", "slow 2"]
    database.close()


def test_positions_are_given_in_the_order_of_numbers_and_have_no_gap(database: Database) -> None:
    with database.write() as connection:
        add_analysis(connection, "A")
        for number in range(250):
            add_event(connection, "A", f"event {number}")
    assert [place(database) for _ in range(4)] == [100, 200, 250, 250]
    assert in_order(database) == [f"event {number}" for number in range(250)]


def test_the_lease_lets_one_in_until_it_has_run_out_or_is_given_up(database: Database) -> None:
    def take(holder: str) -> bool:
        with database.write() as connection:
            return relay.take(connection, holder, is_alone=False)

    assert (take("one"), take("two"), take("one")) == (True, False, True)
    with database.write() as connection:
        relay.give_up(connection, "two")
    assert not take("two")
    with database.write() as connection:
        relay.give_up(connection, "one")
    assert (take("two"), take("one")) == (True, False)
    with database.write() as connection:  # as after `RELAY_LEASE_SECONDS`
        connection.execute(update(tables.relay).values(lease_until=tables.relay.c.lease_until - 12 * 10**6))
    with database.read() as connection:
        assert relay.may_take(connection, "one", is_alone=False)
    assert (take("one"), take("two")) == (True, False)


def test_the_mark_of_what_was_sent_moves_for_the_holder_alone_and_not_over_a_replay(database: Database) -> None:
    with database.write() as connection:
        add_analysis(connection, "A")
        for number in range(5):
            add_event(connection, "A", f"event {number}")
    place(database)
    with database.write() as connection:
        assert not relay.move_sent(connection, "another", 0, 5)
        assert relay.move_sent(connection, "me", 0, 5)
        relay.send_again_from(connection, 3)
        assert not relay.move_sent(connection, "me", 5, 6)
        assert relay.move_sent(connection, "me", 2, 4)
        relay.send_again_from(connection, 5)
        assert relay.read_marks(connection).sent == 4


@dataclass(slots=True)
class FakeBroker:
    """A broker that takes messages, or refuses them, as a test says."""

    before: Callable[[], object] = lambda: None
    sent: list[EventMessage] = field(default_factory=list)
    taken: threading.Event = field(default_factory=threading.Event)

    def send(self, messages: Sequence[EventMessage]) -> None:
        self.before()
        self.sent.extend(messages)
        self.taken.set()

    def close(self) -> None:
        pass

    @property
    def event_ids(self) -> list[str]:
        return [dict(message.headers)["event_id"].decode() for message in self.sent]


@contextmanager
def relaying(database: Database, broker: FakeBroker | None, **options: object) -> Iterator[EventProgress]:
    progress = EventProgress()
    told = {"form": EventFormat("song.tests"), "retention_days": 0.0, "now": lambda: NOW, **options}
    running_relay = Relay(database, broker, progress, RelayOptions(**told))  # type: ignore[arg-type] # options of a test
    running_relay.start()
    try:
        yield progress
    finally:
        running_relay.stop()


def test_a_batch_that_the_broker_refused_is_sent_again_whole(database: Database) -> None:
    refusals = iter([True, True])

    def refuse() -> None:
        if next(refusals, False):
            raise EventBrokerError("not now")

    broker = FakeBroker(refuse)
    with database.write() as connection:
        add_analysis(connection, "A")
        for number in range(5):
            add_event(connection, "A", f"event {number}")
    with relaying(database, broker) as progress:
        assert progress.await_beyond(4, 30) == 5  # positions do not wait for the broker
        assert broker.taken.wait(30)
    assert broker.event_ids == [f"event {number}" for number in range(5)]
    with database.read() as connection:
        assert relay.read_marks(connection) == relay.Marks(5, 5, 0)
        assert connection.execute(select(tables.relay.c.holder)).scalar_one() == ""


def test_a_replay_while_a_batch_is_sent_is_not_forgotten(database: Database) -> None:
    def replay() -> None:
        broker.before = lambda: None
        with database.write() as connection:
            relay.send_again_from(connection, 1)

    broker = FakeBroker()
    with database.write() as connection:
        add_analysis(connection, "A")
        for number in range(3):
            add_event(connection, "A", f"event {number}")
    place(database)
    with database.write() as connection:
        relay.move_sent(connection, "me", 0, 2)
        relay.give_up(connection, "me")
    broker.before = replay
    with relaying(database, broker):
        while len(broker.sent) < 4:
            assert broker.taken.wait(30)
            broker.taken.clear()
    assert broker.event_ids == ["event 2", "event 0", "event 1", "event 2"]


def test_old_events_are_forgotten_once_the_broker_has_them(database: Database) -> None:
    held = threading.Event()
    broker = FakeBroker(lambda: held.wait(30))
    old, new = NOW - timedelta(days=31), NOW - timedelta(days=29)
    with database.write() as connection:
        add_analysis(connection, "A")
        for number, time in enumerate([old, old, new, old]):
            add_event(connection, "A", f"event {number}")
            row = update(tables.outbox).where(tables.outbox.c.event_id == f"event {number}")
            connection.execute(row.values(time=int(time.timestamp()) * 10**6))
    place(database)
    with database.write() as connection:
        assert relay.prune(connection, NOW - timedelta(days=30), 10, only_sent=True) == 0
        relay.give_up(connection, "me")
    held.set()
    with relaying(database, broker):
        assert broker.taken.wait(30)
    with database.write() as connection:
        # What is newer keeps what comes after it, so that positions are forgotten without gaps.
        assert relay.prune(connection, NOW - timedelta(days=30), 10, only_sent=True) == 2
        assert relay.read_marks(connection) == relay.Marks(4, 4, 2)
        assert [found.position for found in outbox.find_between(connection, 0, 4, 10)] == [3, 4]


def test_an_idle_song_writes_nothing(folder: Path) -> None:
    with running(folder) as world:
        study_id = world.new_study()
        world.submit(study_id, payload(study_id))
        await_placed(world)
        with world.database.read() as connection:
            before = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
        wal = (folder / "song.db-wal").stat()
        threading.Event().wait(1.5)  # three looks of the relay
        with world.database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA data_version").scalar_one() == before
        assert (folder / "song.db-wal").stat().st_mtime_ns == wal.st_mtime_ns


def await_placed(world: World) -> None:
    for _ in range(500):
        with world.database.read() as connection:
            if not outbox.has_unplaced(connection):
                return
        threading.Event().wait(0.02)
    raise AssertionError("an event has no position")


def note_and_fail(database: Database) -> None:
    with database.write() as connection:
        note_event(connection)
        _ = 1 / 0


def test_a_transaction_that_is_rolled_back_wakes_nobody(database: Database) -> None:
    woken: list[str] = []
    database.on_event = lambda: woken.append("woken")
    with database.write() as connection:
        add_analysis(connection, "A")
    with pytest.raises(ZeroDivisionError):
        note_and_fail(database)
    with database.write() as connection:
        connection.execute(update(tables.analyses).values(revision=2))
    assert woken == []
    with database.write() as connection:
        note_event(connection)
    assert woken == ["woken"]


def event(**changes: object) -> Event:
    values = {
        "position": 1,
        "event_id": "E",
        "action": EventAction.UPDATE,
        "analysis_id": "A",
        "study_id": "S",
        "type_name": "t",
        "state": AnalysisState.PUBLISHED,
        "time": NOW,
        "analysis_json": '{"studyId":"é","x":1.10}',
        **changes,
    }
    return Event(**values)  # type: ignore[arg-type] # values of a test


def test_a_message_is_compact_json_with_the_analysis_as_it_is() -> None:
    message = events.message_of(event(), EventFormat('a "name"'))
    assert message.key == b"A"
    assert message.value.decode() == (
        '{"analysisId":"A","studyId":"S","state":"PUBLISHED","action":"UPDATE","songServerId":"a \\"name\\"",'
        '"analysis":{"studyId":"é","x":1.10}}'
    )
    assert dict(message.headers) == {"event_id": b"E", "time": b"2026-01-01T00:00:00.000000+00:00"}


@pytest.mark.parametrize("action", list(EventAction))
def test_overtures_actions_rename_updates_alone(action: EventAction) -> None:
    message = events.message_of(event(action=action), EventFormat("s", overture_actions=True))
    shown = json.loads(message.value)["action"]
    assert shown == ("PUBLISH" if action is EventAction.UPDATE else action.value)


@pytest.mark.parametrize("position", [0, 1, 10**9, events.MAX_POSITION])
def test_a_token_carries_its_position(position: int) -> None:
    assert events.read_token(events.make_token(position)) == position
