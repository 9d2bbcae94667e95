"""Stream events in the order of their positions, from a point in the past or from now on; send them again.

A watcher reads in short transactions and holds none while it waits, for events or for its peer.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from song_grpc.database import outbox, relay, studies
from song_grpc.database.engine import Connection, Database
from song_grpc.database.outbox import FoundEvent
from song_grpc.domain import access, events
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.errors import EventBrokerMissingError, ParameterError, ResumeTokenExpiredError
from song_grpc.domain.events import Event, EventFilter
from song_grpc.domain.ids import can_exist
from song_grpc.domain.limits import (
    WATCH_BATCH_BYTES,
    WATCH_HEARTBEAT_SECONDS,
    WATCH_SCAN_EVENTS,
    WATCH_SKIPPED_EVENTS,
)
from song_grpc.domain.study import StudyVisibility
from song_grpc.use_cases.event_progress import EventProgress

_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class EventStart:
    """Where to begin: one of these, or from now on."""

    resume_token: str = ""
    from_time: datetime | None = None
    from_beginning: bool = False


@dataclass(frozen=True, slots=True)
class Watch:
    """What a watcher asks for."""

    start: EventStart
    wanted: EventFilter
    hide_analysis: bool
    until_now: bool
    """End after the events that are there now."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One step of a watch."""

    event: Event | None
    """None where only the token is news."""
    resume_token: str


@dataclass(frozen=True, slots=True)
class EventSource:
    """Where events come from."""

    database: Database
    progress: EventProgress
    has_broker: bool
    wake_relay: Callable[[], None]


def watch(
    source: EventSource, asked: Watch, principal: Callable[[], Principal], goes_on: Callable[[], bool]
) -> Iterator[Watched]:
    """Yield the starting point at once, then events as they happen, and tokens now and then.

    `principal` says who watches, and with what rights now. `goes_on` is asked at least twice a second and may raise.
    Raises ParameterError, ResumeTokenExpiredError.
    """
    asked.wanted.check()
    access.require(principal(), Action.READ_EVENTS, Facts())
    with source.database.read() as connection:
        position, skipped_before = _starting_position(connection, asked.start)
        last_number = outbox.last_unplaced_number(connection) if asked.until_now else None
    watcher = _Watcher(source, asked, principal, goes_on, position)
    watcher.skipped_before = skipped_before
    yield watcher.token()
    if asked.until_now:
        while (end := _find_end(source, last_number)) is None:
            if not goes_on():
                return
            source.progress.await_news(_LOOK_SECONDS)
            yield from watcher.sign_of_life()
        yield from watcher.read_up_to(end)
        yield from watcher.sign_of_life(at_once=True)
        return
    while goes_on():
        yield from watcher.read_up_to(source.progress.await_beyond(watcher.position, _LOOK_SECONDS))
        yield from watcher.sign_of_life()


def replay(source: EventSource, principal: Principal, from_time: datetime | None, from_event_id: str) -> int:
    """Have events sent to the broker from one on, again where they have been; return how many there are from it on.

    Raises EventBrokerMissingError, ParameterError.
    """
    access.require(principal, Action.REPLAY_EVENTS, Facts())
    if (from_time is None) == (not from_event_id):
        raise ParameterError("from_event_id", "give either this or from_time")
    if not source.has_broker:
        raise EventBrokerMissingError
    with source.database.write() as connection:
        marks = relay.read_marks(connection, lock=True)
        if from_time is not None:
            first = outbox.first_position_since(connection, from_time)
        else:
            found = outbox.find_position(connection, from_event_id) if can_exist(from_event_id) else None
            if found is None:
                raise ParameterError("from_event_id", "is no event that is kept")
            (first,) = found
        if first is None:  # not even sent once
            return 0
        relay.send_again_from(connection, first)
    source.wake_relay()
    return marks.last - first + 1


