"""Ids of donors, specimens and samples that were not derived here: stored ones stay, others come from an id service."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from song_grpc.domain.analysis import Donor, Sample, Specimen
from song_grpc.domain.errors import DonorExistsError, EntityExistsError, SampleExistsError, SpecimenExistsError
from song_grpc.domain.limits import MAX_SERVICE_ID_CHARS


class IdentifiedKind(Enum):
    """What can have an id of an id service."""

    DONOR = "donor"
    SPECIMEN = "specimen"
    SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class WantedId:
    """Whose id is wanted."""

    kind: IdentifiedKind
    submitter_id: str


Ids = Mapping[WantedId, str]
_ID = re.compile(rf"[!-~]{{1,{MAX_SERVICE_ID_CHARS}}}")

_TAKEN: Mapping[IdentifiedKind, type[EntityExistsError]] = {
    IdentifiedKind.DONOR: DonorExistsError,
    IdentifiedKind.SPECIMEN: SpecimenExistsError,
    IdentifiedKind.SAMPLE: SampleExistsError,
}


def is_id(text: str) -> bool:
    """Say whether this can be an id of an id service: printable ASCII without spaces."""
    return _ID.fullmatch(text) is not None


def ids_of(samples: Iterable[Sample]) -> dict[WantedId, str]:
    """Return the ids that samples, their specimens and donors have, in the order of the samples."""
    found: dict[WantedId, str] = {}
    for sample in samples:
        donor, specimen = sample.donor, sample.specimen
        found[WantedId(IdentifiedKind.DONOR, donor.submitter_donor_id)] = donor.donor_id
        found[WantedId(IdentifiedKind.SPECIMEN, specimen.submitter_specimen_id)] = specimen.specimen_id
        found[WantedId(IdentifiedKind.SAMPLE, sample.submitter_sample_id)] = sample.sample_id
    return found


def stored_ids(
    donors: Mapping[str, Donor], specimens: Mapping[str, Specimen], samples: Mapping[str, Sample]
) -> dict[WantedId, str]:
    """Return the ids of entities given by their submitter ids."""
    found = {WantedId(IdentifiedKind.DONOR, key): donor.donor_id for key, donor in donors.items()}
    found |= {WantedId(IdentifiedKind.SPECIMEN, key): specimen.specimen_id for key, specimen in specimens.items()}
    return found | {WantedId(IdentifiedKind.SAMPLE, key): sample.sample_id for key, sample in samples.items()}


def with_ids(samples: Sequence[Sample], ids: Ids) -> list[Sample]:
    """Return the samples with these ids in place of theirs; what has none here keeps its own."""
    return [
        identified(
            sample,
            ids.get(WantedId(IdentifiedKind.DONOR, sample.donor.submitter_donor_id), sample.donor.donor_id),
            ids.get(WantedId(IdentifiedKind.SPECIMEN, sample.specimen.submitter_specimen_id), sample.specimen_id),
            ids.get(WantedId(IdentifiedKind.SAMPLE, sample.submitter_sample_id), sample.sample_id),
        )
        for sample in samples
    ]


def identified(sample: Sample, donor_id: str, specimen_id: str, sample_id: str) -> Sample:
    """Return the sample with these ids, of itself and its parts."""
    donor, specimen = sample.donor, sample.specimen
    if (donor_id, specimen_id, sample_id) == (donor.donor_id, specimen.specimen_id, sample.sample_id):
        return sample
    return replace(
        sample,
        sample_id=sample_id,
        specimen_id=specimen_id,
        specimen=replace(specimen, specimen_id=specimen_id, donor_id=donor_id),
        donor=replace(donor, donor_id=donor_id),
    )


def check_untaken(new: Ids, taken: Collection[tuple[IdentifiedKind, str]]) -> None:
    """Raise EntityExistsError where the id of a new entity is taken, or another new one's of its kind too."""
    seen = set(taken)
    for wanted, identifier in new.items():
        if (wanted.kind, identifier) in seen:
            raise _TAKEN[wanted.kind](wanted.submitter_id, identifier)
        seen.add((wanted.kind, identifier))
