"""What a hostile or unlucky caller sends gets the answer the contract promises."""

import base64
import json
from typing import Any

import grpc
import pytest
from song.v1 import analysis_type_pb2, analysis_type_service_pb2, study_service_pb2

from song_grpc.domain import limits, paging
from tests.song_grpc.world import World, file, payload, refusal, sample

DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"
NONE = analysis_type_pb2.AnalysisTypeOptions(entity_model=analysis_type_pb2.ENTITY_MODEL_NONE)


def test_a_page_token_with_half_a_surrogate_pair_is_refused(world: World) -> None:
    text = json.dumps([paging._digest(["studies"]), "\ud800"])
    token = base64.urlsafe_b64encode(text.encode()).decode()
    assert paging.read_token(
        base64.urlsafe_b64encode(text.replace("\\ud800", "a").encode()).decode(), ["studies"], (str,)
    )
    said = refusal(lambda: world.studies.ListStudies(study_service_pb2.ListStudiesRequest(page_token=token)))
    assert said.reason == "MALFORMED_PARAMETER"


def test_a_violation_at_a_very_long_name_is_sent_with_its_pointer_cut(world: World, study_id: str) -> None:
    properties = {"experiment": {"type": "object"}}
    name = world.new_type({"type": "object", "properties": properties, "additionalProperties": {"type": "string"}})
    answer = world.validate(study_id, payload(study_id, analysisType={"name": name}, **{"x" * 2**22: 1}))
    assert (answer.violation_total, len(answer.violations)) == (1, 1)
    assert len(answer.violations[0].pointer) == limits.MAX_VIOLATION_POINTER_CHARS


def test_validation_refuses_for_its_size_what_submission_refuses(world: World, study_id: str) -> None:
    numbers = ",".join(["1e9"] * 1_200_000)  # kept as 1E+9
    sent = payload(study_id, x=["NUMBERS"], y="a" * (limits.MAX_PAYLOAD_BYTES - len(numbers) - 2000))
    text = json.dumps(sent).replace('"NUMBERS"', numbers)
    assert len(text) < limits.MAX_PAYLOAD_BYTES
    said = [refusal(lambda: world.submit(study_id, text)), refusal(lambda: world.validate(study_id, text))]
    assert said[0] == said[1]
    assert said[0].reason == "MALFORMED_PARAMETER"


def test_a_value_below_a_property_named_property_names_stays_out_of_the_message(world: World, study_id: str) -> None:
    rule = {"properties": {"propertyNames": {"pattern": "^public$"}}, "propertyNames": {"maxLength": 13}}
    name = world.new_type({"type": "object", "properties": {"x": rule}})
    sent = payload(study_id, analysisType={"name": name}, x={"propertyNames": "secret", "a name too long": 1})
    messages = {one.keyword: one.message for one in world.validate(study_id, sent).violations}
    assert "secret" not in messages["pattern"]
    assert messages["maxLength"].startswith("the property name 'a name too long' must have at most 13")


def test_a_file_name_that_is_no_text_stays_out_of_the_message(world: World, study_id: str) -> None:
    options = analysis_type_pb2.AnalysisTypeOptions(file_types=analysis_type_pb2.FileTypes(names=["VCF"]))
    name = world.new_type({"type": "object", "properties": {}}, options=options)
    sent = payload(study_id, analysisType={"name": name}, files=[file() | {"fileName": {"patient": "secret"}}])
    found = world.validate(study_id, sent).violations
    assert "file type of file 0 is not allowed, allowed are VCF" in [one.message for one in found]
    assert not any("secret" in one.message for one in found)


def test_a_repeated_registration_is_answered_although_the_schema_would_no_longer_do(world: World) -> None:
    name = world.new_type({"type": "object", "properties": {}}, options=NONE)
    schema = {"type": "object", "properties": {"samples": {"type": "string"}}}
    first = world.register(name, schema, request_id=f"replay {name}")
    tree = analysis_type_pb2.AnalysisTypeOptions(entity_model=analysis_type_pb2.ENTITY_MODEL_DONOR_SPECIMEN_SAMPLE)
    world.register(name, {"type": "object", "properties": {}}, options=tree)
    assert world.register(name, schema, request_id=f"replay {name}") == first


@pytest.mark.parametrize(("again", "same"), [("1.0", True), ("1e0", True), ("true", False), ("1.1", False)])
def test_info_is_compared_by_its_values(world: World, study_id: str, again: str, same: bool) -> None:
    def text(number: str) -> str:
        donor = {**sample()["donor"], "info": {"age": ["NUMBER"]}}
        return json.dumps(payload(study_id, samples=[sample(donor=donor)])).replace('"NUMBER"', number)

    world.submit(study_id, text("1"))
    if same:
        world.submit(study_id, text(again))
    else:
        assert refusal(lambda: world.submit(study_id, text(again))).reason == "MISMATCHING_DONOR_DATA"


@pytest.mark.parametrize(
    "definition",
    [
        {"$anchor": "a", "$ref": "#a"},
        {"$dynamicAnchor": "a", "$dynamicRef": "#a"},
        {"$anchor": "a", "allOf": [{"$ref": "#b"}], "$defs": {"b": {"$anchor": "b", "anyOf": [{"$ref": "#a"}]}}},
    ],
)
def test_circles_through_anchors_are_refused_at_registration(world: World, definition: dict[str, Any]) -> None:
    schema = {"$schema": DRAFT_2020, "type": "object", "properties": {"x": {"$ref": "#a"}}, "$defs": {"a": definition}}
    said = refusal(lambda: world.new_type(schema))
    assert said.reason == "MALFORMED_JSON_SCHEMA"
    assert "circle" in said.message


