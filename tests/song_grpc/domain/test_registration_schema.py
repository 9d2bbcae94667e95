"""The schema of schemas gives the verdict of the rules, but for what no JSON Schema can say."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from song_grpc.domain import base_schema, type_schema
from song_grpc.domain.analysis_type import EntityModel
from song_grpc.domain.registration_schema import registration_schema
from song_grpc.domain.schema_tree import MANY_SCHEMAS, NAMED_SCHEMAS, ONE_SCHEMA, SAME_PLACE

TREE, NONE = EntityModel.DONOR_SPECIMEN_SAMPLE, EntityModel.NONE
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
VALIDATORS = {model: Draft7Validator(registration_schema(model)) for model in EntityModel}


def verdicts(schema: dict[str, Any], model: EntityModel) -> tuple[bool, bool]:
    """Return whether the schema of schemas and the rules accept a schema."""
    return VALIDATORS[model].is_valid(schema), not type_schema.check_rules(schema, model)


def nested(keyword: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with this one under a keyword, in each form the keyword takes."""
    found: dict[str, Any] = {}
    if keyword in NAMED_SCHEMAS:
        found = {keyword: {"name": schema}}
    elif keyword in MANY_SCHEMAS:
        found = {keyword: [{}, schema]}
    elif keyword in ONE_SCHEMA:
        found = {keyword: schema}
    return EMPTY | found


KEYWORDS = sorted({*ONE_SCHEMA, *MANY_SCHEMAS, *NAMED_SCHEMAS})
REMOTE = {"$ref": "https://example.org/x"}

GOOD: list[dict[str, Any]] = [
    EMPTY,
    EMPTY | {"$schema": "http://json-schema.org/draft-07/schema#"},
    EMPTY | {"$schema": "http://json-schema.org/draft-07/schema"},
    EMPTY | {"$schema": "https://json-schema.org/draft/2020-12/schema"},
    EMPTY | {"title": "t", "description": "d", "additionalProperties": False, "required": ["x"]},
    EMPTY | {"properties": {"x": {"properties": {"files": {}, "studyId": {}}}}},
    EMPTY | {"properties": {"x": {"$ref": "#/definitions/y"}}, "definitions": {"y": {}}},
    EMPTY | {"properties": {"$ref": {"type": "string"}}},
    EMPTY | {"properties": {"x": True, "y": False}},
    EMPTY | {"definitions": {"files": {}}},
    EMPTY | {"dependencies": {"a": ["files"], "b": {"required": ["c"]}}},
    EMPTY | {"required": ["files"]},
    EMPTY | {"properties": {"x": {"const": REMOTE, "enum": [REMOTE], "default": REMOTE}}},
    *(nested(keyword, {"properties": {"x": {}}}) for keyword in KEYWORDS),
]
BAD: list[dict[str, Any]] = [
    {},
    {"type": "object"},
    {"properties": {}},
    {"type": "array", "properties": {}},
    {"type": ["object"], "properties": {}},
    {"type": "object", "properties": []},
    EMPTY | {"$schema": "http://json-schema.org/draft-04/schema#"},
    EMPTY | {"$schema": "http://json-schema.org/draft-07/schema##"},
    EMPTY | {"$schema": 7},
    *(EMPTY | {"properties": {name: {}}} for name in sorted(base_schema.reserved_properties(NONE))),
    *(nested(keyword, {"properties": {"files": {}}}) for keyword in sorted(SAME_PLACE)),
    *(nested(keyword, nested("not", {"properties": {"studyId": True}})) for keyword in sorted(SAME_PLACE)),
    *(nested(keyword, REMOTE) for keyword in KEYWORDS),
    *(nested(keyword, nested("items", {"$dynamicRef": "other"})) for keyword in KEYWORDS),
]
UNSAYABLE: dict[str, dict[str, Any]] = {
    "a reserved property behind a reference from the root": EMPTY
    | {"allOf": [{"$ref": "#/definitions/more"}], "definitions": {"more": {"properties": {"files": {}}}}},
    "a pattern that matches a reserved property": EMPTY | {"patternProperties": {"^f": {}}},
    "a remote reference where only a reference makes a schema": EMPTY
    | {"properties": {"x": {"$ref": "#/shelf/y"}}, "shelf": {"y": REMOTE}},
}


@pytest.mark.parametrize("model", list(EntityModel))
def test_the_schema_of_schemas_is_a_schema(model: EntityModel) -> None:
    Draft7Validator.check_schema(registration_schema(model))


@pytest.mark.parametrize("schema", GOOD, ids=str)
@pytest.mark.parametrize("model", list(EntityModel))
def test_what_keeps_the_rules_is_accepted(schema: dict[str, Any], model: EntityModel) -> None:
    assert verdicts(schema, model) == (True, True)


@pytest.mark.parametrize("schema", BAD, ids=str)
@pytest.mark.parametrize("model", list(EntityModel))
def test_what_breaks_the_rules_is_refused(schema: dict[str, Any], model: EntityModel) -> None:
    assert verdicts(schema, model) == (False, False)


def test_samples_are_reserved_where_every_payload_has_them() -> None:
    schema = EMPTY | {"properties": {"samples": {}}}
    assert (verdicts(schema, TREE), verdicts(schema, NONE)) == ((False, False), (True, True))


@pytest.mark.parametrize("rule", UNSAYABLE)
def test_what_no_schema_can_say_only_the_rules_refuse(rule: str) -> None:
    assert verdicts(UNSAYABLE[rule], TREE) == (True, False)


# Patterns are among what can't be said.
_NAMED = sorted(set(NAMED_SCHEMAS) - {"patternProperties"})
PARTS = st.recursive(
    st.sampled_from([{}, REMOTE, {"properties": {"files": {}}}, {"properties": {"x": {}}}, True]),
    lambda inner: (
        st.builds(lambda keyword, part: {keyword: part}, st.sampled_from(sorted(ONE_SCHEMA)), inner)
        | st.builds(lambda keyword, part: {keyword: [part]}, st.sampled_from(sorted(MANY_SCHEMAS)), inner)
        | st.builds(lambda keyword, part: {keyword: {"a": part}}, st.sampled_from(_NAMED), inner)
    ),
    max_leaves=4,
)


@given(PARTS, PARTS)
def test_both_agree_on_generated_schemas(one: dict[str, Any], other: dict[str, Any]) -> None:
    schema = EMPTY | {"allOf": [one], "properties": {"y": other}}
    assert len(set(verdicts(schema, TREE))) == 1
