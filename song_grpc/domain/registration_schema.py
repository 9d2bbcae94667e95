"""The rules of registration as a JSON Schema, as far as one can say them: `type_schema.check_rules` has all of them.

It can't say where a reference leads, nor what a pattern matches. So it lets pass a reserved property that is defined
behind a reference from the root, or by `patternProperties`; and a remote reference below a place that only a
reference makes a schema.
"""

from typing import Any

from song_grpc.domain import base_schema
from song_grpc.domain.analysis_type import EntityModel
from song_grpc.domain.schema_tree import MANY_SCHEMAS, NAMED_SCHEMAS, ONE_SCHEMA, SAME_PLACE
from song_grpc.domain.type_schema import DIALECTS

Schema = dict[str, Any]

_TITLE = "Schema of an analysis type"
_LOCAL: Schema = {"pattern": "^#"}


def registration_schema(model: EntityModel) -> Schema:
    """Return the draft-07 schema that a type's schema must keep."""
    no_reserved_names: Schema = {"propertyNames": {"not": {"enum": sorted(base_schema.reserved_properties(model))}}}
    schema, at_root = {"$ref": "#/definitions/schema"}, {"$ref": "#/definitions/atRoot"}
    return {
        "$schema": base_schema.DRAFT_07,
        "title": _TITLE,
        "type": "object",
        "required": ["type", "properties"],
        "properties": {
            "$schema": {"type": "string", "enum": [name + end for name in DIALECTS for end in ("", "#")]},
            "type": {"const": "object"},
            "properties": {"type": "object"},
        },
        "allOf": [schema, at_root],
        "definitions": {
            "schema": {"properties": _below(schema) | {"$ref": _LOCAL, "$dynamicRef": _LOCAL}},
            "atRoot": {"properties": _below(at_root, SAME_PLACE) | {"properties": no_reserved_names}},
        },
    }


def _below(below: Schema, keywords: frozenset[str] | None = None) -> dict[str, Schema]:
    """Return, for each keyword that has schemas, that they keep `below`; which says nothing about what is no object."""
    found: dict[str, list[Schema]] = {}
    for names, form in (
        (ONE_SCHEMA, below),
        (MANY_SCHEMAS, {"items": below}),
        (NAMED_SCHEMAS, {"additionalProperties": below}),
    ):
        for name in names:
            if keywords is None or name in keywords:
                found.setdefault(name, []).append(form)
    return {name: forms[0] if len(forms) == 1 else {"allOf": forms} for name, forms in found.items()}
