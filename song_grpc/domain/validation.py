"""JSON Schema validation: the one module that knows the library.

A payload is held against two schemas: the base, and the type's as registered, so that the type's own
references mean what they meant when it was written. Numbers are exact (`int`, `Decimal`).
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from decimal import Decimal
from functools import lru_cache
from typing import Any

from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry

from song_grpc.domain import base_schema, json_text, schema_keywords, schema_tree, type_schema
from song_grpc.domain.analysis_type import EntityModel
from song_grpc.domain.errors import MalformedSchemaError
from song_grpc.domain.patterns import compile_pattern
from song_grpc.domain.schema_messages import message_of
from song_grpc.domain.schema_tree import Path, pointer
from song_grpc.domain.violations import Violation

ASSERTED_FORMATS = frozenset(
    {
        *("date", "date-time", "time", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri"),
        *("uri-reference", "uri-template", "iri", "iri-reference", "json-pointer", "relative-json-pointer", "regex"),
    }
)
_COMPILED_TYPES = 32

Found = tuple[Path, Violation]
_Evolved = Any  # the library's validator, evolved to a subschema


class CompiledSchema:
    """A schema ready to validate with."""

    def __init__(self, validator: Validator, schema: base_schema.Schema, *, defines_samples: bool) -> None:
        self._validator, self._schema = validator, schema
        self.defines_samples = defines_samples

    def violations(self, document: Any) -> Iterator[Found]:  # noqa: ANN401 - any JSON value
        """Yield every violation with its path."""
        try:
            for error in self._validator.iter_errors(document):
                path = tuple(error.absolute_path)
                where = pointer(_keyword_path(self._schema, error))
                keyword = error.validator if isinstance(error.validator, str) else "false"
                yield path, Violation(pointer(path), keyword, message_of(error), where)
        except RecursionError:
            yield (), Violation("", "$ref", "is nested too deeply for its schema", "")


def check_formats() -> None:
    """Raise RuntimeError unless a checker is installed for every format that is asserted."""
    missing = ASSERTED_FORMATS - set(Draft7Validator.FORMAT_CHECKER.checkers)
    if missing:
        raise RuntimeError(
            f"no checker for the JSON Schema formats {', '.join(sorted(missing))}: install jsonschema[format-nongpl]"
        )


@lru_cache(maxsize=4)
def compile_base(model: EntityModel, *, type_defines_samples: bool) -> CompiledSchema:
    """Compile the base schema."""
    schema = base_schema.base_schema(model, type_defines_samples=type_defines_samples)
    validator = _DRAFT_07(_plain(schema), registry=Registry(), format_checker=_FORMATS["draft-07"])
    return CompiledSchema(validator, schema, defines_samples="samples" in schema["properties"])


@lru_cache(maxsize=_COMPILED_TYPES)
def compile_stored(schema_json: str, model: EntityModel) -> CompiledSchema:
    """Compile the schema of a registered type."""
    return compile_type(json_text.read_stored(schema_json), model)


def compile_type(schema: base_schema.Schema, model: EntityModel) -> CompiledSchema:
    """Compile a type's schema that keeps the rules of registration. Raises MalformedSchemaError."""
    dialect = type_schema.dialect_of(schema) or "draft-07"
    schema_keywords.check(schema)
    numbers_plain = schema_keywords.with_plain_integers(schema)
    meta = Draft202012Validator if dialect == "2020-12" else Draft7Validator
    broken = best_match(meta(meta.META_SCHEMA).iter_errors(numbers_plain))
    if broken is not None:
        raise MalformedSchemaError(pointer(tuple(broken.absolute_path)), message_of(broken))
    kind = _DRAFT_2020_12 if dialect == "2020-12" else _DRAFT_07
    whole = _with_base(_plain(numbers_plain), model)
    validator = kind(whole, registry=Registry(), format_checker=_FORMATS[dialect])
    return CompiledSchema(validator, whole, defines_samples=type_schema.defines_samples(schema))


def _plain(schema: base_schema.Schema) -> base_schema.Schema:
    """Return a copy without labels.

    The library would change the dialect, and lose our keywords, at a `$schema`; and would look for `#/…` below
    the nearest `$id`, while nothing is ever fetched and `#` means the registered schema.
    """
    copied = deepcopy(schema)
    for _, part in list(schema_tree.walk(copied)):
        part.pop("$schema", None)
        identifier = part.get("$id")
        if isinstance(identifier, str) and not identifier.startswith("#"):
            del part["$id"]
    return copied


