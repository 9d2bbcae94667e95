"""JSON text, read and written so that every digit of every number survives.

Integers become `int`, -0 and all other numbers `Decimal`. Of duplicate keys the last one wins. Refused: what
JSON does not have (NaN, Infinity, a byte order mark), what a database can't store (NUL, lone surrogates), and
what costs too much (depth, length of a number). Errors say where, never what.
"""

import re
from decimal import Decimal, InvalidOperation
from typing import Any

import simplejson

from song_grpc.domain.errors import PayloadParsingError
from song_grpc.domain.limits import MAX_JSON_DEPTH, MAX_NUMBER_CHARS

JsonObject = dict[str, Any]

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_LONG_NUMBER = re.compile(r'"(?:[^"\\]++|\\.)*+"|(-?\d[\d.eE+-]*)', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_HIGH_SURROGATES = range(0xD800, 0xDC00)
_LOW_SURROGATES = range(0xDC00, 0xE000)


def read_object(text: str, name: str) -> JsonObject:
    """Parse a JSON object; `name` is what messages call the text. Raises PayloadParsingError."""
    _refuse_unstorable_text(text, name)
    if text.startswith("\ufeff"):
        raise _error(text, 0, name, "starts with a byte order mark, which JSON does not have")
    try:
        value = simplejson.loads(text, parse_float=_decimal, parse_int=_integer)
    except simplejson.JSONDecodeError as error:
        raise _error(text, error.pos, name, "is not JSON") from None
    except RecursionError:
        raise _error(text, _too_deep_at(text), name, f"is nested more than {MAX_JSON_DEPTH} levels deep") from None
    except (ValueError, InvalidOperation):
        # Python refuses integers beyond its limit of digits, and decimals beyond their exponents.
        raise _error(text, _bad_number_at(text), name, "has a number too long or too large to keep") from None
    if not isinstance(value, dict):
        raise _error(text, 0, name, "is not a JSON object")
    if _is_too_deep(value):
        raise _error(text, _too_deep_at(text), name, f"is nested more than {MAX_JSON_DEPTH} levels deep")
    return value


def write(value: object) -> str:
    """Return the compact JSON text of a value, keys in their order."""
    return simplejson.dumps(value, use_decimal=True, ensure_ascii=False, separators=(",", ":"))


def write_sorted(value: object) -> str:
    """Return compact JSON text with sorted keys: equal documents have equal texts."""
    return simplejson.dumps(value, use_decimal=True, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def write_info(info: JsonObject) -> str:
    """Return the text of an `info` object without its null-valued keys; empty when nothing is left."""
    kept = {key: value for key, value in info.items() if value is not None}
    return write(kept) if kept else ""


def read_info(text: str) -> JsonObject:
    """Parse what `write_info` wrote."""
    info: JsonObject = read_stored(text) if text else {}
    return info


def read_stored(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Parse text that `write` wrote."""
    return simplejson.loads(text, use_decimal=True, parse_int=_integer)


def _integer(text: str) -> int | Decimal:
    return Decimal(text) if text == "-0" else int(text)


def _decimal(text: str) -> Decimal:
    if len(text) > MAX_NUMBER_CHARS:
        raise ValueError("too many digits")
    return Decimal(text)


def _error(text: str, position: int, name: str, what: str) -> PayloadParsingError:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return PayloadParsingError(
        f"{name} {what}: line {line} column {column}", line=str(line), column=str(column), position=str(position)
    )


def _refuse_unstorable_text(text: str, name: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _error(text, error.start, name, "is not valid Unicode") from None
    if "\\u" not in text:
        return
    high_at: int | None = None  # of a high surrogate that waits for its low one
    end = 0
    for match in _ESCAPE.finditer(text):
        code = int(match[1], 16) if match[1] else -1
        if high_at is not None:
            if code not in _LOW_SURROGATES or match.start() != end:
                raise _error(text, high_at, name, "has half a surrogate pair")
            high_at = None
        elif code in _LOW_SURROGATES:
            raise _error(text, match.start(), name, "has half a surrogate pair")
        elif code in _HIGH_SURROGATES:
            high_at = match.start()
        elif code == 0:
            raise _error(text, match.start(), name, "has a NUL character, which can't be stored")
        end = match.end()
    if high_at is not None:
        raise _error(text, high_at, name, "has half a surrogate pair")


def _is_too_deep(value: JsonObject) -> bool:
    level: list[Any] = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True


def _too_deep_at(text: str) -> int:
    depth = 0
    for match in _TOKEN.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > MAX_JSON_DEPTH:
                return match.start()
        elif match[0] in "]}":
            depth -= 1
    return 0


def _bad_number_at(text: str) -> int:
    for match in _LONG_NUMBER.finditer(text):
        if not match[1]:
            continue
        try:
            Decimal(match[1])
        except InvalidOperation:
            return match.start()
        if len(match[1]) > MAX_NUMBER_CHARS:
            return match.start()
    return 0
