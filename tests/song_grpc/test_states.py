"""Etags, reasons, checks without change, and the mark of a publish under way, on every database."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from song.v1 import analysis_pb2
from sqlalchemy import select
from sqlalchemy import update as sql_update

from song_grpc.database import tables
from song_grpc.database.times import from_microseconds, to_microseconds
from tests.song_grpc.world import World, file, in_parallel, payload, refusal

STATE = analysis_pb2.AnalysisState
UNPUBLISHED, PUBLISHED = STATE.ANALYSIS_STATE_UNPUBLISHED, STATE.ANALYSIS_STATE_PUBLISHED


@pytest.fixture
def analysis(world: World, study_id: str) -> analysis_pb2.Analysis:
    """An analysis whose objects Score holds."""
    submitted = world.get(study_id, world.submit(study_id, payload(study_id)))
    world.score.hold(submitted)
    return submitted


def mark_of(world: World, analysis_id: str) -> datetime | None:
    """Return until when the analysis is marked as publishing."""
    column = tables.analyses.c.publishing_until
    with world.database.read() as connection:
        until = connection.scalar(select(column).where(tables.analyses.c.analysis_id == analysis_id))
    return None if until is None else from_microseconds(until)


def set_mark(world: World, analysis_id: str, until: datetime | None) -> None:
    mine = tables.analyses.c.analysis_id == analysis_id
    value = None if until is None else to_microseconds(until)
    with world.database.write() as connection:
        connection.execute(sql_update(tables.analyses).where(mine).values(publishing_until=value))


def test_changes_of_state_take_the_etag_that_is_and_say_why(
    world: World, study_id: str, analysis: analysis_pb2.Analysis
) -> None:
    analysis_id, etag = analysis.analysis_id, analysis.etag
    for call in (world.publish, world.unpublish, world.suppress):
        earlier = etag
        if call is not world.publish:
            refused = refusal(lambda call=call: call(study_id, analysis_id, etag="r999"))  # type: ignore[misc] # mypy can't infer such a lambda
            assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
            assert refused.metadata == {"etag": etag}
        assert call(study_id, analysis_id, etag=etag, reason=f"before {etag}").changed
        etag = world.get(study_id, analysis_id).etag
        assert etag != earlier

    changes = world.get(study_id, analysis_id).state_changes
    assert [change.reason for change in changes] == ["before r1", "before r2", "before r3"]
    assert [entry.reason for entry in world.history(study_id, analysis_id).entries] == [
        "",
        *(change.reason for change in changes),
    ]


def test_a_publish_with_another_etag_does_not_ask_score(
    world: World, study_id: str, analysis: analysis_pb2.Analysis
) -> None:
    refused = refusal(lambda: world.publish(study_id, analysis.analysis_id, etag="r2"))
    assert (refused.reason, refused.metadata) == ("ETAG_MISMATCH", {"etag": "r1"})
    assert not world.score.batches
    assert mark_of(world, analysis.analysis_id) is None
    assert world.publish(study_id, analysis.analysis_id, etag="*").changed


def test_a_publish_with_an_etag_is_not_overtaken_by_an_update(
    world: World, study_id: str, analysis: analysis_pb2.Analysis
) -> None:
    analysis_id = analysis.analysis_id
    world.score.before_answer = lambda: world.patch(study_id, analysis_id, {"x": len(world.score.batches)})

    assert refusal(lambda: world.publish(study_id, analysis_id, etag=analysis.etag)).reason == "ETAG_MISMATCH"
    assert mark_of(world, analysis_id) is None
    assert world.get(study_id, analysis_id).state == UNPUBLISHED
    # Without one it publishes what is there: the files are the same.
    assert world.publish(study_id, analysis_id).changed
    assert [event.action for event in world.events(analysis_id)] == ["CREATE", "UPDATE", "UPDATE", "PUBLISH"]


@pytest.mark.parametrize("verb", ["publish", "unpublish", "suppress"])
def test_of_parallel_callers_with_one_etag_one_wins(
    world: World, study_id: str, analysis: analysis_pb2.Analysis, verb: str
) -> None:
    analysis_id = analysis.analysis_id
    if verb == "unpublish":
        world.publish(study_id, analysis_id)
    etag = world.get(study_id, analysis_id).etag
    events = len(world.events(analysis_id))

    answers = in_parallel([lambda: getattr(world, verb)(study_id, analysis_id, etag=etag)] * 6)

    winners = [answer for answer in answers if not isinstance(answer, grpc.RpcError)]
    assert [winner.changed for winner in winners] == [True]
    assert {answer.code() for answer in answers if isinstance(answer, grpc.RpcError)} == {grpc.StatusCode.ABORTED}
    assert len(world.events(analysis_id)) == events + 1


def test_a_check_without_publishing_changes_nothing_in_any_state(
    world: World, study_id: str, analysis: analysis_pb2.Analysis
) -> None:
    analysis_id = analysis.analysis_id
    seen: list[datetime | None] = []
    world.score.before_answer = lambda: seen.append(mark_of(world, analysis_id))

    answer = world.publish(study_id, analysis_id, validate_only=True, etag=analysis.etag)
    assert (answer.state, answer.changed) == (UNPUBLISHED, False)
    world.publish(study_id, analysis_id, ignore_undefined_md5=True)
    answer = world.publish(study_id, analysis_id, validate_only=True)
    assert (answer.state, answer.changed) == (PUBLISHED, False)
    assert len(world.score.batches) == 3
    assert [mark is None for mark in seen] == [True, False, True]

    world.score.stored.clear()
    refused = refusal(lambda: world.publish(study_id, analysis_id, validate_only=True))
    assert refused.reason == "MISSING_STORAGE_OBJECTS"
    assert (
        refusal(lambda: world.publish(study_id, analysis_id, validate_only=True, etag="r1")).reason == "ETAG_MISMATCH"
    )
    world.suppress(study_id, analysis_id)
    refused = refusal(lambda: world.publish(study_id, analysis_id, validate_only=True))
    assert refused.reason == "SUPPRESSED_STATE_TRANSITION"
    assert [event.action for event in world.events(analysis_id)] == ["CREATE", "PUBLISH", "SUPPRESS"]


def test_a_check_refuses_an_older_version_of_the_type(world: World, study_id: str) -> None:
    schema = {"type": "object", "properties": {}}
    name = world.new_type(schema)
    analysis_id = world.submit(study_id, payload(study_id, analysisType={"name": name}))
    world.register(name, schema, force=True)
    refused = refusal(lambda: world.publish(study_id, analysis_id, validate_only=True))
    assert refused.reason == "ANALYSIS_TYPE_INCORRECT_VERSION"


def test_while_score_is_asked_the_analysis_is_marked_for_a_minute(
    world: World, study_id: str, analysis: analysis_pb2.Analysis
) -> None:
    seen: list[datetime | None] = []
    world.score.before_answer = lambda: seen.append(mark_of(world, analysis.analysis_id))

    world.publish(study_id, analysis.analysis_id)

    (mark,) = seen
    assert mark is not None
    assert timedelta(seconds=30) < mark - datetime.now(UTC) <= timedelta(seconds=60)
    assert mark_of(world, analysis.analysis_id) is None
    assert world.get(study_id, analysis.analysis_id).state == PUBLISHED


def test_a_failed_check_takes_its_mark_back_and_no_other(
    world: World, study_id: str, analysis: analysis_pb2.Analysis
) -> None:
    analysis_id = analysis.analysis_id
    world.score.stored.clear()
    assert refusal(lambda: world.publish(study_id, analysis_id)).reason == "MISSING_STORAGE_OBJECTS"
    assert mark_of(world, analysis_id) is None

    earlier = datetime.now(UTC).replace(microsecond=7) + timedelta(seconds=20)
    set_mark(world, analysis_id, earlier)
    refusal(lambda: world.publish(study_id, analysis_id))
    assert mark_of(world, analysis_id) == earlier

    later = earlier + timedelta(seconds=600)
    world.score.before_answer = lambda: set_mark(world, analysis_id, later)
    refusal(lambda: world.publish(study_id, analysis_id))
    assert mark_of(world, analysis_id) == later


def test_a_mark_that_did_not_last_makes_score_be_asked_again(
    world: World, study_id: str, analysis: analysis_pb2.Analysis
) -> None:
    analysis_id = analysis.analysis_id

    def unmark_once() -> None:
        if len(world.score.batches) == 1:
            set_mark(world, analysis_id, None)

    world.score.before_answer = unmark_once
    assert world.publish(study_id, analysis_id).changed
    assert len(world.score.batches) == 2


def test_files_that_change_while_score_is_asked_are_asked_about_again(world: World, study_id: str) -> None:
    analysis = world.get(study_id, world.submit(study_id, payload(study_id, files=[file("a"), file("b")])))
    world.score.hold(analysis)

    def grow() -> None:
        mine = tables.files.c.object_id == analysis.files[0].object_id
        with world.database.write() as connection:
            size = tables.files.c.size_bytes + 1
            connection.execute(sql_update(tables.files).where(mine).values(size_bytes=size))
            touched = tables.analyses.c.analysis_id == analysis.analysis_id
            revision = tables.analyses.c.revision + 1
            connection.execute(sql_update(tables.analyses).where(touched).values(revision=revision))
        world.score.before_answer = lambda: None

    world.score.before_answer = grow
    refused = refusal(lambda: world.publish(study_id, analysis.analysis_id))
    assert refused.reason == "MISMATCHING_STORAGE_OBJECT_SIZES"
    assert len(world.score.batches) == 2
    assert mark_of(world, analysis.analysis_id) is None
