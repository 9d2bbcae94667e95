"""Filters as conditions in SQL. Values are bound, never written into the statement.

A leaf without a value to compare is null or false; NOT takes both for false.
"""

import json
import operator
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    and_,
    cast,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONPATH

from song_grpc.database.tables import analyses, analysis_samples, donors, files, samples, specimens
from song_grpc.database.times import to_microseconds
from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.filter_tree import (
    And,
    Comparator,
    Comparison,
    DataComparison,
    DataPresence,
    Holding,
    Node,
    Not,
    Or,
    Part,
)

_COLUMNS = analyses.c
_NAMES = {"analysis_type.name": "type_name", "analysis_type.version": "type_version"}
_OPERATORS: dict[Comparator, Callable[[Any, Any], ColumnElement[bool]]] = {
    Comparator.EQUAL: operator.eq,
    Comparator.NOT_EQUAL: operator.ne,
    Comparator.LESS: operator.lt,
    Comparator.AT_MOST: operator.le,
    Comparator.MORE: operator.gt,
    Comparator.AT_LEAST: operator.ge,
}
_OF_SAMPLES: FromClause = analysis_samples.join(samples).join(specimens).join(donors)
_TABLES = {"": samples, "specimen": specimens, "donor": donors}
_SELECTIVE = {
    *("object_id", "md5", "sample_id", "submitter_sample_id", "specimen.specimen_id"),
    *("specimen.submitter_specimen_id", "donor.donor_id", "donor.submitter_donor_id"),
}
"""Members with an index and few analyses for each value: where they are found first, the list need not be walked."""
_LARGEST_DOUBLE = 1.7976931348623157e308


def condition(connection: Connection, study_id: str, left: Node | Literal[True]) -> ColumnElement[bool]:
    """Return what selects the analyses of a study that a filter does; True is one that selects all."""

    def of(node: Node) -> ColumnElement[bool]:
        match node:
            case And(terms):
                return and_(*map(of, terms))
            case Or(terms):
                return or_(*map(of, terms))
            case Not(term):
                return not_(func.coalesce(of(term), false()))
            case Comparison(field, comparator, value):
                column = _COLUMNS[_NAMES.get(field, field)]
                return _OPERATORS[comparator](column, _stored(value))
            case Holding():
                return _holding(study_id, node)
            case DataComparison() | DataPresence():
                is_sqlite = connection.dialect.name == "sqlite"
                return _sqlite_data(node) if is_sqlite else _postgresql_data(node)

    return true() if left is True else of(left)


def has_selective_id(node: Node) -> bool:
    """Say whether whatever a filter selects has an id that few analyses share."""
    match node:
        case And(terms):
            return any(map(has_selective_id, terms))
        case Or(terms):
            return all(map(has_selective_id, terms))
        case Holding(member=member):
            return member in _SELECTIVE
        case _:
            return False


def _stored(value: str | int | datetime | AnalysisState) -> Any:  # noqa: ANN401 - what a column is compared with
    match value:
        case AnalysisState():
            return value.value
        case datetime():
            return to_microseconds(value)
        case int():
            return literal(value, BigInteger)
        case _:
            return value


def _holding(study_id: str, wanted: Holding) -> ColumnElement[bool]:
    if wanted.part is Part.FILES:
        owner, table, name = files.c.analysis_id, files, wanted.member
        source: FromClause = files
    else:
        part, _, name = wanted.member.rpartition(".")
        owner, table, source = analysis_samples.c.analysis_id, _TABLES[part], _OF_SAMPLES
    has_value = table.c[name] == _stored(wanted.value)
    if wanted.member in _SELECTIVE:
        found = select(owner).select_from(source).where(table.c.study_id == study_id, has_value)
        return _COLUMNS.analysis_id.in_(found)
    return exists().select_from(source).where(owner == _COLUMNS.analysis_id, has_value)


def _postgresql_data(node: DataComparison | DataPresence) -> ColumnElement[bool]:
    """Return a jsonpath predicate: strict, so that arrays are not looked into; of `=`, the index knows the answers."""
    place = "$" + "".join(f".{_quoted(name)}" for name in node.path)
    match node:
        case DataPresence():
            path = f"exists({place} ? (@ != null))"
        case DataComparison(_, comparator, value):
            shown = _quoted(value) if isinstance(value, str) else str(value).lower()
            if comparator is Comparator.EQUAL:
                path = f"{place} == {shown}"
            elif comparator is Comparator.NOT_EQUAL:
                path = f"{place} < {shown} || {place} > {shown}"  # null != 1 in jsonpath; of two kinds is no order
            else:
                path = f"{place} {comparator.value} {shown}"
    filterable = func.song_filterable(_COLUMNS.data_json)
    return filterable.op("@@", is_comparison=True)(cast(literal(f"strict {path}"), JSONPATH))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _sqlite_data(node: DataComparison | DataPresence) -> ColumnElement[bool]:
    """Return the same with SQLite's functions, for which numbers are 64-bit integers and doubles."""
    place = "$" + "".join(f'."{name}"' for name in node.path)
    kind, found = func.json_type(_COLUMNS.data_json, place), func.json_extract(_COLUMNS.data_json, place)
    match node:
        case DataPresence():
            return kind != "null"
        case DataComparison(_, comparator, str() as text):
            return and_(kind == "text", _OPERATORS[comparator](found, text))
        case DataComparison(_, comparator, bool() as truth):
            return and_(kind.in_(["true", "false"]), _OPERATORS[comparator](found, int(truth)))
        case DataComparison(_, comparator, value):
            is_number = and_(kind.in_(["integer", "real"]), found.between(-_LARGEST_DOUBLE, _LARGEST_DOUBLE))
            return and_(is_number, _OPERATORS[comparator](found, _number(Decimal(value))))


def _number(value: Decimal) -> int | float:
    """Return the number as SQLite keeps it."""
    is_integer = value == value.to_integral_value() and -(2**63) <= value < 2**63
    return int(value) if is_integer else float(value)
