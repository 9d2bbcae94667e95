"""Corrections and deletions of donors, specimens and samples in SQL, and the analyses they concern.

Whoever corrects or deletes holds the study's lock: until the transaction ends, no analysis begins to refer to an
entity. The lock comes first, then analyses in the order of their ids, so that nobody waits in a circle.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Select, Table, delete, func, select, update

from song_grpc.database import entities
from song_grpc.database.tables import analyses, analysis_samples, donors, samples, specimens
from song_grpc.domain import paging
from song_grpc.domain.analysis import AnalysisState, Sample, Specimen
from song_grpc.domain.corrections import DONOR, SAMPLE, SPECIMEN, E, EntityKind

_TABLES: Mapping[str, tuple[Table, Column[Any]]] = {
    DONOR.name: (donors, donors.c.donor_id),
    SPECIMEN.name: (specimens, specimens.c.specimen_id),
    SAMPLE.name: (samples, samples.c.sample_id),
}


def find_referring(
    connection: Connection, kind: EntityKind[E], entity_id: str, after: str, limit: int
) -> Sequence[str]:
    """Return the ids that follow `after` of the analyses that refer to an entity, or to what is below it."""
    referring = analysis_samples.c.analysis_id
    query = select(referring).distinct().where(analysis_samples.c.sample_id.in_(_samples_of(kind, entity_id)))
    return connection.scalars(query.where(referring > after).order_by(referring).limit(limit)).all()


def count_referring(connection: Connection, kind: EntityKind[E], entity_id: str) -> int:
    """Return how many analyses refer to an entity, or to what is below it."""
    query = select(func.count(analysis_samples.c.analysis_id.distinct()))
    return connection.scalar(query.where(analysis_samples.c.sample_id.in_(_samples_of(kind, entity_id)))) or 0


def is_published(connection: Connection, kind: EntityKind[E], entity_id: str) -> bool:
    """Say whether a PUBLISHED analysis refers to an entity, or to what is below it."""
    query = (
        select(analyses.c.analysis_id)
        .join_from(analysis_samples, analyses, analyses.c.analysis_id == analysis_samples.c.analysis_id)
        .where(
            analysis_samples.c.sample_id.in_(_samples_of(kind, entity_id)),
            analyses.c.state == AnalysisState.PUBLISHED.value,
        )
    )
    return connection.scalar(query.limit(1)) is not None


def lock(connection: Connection, analysis_ids: Sequence[str]) -> Sequence[paging.Row]:
    """Keep others from changing these analyses; return them in the order of their ids."""
    query = select(analyses.c.analysis_id, analyses.c.wire_bytes).where(analyses.c.analysis_id.in_(analysis_ids))
    rows = connection.execute(query.order_by(analyses.c.analysis_id).with_for_update(key_share=True))
    return [paging.Row((row.analysis_id,), row.wire_bytes) for row in rows]


def read_samples_after(connection: Connection, specimen: Specimen, after: str, limit: int) -> Sequence[Sample]:
    """Return the samples of a specimen that follow a submitter id, by submitter id."""
    query = select(samples).where(samples.c.specimen_id == specimen.specimen_id, samples.c.submitter_sample_id > after)
    rows = connection.execute(query.order_by(samples.c.submitter_sample_id).limit(limit))
    return entities.with_parts(connection, rows.all())


def save(connection: Connection, kind: EntityKind[E], entity_id: str, entity: E) -> None:
    """Store the corrected values of an entity."""
    values = {name: getattr(entity, name) for name in kind.correctable}
    table, own_id = _TABLES[kind.name]
    connection.execute(update(table).where(own_id == entity_id).values(values))


def remove(connection: Connection, kind: EntityKind[E], entity_id: str) -> int:
    """Delete an entity that no analysis refers to, with what is below it; return how many were deleted."""
    table, own_id = _TABLES[kind.name]
    statements = [delete(samples).where(samples.c.sample_id.in_(_samples_of(kind, entity_id)))]
    if kind.name == DONOR.name:
        statements.append(delete(specimens).where(specimens.c.donor_id == entity_id))
    if kind.name != SAMPLE.name:
        statements.append(delete(table).where(own_id == entity_id))
    return sum(connection.execute(statement).rowcount for statement in statements)


def _samples_of(kind: EntityKind[E], entity_id: str) -> Select[Any]:
    query = select(samples.c.sample_id)
    if kind.name == DONOR.name:
        return query.join_from(samples, specimens, specimens.c.specimen_id == samples.c.specimen_id).where(
            specimens.c.donor_id == entity_id
        )
    if kind.name == SPECIMEN.name:
        return query.where(samples.c.specimen_id == entity_id)
    return query.where(samples.c.sample_id == entity_id)
