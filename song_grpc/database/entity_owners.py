"""Whose the ids of donors, specimens and samples are, of all studies."""

from collections.abc import Collection

from sqlalchemy import Column, Connection, select

from song_grpc.database.batches import in_batches
from song_grpc.database.tables import donors, samples, specimens
from song_grpc.domain.entity_ids import IdentifiedKind

_ID_COLUMNS: dict[IdentifiedKind, Column[str]] = {
    IdentifiedKind.DONOR: donors.c.donor_id,
    IdentifiedKind.SPECIMEN: specimens.c.specimen_id,
    IdentifiedKind.SAMPLE: samples.c.sample_id,
}


def find_taken(connection: Connection, ids: Collection[tuple[IdentifiedKind, str]]) -> set[tuple[IdentifiedKind, str]]:
    """Return those of the ids that an entity of that kind has."""
    taken: set[tuple[IdentifiedKind, str]] = set()
    for kind, column in _ID_COLUMNS.items():
        for batch in in_batches(identifier for of_kind, identifier in ids if of_kind is kind):
            found = connection.scalars(select(column).where(column.in_(batch)))
            taken.update((kind, identifier) for identifier in found)
    return taken
