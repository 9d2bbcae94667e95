"""AnalysisTypeService, on every database."""

import json
from typing import Any

import grpc
import pytest
from jsonschema import Draft7Validator
from song.v1 import analysis_type_pb2
from song.v1 import analysis_type_service_pb2 as messages

from tests.song_grpc.world import World, file, in_parallel, payload, refusal

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
NONE, TREE = analysis_type_pb2.ENTITY_MODEL_NONE, analysis_type_pb2.ENTITY_MODEL_DONOR_SPECIMEN_SAMPLE


def get(world: World, name: str, version: int = 0, *, unrendered: bool = False) -> analysis_type_pb2.AnalysisType:
    request = messages.GetAnalysisTypeRequest(name=name, version=version, unrendered=unrendered)
    return world.types.GetAnalysisType(request).analysis_type


def options(names: list[str] | None, model: int = 0) -> analysis_type_pb2.AnalysisTypeOptions:
    file_types = None if names is None else analysis_type_pb2.FileTypes(names=names)
    return analysis_type_pb2.AnalysisTypeOptions(entity_model=model, file_types=file_types)  # type: ignore[arg-type] # an enum's value


def test_an_empty_database_starts_with_the_built_in_types(world: World) -> None:
    for name in ("sequencingRead", "variantCall"):
        assert get(world, name).version == 1


def test_versions_count_from_one_and_identical_schemas_make_none(world: World) -> None:
    name = world.new_type(SCHEMA)
    same = world.register(name, json.dumps({"required": ["x"], **SCHEMA}))
    assert (same.created, same.analysis_type.version) == (False, 1)
    assert json.loads(same.analysis_type.schema_json) == SCHEMA
    assert world.register(name, SCHEMA, force=True).analysis_type.version == 2
    assert world.register(name, SCHEMA | {"title": "new"}).analysis_type.version == 3
    assert [get(world, name, version).version for version in (0, 1, 2)] == [3, 1, 2]


def test_one_and_true_and_one_point_zero_are_different_schemas(world: World) -> None:
    name = world.new_type({"type": "object", "properties": {"x": {"const": 1}}})
    assert world.register(name, {"type": "object", "properties": {"x": {"const": True}}}).created
    assert world.register(name, '{"type": "object", "properties": {"x": {"const": 1.0}}}').created


def test_options_are_inherited_replaced_and_cleared(world: World) -> None:
    name = world.new_type(SCHEMA, options=options(["BAM", "CRAM"], NONE))
    assert not world.register(name, SCHEMA).created
    second = world.register(name, SCHEMA | {"title": "2"}).analysis_type
    assert (second.options.entity_model, list(second.options.file_types.names)) == (NONE, ["BAM", "CRAM"])
    third = world.register(name, SCHEMA | {"title": "2"}, options=options([], TREE))
    assert third.created
    assert (third.analysis_type.options.entity_model, len(third.analysis_type.options.file_types.names)) == (TREE, 0)
    assert list(get(world, name, 2).options.file_types.names) == ["BAM", "CRAM"]


def test_file_types_are_checked_with_case_and_every_file_is_reported(world: World, study_id: str) -> None:
    name = world.new_type({"type": "object", "properties": {}}, options=options(["BAM", "BAI"]))
    files = [file("a", fileType="bam"), file("b"), file("c", fileType="VCF")]

    found = world.validate(study_id, payload(study_id, analysisType={"name": name}, files=files))

    assert [(violation.pointer, violation.keyword) for violation in found.violations] == [
        ("/files/0/fileType", "fileTypes"),
        ("/files/2/fileType", "fileTypes"),
    ]
    assert found.violations[0].message == "file type of a is not allowed, allowed are BAM, BAI"


def test_repeated_registrations_give_the_first_answer(world: World) -> None:
    name = world.new_type(SCHEMA)
    first = world.register(name, SCHEMA, force=True, request_id="again")
    assert world.register(name, SCHEMA, force=True, request_id="again") == first
    assert first.analysis_type.version == 2
    assert refusal(lambda: world.register(name, SCHEMA, request_id="again")).reason == "REQUEST_ID_REUSED"


