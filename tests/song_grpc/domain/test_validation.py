"""Schemas mean what JSON Schema says, on exact numbers."""

from typing import Any

import pytest
import simplejson
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker

from song_grpc.domain import payload, schema_keywords, type_schema, validation
from song_grpc.domain.analysis_type import AnalysisType, EntityModel, TypeOptions
from song_grpc.domain.json_text import read_object, write
from song_grpc.domain.work import Work
from tests.song_grpc import world

TREE, NONE = EntityModel.DONOR_SPECIMEN_SAMPLE, EntityModel.NONE
DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}


def broken(schema: dict[str, Any], document: object, model: EntityModel = NONE) -> list[tuple[str, str]]:
    """Return pointers and keywords of a document's violations of a type's schema alone."""
    exact = simplejson.loads(simplejson.dumps(schema), use_decimal=True)
    assert type_schema.check_rules(exact, model) == []
    text = document if isinstance(document, str) else simplejson.dumps(document)
    found = validation.compile_type(exact, model).violations(read_object(text, "document"), Work())
    return [(violation.pointer, violation.keyword) for _, violation in found]


def with_x(rule: Any, **root: Any) -> dict[str, Any]:  # noqa: ANN401 - any schema
    return {"type": "object", "properties": {"x": rule}, **root}


NAMES = st.sampled_from(["a", "b", "c"])
LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "ab", "7"]) | st.just(1.5)
DOCUMENTS = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=2)
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
        "enum": st.lists(LEAVES, min_size=1, max_size=3),
        "const": LEAVES,
        "minimum": st.integers(-2, 2),
        "exclusiveMaximum": st.integers(-2, 2),
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "minLength": st.integers(0, 2),
        "pattern": st.sampled_from(["a", "^a$", r"\d", "b|c"]),
        "items": inner | some,
        "additionalItems": inner,
        "minItems": st.integers(0, 2),
        "uniqueItems": st.booleans(),
        "contains": inner,
        "properties": st.dictionaries(NAMES, inner, max_size=2),
        "patternProperties": st.dictionaries(st.sampled_from(["^a", "b|c", "."]), inner, max_size=2),
        "additionalProperties": inner,
        "required": st.lists(NAMES, unique=True, max_size=2),
        "maxProperties": st.integers(0, 2),
        "propertyNames": inner,
        "dependencies": st.dictionaries(NAMES, inner | st.lists(NAMES, unique=True, max_size=2), max_size=2),
        **dict.fromkeys(("allOf", "anyOf", "oneOf"), some),
        **dict.fromkeys(("not", "if", "then", "else"), inner),
    }
    return st.fixed_dictionaries({}, optional=keywords)


SCHEMAS = st.recursive(st.booleans() | _schemas(st.booleans()), _schemas, max_leaves=8)


@settings(max_examples=200, deadline=None)
@given(SCHEMAS, DOCUMENTS)
def test_the_verdict_is_that_of_a_draft_07_validator(rule: Any, document: Any) -> None:  # noqa: ANN401 - any JSON value
    plain = Draft7Validator({"properties": {"x": rule}})
    try:
        expected = sorted("/".join(map(str, error.absolute_path)) for error in plain.iter_errors({"x": document}))
    except TypeError:
        assume(False)  # the library stumbles over additionalItems beside items: true
    found = sorted(pointer[1:] for pointer, _ in broken(with_x(rule), {"x": document}))
    assert found == expected


@settings(max_examples=60, deadline=None)
@given(SCHEMAS, DOCUMENTS)
def test_the_rendered_schema_has_the_verdict_of_the_submission(rule: Any, document: Any) -> None:  # noqa: ANN401 - any JSON value
    schema = with_x(rule, definitions={"d": {"type": ["integer", "string"]}}, required=["x"])
    schema["properties"]["y"] = {"$ref": "#/definitions/d"}
    sent = world.payload("S", x=document, y=document)
    stored = AnalysisType("t", 1, TypeOptions(), write(schema), None)  # type: ignore[arg-type] # its time is of no matter
    ours = payload.violations(read_object(simplejson.dumps(sent), "payload"), stored, Work())
    rendered = type_schema.render(schema, TREE)
    assert (ours.total == 0) == Draft7Validator(rendered).is_valid(sent)


