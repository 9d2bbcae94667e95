"""Keywords of JSON Schema as Song means them: exact on any number, and no more work than it takes.

The library builds the text of a violation from the whole value, lists violations nobody reads, and searches for
patterns without end; these don't.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonschema import FormatChecker
from jsonschema.exceptions import ValidationError

from song_grpc.domain import schema_keywords
from song_grpc.domain.limits import MAX_FORMAT_CHARS, MAX_IRI_CHARS
from song_grpc.domain.schema_messages import OfName
from song_grpc.domain.work import Work

_Evolved = Any  # the library's validator, evolved to a subschema
_Errors = Iterator[ValidationError]


@dataclass(frozen=True, slots=True)
class Companion:
    """What goes along through a schema: the library hands its format checker from subschema to subschema."""

    formats: FormatChecker
    work: Work | None
    """None while no document is validated."""
    enumerations: dict[int, frozenset[object]] = field(default_factory=dict)
    """Values of each `enum`, by the list's id; all of one schema."""


def counting(kind: Any) -> Any:  # noqa: ANN401 - a class of the library, made by it
    """Make a kind of validator count its work: the library evolves a validator wherever it applies a schema."""
    evolve = kind.evolve

    def evolve_and_count(validator: _Evolved, **changes: Any) -> _Evolved:  # noqa: ANN401 - the library's
        work = validator.format_checker.work
        if work is not None:
            work.spend()
        return evolve(validator, **changes)

    kind.evolve = evolve_and_count
    return kind


def _pattern(validator: _Evolved, pattern: str, instance: object, _schema: object) -> _Errors:
    if isinstance(instance, str) and not validator.format_checker.work.finds(pattern, instance):
        yield ValidationError("pattern")


def _pattern_properties(validator: _Evolved, patterns: Mapping[str, Any], instance: object, _schema: object) -> _Errors:
    if isinstance(instance, dict):
        for pattern, subschema in patterns.items():
            for name, value in instance.items():
                if validator.format_checker.work.finds(pattern, name):
                    yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(
    validator: _Evolved, allowed: object, instance: object, schema: Mapping[str, Any]
) -> _Errors:
    if not isinstance(instance, dict):
        return
    finds = validator.format_checker.work.finds
    patterns = schema.get("patternProperties", {})
    declared = schema.get("properties", {})
    extras = [
        name for name in instance if name not in declared and not any(finds(pattern, name) for pattern in patterns)
    ]
    if isinstance(allowed, dict):
        for name in extras:
            yield from validator.descend(instance[name], allowed, path=name)
    elif allowed is False and extras:
        yield ValidationError(f"undeclared properties: {', '.join(sorted(extras))}")


def additional_items(validator: _Evolved, allowed: object, instance: object, schema: Mapping[str, Any]) -> _Errors:
    """Check `additionalItems`, of draft-07 only."""
    items = schema.get("items")
    # Anything but a list of schemas speaks of every item; the library stumbles over booleans.
    if not isinstance(instance, list) or not isinstance(items, list) or len(instance) <= len(items):
        return
    if isinstance(allowed, dict):
        for index in range(len(items), len(instance)):
            yield from validator.descend(instance[index], allowed, path=index)
    elif allowed is False:
        yield ValidationError("additionalItems")


def unevaluated_properties(
    validator: _Evolved, allowed: object, instance: object, schema: Mapping[str, Any]
) -> _Errors:
    """Check `unevaluatedProperties`, of 2020-12 only."""
    if not isinstance(instance, dict):
        return
    evaluated = _evaluated(validator, instance, schema)
    if any(name not in evaluated and not _is_valid(validator, value, allowed) for name, value in instance.items()):
        yield ValidationError("unevaluatedProperties")


def _evaluated(validator: _Evolved, instance: dict[str, Any], schema: Any) -> set[str]:  # noqa: ANN401 - any schema
    """Return the properties that a schema speaks of, as the library finds them."""
    if not isinstance(schema, dict):
        return set()
    names = set(schema.get("properties", {}).keys() & instance.keys())
    for keyword in ("$ref", "$dynamicRef"):
        if keyword in schema:
            resolved = validator._resolver.lookup(schema[keyword])  # noqa: SLF001 - as the library does
            target = validator.evolve(schema=resolved.contents, _resolver=resolved.resolver)
            names |= _evaluated(target, instance, resolved.contents)
    for keyword in ("additionalProperties", "unevaluatedProperties"):
        if keyword in schema:
            names |= {name for name, value in instance.items() if _is_valid(validator, value, schema[keyword])}
    finds = validator.format_checker.work.finds
    names |= {name for pattern in schema.get("patternProperties", {}) for name in instance if finds(pattern, name)}
    for subschema in _applied(validator, instance, schema):
        names |= _evaluated(validator, instance, subschema)
    return names