def test_parallel_registrations_leave_no_gap(world: World) -> None:
    name = f"{world.new_type(SCHEMA)}-parallel"

    answers = in_parallel([lambda: world.register(name, SCHEMA, force=True)] * 16)

    assert sorted(answer.analysis_type.version for answer in answers) == list(range(1, 17))


def test_parallel_registrations_of_one_schema_make_one_version(world: World) -> None:
    name = f"{world.new_type(SCHEMA)}-parallel"

    answers = in_parallel([lambda: world.register(name, SCHEMA)] * 16)

    assert [answer.analysis_type.version for answer in answers] == [1] * 16
    assert sum(answer.created for answer in answers) == 1


def test_the_rendered_schema_joins_base_and_type(world: World) -> None:
    name = world.new_type({"type": "object", "properties": {"x": {}}, "required": ["x", "files", "x"][:2]})

    rendered = json.loads(get(world, name).schema_json)

    assert rendered["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert rendered["type"] == "object"
    assert rendered["required"] == ["studyId", "analysisType", "samples", "files", "x"]
    assert {"studyId", "analysisType", "samples", "files", "analysisId", "x"} <= set(rendered["properties"])
    assert set(rendered["definitions"]) == {"common", "file", "donor", "specimen", "analysisType", "sample"}
    assert set(rendered["definitions"]["common"]) == {"md5", "submitterId", "info"}
    assert json.loads(get(world, name, unrendered=True).schema_json)["required"] == ["x", "files"]


def test_types_are_listed_by_name_then_newest_first(world: World) -> None:
    first, second = sorted([world.new_type(SCHEMA), world.new_type(SCHEMA)])
    for name in (first, second, second):
        world.register(name, SCHEMA, force=True)
    names = [first, second]

    def listed(**fields: Any) -> list[tuple[str, int]]:  # noqa: ANN401 - fields of the message
        found: list[tuple[str, int]] = []
        token = ""
        while True:
            request = messages.ListAnalysisTypesRequest(names=names, page_size=2, page_token=token, **fields)
            page = world.types.ListAnalysisTypes(request)
            found += [(item.name, item.version) for item in page.analysis_types]
            token = page.next_page_token
            if not token:
                return found

    assert listed() == [(first, 2), (first, 1), (second, 3), (second, 2), (second, 1)]
    assert listed(versions=[1, 3], hide_schema=True) == [(first, 1), (second, 3), (second, 1)]
    hidden = world.types.ListAnalysisTypes(messages.ListAnalysisTypesRequest(names=names, hide_schema=True))
    assert {item.schema_json for item in hidden.analysis_types} == {""}
    shown = world.types.ListAnalysisTypes(messages.ListAnalysisTypesRequest(names=[first]))
    assert json.loads(shown.analysis_types[0].schema_json) == SCHEMA


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ("name", "a2 a1 b3 b2 b1"),
        (" name , version ", "a1 a2 b1 b2 b3"),
        ("name desc", "b3 b2 b1 a2 a1"),
        ("name desc,version", "b1 b2 b3 a1 a2"),
        ("version", "a1 b1 a2 b2 b3"),
        ("version desc", "b3 a2 b2 a1 b1"),
        ("version desc, name desc", "b3 b2 a2 b1 a1"),
        ("name, version desc", "a2 a1 b3 b2 b1"),
    ],
)
def test_types_are_listed_in_the_order_asked_for(world: World, order_by: str, expected: str) -> None:
    names = sorted([world.new_type(SCHEMA), world.new_type(SCHEMA)])
    for name in (names[0], names[1], names[1]):
        world.register(name, SCHEMA, force=True)
    found: list[str] = []
    token = ""
    while not found or token:
        request = messages.ListAnalysisTypesRequest(names=names, page_size=2, page_token=token, order_by=order_by)
        page = world.types.ListAnalysisTypes(request)
        found += [f"{'ab'[names.index(item.name)]}{item.version}" for item in page.analysis_types]
        token = page.next_page_token
    assert found == expected.split()


