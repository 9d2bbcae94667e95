"""WatchEvents and ReplayEvents, through real servers."""

import json
import queue
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from song.v1 import event_service_pb2, event_service_pb2_grpc
from sqlalchemy import insert, select, update

from song_grpc.database import relay, tables
from song_grpc.domain import events
from song_grpc.domain.access import Principal
from song_grpc.domain.limits import MAX_WATCHERS, WATCH_SCAN_EVENTS
from song_grpc.transport.caller import Callers
from song_grpc.use_cases import watch as watch_use_case
from tests.song_grpc.world import World, file, payload, refusal, running, sample

Response = event_service_pb2.WatchEventsResponse
CREATE, PUBLISH = event_service_pb2.EVENT_ACTION_CREATE, event_service_pb2.EVENT_ACTION_PUBLISH
UNPUBLISH, SUPPRESS = event_service_pb2.EVENT_ACTION_UNPUBLISH, event_service_pb2.EVENT_ACTION_SUPPRESS


def watch(world: World, **fields: Any) -> Any:  # noqa: ANN401 - a call that is a stream
    stub = event_service_pb2_grpc.EventServiceStub(world.channel)
    return stub.WatchEvents(event_service_pb2.WatchEventsRequest(**fields), timeout=60)


def there_now(world: World, **fields: Any) -> list[Response]:  # noqa: ANN401 - fields of the message
    """Return the events that are there now."""
    return [response for response in watch(world, until_now=True, **fields) if response.HasField("event")]


def next_event(stream: Iterator[Response]) -> Response:
    return next(response for response in stream if response.HasField("event"))


def told(responses: Sequence[Response]) -> list[tuple[str, int]]:
    return [(response.event.analysis_id, response.event.action) for response in responses]


def live(world: World, study_id: str, number: object = 1) -> str:
    """Submit, publish and unpublish an analysis: three events."""
    analysis_id = world.submit(study_id, payload(study_id, samples=[sample(number)]))
    world.score.hold(world.get(study_id, analysis_id))
    world.publish(study_id, analysis_id)
    world.unpublish(study_id, analysis_id)
    return analysis_id


def test_a_watcher_gets_what_happens_from_now_on(world: World, study_id: str) -> None:
    live(world, study_id, "before")
    there_now(world, study_ids=[study_id])
    stream = watch(world, study_ids=[study_id])
    start = next(stream)
    assert not start.HasField("event")
    assert start.resume_token
    analysis_id = live(world, study_id)
    found = [next_event(stream) for _ in range(3)]
    stream.cancel()
    assert told(found) == [(analysis_id, CREATE), (analysis_id, PUBLISH), (analysis_id, UNPUBLISH)]
    stored = world.events(analysis_id)
    assert [response.event.event_id for response in found] == [row.event_id for row in stored]
    assert [response.event.analysis_json for response in found] == [row.analysis_json for row in stored]
    event = found[1].event
    assert (event.study_id, event.analysis_type_name, event.state) == (study_id, "sequencingRead", 2)
    assert event.time.ToDatetime(UTC) == world.get(study_id, analysis_id).state_changes[0].update_time.ToDatetime(UTC)


def test_a_broken_watch_goes_on_after_its_token_with_any_filter(world: World, study_id: str) -> None:
    analysis_id = live(world, study_id)
    found = there_now(world, from_beginning=True, study_ids=[study_id])
    assert told(found) == [(analysis_id, CREATE), (analysis_id, PUBLISH), (analysis_id, UNPUBLISH)]
    for passed, response in enumerate(found, 1):
        assert there_now(world, resume_token=response.resume_token, study_ids=[study_id]) == found[passed:]
    token = found[0].resume_token
    other = world.new_study()
    second = live(world, other)
    rest = there_now(world, resume_token=token, study_ids=[study_id, other], actions=[PUBLISH])
    assert told(rest) == [(analysis_id, PUBLISH), (second, PUBLISH)]


def test_a_watch_that_ends_has_everything_that_was_acknowledged_before(world: World, study_id: str) -> None:
    for number in range(20):
        analysis_id = world.submit(study_id, payload(study_id, samples=[sample(number)]))
        assert told(there_now(world, from_beginning=True, study_ids=[study_id]))[-1] == (analysis_id, CREATE)


def test_a_watch_begins_at_a_time(world: World, study_id: str) -> None:
    live(world, study_id, "early")
    late = live(world, study_id, "late")
    time = world.get(study_id, late).create_time
    assert told(there_now(world, from_time=time, study_ids=[study_id])) == [
        (late, CREATE),
        (late, PUBLISH),
        (late, UNPUBLISH),
    ]
    future = Timestamp()
    future.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    assert there_now(world, from_time=future, study_ids=[study_id]) == []