@pytest.mark.parametrize(
    ("rule", "value", "valid"),
    [
        ({"type": "integer"}, "1.0", True),
        ({"type": "integer"}, "1.5", False),
        ({"type": "integer"}, "1E999999999", True),
        ({"type": "integer"}, "1E-999999999", False),
        ({"type": "integer"}, "true", False),
        ({"type": "number"}, "1E-999999999", True),
        ({"maximum": 5}, "1E999999999", False),
        ({"minimum": 0}, "-1E999999999", False),
        ({"multipleOf": 0.01}, "0.07", True),
        ({"multipleOf": 0.01}, "0.075", False),
        ({"multipleOf": 0.1}, "123456789012345678901234567890.7", True),
        ({"multipleOf": 3}, "1E999999999", False),
        ({"multipleOf": 5}, "1E999999999", True),
        ({"multipleOf": 5}, "1E-999999999", False),
        ({"multipleOf": 5}, "0E-999999999", True),
        ({"const": 1}, "1.0", True),
        ({"const": 1}, "true", False),
        ({"enum": [0]}, "false", False),
        ({"enum": [1e20]}, "100000000000000000000", True),
        ({"uniqueItems": True}, "[1, 1.0]", False),
        ({"uniqueItems": True}, "[1, true]", True),
        ({"uniqueItems": True}, '[{"a": 1, "b": 2}, {"b": 2, "a": 1}]', False),
        ({"uniqueItems": True}, "[[1E999999999], [1E999999998]]", True),
        ({"pattern": r"^\d$"}, '"\u0661"', False),
        ({"pattern": "b"}, '"abc"', True),
        ({"format": "date-time"}, '"2021-02-30T00:00:00Z"', False),
        ({"format": "date-time"}, '"2021-02-28T00:00:00Z"', True),
        ({"format": "uri"}, '"no uri"', False),
        ({"format": "hostname"}, '"-x"', False),
        ({"format": "time"}, '"25:00:00Z"', False),
        ({"format": "ipv6"}, '"::g"', False),
        ({"format": "json-pointer"}, '"x"', False),
        ({"format": "email"}, '"x"', False),
        ({"format": "nobody-knows"}, '"x"', True),
    ],
)
def test_numbers_are_exact_and_formats_asserted(rule: dict[str, Any], value: str, valid: bool) -> None:
    assert (broken(with_x(rule), f'{{"x": {value}}}') == []) is valid


