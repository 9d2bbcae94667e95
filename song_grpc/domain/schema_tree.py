"""Walks JSON Schemas of draft-07 and 2020-12: which of their values are schemas, and where references lead."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

ONE_SCHEMA = (
    *("additionalProperties", "additionalItems", "contains", "propertyNames", "not", "if", "then", "else"),
    *("items", "unevaluatedItems", "unevaluatedProperties", "contentSchema"),
)
MANY_SCHEMAS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
NAMED_SCHEMAS = ("properties", "patternProperties", "definitions", "$defs", "dependentSchemas", "dependencies")
SAME_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"})

Path = tuple[str | int, ...]


def children(schema: dict[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Yield the path and value of each direct subschema; a boolean is a schema too."""
    for keyword in ONE_SCHEMA:
        if isinstance(schema.get(keyword), (dict, bool)):
            yield (keyword,), schema[keyword]
    for keyword in MANY_SCHEMAS:
        if isinstance(schema.get(keyword), list):
            yield from (((keyword, index), child) for index, child in enumerate(schema[keyword]))
    for keyword in NAMED_SCHEMAS:
        if isinstance(schema.get(keyword), dict):
            # Not a schema but a list of names: the other form of `dependencies`.
            named = schema[keyword].items()
            yield from (((keyword, name), child) for name, child in named if not isinstance(child, list))


def walk(root: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield path and value of every object that is used as a schema, each once: children and local targets."""
    seen: set[int] = set()
    waiting: list[tuple[Path, Any]] = [((), root)]
    while waiting:
        path, schema = waiting.pop()
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen.add(id(schema))
        yield path, schema
        found = [((*path, *step), child) for step, child in children(schema)]
        for keyword in ("$ref", "$dynamicRef"):
            target = local_path(schema.get(keyword))
            if target is not None:
                try:
                    found.append(resolve(root, target))
                except LookupError:
                    continue
        waiting.extend(reversed(found))


def anchors(root: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the schemas that each anchor names; a dynamic one may name several."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _, part in walk(root):
        names = {part[key] for key in ("$anchor", "$dynamicAnchor") if isinstance(part.get(key), str)}
        identifier = part.get("$id")
        if isinstance(identifier, str) and identifier.startswith("#"):
            names.add(identifier[1:])
        for name in names:
            found.setdefault(name, []).append(part)
    return found


def same_place(
    root: dict[str, Any], schema: dict[str, Any], named: Mapping[str, Sequence[dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    """Yield the schemas that apply to the very value this one applies to; `named` are the root's anchors."""
    for keyword in ("$ref", "$dynamicRef"):
        reference = schema.get(keyword)
        target = local_path(reference)
        if target is not None:
            try:
                found = resolve(root, target)[1]
            except LookupError:
                continue
            if isinstance(found, dict):
                yield found
        elif isinstance(reference, str):
            yield from named.get(unquote(reference).removeprefix("#"), ())
    for step, child in children(schema):
        if step[0] in SAME_PLACE and isinstance(child, dict):
            yield child


def local_path(reference: object) -> tuple[str, ...] | None:
    """Return the steps of a JSON Pointer reference (`#`, `#/a/b`), None for any other."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    steps = unquote(reference).split("/")[1:]
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)


def resolve(root: object, steps: tuple[str, ...]) -> tuple[Path, Any]:
    """Follow steps down a document; return the path and the value there. Raises LookupError."""
    path: list[str | int] = []
    value: Any = root
    for step in steps:
        if isinstance(value, list):
            if not (step.isascii() and step.isdigit()):
                raise LookupError(step)
            path.append(int(step))
            value = value[int(step)]
        elif isinstance(value, dict):
            path.append(step)
            value = value[step]
        else:
            raise LookupError(step)  # noqa: TRY004 - a pointer that leads nowhere
    return tuple(path), value


def pointer(path: Path) -> str:
    """Write a path as JSON Pointer (RFC 6901)."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
