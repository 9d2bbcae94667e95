"""UpdateAnalysis: dynamic data replaced, types changed, on every database."""

import json
from decimal import Decimal
from pathlib import Path

import grpc
import pytest
import simplejson
from song.v1 import analysis_service_pb2, analysis_type_pb2
from sqlalchemy import update as sql_update

from song_grpc.database import tables
from song_grpc.domain.analysis_type import AnalysisType
from song_grpc.domain.limits import UPDATE_ATTEMPTS
from song_grpc.domain.payload import WantedType
from song_grpc.use_cases import wanted_types
from song_grpc.use_cases.environment import Environment
from tests.servers.http_service import Answer, http_service
from tests.song_grpc.world import World, file, payload, refusal, running, sample

ACTION = analysis_service_pb2.HistoryAction
READ = {"name": "sequencingRead"}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}


def update(**data: object) -> dict[str, object]:
    return {"analysisType": READ, "experiment": {"libraryStrategy": "WXS"}, **data}


def test_an_update_replaces_all_dynamic_data_and_nothing_else(world: World, study_id: str) -> None:
    sent = payload(study_id, old=1, samples=[sample(info={"k": 1})], files=[file(more=2)])
    analysis_id = world.submit(study_id, sent)
    before = world.get(study_id, analysis_id)

    answer = world.update(study_id, analysis_id, update(new=[1, None]), before.etag, reason="a typo")

    after = world.get(study_id, analysis_id)
    assert answer.changed
    assert answer.etag == after.etag != before.etag
    assert (answer.analysis_type.name, answer.analysis_type.version) == ("sequencingRead", 1)
    assert json.loads(after.data_json) == {"experiment": {"libraryStrategy": "WXS"}, "new": [1, None]}
    assert (after.samples, after.files) == (before.samples, before.files)
    assert (after.state, after.create_time) == (before.state, before.create_time)
    assert after.update_time.ToNanoseconds() > before.update_time.ToNanoseconds()
    _, entry = world.history(study_id, analysis_id).entries
    assert (entry.action, entry.actor, entry.reason) == (ACTION.HISTORY_ACTION_UPDATE, "development", "a typo")
    assert (entry.time, entry.state, list(entry.subjects)) == (
        after.update_time,
        after.state,
        ["sequencingRead version 1"],
    )
    created, updated = world.events(analysis_id)
    assert (updated.action, updated.state, updated.type_name) == ("UPDATE", "UNPUBLISHED", "sequencingRead")
    carried = json.loads(updated.analysis_json)
    assert (carried["new"], carried["experiment"]) == ([1, None], {"libraryStrategy": "WXS"})
    assert "old" not in carried
    assert carried["files"] == json.loads(created.analysis_json)["files"]


def test_what_is_so_already_makes_no_change_no_history_no_event(world: World, study_id: str) -> None:
    exact = '{"b": 1.10, "a": {"y": 12345678901234567890.5, "x": []}}'
    analysis_id = world.submit(study_id, json.dumps(payload(study_id))[:-1] + f', "exact": {exact}}}')
    etag = world.get(study_id, analysis_id).etag
    rest = '"experiment": {"libraryStrategy": "WGS"}, "analysisType": {"version": 1, "name": "sequencingRead"}'

    turned = '{"a": {"x": [], "y": 12345678901234567890.5}, "b": 1.10}'
    same = world.update(study_id, analysis_id, f'{{"exact": {turned}, {rest}}}', etag)
    assert (same.changed, same.etag) == (False, etag)
    assert len(world.events(analysis_id)) == len(world.history(study_id, analysis_id).entries) == 1

    digit = world.update(study_id, analysis_id, f'{{"exact": {exact.replace("1.10", "1.1")}, {rest}}}', etag)
    assert digit.changed
    stored = simplejson.loads(world.get(study_id, analysis_id).data_json, use_decimal=True)
    assert str(stored["exact"]["b"]) == "1.1"
    assert stored["exact"]["a"]["y"] == Decimal("12345678901234567890.5")


