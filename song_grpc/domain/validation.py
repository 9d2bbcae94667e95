"""JSON Schema validation: with `validation_keywords`, all that knows the library.

A payload is held against two schemas: the base, and the type's as registered, so that the type's own
references mean what they meant when it was written. Numbers are exact (`int`, `Decimal`).
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from decimal import Decimal
from functools import lru_cache
from typing import Any

from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend
from referencing import Registry

from song_grpc.domain import base_schema, json_text, schema_keywords, schema_tree, type_schema
from song_grpc.domain.analysis_type import EntityModel
from song_grpc.domain.errors import MalformedSchemaError
from song_grpc.domain.schema_messages import Messages
from song_grpc.domain.schema_tree import Path, pointer
from song_grpc.domain.validation_keywords import (
    KEYWORDS,
    Companion,
    additional_items,
    counting,
    unevaluated_properties,
)
from song_grpc.domain.violations import Violation, violation
from song_grpc.domain.work import Work

ASSERTED_FORMATS = frozenset(
    {
        *("date", "date-time", "time", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri"),
        *("uri-reference", "uri-template", "iri", "iri-reference", "json-pointer", "relative-json-pointer", "regex"),
    }
)
_COMPILED_TYPES = 32

Found = tuple[Path, Violation]


class CompiledSchema:
    """A schema ready to validate with."""

    def __init__(self, kind: Any, schema: base_schema.Schema, formats: FormatChecker, *, defines_samples: bool) -> None:  # noqa: ANN401 - a class of the library, made by it
        self._schema, self._formats = schema, formats
        self._enumerations: dict[int, frozenset[object]] = {}
        self._messages = Messages()
        self._validator = kind(schema, registry=Registry(), format_checker=Companion(formats, None))
        self.defines_samples = defines_samples

    def violations(self, document: Any, work: Work) -> Iterator[Found]:  # noqa: ANN401 - any JSON value
        """Yield every violation with its path.

        Raises TooMuchWorkError, PatternTimeoutError, ValidationUnfinishedError.
        """
        validator = self._validator.evolve(format_checker=Companion(self._formats, work, self._enumerations))
        try:
            for error in validator.iter_errors(document):
                path = tuple(error.absolute_path)
                where = _keyword_path(self._schema, error)
                keyword = error.validator if isinstance(error.validator, str) else "false"
                yield path, violation(path, keyword, self._messages.of(error), where)
        except RecursionError:
            yield (), violation((), "$ref", "is nested too deeply for its schema", ())

    def where_is(self, pattern: str) -> Path | None:
        """Return where the schema has a pattern, None where it has not."""
        for path, part in schema_tree.walk(self._schema):
            if part.get("pattern") == pattern:
                return (*path, "pattern")
            named = part.get("patternProperties")
            if isinstance(named, dict) and pattern in named:
                return (*path, "patternProperties", pattern)
        return None


def check_formats() -> None:
    """Raise RuntimeError unless a checker is installed for every format that is asserted."""
    missing = {name for checker in _FORMATS.values() for name in ASSERTED_FORMATS - set(checker.checkers)}
    if missing:
        raise RuntimeError(
            f"no checker for the JSON Schema formats {', '.join(sorted(missing))}: install jsonschema[format-nongpl]"
        )


@lru_cache(maxsize=4)
def compile_base(model: EntityModel, *, type_defines_samples: bool) -> CompiledSchema:
    """Compile the base schema."""
    schema = base_schema.base_schema(model, type_defines_samples=type_defines_samples)
    return CompiledSchema(
        _DRAFT_07, _plain(schema), _FORMATS["draft-07"], defines_samples="samples" in schema["properties"]
    )


@lru_cache(maxsize=len(base_schema.PUBLIC_DEFINITIONS))
def compile_definition(name: str) -> CompiledSchema:
    """Compile one public definition of the base schema, for example `donor/donorData`."""
    schema = _plain(base_schema.PUBLIC_DEFINITIONS[name])
    return CompiledSchema(_DRAFT_07, schema, _FORMATS["draft-07"], defines_samples=False)


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
        raise MalformedSchemaError(pointer(tuple(broken.absolute_path)), Messages().of(broken))
    kind = _DRAFT_2020_12 if dialect == "2020-12" else _DRAFT_07
    whole = _with_base(_plain(numbers_plain), model)
    return CompiledSchema(kind, whole, _FORMATS[dialect], defines_samples=type_schema.defines_samples(schema))


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


def _is_integer(_checker: object, instance: object) -> bool:
    if isinstance(instance, Decimal):
        return instance == instance.to_integral_value()
    return isinstance(instance, int) and not isinstance(instance, bool)


_FORMATS: Mapping[str, FormatChecker] = {
    "draft-07": Draft7Validator.FORMAT_CHECKER,
    "2020-12": Draft202012Validator.FORMAT_CHECKER,
}
_DRAFT_07 = counting(
    extend(  # type: ignore[no-untyped-call] # its stub lacks types
        Draft7Validator,
        {**KEYWORDS, "additionalItems": additional_items},
        type_checker=Draft7Validator.TYPE_CHECKER.redefine("integer", _is_integer),
    )
)
_DRAFT_2020_12 = counting(
    extend(  # type: ignore[no-untyped-call] # its stub lacks types
        Draft202012Validator,
        {**KEYWORDS, "unevaluatedProperties": unevaluated_properties},
        type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
    )
)
