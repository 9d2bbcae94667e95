"""Checks of a schema beyond its meta-schema, and keywords that must be exact and cheap on any number."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from song_grpc.domain import schema_tree
from song_grpc.domain.base_schema import PUBLIC_DEFINITIONS
from song_grpc.domain.errors import MalformedSchemaError
from song_grpc.domain.java_source import PatternError
from song_grpc.domain.patterns import compile_pattern
from song_grpc.domain.schema_tree import Path, pointer

Anchors = Mapping[str, Sequence[dict[str, Any]]]
_SHOWN_PATTERN_CHARS = 200
_MAX_PLAIN_EXPONENT = 18  # beyond, a number in a schema stays decimal


def check(schema: dict[str, Any]) -> None:
    """Raise MalformedSchemaError where a pattern does not compile, or a reference leads nowhere or in a circle."""
    anchors = schema_tree.anchors(schema)
    for path, part in schema_tree.walk(schema):
        _check_patterns(path, part)
        for keyword in ("$ref", "$dynamicRef"):
            reference = part.get(keyword)
            if isinstance(reference, str) and not _leads_somewhere(schema, reference, anchors):
                raise MalformedSchemaError(pointer((*path, keyword)), "the reference leads nowhere")
    _check_circles(schema, anchors)


def with_plain_integers(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a copy of a schema where numbers like `2.0` are integers, as the meta-schemas mean them."""
    if isinstance(value, dict):
        return {key: with_plain_integers(child) for key, child in value.items()}
    if isinstance(value, list):
        return [with_plain_integers(child) for child in value]
    if isinstance(value, Decimal) and value.adjusted() <= _MAX_PLAIN_EXPONENT and value == value.to_integral_value():
        return int(value)
    return value


def is_multiple(number: int | Decimal, divisor: int | Decimal) -> bool:
    """Say whether number is an exact multiple of a positive divisor, whatever the exponents."""
    (number_digits, number_exponent), (divisor_digits, divisor_exponent) = _split(number), _split(divisor)
    shift = number_exponent - divisor_exponent
    if shift >= 0:
        rest: int = number_digits * pow(10, shift, divisor_digits) % divisor_digits
        return rest == 0
    # number = digits / 10^-shift of the divisor's unit: beyond its digits it can only be a multiple if it is 0.
    if number_digits == 0:
        return True
    if -shift > number_digits.bit_length():
        return False
    scaled: int = divisor_digits * 10**-shift
    return number_digits % scaled == 0


def are_unique(items: Any) -> bool:  # noqa: ANN401 - an array of JSON values
    """Say whether no two items are equal, in time proportional to their number."""
    return len({comparable(item) for item in items}) == len(items)


def comparable(value: Any) -> object:  # noqa: ANN401 - any JSON value
    """Return something hashable, equal for equal JSON values: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return frozenset((name, comparable(child)) for name, child in value.items())
    if isinstance(value, list):
        return tuple(comparable(child) for child in value)
    if isinstance(value, (bool, str)):
        return type(value), value
    return None if value is None else _number_text(value)


def _number_text(number: int | Decimal) -> str:
    """Return one text for all spellings of a number. Hashes of numbers are no secret, and could be made to collide."""
    sign, digits, exponent = Decimal(number).as_tuple()
    text = "".join(map(str, digits)).strip("0")
    if not text:
        return "0"
    zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    return f"{'-' if sign else ''}{text}e{int(exponent) + zeros}"


def _split(number: int | Decimal) -> tuple[int, int]:
    """Return |number| as (digits, exponent of ten)."""
    if isinstance(number, int):
        return abs(number), 0
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise TypeError("not a finite number")
    return int(Decimal((0, digits, 0))), exponent


def _leads_somewhere(schema: dict[str, Any], reference: str, anchors: Anchors) -> bool:
    steps = schema_tree.local_path(reference)
    if steps is None:
        return reference[1:] in anchors
    try:
        target = schema_tree.resolve(schema, steps)[1]
    except LookupError:
        return steps[0] == "definitions" and "/".join(steps[1:]) in PUBLIC_DEFINITIONS
    return isinstance(target, (dict, bool))


def _check_patterns(path: Path, part: dict[str, Any]) -> None:
    found: list[tuple[Path, str]] = []
    if isinstance(part.get("pattern"), str):
        found.append(((*path, "pattern"), part["pattern"]))
    if isinstance(part.get("patternProperties"), dict):
        found += [((*path, "patternProperties", pattern), pattern) for pattern in part["patternProperties"]]
    for where, pattern in found:
        try:
            compile_pattern(pattern)
        except PatternError as error:
            offset = "" if error.offset is None else f", at character {error.offset}"
            shown = pattern if len(pattern) <= _SHOWN_PATTERN_CHARS else pattern[: _SHOWN_PATTERN_CHARS - 1] + "…"
            raise MalformedSchemaError(
                pointer(where), f"the pattern {shown} can't be used as Java would{offset}: {error}"
            ) from None


def _check_circles(schema: dict[str, Any], anchors: Anchors) -> None:
    """Refuse schemas that would be applied to one value without end: `{"a": {"$ref": "#/definitions/a"}}`."""
    done: set[int] = set()
    for path, part in schema_tree.walk(schema):
        open_now: set[int] = set()
        waiting: list[tuple[dict[str, Any], bool]] = [(part, False)]
        while waiting:
            current, is_left = waiting.pop()
            if is_left:
                open_now.discard(id(current))
                done.add(id(current))
            elif id(current) in open_now:
                raise MalformedSchemaError(pointer(path), "references lead in a circle")
            elif id(current) not in done:
                open_now.add(id(current))
                waiting.append((current, True))
                waiting.extend((child, False) for child in schema_tree.same_place(schema, current, anchors))
