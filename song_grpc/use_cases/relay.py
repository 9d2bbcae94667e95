"""The relay: gives committed events their positions, sends them to the broker, forgets old ones.

Every process tries; the lease lets one at a time. Giving positions and sending are two threads, so that watchers
get events while the broker is down. Events that have no broker stay until they are old: a broker that is configured
later gets them.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

import structlog

from song_grpc.database import outbox, relay
from song_grpc.database.engine import Connection, Database, DatabaseUnavailableError
from song_grpc.database.outbox import FoundEvent
from song_grpc.domain.events import EventFormat, message_of
from song_grpc.domain.limits import (
    BROKER_SEND_SECONDS,
    PRUNE_BATCH_EVENTS,
    PRUNE_PERIOD_SECONDS,
    RELAY_BACKOFF_SECONDS,
    RELAY_BATCH_BYTES,
    RELAY_BATCH_EVENTS,
    RELAY_GATHER_SECONDS,
    RELAY_LEASE_SECONDS,
    RELAY_POLL_SECONDS,
)
from song_grpc.gateways.event_broker import EventBroker, EventBrokerError
from song_grpc.use_cases.event_progress import EventProgress

_SEND_MARGIN_SECONDS = 2.0
_FIRST_BACKOFF_SECONDS = 0.25
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """How events are sent and kept."""

    form: EventFormat
    retention_days: float
    """0: events are kept for ever."""
    now: Callable[[], datetime]


class Relay:
    """The relay of one process: `start` it, `stop` it before the database closes."""

    def __init__(
        self, database: Database, broker: EventBroker | None, progress: EventProgress, options: RelayOptions
    ) -> None:
        self._database, self._broker, self._progress, self._options = database, broker, progress, options
        self._holder = uuid4().hex
        self._lease_until = 0.0
        """By the monotonic clock; the database's lease ends later."""
        self._stopped = threading.Event()
        self._committed, self._placed = threading.Event(), threading.Event()
        self._next_prune = time.monotonic()
        self._sending_failed = False
        self._threads = [threading.Thread(target=self._run, args=(self._place, self._committed), name="relay")]
        if broker is not None:
            self._threads.append(threading.Thread(target=self._run, args=(self._send, self._placed), name="sender"))

    def start(self) -> None:
        """Begin."""
        self._database.on_event = self._committed.set
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Look for events to send now: a replay was asked for."""
        self._placed.set()

    def stop(self) -> None:
        """End, and let another process take over at once."""
        self._stopped.set()
        self._committed.set()
        self._placed.set()
        for thread in self._threads:
            thread.join()
        if self._lease_until > time.monotonic():
            with suppress(DatabaseUnavailableError), self._database.write() as connection:
                relay.give_up(connection, self._holder)

    def _run(self, step: Callable[[], bool], woken: threading.Event) -> None:
        """Take steps until stopped: at once while one says that there is more, else when woken or after a while."""
        backoff = 0.0
        while not self._stopped.is_set():
            woken.clear()
            try:
                more = step()
                pause, backoff = RELAY_GATHER_SECONDS if more else 0.0, 0.0
            except EventBrokerError as error:
                if not self._sending_failed:
                    _log.warning("events can't be sent, they are kept", error=str(error))
                self._sending_failed = True
                more, pause = True, (backoff := _longer(backoff))
            except DatabaseUnavailableError:  # health tells the operator
                more, pause = True, (backoff := _longer(backoff))
            except Exception:  # noqa: BLE001 - whatever it is, other events must not wait for ever
                _log.exception("the relay of events failed, it goes on", thread=threading.current_thread().name)
                more, pause = True, (backoff := _longer(backoff))
            if not more:
                woken.wait(RELAY_POLL_SECONDS)
                pause = RELAY_GATHER_SECONDS if woken.is_set() else 0.0
            self._stopped.wait(pause)

    def _place(self) -> bool:
        """Give positions to a batch, and prune; say whether there may be more to do."""
        with self._database.read() as connection:
            last = relay.read_marks(connection).last
            there_are = outbox.has_unplaced(connection) and self._may_take(connection)
        if there_are:
            started = time.monotonic()
            with self._database.write() as connection:
                if not relay.take(connection, self._holder, is_alone=self._database.is_sqlite):
                    return False
                last = relay.place(connection, RELAY_BATCH_EVENTS)
            self._lease_until = started + RELAY_LEASE_SECONDS
        self._progress.advance(last)
        self._placed.set()
        return self._prune() or there_are

    def _prune(self) -> bool:
        days = self._options.retention_days
        if not days or time.monotonic() < self._next_prune:
            return False
        before = self._options.now() - timedelta(days=days)
        only_sent = self._broker is not None
        with self._database.read() as connection:
            marks = relay.read_marks(connection)
            oldest = relay.oldest_time(connection, marks)
        pruned = 0
        if oldest is not None and oldest < before and (marks.sent > marks.pruned or not only_sent):
            with self._database.write() as connection:
                pruned = relay.prune(connection, before, PRUNE_BATCH_EVENTS, only_sent=only_sent)
        if pruned < PRUNE_BATCH_EVENTS:
            self._next_prune = time.monotonic() + PRUNE_PERIOD_SECONDS
        return pruned == PRUNE_BATCH_EVENTS

    def _send(self) -> bool:
        """Send a batch; say whether there may be more to send. Raises EventBrokerError."""
        broker = self._broker
        if broker is None:
            return False
        with self._database.read() as connection:
            marks = relay.read_marks(connection)
            if marks.sent >= marks.last or not self._may_take(connection):
                return False
        # Asked for before the batch is read: what another holder sent in the meantime is not sent after it.
        if not self._hold_lease():
            return False
        with self._database.read() as connection:
            marks = relay.read_marks(connection)
            found = outbox.find_between(connection, marks.sent, marks.last, RELAY_BATCH_EVENTS)
            events = outbox.read(connection, [event.position for event in _cut(found)])
        if not events or self._stopped.is_set():
            return False
        broker.send([message_of(event, self._options.form) for event in events])
        if self._sending_failed:
            _log.info("events are sent again")
        self._sending_failed = False
        with self._database.write() as connection:
            relay.move_sent(connection, self._holder, marks.sent, events[-1].position)
        return True

    def _hold_lease(self) -> bool:
        """Hold the lease for as long as sending a batch may take; say whether it is held."""
        needed = BROKER_SEND_SECONDS + _SEND_MARGIN_SECONDS
        started = time.monotonic()
        if self._lease_until - started > needed:
            return True
        with self._database.write() as connection:
            if not relay.take(connection, self._holder, is_alone=self._database.is_sqlite):
                return False
        self._lease_until = started + RELAY_LEASE_SECONDS
        return True

    def _may_take(self, connection: Connection) -> bool:
        return relay.may_take(connection, self._holder, is_alone=self._database.is_sqlite)


def _longer(backoff_seconds: float) -> float:
    return min(max(backoff_seconds * 2, _FIRST_BACKOFF_SECONDS), RELAY_BACKOFF_SECONDS)


def _cut(found: Sequence[FoundEvent]) -> Sequence[FoundEvent]:
    """Return the first events that fit a batch, at least one."""
    total_bytes = 0
    for count, event in enumerate(found):
        total_bytes += event.json_bytes
        if count and total_bytes > RELAY_BATCH_BYTES:
            return found[:count]
    return found