def test_filters_choose_by_study_type_and_action_and_the_analysis_can_be_left_out(world: World, study_id: str) -> None:
    name = world.new_type({"type": "object", "properties": {}})
    typed = world.submit(study_id, payload(study_id, analysisType={"name": name}))
    other = live(world, study_id, 2)
    assert told(there_now(world, from_beginning=True, analysis_type_names=[name])) == [(typed, CREATE)]
    found = there_now(
        world,
        from_beginning=True,
        study_ids=[study_id],
        analysis_type_names=["sequencingRead", name],
        actions=[PUBLISH, UNPUBLISH],
        hide_analysis=True,
    )
    assert told(found) == [(other, PUBLISH), (other, UNPUBLISH)]
    assert [response.event.analysis_json for response in found] == ["", ""]
    assert there_now(world, from_beginning=True, study_ids=["nowhere"]) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"resume_token": "x"}, "resume_token"),
        ({"resume_token": "é"}, "resume_token"),
        ({"resume_token": "A" * 10_000}, "resume_token"),
        ({"resume_token": events.make_token(events.MAX_POSITION)}, "resume_token"),
        ({"from_beginning": True, "from_time": Timestamp(seconds=1)}, "resume_token"),
        ({"from_time": Timestamp(seconds=-(10**15))}, "from_time"),
        ({"study_ids": [""]}, "study_ids[0]"),
        ({"study_ids": ["a"] * 101}, "study_ids"),
        ({"analysis_type_names": ["a", "\0"]}, "analysis_type_names[1]"),
        ({"analysis_type_names": ["a"] * 101}, "analysis_type_names"),
        ({"actions": [PUBLISH, 0]}, "actions[1]"),
    ],
)
def test_what_can_not_be_watched_is_refused(world: World, fields: dict[str, Any], field: str) -> None:
    refused = refusal(lambda: list(watch(world, until_now=True, **fields)))
    assert (refused.reason, refused.metadata["field"]) == ("MALFORMED_PARAMETER", field)


def test_a_filter_that_selects_little_still_brings_newer_tokens(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_use_case, "WATCH_SKIPPED_EVENTS", 2 * WATCH_SCAN_EVENTS)
    with running(folder) as world:
        study_id = world.new_study()
        analysis_id = world.submit(study_id, payload(study_id))
        (row,) = world.events(analysis_id)
        copies = [
            {**row._asdict(), "number": number, "event_id": f"copy {number}", "position": None}
            for number in range(row.number + 1, row.number + 5 * WATCH_SCAN_EVENTS)
        ]
        with world.database.write() as connection:
            connection.execute(insert(tables.outbox), copies)
        responses = list(watch(world, from_beginning=True, until_now=True, study_ids=["none"]))
        positions = [events.read_token(response.resume_token) for response in responses]
        last = events.read_token(there_now(world, from_beginning=True, hide_analysis=True)[-1].resume_token)
    assert not any(response.HasField("event") for response in responses)
    assert positions == [0, 2000, 4000, last]
    assert last == 5 * WATCH_SCAN_EVENTS


def test_a_silent_watch_shows_that_it_lives(world: World, study_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_use_case, "WATCH_HEARTBEAT_SECONDS", 0.1)
    stream = watch(world, study_ids=[study_id])
    responses = [next(stream) for _ in range(4)]
    stream.cancel()
    assert not any(response.HasField("event") for response in responses)
    assert all(response.resume_token for response in responses)


