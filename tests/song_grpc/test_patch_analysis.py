"""PatchAnalysis: a merge patch on the dynamic data, on every database."""

import json

import grpc
import pytest
import simplejson
from song.v1 import analysis_service_pb2, analysis_type_pb2

from tests.song_grpc.world import World, payload, refusal

ACTION = analysis_service_pb2.HistoryAction


def data_of(world: World, study_id: str, analysis_id: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(world.get(study_id, analysis_id).data_json)
    return found


def test_a_patch_changes_what_it_names(world: World, study_id: str) -> None:
    kept = {
        "experiment": {"libraryStrategy": "WGS", "aligned": True, "insertSize": 3},
        "gone": 1,
        "deep": {"a": [1, 2]},
    }
    analysis_id = world.submit(study_id, payload(study_id, **kept))
    before = world.get(study_id, analysis_id)
    patch = {"experiment": {"aligned": None, "insertSize": 4}, "gone": None, "deep": {"a": [2], "b": {"c": None}}}

    answer = world.patch(study_id, analysis_id, patch, before.etag, reason="measured again")

    assert answer.changed
    after = world.get(study_id, analysis_id)
    assert after.etag == answer.etag != before.etag
    assert json.loads(after.data_json) == {
        "experiment": {"libraryStrategy": "WGS", "insertSize": 4},
        "deep": {"a": [2], "b": {}},
    }
    assert (after.files, after.samples, after.state) == (before.files, before.samples, before.state)
    _, entry = world.history(study_id, analysis_id).entries
    assert (entry.action, entry.reason) == (ACTION.HISTORY_ACTION_PATCH, "measured again")
    assert [event.action for event in world.events(analysis_id)] == ["CREATE", "UPDATE"]


def test_a_patch_keeps_every_digit_of_what_it_does_not_name(world: World, study_id: str) -> None:
    text = json.dumps(payload(study_id))[:-1] + ', "exact": {"a": 1.10, "b": 123456789012345678901234567890, "c": -0}}'
    analysis_id = world.submit(study_id, text)
    world.patch(study_id, analysis_id, '{"exact": {"d": 2.500}}')
    stored = simplejson.loads(world.get(study_id, analysis_id).data_json, use_decimal=True)
    assert '"a":1.10,"b":123456789012345678901234567890,"c":-0,"d":2.500' in world.get(study_id, analysis_id).data_json
    assert stored["experiment"] == {"libraryStrategy": "WGS"}


@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"nowhere": None},
        {"experiment": {"libraryStrategy": "WGS", "nowhere": None}},
        {"analysisType": {"name": "sequencingRead"}},
        {"analysisType": {"name": "sequencingRead", "version": 1}},
        {"analysisType": {}},
    ],
    ids=range(6),
)
def test_a_patch_that_changes_nothing_leaves_no_trace(world: World, study_id: str, patch: dict[str, object]) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    etag = world.get(study_id, analysis_id).etag
    answer = world.patch(study_id, analysis_id, patch)
    assert (answer.changed, answer.etag) == (False, etag)
    assert len(world.events(analysis_id)) == len(world.history(study_id, analysis_id).entries) == 1


@pytest.mark.parametrize(
    "named",
    [{"name": "variantCall"}, {"version": 2}, {"version": True}, {"version": None}, None, "sequencingRead", {"x": 1}],
    ids=range(7),
)
def test_a_patch_keeps_the_type(world: World, study_id: str, named: object) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    refused = refusal(lambda: world.patch(study_id, analysis_id, {"analysisType": named, "x": 1}))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SCHEMA_VIOLATION")
    assert [field for field, _ in refused.violations] == ["/analysisType"]
    assert len(world.events(analysis_id)) == 1


def test_a_patch_reaches_dynamic_data_only(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    names = ["studyId", "files", "samples", "analysisId", "analysisState", "analysisTypeId", "publishedAt"]
    refused = refusal(
        lambda: world.patch(
            study_id, analysis_id, dict.fromkeys(names, None) | {"experiment": {"libraryStrategy": "?"}}
        )
    )
    assert [field for field, _ in refused.violations] == [
        *(f"/{name}" for name in names),
        "/experiment/libraryStrategy",
    ]


def test_the_result_keeps_the_schema_of_the_analysis(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    refused = refusal(lambda: world.patch(study_id, analysis_id, {"experiment": None}))
    assert (refused.reason, refused.metadata) == ("SCHEMA_VIOLATION", {"violation_count": "1"})
    assert data_of(world, study_id, analysis_id) == {"experiment": {"libraryStrategy": "WGS"}}


def test_an_analysis_of_an_older_version_is_updated_first(world: World, study_id: str) -> None:
    name = world.new_type({"type": "object", "properties": {}})
    analysis_id = world.submit(study_id, payload(study_id, analysisType={"name": name}))
    world.register(name, {"type": "object", "properties": {"x": {"type": "integer"}}})

    refused = refusal(lambda: world.patch(study_id, analysis_id, {"x": 1}))
    assert refused.reason == "ANALYSIS_TYPE_INCORRECT_VERSION"
    assert refused.metadata == {"name": name, "version": "1", "latest": "2"}
    world.update(study_id, analysis_id, {"analysisType": {"name": name}})
    assert world.patch(study_id, analysis_id, {"x": 1}).changed


def test_samples_of_the_types_own_are_patched(world: World, study_id: str) -> None:
    none = {"entity_model": analysis_type_pb2.ENTITY_MODEL_NONE}
    name = world.new_type({"type": "object", "properties": {"samples": {"type": "object"}}}, options=none)
    analysis_id = world.submit(study_id, payload(study_id, analysisType={"name": name}, samples={"a": 1, "b": 2}))
    world.patch(study_id, analysis_id, {"samples": {"a": None}})
    samples = data_of(world, study_id, analysis_id)["samples"]
    assert samples == {"b": 2}


@pytest.mark.parametrize(
    "text", ["[]", "null", '"x"', "{", '{"a": NaN}', '{"a": "\\u0000"}', '{"a":' * 65 + "1" + "}" * 65]
)
def test_only_json_objects_are_patches(world: World, study_id: str, text: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    assert refusal(lambda: world.patch(study_id, analysis_id, text)).reason == "PAYLOAD_PARSING"


def test_a_patch_needs_the_etag_that_is(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    first = world.get(study_id, analysis_id).etag
    world.patch(study_id, analysis_id, {"x": 1}, first)
    refused = refusal(lambda: world.patch(study_id, analysis_id, {"x": 2}, first))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert refusal(lambda: world.patch(study_id, analysis_id, {"x": 2}, "")).metadata == {"field": "etag"}
    assert data_of(world, study_id, analysis_id)["x"] == 1
