"""Analysis types in SQL."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    func,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
)

from song_grpc.database.tables import analysis_types
from song_grpc.database.times import from_microseconds, to_microseconds
from song_grpc.domain import paging
from song_grpc.domain.analysis_type import (
    AnalysisType,
    EntityModel,
    ExternalValidation,
    TypeField,
    TypeFilter,
    TypeOptions,
    TypeOrder,
)

_COLUMNS = analysis_types.c
_WITHOUT_SCHEMA_BYTES = 512

_LATEST = (
    select(analysis_types)
    .where(_COLUMNS.name == bindparam("name"))
    .order_by(_COLUMNS.version.desc())
    .limit(literal_column("1"))
)
_VERSION = select(analysis_types).where(_COLUMNS.name == bindparam("name"), _COLUMNS.version == bindparam("version"))


def add(connection: Connection, analysis_type: AnalysisType) -> None:
    """Store a new version."""
    connection.execute(
        insert(analysis_types).values(
            name=analysis_type.name,
            version=analysis_type.version,
            entity_model=analysis_type.options.entity_model.value,
            file_types_json=json.dumps(analysis_type.options.file_types),
            external_validations_json=json.dumps(
                [[one.url, one.json_path] for one in analysis_type.options.external_validations]
            ),
            schema_json=analysis_type.schema_json,
            create_time=to_microseconds(analysis_type.create_time),
            wire_bytes=analysis_type.wire_bytes,
        )
    )


def is_empty(connection: Connection) -> bool:
    """Say whether no type was ever registered."""
    return connection.scalar(select(_COLUMNS.name).limit(1)) is None


def latest_version(connection: Connection, name: str) -> int | None:
    """Return the latest version of a type, None if there is no such type."""
    latest: int | None = connection.scalar(select(func.max(_COLUMNS.version)).where(_COLUMNS.name == name))
    return latest


def find(connection: Connection, name: str, version: int | None = None) -> AnalysisType | None:
    """Return a version, the latest where none is named; None if there is no such."""
    query = _LATEST if version is None else _VERSION
    row = connection.execute(query, {"name": name, "version": version}).one_or_none()
    return None if row is None else _analysis_type(row, row.schema_json)


def list_after(
    connection: Connection,
    which: TypeFilter,
    order: Sequence[TypeOrder],
    after: paging.Key | None,
    limit: int,
    *,
    hide_schema: bool,
) -> Sequence[paging.Row]:
    """Return the rows that follow (name, version), in an order of both."""
    query = select(_COLUMNS.name, _COLUMNS.version, _COLUMNS.wire_bytes)
    if which.names:
        query = query.where(_COLUMNS.name.in_(which.names))
    if which.versions:
        query = query.where(_COLUMNS.version.in_(which.versions))
    if after is not None:
        query = query.where(_follows(order, dict(zip(TypeField, after, strict=True))))
    columns = [_COLUMNS[one.field.value] for one in order]
    directed = [column.desc() if one.is_descending else column for one, column in zip(order, columns, strict=True)]
    query = query.order_by(*directed).limit(limit)
    return [
        paging.Row((row.name, row.version), _WITHOUT_SCHEMA_BYTES if hide_schema else row.wire_bytes)
        for row in connection.execute(query)
    ]


def read(connection: Connection, keys: Sequence[paging.Key], *, hide_schema: bool) -> Sequence[AnalysisType]:
    """Return these versions, in the order given."""
    columns = [column for column in _COLUMNS if not (hide_schema and column is _COLUMNS.schema_json)]
    query = select(*columns).where(tuple_(_COLUMNS.name, _COLUMNS.version).in_(keys))
    found = {(row.name, row.version): row for row in connection.execute(query)}
    return [_analysis_type(found[key], "" if hide_schema else found[key].schema_json) for key in keys]  # type: ignore[index] # a key of this list


def _follows(order: Sequence[TypeOrder], after: Mapping[TypeField, str | int]) -> ColumnElement[bool]:
    """Return the condition that a row comes after this one."""
    first, second = ((_COLUMNS[one.field.value], after[one.field], one.is_descending) for one in order)
    return or_(_is_beyond(*first), and_(first[0] == first[1], _is_beyond(*second)))


def _is_beyond(column: Column[Any], value: str | int, is_descending: bool) -> ColumnElement[bool]:  # noqa: FBT001 - of one order
    return column < value if is_descending else column > value


def _analysis_type(row: Row[Any], schema_json: str) -> AnalysisType:
    return AnalysisType(
        name=row.name,
        version=row.version,
        options=TypeOptions(
            EntityModel(row.entity_model),
            tuple(json.loads(row.file_types_json)),
            tuple(ExternalValidation(*pair) for pair in json.loads(row.external_validations_json)),
        ),
        schema_json=schema_json,
        create_time=from_microseconds(row.create_time),
    )