def _applied(validator: _Evolved, instance: dict[str, Any], schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the subschemas for the same value that hold."""
    for name, subschema in schema.get("dependentSchemas", {}).items():
        if name in instance:
            validator.format_checker.work.spend()
            yield subschema
    for keyword in ("allOf", "oneOf", "anyOf"):
        yield from (part for part in schema.get(keyword, ()) if _is_valid(validator, instance, part))
    if "if" in schema:
        holds = _is_valid(validator, instance, schema["if"])
        if holds:
            yield schema["if"]
        yield schema.get("then" if holds else "else", True)


def _is_valid(validator: _Evolved, instance: object, schema: object) -> bool:
    return next(validator.descend(instance, schema), None) is None


def _any_of(validator: _Evolved, schemas: list[Any], instance: object, _schema: object) -> _Errors:
    if not any(_is_valid(validator, instance, schema) for schema in schemas):
        yield ValidationError("anyOf")


def _one_of(validator: _Evolved, schemas: list[Any], instance: object, _schema: object) -> _Errors:
    valid = 0
    for schema in schemas:
        valid += _is_valid(validator, instance, schema)
        if valid > 1:
            break
    if valid != 1:
        yield ValidationError("oneOf")


def _not(validator: _Evolved, schema: object, instance: object, _schema: object) -> _Errors:
    if _is_valid(validator, instance, schema):
        yield ValidationError("not")


def _property_names(validator: _Evolved, schema: object, instance: object, _schema: object) -> _Errors:
    if isinstance(instance, dict):
        for name in instance:
            for error in validator.descend(name, schema):
                error.cause = OfName()
                yield error


def _required(_validator: _Evolved, names: list[str], instance: object, _schema: object) -> _Errors:
    if isinstance(instance, dict):
        yield from (ValidationError(name) for name in names if name not in instance)


def _enum(validator: _Evolved, values: list[Any], instance: object, _schema: object) -> _Errors:
    known = validator.format_checker.enumerations
    if id(values) not in known:
        known[id(values)] = frozenset(map(schema_keywords.comparable, values))
    if schema_keywords.comparable(instance) not in known[id(values)]:
        yield ValidationError("enum")


def _const(_validator: _Evolved, value: object, instance: object, _schema: object) -> _Errors:
    if schema_keywords.comparable(instance) != schema_keywords.comparable(value):
        yield ValidationError("const")


def _multiple_of(validator: _Evolved, divisor: Any, instance: Any, _schema: object) -> _Errors:  # noqa: ANN401 - numbers of JSON
    if validator.is_type(instance, "number") and not schema_keywords.is_multiple(instance, divisor):
        yield ValidationError("multipleOf")


def _unique_items(_validator: _Evolved, unique: object, instance: object, _schema: object) -> _Errors:
    if unique is True and isinstance(instance, list) and not schema_keywords.are_unique(instance):
        yield ValidationError("uniqueItems")


def _format(validator: _Evolved, name: object, instance: object, _schema: object) -> _Errors:
    formats = validator.format_checker.formats
    if not isinstance(name, str) or name not in formats.checkers:
        return
    limit = MAX_IRI_CHARS if name.startswith("iri") else MAX_FORMAT_CHARS
    if isinstance(instance, str) and len(instance) > limit:
        yield ValidationError("format")
        return
    validator.format_checker.work.look()  # checkers may be slow
    try:
        conforms = formats.conforms(instance, name)
    except Exception:  # noqa: BLE001 - a text its checker can't even read is not of that format
        conforms = False
    if not conforms:
        yield ValidationError("format")


KEYWORDS: Mapping[str, Callable[..., _Errors]] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "propertyNames": _property_names,
    "required": _required,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "enum": _enum,
    "const": _const,
    "multipleOf": _multiple_of,
    "uniqueItems": _unique_items,
    "format": _format,
}