@pytest.mark.parametrize("order_by", ["create_time", "name,name", "name asc", "name desc desc", ",", "name;version"])
def test_an_order_that_is_none_is_refused(world: World, order_by: str) -> None:
    refused = refusal(lambda: world.types.ListAnalysisTypes(messages.ListAnalysisTypesRequest(order_by=order_by)))
    assert (refused.reason, refused.metadata["field"]) == ("MALFORMED_PARAMETER", "order_by")


def test_a_page_token_belongs_to_its_order(world: World) -> None:
    page = world.types.ListAnalysisTypes(messages.ListAnalysisTypesRequest(page_size=1, order_by="version"))
    request = messages.ListAnalysisTypesRequest(page_size=1, page_token=page.next_page_token)
    assert refusal(lambda: world.types.ListAnalysisTypes(request)).metadata["field"] == "page_token"


def test_a_registration_can_be_checked_without_registering(world: World) -> None:
    name = world.new_type(SCHEMA, options=options(["BAM"]))
    same = world.register(name, SCHEMA, validate_only=True, request_id="once")
    assert (same.created, same.analysis_type.version) == (False, 1)
    for _ in range(2):
        would = world.register(name, SCHEMA, validate_only=True, force=True)
        assert (would.created, would.analysis_type.version) == (True, 2)
        assert list(would.analysis_type.options.file_types.names) == ["BAM"]
    assert world.register(name, SCHEMA, force=True, request_id="once").analysis_type.version == 2
    first = world.register(f"{name}-new", SCHEMA, validate_only=True)
    assert (first.created, first.analysis_type.version) == (True, 1)
    assert refusal(lambda: get(world, f"{name}-new")).reason == "ANALYSIS_TYPE_NOT_FOUND"
    broken = {"type": "object", "properties": {"x": {"pattern": "("}}}
    assert refusal(lambda: world.register(name, broken, validate_only=True)).reason == "MALFORMED_JSON_SCHEMA"


def test_other_external_validations_under_one_request_id_are_other_content(world: World) -> None:
    name = world.new_type(SCHEMA)
    items = [analysis_type_pb2.ExternalValidation(url="http://host/{value}", json_path="a")]
    wanted = analysis_type_pb2.AnalysisTypeOptions(
        external_validations=analysis_type_pb2.ExternalValidations(items=items)
    )
    world.register(name, SCHEMA, options=wanted, request_id="external")
    assert refusal(lambda: world.register(name, SCHEMA, request_id="external")).reason == "REQUEST_ID_REUSED"


def test_the_schema_of_schemas_depends_on_the_entity_model(world: World) -> None:
    def reserves_samples(model: int) -> bool:
        request = messages.GetRegistrationSchemaRequest(entity_model=model)  # type: ignore[arg-type] # an enum's value
        found = json.loads(world.types.GetRegistrationSchema(request).schema_json)
        assert found["$schema"] == "http://json-schema.org/draft-07/schema#"
        schema = {"type": "object", "properties": {"samples": {}}}
        return not Draft7Validator(found).is_valid(schema)

    assert [reserves_samples(model) for model in (0, TREE, NONE)] == [True, True, False]
    refused = refusal(lambda: world.types.GetRegistrationSchema(messages.GetRegistrationSchemaRequest(entity_model=9)))  # type: ignore[arg-type] # no enum's value
    assert (refused.reason, refused.metadata["field"]) == ("MALFORMED_PARAMETER", "entity_model")


def test_a_page_with_schemas_ends_before_three_mebibytes(world: World) -> None:
    names = [world.new_type(SCHEMA | {"description": "x" * 1_000_000}) for _ in range(4)]

    page = world.types.ListAnalysisTypes(messages.ListAnalysisTypesRequest(names=names))
    hidden = world.types.ListAnalysisTypes(messages.ListAnalysisTypesRequest(names=names, hide_schema=True))

    assert len(page.analysis_types) == 3
    assert page.next_page_token
    assert len(hidden.analysis_types) == 4


