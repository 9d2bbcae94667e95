"""Random schemas of both dialects, with references: violations are those of a plain validator of what is rendered."""

import json
from random import Random
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from song_grpc.domain import payload, schema_tree, type_schema, validation
from song_grpc.domain.analysis_type import AnalysisType, EntityModel, TypeOptions
from song_grpc.domain.errors import MalformedSchemaError
from song_grpc.domain.json_text import read_object
from song_grpc.domain.work import Work
from tests.song_grpc import world

NONE = EntityModel.NONE
DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"
NAMES = "abc"
LEAVES = (None, True, False, -2, 0, 1, 2, "", "a", "ab", "7", 1.5)
TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
DEEPEST = 3


class RandomSchemas:
    """Makes schemas and documents from a seed."""

    def __init__(self, seed: int, *, is_2020: bool) -> None:
        self._random = Random(seed)
        self._is_2020 = is_2020

    def document(self, depth: int = 0) -> Any:  # noqa: ANN401 - any JSON value
        kind = self._random.random()
        if kind < 0.4 or depth >= DEEPEST:
            return self._random.choice(LEAVES)
        if kind < 0.65:
            return [self.document(depth + 1) for _ in range(self._random.randint(0, 3))]
        return {name: self.document(depth + 1) for name in NAMES if self._random.random() < 0.6}

    def type(self) -> dict[str, Any]:
        """Return the schema of a type, with definitions to refer to, one of them recursive."""
        nested = {"properties": {"a": self._part(2)}}
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {"x": self._part(0), "y": self._part(1)},
            "definitions": {"d": self._part(1), "donor": {"own": True}},
            "$defs": {"d": self._part(1), "e": {"type": "array", "items": {"$ref": "#/$defs/e"}}, "n": nested},
            "allOf": [self._part(1)],
        }
        if self._is_2020:
            schema["$schema"] = DRAFT_2020
            schema["$defs"]["f"] = {"$anchor": "f", "type": ["object", "string"], "properties": {"a": {"minimum": 1}}}
            schema["unevaluatedProperties"] = self._random.choice((True, True, False, {"type": "string"}))
        else:
            schema["additionalProperties"] = self._random.choice((True, True, False, {"type": "string"}))
        return schema

    def _part(self, depth: int) -> Any:  # noqa: ANN401 - a boolean or an object
        if self._random.random() < 0.12 or depth > DEEPEST:
            return self._random.choice((True, False, {"type": "integer"}))
        part: dict[str, Any] = {}
        for _ in range(self._random.choice((0, 1, 1, 2, 2, 3))):
            makers = (self._of_any, self._of_items, self._of_names, self._of_parts, self._of_dialect)
            part |= self._random.choice(makers)(depth + 1)
        return part

    def _of_any(self, _depth: int) -> dict[str, Any]:
        choices = (
            {"type": self._random.choice(TYPES)},
            {"enum": self._random.choices(LEAVES, k=3)},
            {"const": self._random.choice(LEAVES)},
            {"minimum": self._random.randint(-2, 2)},
            {"multipleOf": self._random.choice((1, 2, 0.5))},
            {"minLength": self._random.randint(0, 2)},
        )
        return self._random.choice(choices)

    def _of_items(self, depth: int) -> dict[str, Any]:
        choices = (
            {"minItems": 1},
            {"uniqueItems": True},
            {"items": self._part(depth)},
            {"contains": self._part(depth)},
        )
        return self._random.choice(choices)

    def _of_names(self, depth: int) -> dict[str, Any]:
        some = [name for name in NAMES if self._random.random() < 0.5]
        choices = (
            {"required": some},
            {"maxProperties": self._random.randint(0, 2)},
            {"properties": {name: self._part(depth) for name in some}},
            {"patternProperties": {self._random.choice(("^a$", "^(?:b|c)$", "^.$")): self._part(depth)}},
            {"additionalProperties": self._part(depth)},
            {"propertyNames": self._part(depth)},
        )
        return self._random.choice(choices)

    def _of_parts(self, depth: int) -> dict[str, Any]:
        keyword = self._random.choice(("allOf", "anyOf", "oneOf", "not", "if"))
        if keyword == "not":
            return {"not": self._part(depth)}
        if keyword == "if":
            return {"if": self._part(depth), "then": self._part(depth), "else": self._part(depth)}
        return {keyword: [self._part(depth) for _ in range(self._random.randint(1, 2))]}

    def _of_dialect(self, depth: int) -> dict[str, Any]:
        named = {self._random.choice(NAMES): [self._random.choice(NAMES)]}
        reference = self._random.choice(
            (
                *("#/$defs/d", "#/$defs/e", "#/definitions/d", "#/properties/y", "#/$defs/n/properties/a"),
                *("#/definitions/common/md5", "#/definitions/donor/gender"),
            )
        )
        if not self._is_2020:
            return self._random.choice(({"$ref": reference}, {"dependencies": named}, {"items": [self._part(depth)]}))
        choices = (
            {"$ref": self._random.choice((reference, "#f"))},
            {"dependentRequired": named},
            {"dependentSchemas": {self._random.choice(NAMES): self._part(depth)}},
            {"prefixItems": [self._part(depth), self._part(depth)]},
            {"contains": self._part(depth), "minContains": 0, "maxContains": self._random.randint(0, 2)},
            {"unevaluatedProperties": self._part(depth)},
            {"unevaluatedItems": self._part(depth)},
        )
        return self._random.choice(choices)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("is_2020", [False, True], ids=["draft-07", "2020-12"])
def test_violations_are_those_of_a_plain_validator(seed: int, is_2020: bool) -> None:
    schemas = RandomSchemas(seed, is_2020=is_2020)
    kind = Draft202012Validator if is_2020 else Draft7Validator
    valid = invalid = 0
    while valid + invalid < 600:
        schema = schemas.type()
        try:
            validation.compile_type(schema, NONE)
        except MalformedSchemaError:
            continue  # its references lead in a circle
        assert type_schema.check_rules(schema, NONE) == []
        plain: Any = kind(type_schema.render(schema, NONE), format_checker=kind.FORMAT_CHECKER)
        stored = AnalysisType("t", 1, TypeOptions(NONE), json.dumps(schema), None)  # type: ignore[arg-type] # its time is of no matter
        for _ in range(4):
            sent = world.payload("S", x=schemas.document(), y=schemas.document())
            del sent["samples"], sent["experiment"]
            found = payload.violations(read_object(json.dumps(sent), "payload"), stored, Work())
            errors = list(plain.iter_errors(sent))
            theirs = {(schema_tree.pointer(tuple(one.absolute_path)), str(one.validator or "false")) for one in errors}
            assert {(one.pointer, one.keyword) for one in found.first} == theirs, f"{schema} on {sent}"
            valid += not theirs
            invalid += bool(theirs)
    assert valid > 60
    assert invalid > 60
