"""Publish, unpublish, suppress: states, history and events, on every database."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from decimal import Decimal
from pathlib import Path

import grpc
import pytest
import simplejson
from score.v1 import stored_object_pb2
from song.v1 import analysis_pb2, study_service_pb2

from song_grpc.domain.limits import SCORE_WAITERS
from tests.song_grpc.world import SERVICE_TOKEN, World, file, in_parallel, payload, refusal, running, sample

STATE = analysis_pb2.AnalysisState
UNPUBLISHED, PUBLISHED, SUPPRESSED = (
    STATE.ANALYSIS_STATE_UNPUBLISHED,
    STATE.ANALYSIS_STATE_PUBLISHED,
    STATE.ANALYSIS_STATE_SUPPRESSED,
)


def test_publishing_asks_score_once_and_leaves_history_and_event(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id, files=[file("empty", fileSize=0), file()]))
    world.score.hold(world.get(study_id, analysis_id))

    assert world.publish(study_id, analysis_id).changed
    again = world.publish(study_id, analysis_id)

    assert (again.state, again.changed) == (PUBLISHED, False)
    assert world.score.batches == [2]
    assert world.score.tokens == {f"Bearer {SERVICE_TOKEN}"}
    analysis = world.get(study_id, analysis_id)
    (change,) = analysis.state_changes
    assert (change.initial_state, change.updated_state, change.actor) == (UNPUBLISHED, PUBLISHED, "development")
    assert analysis.publish_time == analysis.first_publish_time == analysis.update_time == change.update_time


def test_times_of_publication_are_kept(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    world.score.hold(world.get(study_id, analysis_id))
    world.publish(study_id, analysis_id)
    first = world.get(study_id, analysis_id).publish_time
    world.unpublish(study_id, analysis_id)
    world.publish(study_id, analysis_id)
    world.suppress(study_id, analysis_id)

    analysis = world.get(study_id, analysis_id)
    assert analysis.first_publish_time == first
    assert analysis.publish_time == analysis.state_changes[2].update_time
    assert [change.updated_state for change in analysis.state_changes] == [
        PUBLISHED,
        UNPUBLISHED,
        PUBLISHED,
        SUPPRESSED,
    ]


def test_requests_for_the_state_that_is_change_nothing(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    assert not world.unpublish(study_id, analysis_id).changed
    assert world.suppress(study_id, analysis_id).changed
    again = world.suppress(study_id, analysis_id)
    assert (again.state, again.changed) == (SUPPRESSED, False)

    assert [event.action for event in world.events(analysis_id)] == ["CREATE", "SUPPRESS"]
    assert len(world.get(study_id, analysis_id).state_changes) == 1


def test_suppression_is_final(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    world.score.hold(world.get(study_id, analysis_id))
    world.suppress(study_id, analysis_id)

    for call in (world.publish, world.unpublish):
        refused = refusal(lambda call=call: call(study_id, analysis_id))  # type: ignore[misc] # mypy can't infer such a lambda
        assert (refused.code, refused.reason) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "SUPPRESSED_STATE_TRANSITION",
        )
        assert refused.metadata["initial_state"] == "SUPPRESSED"
    assert not world.score.batches


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"verification": stored_object_pb2.VERIFICATION_UNVERIFIED}, "MISSING_STORAGE_OBJECTS"),
        ({"verification": stored_object_pb2.VERIFICATION_UNSPECIFIED}, "MISSING_STORAGE_OBJECTS"),
        ({"size_bytes": 11}, "MISMATCHING_STORAGE_OBJECT_SIZES"),
        ({"md5": "0" * 32}, "MISMATCHING_STORAGE_OBJECT_CHECKSUMS"),
        ({"md5": ""}, "MISMATCHING_STORAGE_OBJECT_CHECKSUMS"),
        ({"md5": "0" * 32, "size_bytes": 11}, "MISMATCHING_STORAGE_OBJECT_SIZES"),
    ],
)
def test_score_must_hold_what_is_registered(
    world: World, study_id: str, changes: dict[str, object], reason: str
) -> None:
    analysis_id = world.submit(study_id, payload(study_id, files=[file() for _ in range(30)]))
    analysis = world.get(study_id, analysis_id)
    world.score.hold(analysis, **changes)

    refused = refusal(lambda: world.publish(study_id, analysis_id))

    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, reason)
    assert refused.metadata["object_count"] == "30"
    first = [found.object_id for found in analysis.files][:5]
    assert refused.metadata["object_ids"].split(",")[:5] == first
    assert world.get(study_id, analysis_id).state == UNPUBLISHED


def test_md5s_are_compared_whatever_their_case(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    analysis = world.get(study_id, analysis_id)
    world.score.hold(analysis, md5=analysis.files[0].md5.upper())
    assert world.publish(study_id, analysis_id).changed


def test_an_analysis_suppressed_while_score_is_asked_is_not_published(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    world.score.hold(world.get(study_id, analysis_id))
    world.score.before_answer = lambda: world.suppress(study_id, analysis_id)

    assert refusal(lambda: world.publish(study_id, analysis_id)).reason == "SUPPRESSED_STATE_TRANSITION"
    assert [event.action for event in world.events(analysis_id)] == ["CREATE", "SUPPRESS"]


def test_a_version_registered_while_score_is_asked_stops_the_publication(world: World, study_id: str) -> None:
    schema = {"type": "object", "properties": {}}
    name = world.new_type(schema)
    analysis_id = world.submit(study_id, payload(study_id, analysisType={"name": name}))
    world.score.hold(world.get(study_id, analysis_id))
    world.score.before_answer = lambda: world.register(name, schema, force=True)

    refused = refusal(lambda: world.publish(study_id, analysis_id))

    assert refused.reason == "ANALYSIS_TYPE_INCORRECT_VERSION"
    assert refused.metadata == {"name": name, "version": "1", "latest": "2"}


def test_parallel_publications_make_one_event(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    world.score.hold(world.get(study_id, analysis_id))

    answers = in_parallel([lambda: world.publish(study_id, analysis_id)] * 12)

    assert sorted(answer.changed for answer in answers) == [False] * 11 + [True]
    assert [event.action for event in world.events(analysis_id)] == ["CREATE", "PUBLISH"]
    assert len(world.get(study_id, analysis_id).state_changes) == 1


def test_events_carry_the_analysis_as_committed(world: World, study_id: str) -> None:
    sent = payload(study_id, files=[file("a.bam", extra=1)], samples=[sample(info={"k": "v"})])
    text = json.dumps(sent)[:-1] + ', "exact": 1.10, "large": 12345678901234567890123}'
    analysis_id = world.submit(study_id, text)
    world.score.hold(world.get(study_id, analysis_id))
    world.publish(study_id, analysis_id)
    world.unpublish(study_id, analysis_id)

    events = world.events(analysis_id)

    assert [(event.action, event.state) for event in events] == [
        ("CREATE", "UNPUBLISHED"),
        ("PUBLISH", "PUBLISHED"),
        ("UNPUBLISH", "UNPUBLISHED"),
    ]
    assert len({event.event_id for event in events}) == 3
    created, published, unpublished = (simplejson.loads(event.analysis_json, use_decimal=True) for event in events)
    analysis = world.get(study_id, analysis_id)
    (stored,) = analysis.samples
    created_at = analysis.create_time.ToDatetime().strftime("%Y-%m-%dT%H:%M:%S.%f")
    assert created == {
        "analysisId": analysis_id,
        "studyId": study_id,
        "analysisState": "UNPUBLISHED",
        "createdAt": created_at,
        "updatedAt": created_at,
        "firstPublishedAt": None,
        "publishedAt": None,
        "analysisStateHistory": [],
        "samples": [
            {
                "sampleId": stored.sample_id,
                "specimenId": stored.specimen_id,
                "submitterSampleId": "sample-1",
                "sampleType": "Total DNA",
                "matchedNormalSubmitterSampleId": None,
                "info": {"k": "v"},
                "specimen": {
                    "specimenId": stored.specimen_id,
                    "donorId": stored.donor.donor_id,
                    "submitterSpecimenId": "specimen-1",
                    "tumourNormalDesignation": "Normal",
                    "specimenTissueSource": "Skin",
                    "specimenType": "Normal",
                },
                "donor": {
                    "donorId": stored.donor.donor_id,
                    "studyId": study_id,
                    "submitterDonorId": "donor-1",
                    "gender": "Female",
                },
            }
        ],
        "files": [
            {
                "objectId": analysis.files[0].object_id,
                "studyId": study_id,
                "analysisId": analysis_id,
                "fileName": "a.bam",
                "fileSize": 10,
                "fileType": "BAM",
                "fileMd5sum": sent["files"][0]["fileMd5sum"],
                "fileAccess": "open",
                "dataType": "aligned reads",
                "info": {"extra": 1},
            }
        ],
        "analysisType": {"name": "sequencingRead", "version": 1},
        "experiment": {"libraryStrategy": "WGS"},
        "exact": Decimal("1.10"),
        "large": 12345678901234567890123,
    }
    assert '"exact":1.10' in events[0].analysis_json
    assert published["publishedAt"] == published["firstPublishedAt"] == published["updatedAt"]
    assert published["analysisStateHistory"] == [
        {"initialState": "UNPUBLISHED", "updatedState": "PUBLISHED", "updatedAt": published["updatedAt"]}
    ]
    assert unpublished["publishedAt"] == published["publishedAt"]
    assert len(unpublished["analysisStateHistory"]) == 2


def test_events_of_types_without_entities_have_the_samples_of_the_type_or_none(world: World, study_id: str) -> None:
    none = {"entity_model": 2}
    with_own = world.new_type({"type": "object", "properties": {"samples": {"type": "string"}}}, options=none)
    without = world.new_type({"type": "object", "properties": {}}, options=none)

    def samples_of(sent: dict[str, object]) -> object:
        (event,) = world.events(world.submit(study_id, sent))
        return json.loads(event.analysis_json)["samples"]

    sent = payload(study_id, analysisType={"name": without})
    refused = world.validate(study_id, sent)
    assert [(found.pointer, found.keyword) for found in refused.violations] == [("/samples", "not")]
    del sent["samples"]
    assert samples_of(sent) == []
    assert samples_of(payload(study_id, analysisType={"name": with_own}, samples="mine")) == "mine"


def test_publishing_works_again_once_score_is_back(folder: Path) -> None:
    with running(folder) as world:
        study_id = world.new_study()
        analysis_id = world.submit(study_id, payload(study_id))
        world.score.hold(world.get(study_id, analysis_id))
        right = world.song._score._address
        world.song.use_score("127.0.0.1:1")
        assert refusal(lambda: world.publish(study_id, analysis_id)).reason == "GATEWAY_IS_DOWN"
        world.song.use_score(right)
        assert world.publish(study_id, analysis_id).changed


def test_with_enforce_latest_off_older_versions_are_submitted_and_published(folder: Path) -> None:
    with running(folder, enforce_latest=False) as world:
        study_id = world.new_study()
        name = world.new_type({"type": "object", "properties": {}})
        world.register(name, {"type": "object", "properties": {"x": {}}, "required": ["x"]})
        analysis_id = world.submit(study_id, payload(study_id, analysisType={"name": name, "version": 1.0}))
        world.score.hold(world.get(study_id, analysis_id))
        assert world.publish(study_id, analysis_id).changed


def test_a_score_that_hangs_leaves_song_able_to_answer(world: World, study_id: str) -> None:
    answering = threading.Event()
    world.score.before_answer = lambda: answering.wait(30)
    analysis_id = world.submit(study_id, payload(study_id))
    world.score.hold(world.get(study_id, analysis_id))
    with ThreadPoolExecutor(SCORE_WAITERS + 10) as pool:
        calls = [pool.submit(world.publish, study_id, analysis_id) for _ in range(SCORE_WAITERS + 10)]
        try:
            refused = [call for _, call in zip(range(10), as_completed(calls, timeout=20), strict=False)]
            for call in refused:
                said = refusal(call.result)
                assert (said.code, said.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE")
                assert "retry once it answers" in said.message
            world.studies.GetStudy(study_service_pb2.GetStudyRequest(study_id=study_id), timeout=5)
        finally:
            answering.set()
    assert all(call.result().state == PUBLISHED for call in calls if call not in refused)