def test_an_update_moves_to_another_type_and_to_the_latest_version(world: World, study_id: str) -> None:
    name = world.new_type({"type": "object", "properties": {}})
    world.register(name, SCHEMA)
    analysis_id = world.submit(study_id, payload(study_id))

    moved = world.update(study_id, analysis_id, {"analysisType": {"name": name}, "x": 3})

    assert (moved.analysis_type.name, moved.analysis_type.version) == (name, 2)
    analysis = world.get(study_id, analysis_id)
    assert (analysis.analysis_type, json.loads(analysis.data_json)) == (moved.analysis_type, {"x": 3})
    assert world.events(analysis_id)[1].type_name == name
    same_data = world.update(
        study_id, analysis_id, {"analysisType": READ, "x": 3, "experiment": {"libraryStrategy": "WGS"}}
    )
    assert same_data.changed


def test_an_older_version_is_refused_and_with_enforce_latest_off_taken(world: World, folder: Path) -> None:
    def attempt(own: World) -> analysis_service_pb2.UpdateAnalysisResponse:
        study_id = own.new_study()
        name = own.new_type({"type": "object", "properties": {}})
        own.register(name, SCHEMA)
        analysis_id = own.submit(study_id, payload(study_id))
        return own.update(study_id, analysis_id, {"analysisType": {"name": name, "version": 1}})

    refused = refusal(lambda: attempt(world))
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "ANALYSIS_TYPE_INCORRECT_VERSION",
    )
    with running(folder, enforce_latest=False) as own:
        assert attempt(own).analysis_type.version == 1


def test_violations_are_those_of_the_whole_payload(world: World, study_id: str) -> None:
    name = world.new_type({"type": "object", "properties": {"x": {"type": "integer"}}})
    strict = world.new_type(
        {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["ofDna"]},
        options=analysis_type_pb2.AnalysisTypeOptions(file_types=analysis_type_pb2.FileTypes(names=["CRAM"])),
    )
    analysis_id = world.submit(study_id, payload(study_id, analysisType={"name": name}, files=[file("a"), file("b")]))

    refused = refusal(lambda: world.update(study_id, analysis_id, {"analysisType": {"name": strict}, "x": "1"}))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SCHEMA_VIOLATION")
    assert {field for field, _ in refused.violations} == {"", "/x", "/files/0/fileType", "/files/1/fileType"}
    assert refused.metadata == {"violation_count": "4"}
    assert len(world.history(study_id, analysis_id).entries) == 1


def test_what_an_external_source_does_not_permit_is_refused(world: World, study_id: str) -> None:
    with http_service() as source:
        one = analysis_type_pb2.ExternalValidation(url=f"{source.url}/{{study}}/{{value}}", json_path="x")
        external = analysis_type_pb2.ExternalValidations(items=[one])
        options = analysis_type_pb2.AnalysisTypeOptions(external_validations=external)
        name = world.new_type({"type": "object", "properties": {"x": {"type": "string"}}}, options=options)
        analysis_id = world.submit(study_id, payload(study_id))
        source.answer = lambda asked: Answer(200 if asked.path.endswith("/good") else 404)

        refused = refusal(lambda: world.update(study_id, analysis_id, {"analysisType": {"name": name}, "x": "bad"}))
        assert (refused.reason, [field for field, _ in refused.violations]) == ("SCHEMA_VIOLATION", ["/x"])
        assert world.update(study_id, analysis_id, {"analysisType": {"name": name}, "x": "good"}).changed
        assert refusal(lambda: world.patch(study_id, analysis_id, {"x": "bad"})).reason == "SCHEMA_VIOLATION"
        # A document that breaks the schema anyway is no question for others.
        refusal(lambda: world.patch(study_id, analysis_id, {"x": 1}))
        assert source.paths() == {f"/{study_id}/bad": 2, f"/{study_id}/good": 1}


