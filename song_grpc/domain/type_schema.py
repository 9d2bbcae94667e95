"""What the schema of an analysis type may be, and how it is joined with the base schema."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from song_grpc.domain import base_schema, schema_tree
from song_grpc.domain.analysis_type import EntityModel
from song_grpc.domain.java_source import PatternError
from song_grpc.domain.limits import MAX_PATTERN_SECONDS
from song_grpc.domain.patterns import compile_pattern
from song_grpc.domain.schema_tree import Path, pointer
from song_grpc.domain.violations import Violation

DIALECTS = {
    "http://json-schema.org/draft-07/schema": "draft-07",
    "https://json-schema.org/draft-07/schema": "draft-07",
    "https://json-schema.org/draft/2020-12/schema": "2020-12",
}
NAMESPACE = "registered"
"""Under this definition the rendered schema keeps what the type defines."""

Schema = dict[str, Any]


def dialect_of(schema: Schema) -> str | None:
    """Return `draft-07` or `2020-12`, None for any other."""
    stated = schema.get("$schema", base_schema.DRAFT_07)
    return DIALECTS.get(stated.removesuffix("#")) if isinstance(stated, str) else None


def check_rules(schema: Schema, model: EntityModel) -> list[Violation]:
    """Return every way in which a type's schema breaks the rules of registration."""
    violations = list(_root_violations(schema))
    if dialect_of(schema) is None:
        text = "only draft-07 (the default) and 2020-12 are known"
        violations.append(Violation("/$schema", "$schema", text, ""))
    reserved = base_schema.reserved_properties(model)
    for path, part in _root_parts(schema):
        violations += [
            Violation(pointer((*path, *step)), "reserved", f"'{name}' belongs to the base schema", "")
            for step, name in _spoken_of(part, reserved)
        ]
    for path, part in schema_tree.walk(schema):
        for keyword in ("$ref", "$dynamicRef"):
            reference = part.get(keyword)
            if isinstance(reference, str) and not reference.startswith("#"):
                text = "only local references, '#…', are followed; nothing is fetched"
                violations.append(Violation(pointer((*path, keyword)), keyword, text, ""))
    return violations


def render(schema: Schema, model: EntityModel) -> Schema:
    """Return one schema that describes a whole payload of the type.

    For a type with nothing but `properties` and `required` it is the base with these two joined. References
    into the type's own `definitions` and `$defs` lead to where those are kept, under `definitions/registered`.
    """
    own = _renamed(schema)
    rendered = base_schema.base_schema(model, type_defines_samples=defines_samples(schema))
    kept: Schema = {key: own.pop(key) for key in ("definitions", "$defs") if key in own}
    if any(schema_tree.local_path(part.get("$ref")) == () for _, part in schema_tree.walk(schema)):
        kept = {key: value for key, value in own.items() if key not in {"$schema", "$id"}} | kept
    if kept:
        rendered["definitions"][NAMESPACE] = kept
    rendered["properties"] = rendered["properties"] | own.pop("properties")
    rendered["required"] = list(dict.fromkeys([*rendered["required"], *own.pop("required", [])]))
    own.pop("$id", None)
    return rendered | own


def defines_samples(schema: Schema) -> bool:
    """Say whether the type itself defines `samples`."""
    return any(_spoken_of(part, frozenset({"samples"})) for _, part in _root_parts(schema))


def _root_violations(schema: Schema) -> Iterator[Violation]:
    for keyword in ("type", "properties"):
        if keyword not in schema:
            yield Violation("", "required", f"required property '{keyword}' is missing", "/required")
    if schema.get("type", "object") != "object":
        yield Violation("/type", "const", "must be 'object'", "/properties/type/const")
    if not isinstance(schema.get("properties", {}), dict):
        yield Violation("/properties", "type", "must be an object", "/properties/properties/type")


def _root_parts(schema: Schema) -> Iterator[tuple[Path, Schema]]:
    """Yield the root and whatever applies to the root: there a reserved name would mean the payload's own."""
    named = schema_tree.anchors(schema)
    at_root: set[int] = set()
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if id(part) not in at_root:
            at_root.add(id(part))
            waiting.extend(schema_tree.same_place(schema, part, named))
    yield from ((path, part) for path, part in schema_tree.walk(schema) if id(part) in at_root)


def _spoken_of(part: Schema, names: frozenset[str]) -> list[tuple[Path, str]]:
    """Return where `properties` and `patternProperties` speak of these names, and of which."""
    declared, patterns = part.get("properties"), part.get("patternProperties")
    found: list[tuple[Path, str]] = []
    if isinstance(declared, dict):
        found += [(("properties", name), name) for name in declared if name in names]
    if isinstance(patterns, dict):
        found += [(("patternProperties", pattern), name) for pattern in patterns for name in _matched(pattern, names)]
    return found


def _matched(pattern: str, names: frozenset[str]) -> list[str]:
    try:
        compiled = compile_pattern(pattern)
    except PatternError:
        return []  # refused as what it is
    return [name for name in sorted(names) if compiled.search(name, timeout=MAX_PATTERN_SECONDS)]


def _renamed(schema: Schema) -> Schema:
    """Return a copy whose references lead to where the rendered schema keeps their targets."""
    copied = deepcopy(schema)
    # All parts first: a renamed reference no longer leads to its target.
    for _, part in list(schema_tree.walk(copied)):
        for keyword in ("$ref", "$dynamicRef"):
            steps = schema_tree.local_path(part.get(keyword))
            if steps is not None and _is_kept_apart(steps, schema):
                part[keyword] = "#" + pointer(("definitions", NAMESPACE, *steps))
    return copied


def _is_kept_apart(steps: tuple[str, ...], schema: Schema) -> bool:
    if not steps:
        return True  # the type's schema alone, not the whole payload's
    if steps[0] not in {"definitions", "$defs"}:
        return False
    try:
        schema_tree.resolve(schema, steps)
    except LookupError:
        return False  # a definition of the base
    return True
