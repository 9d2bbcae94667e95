"""Fields that a filter may name, with the comparators and the values they take."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum

from song_grpc.domain.analysis import AnalysisState, FileAccess
from song_grpc.domain.filter_tree import Comparator, Part

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?P<fraction>\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_MICROSECOND_DIGITS = 6
_MAX_EXPONENT = 300
"""Numbers of a filter are those that a double can hold: every database compares with them."""


class BadValueError(Exception):
    """The value is not one the field takes; the message says which it takes."""


@dataclass(frozen=True, slots=True)
class Written:
    """A value as the filter has it."""

    text: str
    is_quoted: bool


Reader = Callable[[Written], str | int | datetime | AnalysisState]


def _text(written: Written) -> str:
    return written.text


def _choice(*choices: str) -> Callable[[Written], str]:
    def read(written: Written) -> str:
        if written.text not in choices:
            raise BadValueError(f"one of {', '.join(choices)}")
        return written.text

    return read


def _state(written: Written) -> AnalysisState:
    return AnalysisState(_choice(*(state.value for state in AnalysisState))(written))


def _integer(written: Written) -> int:
    if _INTEGER.fullmatch(written.text):
        value = int(written.text)
        if -(2**63) <= value < 2**63:
            return value
    raise BadValueError("an integer of 64 bits")


def _time(written: Written) -> datetime:
    text = written.text.upper()
    match = _TIME.fullmatch(text)
    if match is not None:
        fraction = match["fraction"] or ""
        digits = 1 + _MICROSECOND_DIGITS
        if not fraction[digits:].strip("0"):
            try:
                return datetime.fromisoformat(text.replace(fraction, fraction[:digits], 1) if fraction else text)
            except ValueError:
                pass
    raise BadValueError('an RFC 3339 time to the microsecond, as in "2026-01-31T09:30:00Z"')


class Kind(Enum):
    """What can be done with a field."""

    STATE = (_state, (Comparator.EQUAL, Comparator.NOT_EQUAL))
    TEXT = (_text, (Comparator.EQUAL, Comparator.NOT_EQUAL))
    INTEGER = (_integer, tuple(Comparator))
    TIME = (_time, tuple(Comparator))

    def __init__(self, read: Reader, comparators: tuple[Comparator, ...]) -> None:
        self.read, self.comparators = read, comparators


FIELDS = {
    "analysis_id": Kind.TEXT,
    "state": Kind.STATE,
    "analysis_type.name": Kind.TEXT,
    "analysis_type.version": Kind.INTEGER,
    "create_time": Kind.TIME,
    "update_time": Kind.TIME,
    "first_publish_time": Kind.TIME,
    "publish_time": Kind.TIME,
}

MEMBERS: dict[Part, dict[str, Callable[[Written], str | int]]] = {
    Part.FILES: {
        **dict.fromkeys(("object_id", "file_name", "file_type", "data_type", "md5"), _text),
        "access": _choice(*(access.value for access in FileAccess)),
        "size_bytes": _integer,
    },
    Part.SAMPLES: dict.fromkeys(
        (
            *("sample_id", "submitter_sample_id", "sample_type", "specimen.specimen_id"),
            *("specimen.submitter_specimen_id", "specimen.tumour_normal_designation", "specimen.specimen_type"),
            *("specimen.specimen_tissue_source", "donor.donor_id", "donor.submitter_donor_id", "donor.gender"),
        ),
        _text,
    ),
}


def read_data_value(written: Written) -> str | Decimal | bool:
    """Return what dynamic data are compared with: unquoted true, false and numbers are such. Raises BadValueError."""
    text = written.text
    if written.is_quoted:
        return text
    if text in {"true", "false"}:
        return text == "true"
    if _NUMBER.fullmatch(text):
        number = Decimal(text)
        if number and abs(number.adjusted()) > _MAX_EXPONENT:
            raise BadValueError(f"a number between 1e-{_MAX_EXPONENT} and 1e{_MAX_EXPONENT}")
        return number
    if text == "null" or not (text[0].isalpha() or text[0] == "_"):
        raise BadValueError("text in double quotes, a number, true or false; presence is ': *'")
    return text
