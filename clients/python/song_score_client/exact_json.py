"""JSON whose numbers keep every digit: 9007199254740993 stays so, and 0.10 is not 0.1."""

import json
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

INDENT = "  "


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written: meant to be carried, not computed with."""

    text: str


Json: TypeAlias = "dict[str, Json] | list[Json] | Number | str | int | bool | None"


def parse(text: str) -> Json:
    """Parse a document; ValueError where it is not JSON. NaN and Infinity are not."""
    try:
        document: Json = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return document


def parse_object(text: str) -> dict[str, Json]:
    """Parse a document that must be an object; the empty text is an empty one. ValueError where it is none."""
    document = parse(text) if text else {}
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - as everything else that is wrong with the text
    return document


def dump(value: Json, indent: str = "") -> str:
    """Return the value as indented JSON text; `indent` is that of the line it starts on."""
    match value:
        case Number():
            return value.text
        case dict() if value:
            inner = indent + INDENT
            members = [f"{inner}{_quote(key)}: {dump(member, inner)}" for key, member in value.items()]
            return "{\n" + ",\n".join(members) + f"\n{indent}}}"
        case list() if value:
            inner = indent + INDENT
            return "[\n" + ",\n".join(inner + dump(item, inner) for item in value) + f"\n{indent}]"
        case str():
            return _quote(value)
        case _:
            return json.dumps(value)


def dump_line(value: Json) -> str:
    """Return the value as JSON text on one line."""
    match value:
        case Number():
            return value.text
        case dict():
            return "{" + ",".join(f"{_quote(key)}:{dump_line(member)}" for key, member in value.items()) + "}"
        case list():
            return "[" + ",".join(map(dump_line, value)) + "]"
        case str():
            return _quote(value)
        case _:
            return json.dumps(value)


def _quote(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    # Escaped as a whole where a character could not be written (half of a surrogate pair has no UTF-8) or
    # would control the terminal.
    return quoted if quoted.isprintable() else json.dumps(text)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