def test_circles_through_named_fragments_are_refused_and_recursion_is_not(world: World, study_id: str) -> None:
    circle = {"$id": "#a", "allOf": [{"$ref": "#a"}]}
    schema: dict[str, Any] = {"type": "object", "properties": {"x": {"$ref": "#a"}}, "definitions": {"a": circle}}
    assert refusal(lambda: world.new_type(schema)).reason == "MALFORMED_JSON_SCHEMA"
    schema["definitions"]["a"] = {"$id": "#a", "properties": {"x": {"$ref": "#a"}}, "type": "object"}
    name = world.new_type(schema)
    assert not world.validate(study_id, payload(study_id, analysisType={"name": name}, x={"x": {}})).violations


@pytest.mark.parametrize("version", ["2147483648", "1E999999999", "9" * 400])
def test_versions_beyond_all_numbers_are_unknown_versions_of_a_known_type(
    world: World, study_id: str, version: str
) -> None:
    sent = payload(study_id, analysisType={"name": "sequencingRead", "version": "V"})
    said = refusal(lambda: world.submit(study_id, json.dumps(sent).replace('"V"', version)))
    assert (said.code, said.reason) == (grpc.StatusCode.NOT_FOUND, "ANALYSIS_TYPE_NOT_FOUND")
    assert said.metadata["latest"] == "1"
    assert "has no version above 2147483647" in said.message


@pytest.mark.parametrize(
    "root",
    [
        {"allOf": [{"properties": {"samples": {"type": "string"}}}]},
        {"if": True, "then": {"properties": {"samples": {"type": "string"}}}},
        {"$ref": "#/definitions/d", "definitions": {"d": {"properties": {"samples": {"type": "string"}}}}},
    ],
)
def test_samples_are_the_types_wherever_at_its_root_it_defines_them(
    world: World, study_id: str, root: dict[str, Any]
) -> None:
    name = world.new_type({"type": "object", "properties": {}, **root}, options=NONE)
    assert not world.validate(study_id, payload(study_id, analysisType={"name": name}, samples="own")).violations


@pytest.mark.parametrize(
    ("root", "pointer"),
    [
        ({"not": {"properties": {"files": {}}}}, "/not/properties/files"),
        ({"patternProperties": {"^file": {"type": "null"}}}, "/patternProperties/^file"),
        ({"dependencies": {"x": {"properties": {"studyId": {}}}}}, "/dependencies/x/properties/studyId"),
        (
            {"$ref": "#/definitions/d", "definitions": {"d": {"properties": {"files": {}}}}},
            "/definitions/d/properties/files",
        ),
    ],
)
def test_reserved_names_are_found_in_all_that_applies_to_the_root(
    world: World, root: dict[str, Any], pointer: str
) -> None:
    said = refusal(lambda: world.new_type({"type": "object", "properties": {}, **root}))
    assert said.reason == "SCHEMA_VIOLATION"
    assert said.message == "the schema breaks the rules of registration in 1 place"
    assert [field for field, _ in said.violations] == [pointer]


def test_names_of_the_base_deeper_down_are_free(world: World) -> None:
    deeper = {"patternProperties": {"^file": True}, "properties": {"files": {"$ref": "#/definitions/d"}}}
    world.new_type({"type": "object", "properties": {"x": deeper}, "definitions": {"d": {"properties": {"files": {}}}}})


def test_minus_zero_stays_minus_zero(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, json.dumps(payload(study_id, x=[0])).replace('"x": [0]', '"x": [-0, 0, -0.0]'))
    assert '"x":[-0,0,-0.0]' in world.get(study_id, analysis_id).data_json
    (event,) = world.events(analysis_id)
    assert '"x":[-0,0,-0.0]' in str(event)


def test_a_byte_order_mark_is_refused(world: World, study_id: str) -> None:
    said = refusal(lambda: world.submit(study_id, "\ufeff" + json.dumps(payload(study_id))))
    assert said.reason == "PAYLOAD_PARSING"
    assert "byte order mark" in said.message


def test_donor_and_specimen_errors_come_before_sample_errors(world: World, study_id: str) -> None:
    world.submit(study_id, payload(study_id, samples=[sample(1), sample(2)]))
    donor = {**sample(1)["donor"], "gender": "Male"}
    wrong = sample(1, donor=donor, sampleId="not mine")
    assert (
        refusal(lambda: world.submit(study_id, payload(study_id, samples=[wrong]))).reason == "MISMATCHING_DONOR_DATA"
    )
    wrong = sample(1, donor={**sample(2)["donor"], "gender": "Male"}, sampleId="not mine")
    said = refusal(lambda: world.submit(study_id, payload(study_id, samples=[wrong])))
    assert said.reason == "SPECIMEN_TO_DONOR_ID_MISMATCH"


def test_a_token_of_names_does_not_fit_a_list_of_versions(world: World) -> None:
    name = world.new_type({"type": "object", "properties": {}})
    world.register(name, {"type": "object", "properties": {}}, force=True)
    listed = analysis_type_service_pb2.ListAnalysisTypesRequest
    token = world.types.ListAnalysisTypes(listed(names=[name, "1"], page_size=1)).next_page_token
    assert token
    said = refusal(lambda: world.types.ListAnalysisTypes(listed(names=[name], versions=[1], page_token=token)))
    assert said.reason == "MALFORMED_PARAMETER"