def test_what_is_no_dynamic_data_is_refused_by_name(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    names = ["analysisId", "studyId", "analysisState", "analysisTypeId", "files", "samples", "createdAt"]

    refused = refusal(
        lambda: world.update(study_id, analysis_id, update(**dict.fromkeys(names, None), experiment="no object"))
    )

    assert refused.reason == "SCHEMA_VIOLATION"
    assert [field for field, _ in refused.violations] == [*(f"/{name}" for name in names), "/experiment"]


def test_without_entities_samples_are_the_types_own(world: World, study_id: str) -> None:
    none = {"entity_model": analysis_type_pb2.ENTITY_MODEL_NONE}
    name = world.new_type({"type": "object", "properties": {"samples": {"type": "string"}}}, options=none)
    bare = world.new_type({"type": "object", "properties": {}}, options=none)
    analysis_id = world.submit(study_id, payload(study_id, analysisType={"name": name}, samples="mine"))

    world.update(study_id, analysis_id, {"analysisType": {"name": name}, "samples": "yours"})
    assert json.loads(world.get(study_id, analysis_id).data_json) == {"samples": "yours"}
    refused = refusal(lambda: world.update(study_id, analysis_id, {"analysisType": {"name": bare}, "samples": "yours"}))
    assert [field for field, _ in refused.violations] == ["/samples"]
    assert world.update(study_id, analysis_id, {"analysisType": {"name": bare}}).changed


def test_an_update_keeps_the_entity_model(world: World, study_id: str) -> None:
    none = {"entity_model": analysis_type_pb2.ENTITY_MODEL_NONE}
    bare = world.new_type({"type": "object", "properties": {}}, options=none)
    analysis_id = world.submit(study_id, payload(study_id))

    refused = refusal(lambda: world.update(study_id, analysis_id, {"analysisType": {"name": bare}}))

    assert (refused.code, refused.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "ILLEGAL_ANALYSIS_UPDATE_REQUEST",
    )
    assert refused.metadata == {
        "analysis_id": analysis_id,
        "entity_model": "DONOR_SPECIMEN_SAMPLE",
        "wanted_entity_model": "NONE",
    }


def test_a_published_analysis_is_updated_and_stays_published(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    world.score.hold(world.get(study_id, analysis_id))
    world.publish(study_id, analysis_id)
    published = world.get(study_id, analysis_id)

    assert world.update(study_id, analysis_id, update()).changed

    after = world.get(study_id, analysis_id)
    assert (after.state, after.publish_time) == (published.state, published.publish_time)
    event = world.events(analysis_id)[-1]
    assert (event.action, event.state) == ("UPDATE", "PUBLISHED")


def test_a_suppressed_analysis_is_never_updated(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    world.suppress(study_id, analysis_id)
    for call in (lambda: world.update(study_id, analysis_id, update()), lambda: world.patch(study_id, analysis_id, {})):
        refused = refusal(call)
        assert (refused.code, refused.reason) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "ILLEGAL_ANALYSIS_UPDATE_REQUEST",
        )
        assert refused.metadata == {"analysis_id": analysis_id, "state": "SUPPRESSED"}


def test_an_etag_is_required_and_must_be_the_one_that_is(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    first = world.get(study_id, analysis_id).etag
    second = world.update(study_id, analysis_id, update(), first).etag

    refused = refusal(lambda: world.update(study_id, analysis_id, update(x=1), first))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert refused.metadata == {"etag": second}
    refused = refusal(lambda: world.update(study_id, analysis_id, update(x=1), ""))
    assert (refused.reason, refused.metadata) == ("MALFORMED_PARAMETER", {"field": "etag"})
    assert len(world.history(study_id, analysis_id).entries) == 2
    assert world.update(study_id, analysis_id, update(x=1), "*").changed


@pytest.mark.parametrize(
    ("text", "reason", "field"),
    [
        ("[]", "PAYLOAD_PARSING", None),
        ('{"analysisType": ', "PAYLOAD_PARSING", None),
        ("{}", "MALFORMED_PARAMETER", "update_json"),
        ('{"analysisType": {"version": 1}}', "MALFORMED_PARAMETER", "update_json"),
        ('{"analysisType": {"name": "sequencingRead", "version": 0}}', "MALFORMED_PARAMETER", "update_json"),
        ('{"analysisType": {"name": "nowhere"}}', "ANALYSIS_TYPE_NOT_FOUND", None),
        ('{"analysisType": {"name": "sequencingRead", "version": 9}}', "ANALYSIS_TYPE_NOT_FOUND", None),
        ('{"x": "' + "x" * 16 * 1024 * 1024 + '"}', "MALFORMED_PARAMETER", "update_json"),
    ],
    ids=range(8),
)
def test_updates_that_make_no_sense_are_refused(
    world: World, study_id: str, text: str, reason: str, field: str | None
) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    refused = refusal(lambda: world.update(study_id, analysis_id, text))
    assert (refused.reason, refused.metadata.get("field")) == (reason, field)


def test_an_analysis_may_not_grow_beyond_what_can_be_read(world: World, study_id: str) -> None:
    name = world.new_type({"type": "object", "properties": {}})
    noted = [file(note="x" * 1_400_000)]
    analysis_id = world.submit(study_id, payload(study_id, analysisType={"name": name}, files=noted))
    large = "x" * (16 * 1024 * 1024 - 1000)

    refused = refusal(lambda: world.update(study_id, analysis_id, {"analysisType": {"name": name}, "x": large}))
    assert (refused.reason, refused.metadata) == ("MALFORMED_PARAMETER", {"field": "update_json"})
    refused = refusal(lambda: world.patch(study_id, analysis_id, {"x": large}))
    assert (refused.reason, refused.metadata) == ("MALFORMED_PARAMETER", {"field": "patch_json"})


def test_analyses_of_other_studies_and_unknown_ones_are_not_found(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    other = world.new_study()
    for study, wanted in ((other, analysis_id), (study_id, "nowhere"), ("", ""), (study_id, "x\0")):
        refused = refusal(lambda study=study, wanted=wanted: world.update(study, wanted, update()))  # type: ignore[misc] # mypy can't infer such a lambda
        assert refused.reason == "ANALYSIS_ID_NOT_FOUND"


def test_a_reason_is_bounded(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    for call in (
        lambda: world.update(study_id, analysis_id, update(), reason="x" * 1001),
        lambda: world.patch(study_id, analysis_id, {"x": 1}, reason="\0"),
        lambda: world.publish(study_id, analysis_id, reason="x" * 1001),
        lambda: world.unpublish(study_id, analysis_id, reason="x" * 1001),
        lambda: world.suppress(study_id, analysis_id, reason="x" * 1001),
    ):
        refused = refusal(call)
        assert (refused.reason, refused.metadata) == ("MALFORMED_PARAMETER", {"field": "reason"})
    assert world.update(study_id, analysis_id, update(), reason="é" * 1000).changed


def test_an_update_that_others_overtake_starts_again_and_at_last_gives_up(
    world: World, study_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    right = wanted_types.resolve
    overtaken: list[WantedType] = []

    def overtake(times: int) -> None:
        def resolve(environment: Environment, wanted: WantedType) -> AnalysisType:
            if len(overtaken) < times:
                overtaken.append(wanted)
                with world.database.write() as connection:
                    mine = tables.analyses.c.analysis_id == analysis_id
                    revision = tables.analyses.c.revision + 1
                    connection.execute(sql_update(tables.analyses).where(mine).values(revision=revision))
            return right(environment, wanted)

        overtaken.clear()
        monkeypatch.setattr(wanted_types, "resolve", resolve)

    overtake(UPDATE_ATTEMPTS - 1)
    assert world.update(study_id, analysis_id, update(x=1)).changed
    overtake(UPDATE_ATTEMPTS)
    refused = refusal(lambda: world.update(study_id, analysis_id, update(x=2)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE")
    overtake(1)
    etag = world.get(study_id, analysis_id).etag
    assert refusal(lambda: world.update(study_id, analysis_id, update(x=3), etag)).reason == "ETAG_MISMATCH"
    assert len(overtaken) == 1
