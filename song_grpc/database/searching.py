"""Searches by id in SQL: which ids there are, and which analyses have them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    String,
    Table,
    and_,
    any_,
    cast,
    func,
    literal,
    select,
)

from song_grpc.database.tables import analyses, analysis_samples, donors, files, samples, specimens
from song_grpc.domain.id_search import IdKind, end_of_prefix

_BATCH_IDS = 10_000


class _Place(NamedTuple):
    """Where ids of a kind are."""

    table: Table
    searched: Column[str]
    key: Column[str]
    """The server's own id of the same thing."""
    walked: Column[str]
    """Unique in a study, and with an index by study."""


_DONORS = (donors.c.donor_id, donors.c.submitter_donor_id)
_SPECIMENS = (specimens.c.specimen_id, specimens.c.submitter_specimen_id)
_SAMPLES = (samples.c.sample_id, samples.c.submitter_sample_id)
_PLACES = {
    IdKind.DONOR: _Place(donors, donors.c.donor_id, *_DONORS),
    IdKind.SUBMITTER_DONOR: _Place(donors, donors.c.submitter_donor_id, *_DONORS),
    IdKind.SPECIMEN: _Place(specimens, specimens.c.specimen_id, *_SPECIMENS),
    IdKind.SUBMITTER_SPECIMEN: _Place(specimens, specimens.c.submitter_specimen_id, *_SPECIMENS),
    IdKind.SAMPLE: _Place(samples, samples.c.sample_id, *_SAMPLES),
    IdKind.SUBMITTER_SAMPLE: _Place(samples, samples.c.submitter_sample_id, *_SAMPLES),
    IdKind.OBJECT: _Place(files, files.c.object_id, files.c.object_id, files.c.object_id),
}


def keys_with_prefix(connection: Connection, study_id: str, kind: IdKind, prefix: str, limit: int) -> Sequence[str]:
    """Return the keys, at most `limit`, of what has an id of this kind that begins with the prefix."""
    place = _PLACES[kind]
    query = select(place.key).where(place.table.c.study_id == study_id, place.searched >= prefix)
    end = end_of_prefix(prefix)
    if end is not None:
        query = query.where(place.searched < end)
    return connection.execute(query.limit(limit)).scalars().all()


def walk(connection: Connection, study_id: str, kind: IdKind) -> Iterator[tuple[str, str]]:
    """Yield (id, key) of everything in the study that has an id of this kind."""
    place = _PLACES[kind]
    query = (
        select(place.searched.label("searched"), place.key.label("key"), place.walked.label("walked"))
        .where(place.table.c.study_id == study_id)
        .order_by(place.walked)
        .limit(_BATCH_IDS)
    )
    rows = connection.execute(query).all()
    while rows:
        yield from ((row.searched, row.key) for row in rows)
        rows = connection.execute(query.where(place.walked > rows[-1].walked)).all() if len(rows) == _BATCH_IDS else []


def has_exactly(study_id: str, texts: Mapping[IdKind, str]) -> ColumnElement[bool]:
    """Return what selects the analyses with these ids."""
    return _has(
        {
            kind: and_(_PLACES[kind].table.c.study_id == study_id, _PLACES[kind].searched == text)
            for kind, text in texts.items()
        }
    )


def has_keys(connection: Connection, keys: Mapping[IdKind, Sequence[str]]) -> ColumnElement[bool]:
    """Return what selects the analyses with something of each kind that has one of these keys."""
    return _has({kind: _is_among(connection, _PLACES[kind].key, found) for kind, found in keys.items()})


def _has(conditions: Mapping[IdKind, ColumnElement[bool]]) -> ColumnElement[bool]:
    found: list[ColumnElement[bool]] = []
    if IdKind.OBJECT in conditions:
        found.append(analyses.c.analysis_id.in_(select(files.c.analysis_id).where(conditions[IdKind.OBJECT])))
    of_samples = [condition for kind, condition in conditions.items() if kind is not IdKind.OBJECT]
    if of_samples:
        source = analysis_samples.join(samples).join(specimens).join(donors)
        with_sample = select(analysis_samples.c.analysis_id).select_from(source).where(*of_samples)
        found.append(analyses.c.analysis_id.in_(with_sample))
    return and_(*found)


def _is_among(connection: Connection, column: Column[str], values: Sequence[str]) -> ColumnElement[bool]:
    """Return that a column has one of the values, bound as one: there may be more than a statement takes."""
    if connection.dialect.name == "sqlite":
        listed = func.json_each(json.dumps(values)).table_valued("value")
        return column.in_(select(listed.c.value))
    bound: Any = cast(literal(list(values), ARRAY(String)), ARRAY(String))
    return column == any_(bound)