class _Watcher:
    """One watch: where it is, and when its peer last heard of it."""

    def __init__(
        self,
        source: EventSource,
        asked: Watch,
        principal: Callable[[], Principal],
        goes_on: Callable[[], bool],
        position: int,
    ) -> None:
        self._source, self._asked, self._principal, self._goes_on = source, asked, principal, goes_on
        self.position = position
        """Of the last event that was looked at."""
        self.skipped_before: datetime | None = None
        """Events before this time are skipped until there is one that is not."""
        self._told, self._told_time = position, time.monotonic()

    def read_up_to(self, last: int) -> Iterator[Watched]:
        """Yield the events up to a position that fit, and tokens where many don't."""
        while self.position < last and self._goes_on():
            window_end = min(self.position + WATCH_SCAN_EVENTS, last)
            for batch in self._find(window_end):
                for event in self._read(batch):
                    self.position = event.position
                    yield Watched(event, self.token().resume_token)
                    if not self._goes_on():
                        return
            self.position = window_end
            yield from self.sign_of_life()

    def sign_of_life(self, *, at_once: bool = False) -> Iterator[Watched]:
        """Yield a token where the peer heard nothing for long, or much was skipped; `at_once`, where it is newer."""
        skipped, silent_seconds = self.position - self._told, time.monotonic() - self._told_time
        is_due = skipped >= WATCH_SKIPPED_EVENTS or silent_seconds >= WATCH_HEARTBEAT_SECONDS
        if is_due or (at_once and skipped):
            yield self.token()

    def token(self) -> Watched:
        """Return the token of the position, which the peer now hears of."""
        self._told, self._told_time = self.position, time.monotonic()
        return Watched(None, events.make_token(self.position))

    def _find(self, last: int) -> Sequence[Sequence[FoundEvent]]:
        """Return the events up to a position that fit and that the caller may see, in batches for the memory."""
        with self._source.database.read() as connection:
            if self.position < relay.read_marks(connection).pruned:
                raise ResumeTokenExpiredError
            found = outbox.find_between(connection, self.position, last, WATCH_SCAN_EVENTS, self._asked.wanted)
        principal, seen = self._principal(), {}
        batches: list[list[FoundEvent]] = []
        batch_bytes = 0
        for event in found:
            if self.skipped_before is not None and event.time < self.skipped_before:
                continue
            self.skipped_before = None
            facts = Facts(study_id=event.study_id, state=event.state)
            if facts not in seen:
                seen[facts] = access.decide(principal, Action.READ_EVENTS, facts).allowed
            if not seen[facts]:
                continue
            batch_bytes += event.json_bytes
            if not batches or (batch_bytes > WATCH_BATCH_BYTES and not self._asked.hide_analysis):
                batches.append([])
                batch_bytes = event.json_bytes
            batches[-1].append(event)
        return batches

    def _read(self, batch: Sequence[FoundEvent]) -> Sequence[Event]:
        hide = self._asked.hide_analysis
        with self._source.database.read() as connection:
            found = outbox.read(connection, [event.position for event in batch], hide_analysis=hide)
            visibilities = {} if hide else _visibilities(connection, {event.study_id for event in found})
        if len(found) < len(batch):  # pruned under a watcher that is slower than what is kept
            raise ResumeTokenExpiredError
        if hide:
            return found
        principal = self._principal()
        whole = {
            study_id: access.may_see_data(principal, study_id, visibility)
            for study_id, visibility in visibilities.items()
        }
        return [
            event if whole[event.study_id] else replace(event, analysis_json=events.without_data(event.analysis_json))
            for event in found
        ]


def _starting_position(connection: Connection, start: EventStart) -> tuple[int, datetime | None]:
    """Return the position after which to begin, and the time before which events there are to be skipped."""
    if bool(start.resume_token) + (start.from_time is not None) + start.from_beginning > 1:
        raise ParameterError("resume_token", "give one starting point: this, from_time or from_beginning")
    marks = relay.read_marks(connection)
    if start.resume_token:
        position = events.read_token(start.resume_token)
        if position > marks.last:
            raise events.token_error()
        if position < marks.pruned:
            raise ResumeTokenExpiredError
        return position, None
    if start.from_beginning:
        return marks.pruned, None
    if start.from_time is not None:
        first = outbox.first_position_since(connection, start.from_time)
        # Where no event has a position yet, older ones may still come before it.
        return (marks.last, start.from_time) if first is None else (first - 1, None)
    return marks.last, None


def _find_end(source: EventSource, last_number: int | None) -> int | None:
    """Return the last position once all events that were there at the start have one, None before."""
    with source.database.read() as connection:
        if last_number is not None and outbox.has_unplaced(connection, last_number):
            return None
        return relay.read_marks(connection).last


def _visibilities(connection: Connection, study_ids: set[str]) -> dict[str, StudyVisibility]:
    found = {study_id: studies.find(connection, study_id) for study_id in study_ids}
    return {
        study_id: StudyVisibility.CONTROLLED if study is None else study.visibility for study_id, study in found.items()
    }