@pytest.mark.parametrize(
    ("request_fields", "reason"),
    [
        ({"name": ""}, "MALFORMED_PARAMETER"),
        ({"name": "sequencingRead", "version": -1}, "MALFORMED_PARAMETER"),
        ({"name": "nowhere"}, "ANALYSIS_TYPE_NOT_FOUND"),
        ({"name": "a\0b"}, "ANALYSIS_TYPE_NOT_FOUND"),
        ({"name": "sequencingRead", "version": 2}, "ANALYSIS_TYPE_NOT_FOUND"),
    ],
)
def test_what_is_no_type_is_refused(world: World, request_fields: dict[str, Any], reason: str) -> None:
    refused = refusal(lambda: get(world, **request_fields))
    assert refused.reason == reason
    assert refused.metadata.get("latest") == ("1" if request_fields.get("version") == 2 else None)


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"properties": {}}, ""),
        ({"type": "object"}, ""),
        ({"type": "array", "properties": {}}, "/type"),
        ({"type": "object", "properties": {"studyId": {}}}, "/properties/studyId"),
        ({"type": "object", "properties": {"samples": {}}}, "/properties/samples"),
        ({"type": "object", "properties": {"publishedAt": {}}}, "/properties/publishedAt"),
        ({"type": "object", "properties": {}, "allOf": [{"properties": {"files": {}}}]}, "/allOf/0/properties/files"),
        (
            {"type": "object", "properties": {}, "if": {"anyOf": [{"properties": {"files": {}}}]}},
            "/if/anyOf/0/properties/files",
        ),
        ({"type": "object", "properties": {"x": {"$ref": "http://x.y/z"}}}, "/properties/x/$ref"),
        ({"type": "object", "properties": {}, "$schema": "http://json-schema.org/draft-04/schema#"}, "/$schema"),
    ],
)
def test_schemas_that_break_the_rules_are_violations(world: World, schema: dict[str, Any], pointer: str) -> None:
    refused = refusal(lambda: world.new_type(schema))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SCHEMA_VIOLATION")
    assert [field for field, _ in refused.violations] == [pointer]


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"x": {"type": "strin"}}, "/properties/x/type"),
        ({"x": {"pattern": "[a"}}, "/properties/x/pattern"),
        ({"x": {"pattern": r"\p{InGreek}"}}, "/properties/x/pattern"),
        ({"x": {"pattern": "[a&&]"}}, "/properties/x/pattern"),
        ({"x": {"pattern": "a{99999999999}"}}, "/properties/x/pattern"),
        ({"x": {"patternProperties": {"/(": {}}}}, "/properties/x/patternProperties/~1("),
        ({"x": {"$ref": "#/definitions/nowhere"}}, "/properties/x/$ref"),
        ({"x": {"$ref": "#anchor"}}, "/properties/x/$ref"),
        ({"x": {"$ref": "#/properties/y"}, "y": {"$ref": "#/properties/x"}}, "/properties/x"),
        ({"x": {"minLength": -1}}, "/properties/x/minLength"),
    ],
)
def test_schemas_that_do_not_compile_are_malformed(world: World, schema: dict[str, Any], pointer: str) -> None:
    refused = refusal(lambda: world.new_type({"type": "object", "properties": schema}))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_JSON_SCHEMA")
    assert refused.metadata["pointer"] == pointer


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a b"},
        {"name": "a\n"},
        {"name": "x" * 226},
        {"name": "", "schema_json": "{}"},
        {"options": options([""])},
        {"options": options(["A", "A"])},
        {"options": options([str(number) for number in range(101)])},
        {"options": options(None, 17)},
        {"schema_json": '{"x": "' + "x" * 1024 * 1024 + '"}'},
        {"request_id": "x" * 129},
    ],
)
def test_parameters_out_of_bounds_are_malformed(world: World, fields: dict[str, Any]) -> None:
    request = {"name": "some-type", "schema_json": json.dumps(SCHEMA), **fields}
    refused = refusal(lambda: world.types.RegisterAnalysisType(messages.RegisterAnalysisTypeRequest(**request)))
    assert refused.reason == "MALFORMED_PARAMETER"
