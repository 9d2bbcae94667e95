"""EventService."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from song.v1 import event_service_pb2, event_service_pb2_grpc

from runtime_grpc.admission import DrainingError, TooManyStreamsError
from song_grpc.domain.access import Principal
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.events import Event, EventFilter
from song_grpc.domain.limits import MAX_WATCHERS, WATCH_RIGHTS_SECONDS
from song_grpc.domain.states import EventAction
from song_grpc.transport.caller import Callers
from song_grpc.transport.file import STATE_VALUES
from song_grpc.transport.times import timestamp
from song_grpc.use_cases import watch
from song_grpc.use_cases.watch import EventSource, EventStart, Watch

_ACTION_VALUES = {
    EventAction.CREATE: event_service_pb2.EVENT_ACTION_CREATE,
    EventAction.UPDATE: event_service_pb2.EVENT_ACTION_UPDATE,
    EventAction.PUBLISH: event_service_pb2.EVENT_ACTION_PUBLISH,
    EventAction.UNPUBLISH: event_service_pb2.EVENT_ACTION_UNPUBLISH,
    EventAction.SUPPRESS: event_service_pb2.EVENT_ACTION_SUPPRESS,
}
_ACTIONS = {value: action for action, value in _ACTION_VALUES.items()}


class EventServicer(event_service_pb2_grpc.EventServiceServicer):
    """What gRPC calls."""

    def __init__(self, source: EventSource, callers: Callers, draining: threading.Event) -> None:
        self._source, self._callers, self._draining = source, callers, draining
        self._free_watchers = threading.BoundedSemaphore(MAX_WATCHERS)

    def WatchEvents(
        self, request: event_service_pb2.WatchEventsRequest, context: grpc.ServicerContext
    ) -> Iterator[event_service_pb2.WatchEventsResponse]:
        """Stream events."""
        # Half of the server's streams: watchers stay for days.
        if not self._free_watchers.acquire(blocking=False):
            raise TooManyStreamsError(f"all {MAX_WATCHERS} watches of this server are taken")
        try:
            asked = _asked(request)
            steps = watch.watch(self._source, asked, self._principal_of(context), lambda: self._goes_on(context))
            for step in steps:
                event = None if step.event is None else _message(step.event)
                yield event_service_pb2.WatchEventsResponse(event=event, resume_token=step.resume_token)
        finally:
            self._free_watchers.release()

    def ReplayEvents(
        self, request: event_service_pb2.ReplayEventsRequest, context: grpc.ServicerContext
    ) -> event_service_pb2.ReplayEventsResponse:
        """Send events to Kafka again."""
        principal = self._callers.principal_of(context)
        from_time = _time(request.from_time) if request.HasField("from_time") else None
        total = watch.replay(self._source, principal, from_time, request.from_event_id)
        return event_service_pb2.ReplayEventsResponse(event_total=total)

    def _principal_of(self, context: grpc.ServicerContext) -> Callable[[], Principal]:
        """Return what tells who watches: asked for anew now and then, for tokens expire and rights are taken away."""
        principal, asked_at = self._callers.principal_of(context), time.monotonic()

        def current() -> Principal:
            nonlocal principal, asked_at
            if time.monotonic() - asked_at >= WATCH_RIGHTS_SECONDS:
                principal, asked_at = self._callers.principal_of(context), time.monotonic()
            return principal

        return current

    def _goes_on(self, context: grpc.ServicerContext) -> bool:
        if self._draining.is_set():
            raise DrainingError("this server is shutting down: go on at another one, with the last resume token")
        return context.is_active()


def _asked(request: event_service_pb2.WatchEventsRequest) -> Watch:
    if unknown := [at for at, action in enumerate(request.actions) if action not in _ACTIONS]:
        raise ParameterError(f"actions[{unknown[0]}]", "is none of the contract's values")
    from_time = _time(request.from_time) if request.HasField("from_time") else None
    wanted = EventFilter(
        tuple(request.study_ids),
        tuple(request.analysis_type_names),
        tuple({_ACTIONS[action] for action in request.actions}),
    )
    start = EventStart(request.resume_token, from_time, request.from_beginning)
    return Watch(start, wanted, hide_analysis=request.hide_analysis, until_now=request.until_now)


def _time(message: Timestamp) -> datetime:
    try:
        return message.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise ParameterError("from_time", "is no time between the years 1 and 9999") from None


def _message(event: Event) -> event_service_pb2.Event:
    return event_service_pb2.Event(
        event_id=event.event_id,
        action=_ACTION_VALUES[event.action],
        analysis_id=event.analysis_id,
        study_id=event.study_id,
        analysis_type_name=event.type_name,
        state=STATE_VALUES[event.state],
        time=timestamp(event.time),
        analysis_json=event.analysis_json,
    )
