"""Whose the ids of donors, specimens and samples are, of all studies."""

from collections.abc import Collection

from sqlalchemy import Column, Connection, select

from song_grpc.database.batches import in_batches
from song_grpc.database.tables import donors, samples, specimens
from song_grpc.domain.entity_ids import EntityKind

_ID_COLUMNS: dict[EntityKind, Column[str]] = {
    EntityKind.DONOR: donors.c.donor_id,
    EntityKind.SPECIMEN: specimens.c.specimen_id,
    EntityKind.SAMPLE: samples.c.sample_id,
}


def find_taken(connection: Connection, ids: Collection[tuple[EntityKind, str]]) -> set[tuple[EntityKind, str]]:
    """Return those of the ids that an entity of that kind has."""
    taken: set[tuple[EntityKind, str]] = set()
    for kind, column in _ID_COLUMNS.items():
        for batch in in_batches(identifier for of_kind, identifier in ids if of_kind is kind):
            found = connection.scalars(select(column).where(column.in_(batch)))
            taken.update((kind, identifier) for identifier in found)
    return taken