def test_many_items_are_compared_in_time_proportional_to_their_number() -> None:
    items = [{"n": number} for number in range(50_000)]
    assert schema_keywords.are_unique(items)
    assert not schema_keywords.are_unique([*items, {"n": 7}])


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        (with_x({"$ref": "#/definitions/d"}, definitions={"d": {"type": "integer"}}), {"x": 1}, {"x": "1"}),
        (
            with_x({"$ref": "#/properties/y"})
            | {"properties": {"x": {"$ref": "#/properties/y"}, "y": {"type": "null"}}},
            {"x": None},
            {"x": 1},
        ),
        (with_x({"$ref": "#/definitions/g/n"}, definitions={"g": {"n": {"minimum": 1}}}), {"x": 1}, {"x": 0}),
        (with_x({"$ref": "#"}, required=["x"]) | {"required": []}, {"x": {"x": {}}}, {"x": {"x": 1}}),
        (with_x({"$ref": "#n"}, definitions={"d": {"$id": "#n", "type": "null"}}), {"x": None}, {"x": 1}),
        (with_x({"$ref": "#/definitions/common/md5"}), {"x": "a" * 32}, {"x": "a" * 32 + "\n"}),
        (
            with_x({"$ref": "#/definitions/donor/gender"}, definitions={"donor": {"own": True}}),
            {"x": "Male"},
            {"x": "?"},
        ),
        (
            with_x(
                {"$ref": "#/definitions/d"}, definitions={"d": {"items": {"$ref": "#/definitions/d"}, "type": "array"}}
            ),
            {"x": [[[]]]},
            {"x": [[1]]},
        ),
        (
            with_x(
                {"$id": "http://a/b", "$ref": "#/definitions/d"},
                definitions={"d": {"type": "null"}},
                **{"$id": "http://c/d"},
            ),
            {"x": None},
            {"x": 1},
        ),
        (with_x({}, additionalProperties=False), {"x": 1, "files": [], "studyId": "s"}, {"y": 1}),
        (
            with_x(
                {"$ref": "#/$defs/d"}, **{"$defs": {"d": {"prefixItems": [{"type": "null"}]}}, "$schema": DRAFT_2020}
            ),
            {"x": [None]},
            {"x": [1]},
        ),
        (
            with_x({}, unevaluatedProperties=False, allOf=[{"properties": {"z": {}}}], **{"$schema": DRAFT_2020}),
            {"x": 1, "z": 1, "files": []},
            {"y": 1},
        ),
        (
            with_x(
                {"$ref": "#tree"},
                **{
                    "$schema": DRAFT_2020,
                    "$defs": {"t": {"$anchor": "tree", "type": "object", "additionalProperties": {"$ref": "#tree"}}},
                },
            ),
            {"x": {"a": {}}},
            {"x": {"a": 1}},
        ),
        (with_x({"minLength": 2.0}), {"x": "ab"}, {"x": "a"}),
        (with_x({}, **{"if": {"required": ["x"]}, "then": {"required": ["y"]}}), {"x": 1, "y": 1}, {"x": 1}),
    ],
)
def test_schemas_work_as_registered(schema: dict[str, Any], valid: object, invalid: object) -> None:
    assert broken(schema, valid) == []
    assert len(broken(schema, invalid)) == 1
    rendered = type_schema.render(schema, NONE)
    dialect = Draft202012Validator if "$schema" in schema else Draft7Validator
    sent = world.payload("S")
    del sent["samples"]
    assert dialect(rendered).is_valid(sent | valid) or "files" in valid  # type: ignore[operator] # documents are objects
    assert not dialect(rendered).is_valid(sent | invalid) or "\n" in str(invalid["x"])  # type: ignore[operator,index] # documents are objects


def test_rendered_definitions_are_kept_apart_from_the_base() -> None:
    schema = with_x({"$ref": "#/definitions/common/md5"}, definitions={"common": {"md5": {"type": "null"}}})
    rendered = type_schema.render(schema, TREE)
    assert rendered["definitions"]["common"]["md5"]["type"] == "string"
    assert rendered["properties"]["x"] == {"$ref": "#/definitions/registered/definitions/common/md5"}
    assert rendered["definitions"]["registered"] == {"definitions": {"common": {"md5": {"type": "null"}}}}


def test_schema_pointers_lead_to_the_keyword() -> None:
    schema = with_x({"items": {"$ref": "#/definitions/d"}}, definitions={"d": {"allOf": [{"minimum": 1}]}})
    ((_, violation),) = validation.compile_type(schema, NONE).violations({"x": [0]}, Work())
    assert violation.schema_pointer == "/definitions/d/allOf/0/minimum"
    assert violation.message == "must be at least 1"


def test_a_schema_too_deep_for_a_payload_is_a_violation_not_a_crash() -> None:
    rule: dict[str, Any] = {"$ref": "#/definitions/d0"}
    definitions: dict[str, Any] = {
        f"d{number}": {"allOf": [{"$ref": f"#/definitions/d{number + 1}"}]} for number in range(400)
    }
    definitions["d400"] = {"type": "null"}
    assert broken(with_x(rule, definitions=definitions), {"x": None}) == [("", "$ref")]


@pytest.mark.parametrize("value", ["a" * 64, "a.b-c_d"])
def test_submitter_ids_end_where_they_end(value: str) -> None:
    rule = with_x({"$ref": "#/definitions/common/submitterId"})
    assert broken(rule, {"x": value}) == []
    for wrong in (value + "\n", "", "a b", "a" * 65):
        assert broken(rule, {"x": wrong}) == [("/x", "pattern")]


@pytest.mark.parametrize("dialect", ["draft-07", "2020-12"])
def test_a_missing_checker_of_either_dialect_is_noticed(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    validation.check_formats()
    monkeypatch.setitem(validation._FORMATS, dialect, FormatChecker(["date"]))
    with pytest.raises(RuntimeError, match="no checker for the JSON Schema formats"):
        validation.check_formats()