def _with_base(schema: base_schema.Schema, model: EntityModel) -> base_schema.Schema:
    """Declare the base's members at the root, and lend the public definitions the type does not have itself."""
    members = dict.fromkeys(base_schema.base_schema(model, type_defines_samples=True)["properties"], True)
    members |= dict.fromkeys(base_schema.owned_properties(model), True)
    definitions = schema.setdefault("definitions", {})
    for name, definition in base_schema.nested_definitions().items():
        own = definitions.setdefault(name, {} if name != "analysisType" else definition)
        if isinstance(own, dict) and name != "analysisType":
            for member, value in definition.items():
                own.setdefault(member, value)
    return {**schema, "properties": members | schema["properties"]}


def _keyword_path(schema: object, error: ValidationError) -> Path:
    """Return where the failed keyword stands: the library leaves out references it went through."""
    path: Path = ()
    value: Any = schema
    for step in error.absolute_schema_path:
        while isinstance(value, dict) and step not in value:
            target = schema_tree.local_path(value.get("$ref"))
            if target is None:
                break
            path, value = schema_tree.resolve(schema, target)
        path = (*path, step)
        try:
            value = value[step]
        except (LookupError, TypeError):
            value = None
    return path


def _pattern(validator: _Evolved, pattern: str, instance: object, _schema: object) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and compile_pattern(pattern).search(instance) is None:  # type: ignore[call-overload] # is_type has shown it to be a string
        yield ValidationError("pattern")


def _pattern_properties(
    validator: _Evolved, patterns: Mapping[str, Any], instance: object, _schema: object
) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, subschema in patterns.items():
            for name, value in instance.items():
                if compile_pattern(pattern).search(name):
                    yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(
    validator: _Evolved, allowed: object, instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    patterns = [compile_pattern(pattern) for pattern in schema.get("patternProperties", {})]
    declared = schema.get("properties", {})
    extras = [name for name in instance if name not in declared and not any(find.search(name) for find in patterns)]
    if isinstance(allowed, dict):
        for name in extras:
            yield from validator.descend(instance[name], allowed, path=name)
    elif allowed is False and extras:
        yield ValidationError(f"undeclared properties: {', '.join(sorted(extras))}")


def _additional_items(
    validator: _Evolved, allowed: object, instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    items = schema.get("items")
    # Anything but a list of schemas speaks of every item; the library stumbles over booleans.
    if not isinstance(instance, list) or not isinstance(items, list) or len(instance) <= len(items):
        return
    if isinstance(allowed, dict):
        for index in range(len(items), len(instance)):
            yield from validator.descend(instance[index], allowed, path=index)
    elif allowed is False:
        yield ValidationError("additionalItems")


def _multiple_of(validator: _Evolved, divisor: Any, instance: Any, _schema: object) -> Iterator[ValidationError]:  # noqa: ANN401 - numbers of JSON
    if validator.is_type(instance, "number") and not schema_keywords.is_multiple(instance, divisor):
        yield ValidationError("multipleOf")


def _unique_items(validator: _Evolved, unique: object, instance: object, _schema: object) -> Iterator[ValidationError]:
    if unique is True and validator.is_type(instance, "array") and not schema_keywords.are_unique(instance):
        yield ValidationError("uniqueItems")


def _format(validator: _Evolved, name: object, instance: object, _schema: object) -> Iterator[ValidationError]:
    if validator.format_checker is None or not isinstance(name, str):
        return
    try:
        conforms = validator.format_checker.conforms(instance, name)
    except Exception:  # noqa: BLE001 - a text its checker can't even read is not of that format
        conforms = False
    if not conforms:
        yield ValidationError("format")


def _is_integer(_checker: object, instance: object) -> bool:
    if isinstance(instance, Decimal):
        return instance == instance.to_integral_value()
    return isinstance(instance, int) and not isinstance(instance, bool)


_KEYWORDS: Mapping[str, Callable[..., Iterator[ValidationError]]] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "multipleOf": _multiple_of,
    "uniqueItems": _unique_items,
    "format": _format,
}
_FORMATS: Mapping[str, FormatChecker] = {
    "draft-07": Draft7Validator.FORMAT_CHECKER,
    "2020-12": Draft202012Validator.FORMAT_CHECKER,
}
_DRAFT_07 = extend(  # type: ignore[no-untyped-call] # its stub lacks types
    Draft7Validator,
    {**_KEYWORDS, "additionalItems": _additional_items},
    type_checker=Draft7Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)
_DRAFT_2020_12 = extend(  # type: ignore[no-untyped-call] # its stub lacks types
    Draft202012Validator, _KEYWORDS, type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
)
