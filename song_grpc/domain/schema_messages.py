"""What a violation says to the submitter. Names of properties may appear, values never."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Protocol

from song_grpc.domain import json_text
from song_grpc.domain.limits import MAX_VIOLATION_MESSAGE_CHARS

_KINDS: tuple[tuple[type, str], ...] = (
    *((bool, "boolean"), (int, "integer"), (Decimal, "number"), (str, "string"), (dict, "object"), (list, "array")),
    (type(None), "null"),
)
_SHOWN_NAMES = 10


class FoundError(Protocol):
    """What the validation library says of one violation."""

    validator: Any
    """The keyword, None for the schema `false`."""
    validator_value: Any
    instance: Any
    message: str
    """Ours: for `required` the name of the missing property."""
    cause: Any
    """OfName where the instance is the name of a property."""


class OfName(Exception):  # noqa: N818 - never raised; the library's place for marks takes exceptions
    """Marks an error as that of a property's name, found by `propertyNames`."""


class Messages:
    """Messages about one schema: its own values are written once."""

    def __init__(self) -> None:
        self._values: dict[int, str] = {}

    def of(self, error: FoundError) -> str:
        """Return the message, at most 500 characters."""
        if error.validator in _WRITTEN_VALUES:
            # The schema's own values live as long as this object: an id stands for one of them.
            key = id(error.validator_value)
            if key not in self._values:
                self._values[key] = _cut(_WRITTEN_VALUES[error.validator] + json_text.write(error.validator_value))
            text = self._values[key]
        else:
            text = _MESSAGES.get(error.validator, _default)(error.validator_value, error)
        if isinstance(error.cause, OfName):
            text = f"the property name '{error.instance}' {text}"
        return _cut(text)


def _cut(text: str) -> str:
    limit = MAX_VIOLATION_MESSAGE_CHARS
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _default(_value: Any, error: FoundError) -> str:  # noqa: ANN401 - a keyword's value
    return "is not allowed here" if error.validator is None else f"breaks the rule '{error.validator}'"


def _type(value: Any, error: FoundError) -> str:  # noqa: ANN401 - a keyword's value
    wanted = " or ".join(value) if isinstance(value, list) else str(value)
    kind = next((name for python, name in _KINDS if isinstance(error.instance, python)), "something else")
    return f"must be of type {wanted}, is {kind}"


def _missing(_value: Any, error: FoundError) -> str:  # noqa: ANN401 - a keyword's value
    return f"required property '{error.message}' is missing"


def _undeclared(_value: Any, error: FoundError) -> str:  # noqa: ANN401 - a keyword's value
    return error.message


_WRITTEN_VALUES: Mapping[Any, str] = {"enum": "must be one of ", "const": "must be "}
_MESSAGES: Mapping[Any, Callable[[Any, FoundError], str]] = {
    "type": _type,
    "required": _missing,
    "additionalProperties": _undeclared,
    "additionalItems": lambda _value, _error: "has more items than the schema declares",
    "unevaluatedProperties": lambda _value, _error: "has properties that the schema does not declare",
    "dependencies": _undeclared,
    "dependentRequired": _undeclared,
    "pattern": lambda value, _error: f"does not match the pattern {value}",
    "format": lambda value, _error: f"is not of the format '{value}'",
    "minimum": lambda value, _error: f"must be at least {value}",
    "maximum": lambda value, _error: f"must be at most {value}",
    "exclusiveMinimum": lambda value, _error: f"must be more than {value}",
    "exclusiveMaximum": lambda value, _error: f"must be less than {value}",
    "multipleOf": lambda value, _error: f"must be a multiple of {value}",
    "minLength": lambda value, _error: f"must have at least {value} characters",
    "maxLength": lambda value, _error: f"must have at most {value} characters",
    "minItems": lambda value, _error: f"must have at least {value} items",
    "maxItems": lambda value, _error: f"must have at most {value} items",
    "minProperties": lambda value, _error: f"must have at least {value} properties",
    "maxProperties": lambda value, _error: f"must have at most {value} properties",
    "uniqueItems": lambda _value, _error: "has equal items",
    "contains": lambda _value, _error: "has no item of the kind it must contain",
    "anyOf": lambda value, _error: f"matches none of the {len(value)} permitted forms",
    "oneOf": lambda value, _error: f"must match exactly one of the {len(value)} permitted forms",
    "not": lambda _value, _error: "is not allowed here",
    "if": lambda _value, _error: "breaks a condition",
}
