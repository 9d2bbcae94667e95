"""Events."""

from __future__ import annotations  # grpc's classes are generic in its types only

from collections.abc import Iterator

from song.v1.event_service_pb2 import ReplayEventsRequest, WatchEventsRequest, WatchEventsResponse
from song.v1.event_service_pb2_grpc import EventServiceStub

from song_score_client.song.calls import Calls


class EventCalls(Calls):
    """EventService."""

    def watch_events(self, request: WatchEventsRequest) -> Iterator[WatchEventsResponse]:
        """Yield responses as they come, for ever unless the request says `until_now`; goes on where a stream broke.

        A response without event brings a newer token alone: keep the last `resume_token`, and give it to go on later.
        """
        wanted = WatchEventsRequest()
        wanted.CopyFrom(request)

        def advance(response: WatchEventsResponse) -> None:
            wanted.ClearField("from_time")
            wanted.ClearField("from_beginning")
            wanted.resume_token = response.resume_token

        yield from self.connection.stream(self._events.WatchEvents, wanted, advance, deadline_seconds=None)

    def replay_events(self, request: ReplayEventsRequest) -> int:
        """Have events sent to Kafka again; return how many."""
        return self.connection.call(self._events.ReplayEvents, request).event_total

    @property
    def _events(self) -> EventServiceStub:
        return EventServiceStub(self.connection.channel)
