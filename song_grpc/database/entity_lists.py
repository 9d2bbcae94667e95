"""Donors, specimens and samples in SQL, one by id and many by submitter id."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, Table, func, select

from song_grpc.database import entities
from song_grpc.database.tables import donors, samples, specimens
from song_grpc.database.text_bytes import text_bytes
from song_grpc.domain import paging
from song_grpc.domain.analysis import Donor, Specimen
from song_grpc.domain.corrections import DONOR, SAMPLE, SPECIMEN, E, EntityKind
from song_grpc.domain.study_tree import Leaf

_ROW_BYTES = 1024  # at least what an entity's message takes without its info, with that of its parts


def _donors(_connection: Connection, rows: Sequence[Row[Any]]) -> Sequence[Donor]:
    return [entities.donor_of_row(row) for row in rows]


def _specimens(_connection: Connection, rows: Sequence[Row[Any]]) -> Sequence[Specimen]:
    return [entities.specimen_of_row(row) for row in rows]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the entities of a kind are."""

    table: Table
    entity_id: Column[Any]
    submitter_id: Column[Any]
    read: Callable[[Connection, Sequence[Row[Any]]], Sequence[Any]]
    parents: tuple[Column[Any], Table, Column[Any]] | None = None
    """What names the parent; the parents, and their id."""


_SOURCES: Mapping[str, _Source] = {
    DONOR.name: _Source(donors, donors.c.donor_id, donors.c.submitter_donor_id, _donors),
    SPECIMEN.name: _Source(
        *(specimens, specimens.c.specimen_id, specimens.c.submitter_specimen_id, _specimens),
        parents=(specimens.c.donor_id, donors, donors.c.donor_id),
    ),
    SAMPLE.name: _Source(
        *(samples, samples.c.sample_id, samples.c.submitter_sample_id, entities.with_parts),
        parents=(samples.c.specimen_id, specimens, specimens.c.specimen_id),
    ),
}


@dataclass(frozen=True, slots=True)
class Listed:
    """Which entities of a kind a list has."""

    study_id: str
    parent_id: str = ""
    """Empty means those of every parent."""


def find(connection: Connection, kind: EntityKind[E], entity_id: str) -> tuple[str, E] | None:
    """Return an entity with the id of its study, None if no study has it."""
    source = _SOURCES[kind.name]
    row = connection.execute(select(source.table).where(source.entity_id == entity_id)).one_or_none()
    return None if row is None else (row.study_id, source.read(connection, [row])[0])


def list_after(
    connection: Connection,
    kind: EntityKind[E],
    listed: Listed,
    after: str | None,
    limit: int,
    *,
    with_parts: bool = True,
) -> Sequence[paging.Row]:
    """Return the rows that follow a submitter id, by submitter id.

    A sample counts with its parts, its specimen and donor, or without.
    """
    source = _SOURCES[kind.name]
    info_bytes = text_bytes(source.table.c.info_json)
    query = select(source.submitter_id, info_bytes.label("info_bytes"))
    if with_parts and source.table is samples:
        parts_bytes = text_bytes(specimens.c.info_json) + text_bytes(donors.c.info_json)
        query = select(source.submitter_id, (info_bytes + parts_bytes).label("info_bytes"))
        query = query.join_from(samples, specimens, specimens.c.specimen_id == samples.c.specimen_id)
        query = query.join(donors, donors.c.donor_id == specimens.c.donor_id)
    query = _narrowed(query, source, listed)
    if after is not None:
        query = query.where(source.submitter_id > after)
    rows = connection.execute(query.order_by(source.submitter_id).limit(limit))
    return [paging.Row((row[0],), _ROW_BYTES + row.info_bytes) for row in rows]


def read_between(connection: Connection, kind: EntityKind[E], listed: Listed, first: str, last: str) -> Sequence[E]:
    """Return those of a list between two submitter ids, both included, by submitter id."""
    source = _SOURCES[kind.name]
    query = _narrowed(select(source.table), source, listed).where(source.submitter_id.between(first, last))
    return source.read(connection, connection.execute(query.order_by(source.submitter_id)).all())


def measure_below(connection: Connection, donor_ids: Sequence[str]) -> tuple[int, int]:
    """Return how many specimens and samples these donors have, and the bytes of all their info."""
    below = select(func.count(), func.coalesce(func.sum(text_bytes(specimens.c.info_json)), 0))
    rows, info_bytes = connection.execute(below.where(specimens.c.donor_id.in_(donor_ids))).one()
    below = select(func.count(), func.coalesce(func.sum(text_bytes(samples.c.info_json)), 0)).join_from(
        samples, specimens, specimens.c.specimen_id == samples.c.specimen_id
    )
    more_rows, more_bytes = connection.execute(below.where(specimens.c.donor_id.in_(donor_ids))).one()
    return rows + more_rows, int(info_bytes + more_bytes)


def read_below(connection: Connection, donor_ids: Sequence[str]) -> dict[str, list[Leaf]]:
    """Return the specimens of each of these donors by submitter id, each before its samples by submitter id."""
    specimen_rows = connection.execute(
        select(specimens).where(specimens.c.donor_id.in_(donor_ids)).order_by(specimens.c.submitter_specimen_id)
    )
    sample_rows = connection.execute(
        select(samples)
        .join_from(samples, specimens, specimens.c.specimen_id == samples.c.specimen_id)
        .where(specimens.c.donor_id.in_(donor_ids))
        .order_by(samples.c.submitter_sample_id)
    )
    leaves: dict[str, list[Leaf]] = {donor_id: [] for donor_id in donor_ids}
    of_specimen: dict[str, list[Leaf]] = {}
    for sample in entities.with_parts(connection, sample_rows.all()):
        of_specimen.setdefault(sample.specimen_id, []).append((sample.specimen, sample))
    for row in specimen_rows.all():
        leaves[row.donor_id] += [(entities.specimen_of_row(row), None), *of_specimen.get(row.specimen_id, [])]
    return leaves


def _narrowed(query: Select[Any], source: _Source, listed: Listed) -> Select[Any]:
    if not listed.parent_id or source.parents is None:
        return query.where(source.table.c.study_id == listed.study_id)
    # The parent's study, not the own one: SQLite would walk the whole study in the order of submitter ids.
    named_by, parents, parent_id = source.parents
    parent = select(parent_id).where(parent_id == listed.parent_id, parents.c.study_id == listed.study_id)
    return query.where(named_by.in_(parent.correlate(None)))