def test_a_token_whose_events_are_forgotten_is_expired_and_old_events_are(folder: Path) -> None:
    with running(folder) as world:
        study_id = world.new_study()
        analysis_id = live(world, study_id)
        tokens = [response.resume_token for response in there_now(world, from_beginning=True)]
    columns = tables.outbox.c
    with world.database.write() as connection:  # the first two grow old
        for row in connection.execute(select(columns.number).order_by(columns.position).limit(2)).all():
            old = update(tables.outbox).where(columns.number == row.number)
            connection.execute(old.values(time=columns.time - 40 * 24 * 3600 * 10**6))
    world.database.close()
    with running(folder) as world:
        stream = watch(world)
        next(stream)
        world.suppress(study_id, analysis_id)
        next_event(stream)
        stream.cancel()
        await_pruned(world, 2)
        found = there_now(world, from_beginning=True)
        assert told(found) == [(analysis_id, UNPUBLISH), (analysis_id, SUPPRESS)]
        assert there_now(world, resume_token=tokens[1]) == found
        refused = refusal(lambda: there_now(world, resume_token=tokens[0]))
    assert (refused.code, refused.reason) == (grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")


def await_pruned(world: World, position: int) -> None:
    for _ in range(500):
        with world.database.read() as connection:
            if relay.read_marks(connection).pruned == position:
                return
        threading.Event().wait(0.02)
    raise AssertionError("old events are still there")


def test_events_are_kept_for_ever_where_the_operator_says_so(folder: Path) -> None:
    with running(folder, event_retention_days=0) as world:
        study_id = world.new_study()
        first = world.submit(study_id, payload(study_id))
        with world.database.write() as connection:
            connection.execute(update(tables.outbox).values(time=0))
        second = world.submit(study_id, payload(study_id, samples=[sample(2)]))
        found = there_now(world, from_beginning=True)
    assert told(found) == [(first, CREATE), (second, CREATE)]


def test_watchers_leave_streams_to_others_and_their_places_come_back(folder: Path) -> None:
    with running(folder) as world:
        streams = [watch(world) for _ in range(MAX_WATCHERS)]
        for stream in streams:
            next(stream)
        refused = refusal(lambda: next(watch(world)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
        world.new_study()
        for stream in streams:
            stream.cancel()
        for _ in range(200):  # a watcher notices within half a second that its caller has left
            try:
                next(watch(world, until_now=True))
                break
            except grpc.RpcError:
                threading.Event().wait(0.1)
        else:
            raise AssertionError("no place came back")


def test_a_server_that_drains_sends_its_watchers_to_another_one(folder: Path) -> None:
    with running(folder, drain_seconds=20) as world:
        study_id = world.new_study()
        stream = watch(world)
        token = next(stream).resume_token
        ended: queue.Queue[Any] = queue.Queue()
        reader = threading.Thread(target=lambda: ended.put(refusal(lambda: list(stream))))
        reader.start()
        stopper = threading.Thread(target=world.song.stop)
        stopper.start()
        refused = ended.get(timeout=15)
        reader.join()
        stopper.join()
        world.song.stop = lambda: None  # type: ignore[method-assign] # it has stopped
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE")
    with running(folder) as again:
        analysis_id = again.submit(study_id, payload(study_id))
        assert told(there_now(again, resume_token=token)) == [(analysis_id, CREATE)]


def test_a_slow_watcher_holds_up_nobody_and_gets_everything(world: World, study_id: str) -> None:
    stream = watch(world, study_ids=[study_id])
    next(stream)
    large = {"text": "x" * 2**20}
    made = [
        world.submit(study_id, payload(study_id, samples=[sample(number)], large=large, files=[file()]))
        for number in range(12)
    ]
    for analysis_id in made:
        world.suppress(study_id, analysis_id)
    found = [next_event(stream) for _ in range(24)]
    stream.cancel()
    assert told(found) == [(analysis_id, CREATE) for analysis_id in made] + [
        (analysis_id, SUPPRESS) for analysis_id in made
    ]


def test_only_events_are_seen_that_the_caller_may_see(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(folder) as world:
        open_study, closed_study = world.new_study(), world.new_study()
        with world.database.write() as connection:
            closed = update(tables.studies).where(tables.studies.c.study_id == closed_study)
            connection.execute(closed.values(visibility="CONTROLLED"))
        opened, guarded = live(world, open_study), live(world, closed_study)
        seen: list[Principal] = [Principal("anyone", is_anonymous=True)]
        monkeypatch.setattr(Callers, "principal_of", lambda _self, _context: seen[0])
        public = there_now(world, from_beginning=True)
        assert told(public) == [(opened, PUBLISH), (guarded, PUBLISH)]
        whole, cut = (json.loads(response.event.analysis_json) for response in public)
        assert set(whole) - set(cut) == {"samples", "experiment"}
        assert {key: whole[key] for key in ("analysisState", "analysisType")} == {
            key: cut[key] for key in ("analysisState", "analysisType")
        }
        assert cut["files"]
        seen[0] = Principal("reader", frozenset({f"PROGRAMDATA-{closed_study}.READ"}))
        read = there_now(world, from_beginning=True)
        assert told(read) == [(opened, PUBLISH), (guarded, CREATE), (guarded, PUBLISH), (guarded, UNPUBLISH)]
        assert set(json.loads(read[1].event.analysis_json)) == set(whole)


def test_without_kafka_there_is_no_replay(world: World) -> None:
    stub = event_service_pb2_grpc.EventServiceStub(world.channel)
    asked = event_service_pb2.ReplayEventsRequest(from_event_id="x")
    refused = refusal(lambda: stub.ReplayEvents(asked))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "EVENT_BROKER_MISSING")


def test_a_replay_needs_one_starting_point_that_is_there(folder: Path) -> None:
    with running(folder, kafka_servers="127.0.0.1:1") as world:
        stub = event_service_pb2_grpc.EventServiceStub(world.channel)
        for fields in ({}, {"from_event_id": "nowhere"}, {"from_event_id": "x", "from_time": Timestamp(seconds=1)}):
            asked = event_service_pb2.ReplayEventsRequest(**fields)
            refused = refusal(lambda asked=asked: stub.ReplayEvents(asked))  # type: ignore[misc] # mypy can't infer such a lambda
            assert (refused.reason, refused.metadata["field"]) == ("MALFORMED_PARAMETER", "from_event_id")


def test_a_replay_needs_the_system_scope(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(folder, kafka_servers="127.0.0.1:1") as world:
        monkeypatch.setattr(
            Callers, "principal_of", lambda _self, _context: Principal("one", frozenset({"PROGRAMDATA-A.WRITE"}))
        )
        stub = event_service_pb2_grpc.EventServiceStub(world.channel)
        asked = event_service_pb2.ReplayEventsRequest(from_event_id="x")
        refused = refusal(lambda: stub.ReplayEvents(asked))
    assert (refused.reason, refused.metadata) == ("SCOPE_MISSING", {"scope": "song.WRITE"})
