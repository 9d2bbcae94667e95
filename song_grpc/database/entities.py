"""Donors, specimens and samples in SQL."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select

from song_grpc.database.batches import in_batches
from song_grpc.database.tables import analysis_samples, donors, samples, specimens
from song_grpc.domain.analysis import Analysis, Donor, Sample, Specimen
from song_grpc.domain.matching import Known, Matched

# Made once: making a statement costs more than running one of these.
_KNOWN_DONORS = select(donors).where(
    donors.c.study_id == bindparam("study_id"), donors.c.submitter_donor_id.in_(bindparam("ids", expanding=True))
)
_KNOWN_SPECIMENS = select(specimens).where(
    specimens.c.study_id == bindparam("study_id"),
    specimens.c.submitter_specimen_id.in_(bindparam("ids", expanding=True)),
)
_KNOWN_SAMPLES = select(samples).where(
    samples.c.study_id == bindparam("study_id"), samples.c.submitter_sample_id.in_(bindparam("ids", expanding=True))
)
_NEW_DONORS, _NEW_SPECIMENS, _NEW_SAMPLES = insert(donors), insert(specimens), insert(samples)
_NEW_LINKS = insert(analysis_samples)


def find_known(connection: Connection, study_id: str, wanted: Sequence[Sample]) -> Known:
    """Return the donors, specimens and samples of a study known under the submitter ids of these samples."""
    known = Known()
    for batch in in_batches(sample.donor.submitter_donor_id for sample in wanted):
        found = connection.execute(_KNOWN_DONORS, {"study_id": study_id, "ids": batch})
        known.donors |= {row.submitter_donor_id: donor_of_row(row) for row in found}
    for batch in in_batches(sample.specimen.submitter_specimen_id for sample in wanted):
        found = connection.execute(_KNOWN_SPECIMENS, {"study_id": study_id, "ids": batch})
        known.specimens |= {row.submitter_specimen_id: specimen_of_row(row) for row in found}
    rows: list[Row[Any]] = []
    for batch in in_batches(sample.submitter_sample_id for sample in wanted):
        rows += connection.execute(_KNOWN_SAMPLES, {"study_id": study_id, "ids": batch})
    known.samples |= {sample.submitter_sample_id: sample for sample in with_parts(connection, rows)}
    return known


def add(connection: Connection, study_id: str, matched: Matched) -> None:
    """Store the new donors, specimens and samples."""
    if matched.new_donors:
        connection.execute(_NEW_DONORS, [_row_of(donor, study_id) for donor in matched.new_donors])
    if matched.new_specimens:
        connection.execute(_NEW_SPECIMENS, [_row_of(part, study_id) for part in matched.new_specimens])
    if matched.new_samples:
        connection.execute(_NEW_SAMPLES, [_row_of(sample, study_id) for sample in matched.new_samples])


def link_all(connection: Connection, linked: Iterable[Analysis]) -> None:
    """Store which samples analyses have, in their order."""
    rows = [
        {"analysis_id": analysis.analysis_id, "position": position, "sample_id": sample.sample_id}
        for analysis in linked
        for position, sample in enumerate(analysis.samples)
    ]
    if rows:
        connection.execute(_NEW_LINKS, rows)


def read_linked(connection: Connection, analysis_ids: Iterable[str]) -> dict[str, list[Sample]]:
    """Return the samples of each of these analyses, in their order."""
    rows: list[Row[Any]] = []
    for batch in in_batches(analysis_ids):
        query = (
            select(samples, analysis_samples.c.analysis_id)
            .join_from(analysis_samples, samples, samples.c.sample_id == analysis_samples.c.sample_id)
            .where(analysis_samples.c.analysis_id.in_(batch))
            .order_by(analysis_samples.c.analysis_id, analysis_samples.c.position)
        )
        rows += connection.execute(query)
    found: dict[str, list[Sample]] = {}
    for row, sample in zip(rows, with_parts(connection, rows), strict=True):
        found.setdefault(row.analysis_id, []).append(sample)
    return found


def with_parts(connection: Connection, rows: Sequence[Row[Any]]) -> list[Sample]:
    """Return the samples of these rows, in their order, with specimens and donors."""
    specimen_rows: dict[str, Row[Any]] = {}
    for batch in in_batches(row.specimen_id for row in rows):
        query = select(specimens).where(specimens.c.specimen_id.in_(batch))
        specimen_rows |= {row.specimen_id: row for row in connection.execute(query)}
    donor_rows: dict[str, Row[Any]] = {}
    for batch in in_batches(row.donor_id for row in specimen_rows.values()):
        query = select(donors).where(donors.c.donor_id.in_(batch))
        donor_rows |= {row.donor_id: row for row in connection.execute(query)}
    specimen_of = {key: specimen_of_row(row) for key, row in specimen_rows.items()}
    donor_of = {key: donor_of_row(row) for key, row in donor_rows.items()}
    return [_sample(row, specimen_of[row.specimen_id], donor_of) for row in rows]


def _sample(row: Row[Any], specimen: Specimen, donor_of: Mapping[str, Donor]) -> Sample:
    return Sample(
        sample_id=row.sample_id,
        specimen_id=row.specimen_id,
        submitter_sample_id=row.submitter_sample_id,
        sample_type=row.sample_type,
        matched_normal_submitter_sample_id=row.matched_normal_submitter_sample_id,
        info_json=row.info_json,
        specimen=specimen,
        donor=donor_of[specimen.donor_id],
    )


def specimen_of_row(row: Row[Any]) -> Specimen:
    """Return the specimen of a row of its table."""
    return Specimen(
        specimen_id=row.specimen_id,
        donor_id=row.donor_id,
        submitter_specimen_id=row.submitter_specimen_id,
        tumour_normal_designation=row.tumour_normal_designation,
        specimen_tissue_source=row.specimen_tissue_source,
        specimen_type=row.specimen_type,
        info_json=row.info_json,
    )


def donor_of_row(row: Row[Any]) -> Donor:
    """Return the donor of a row of its table."""
    return Donor(
        donor_id=row.donor_id,
        study_id=row.study_id,
        submitter_donor_id=row.submitter_donor_id,
        gender=row.gender,
        info_json=row.info_json,
    )


def _row_of(entity: Donor | Specimen | Sample, study_id: str) -> dict[str, Any]:
    """Return the columns of an entity: its fields, but for a sample's parts."""
    names = [field.name for field in fields(entity) if field.name not in {"specimen", "donor"}]
    return {name: getattr(entity, name) for name in names} | {"study_id": study_id}
