"""Donors, specimens and samples are shared by all analyses of a study: what a payload says must agree.

Equality is of all descriptive fields and `info`. Errors of donors and specimens come before errors of samples;
of each kind every offender is listed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from song_grpc.domain import info
from song_grpc.domain.analysis import Donor, Sample, Specimen
from song_grpc.domain.entity_ids import identified
from song_grpc.domain.errors import (
    DonorDataMismatchError,
    DonorIdCorruptedError,
    EntityError,
    SampleDataMismatchError,
    SampleIdCorruptedError,
    SampleSpecimenMismatchError,
    SpecimenDataMismatchError,
    SpecimenDonorMismatchError,
    SpecimenIdCorruptedError,
)
from song_grpc.domain.payload import GivenIds

Entity = Donor | Specimen | Sample
_ErrorKind = Callable[[str, Sequence[tuple[str, str]]], EntityError]
_PARTS = frozenset({"specimen", "donor"})  # of a sample: compared by themselves
_PRECEDENCE: tuple[tuple[_ErrorKind, str], ...] = (
    (DonorIdCorruptedError, "the donor's id is not the one its submitter id resolves to"),
    (SpecimenIdCorruptedError, "the specimen's id is not the one its submitter id resolves to"),
    (SpecimenDonorMismatchError, "the specimen is known as another donor's"),
    (DonorDataMismatchError, "the donor is known with other data"),
    (SpecimenDataMismatchError, "the specimen is known with other data"),
    (SampleIdCorruptedError, "the sample's id is not the one its submitter id resolves to"),
    (SampleSpecimenMismatchError, "the sample is known as another specimen's"),
    (SampleDataMismatchError, "the sample is known with other data"),
)


@dataclass(slots=True)
class Known:
    """The entities known under the submitter ids of a payload."""

    donors: dict[str, Donor] = field(default_factory=dict)
    specimens: dict[str, Specimen] = field(default_factory=dict)
    samples: dict[str, Sample] = field(default_factory=dict)
    """With their specimens and donors."""


@dataclass(frozen=True, slots=True)
class Matched:
    """What to write."""

    new_donors: Sequence[Donor]
    new_specimens: Sequence[Specimen]
    new_samples: Sequence[Sample]
    samples: Sequence[Sample]
    """Those of the analysis, each once, in the order of the payload."""


@dataclass(frozen=True, slots=True)
class _Conflict:
    kind: _ErrorKind
    pointer: str
    text: str


class _Infos:
    """Compares texts of `info`, each read once: all samples of a payload may share a donor's, and it may be long."""

    def __init__(self) -> None:
        self._forms: dict[str, object] = {}

    def are_same(self, known: str, stated: str) -> bool:
        return known == stated or self._form(known) == self._form(stated)

    def _form(self, text: str) -> object:
        if text not in self._forms:
            self._forms[text] = info.form(text)
        return self._forms[text]


def match(samples: Sequence[Sample], given_ids: Sequence[GivenIds], known: Known) -> Matched:
    """Hold a payload's samples against what is known, and against each other. Raises an EntityError."""
    conflicts: list[_Conflict] = []
    infos = _Infos()
    donors, specimens, kept = dict(known.donors), dict(known.specimens), dict(known.samples)
    for index, (stated, given) in enumerate(zip(samples, given_ids, strict=True)):
        sample = _as_stored(stated, known)
        at = f"/samples/{index}"
        conflicts += _id_conflicts(at, sample, given)
        donor = donors.setdefault(sample.donor.submitter_donor_id, sample.donor)
        conflicts += _data_conflict(DonorDataMismatchError, f"{at}/donor", donor, sample.donor, infos)
        specimen = specimens.setdefault(sample.specimen.submitter_specimen_id, sample.specimen)
        conflicts += _specimen_conflicts(f"{at}/specimen", specimen, sample.specimen, infos)
        stored = kept.setdefault(sample.submitter_sample_id, sample)
        conflicts += _sample_conflicts(at, stored, sample, infos)
    if conflicts:
        raise _refusal(conflicts)
    return Matched(
        new_donors=[donor for key, donor in donors.items() if key not in known.donors],
        new_specimens=[specimen for key, specimen in specimens.items() if key not in known.specimens],
        new_samples=[sample for key, sample in kept.items() if key not in known.samples],
        samples=[
            replace(
                kept[key],
                specimen=specimens[kept[key].specimen.submitter_specimen_id],
                donor=donors[kept[key].donor.submitter_donor_id],
            )
            for key in dict.fromkeys(sample.submitter_sample_id for sample in samples)
        ],
    )


def _as_stored(sample: Sample, known: Known) -> Sample:
    """Return the sample with the ids of what is stored already, wherever those came from."""
    donor = known.donors.get(sample.donor.submitter_donor_id, sample.donor)
    specimen = known.specimens.get(sample.specimen.submitter_specimen_id, sample.specimen)
    stored = known.samples.get(sample.submitter_sample_id, sample)
    return identified(sample, donor.donor_id, specimen.specimen_id, stored.sample_id)


def _id_conflicts(at: str, sample: Sample, given: GivenIds) -> Iterator[_Conflict]:
    for kind, stated, resolved, where in (
        (DonorIdCorruptedError, given.donor_ids, sample.donor.donor_id, f"{at}/donor"),
        (SpecimenIdCorruptedError, given.specimen_ids, sample.specimen.specimen_id, f"{at}/specimen"),
        (SampleIdCorruptedError, given.sample_ids, sample.sample_id, at),
    ):
        if any(identifier is not None and identifier != resolved for identifier in stated):
            yield _Conflict(kind, where, f"its id resolves to {resolved}")


def _specimen_conflicts(at: str, known: Specimen, stated: Specimen, infos: _Infos) -> Iterator[_Conflict]:
    if known.donor_id != stated.donor_id:
        yield _Conflict(
            SpecimenDonorMismatchError,
            at,
            f"specimen '{stated.submitter_specimen_id}' is donor {known.donor_id}'s, not {stated.donor_id}'s",
        )
    else:
        yield from _data_conflict(SpecimenDataMismatchError, at, known, stated, infos)


def _sample_conflicts(at: str, known: Sample, stated: Sample, infos: _Infos) -> Iterator[_Conflict]:
    if known.specimen_id != stated.specimen_id:
        yield _Conflict(
            SampleSpecimenMismatchError,
            at,
            f"sample '{stated.submitter_sample_id}' is specimen {known.specimen_id}'s, not {stated.specimen_id}'s",
        )
    else:
        yield from _data_conflict(SampleDataMismatchError, at, known, stated, infos)


def _data_conflict(kind: _ErrorKind, at: str, known: Entity, stated: Entity, infos: _Infos) -> Iterator[_Conflict]:
    if known is stated:
        return
    names = [part.name for part in fields(known) if part.name not in _PARTS]
    differing = [name for name in names if getattr(known, name) != getattr(stated, name)]
    if "info_json" in differing and infos.are_same(known.info_json, stated.info_json):
        differing.remove("info_json")
    if differing:
        submitter_id = getattr(stated, next(name for name in names if name.startswith("submitter_")))
        yield _Conflict(kind, at, f"'{submitter_id}' is known with another {', another '.join(differing)}")


def _refusal(conflicts: Sequence[_Conflict]) -> EntityError:
    by_kind: Mapping[object, list[_Conflict]] = {
        kind: [conflict for conflict in conflicts if conflict.kind is kind] for kind, _ in _PRECEDENCE
    }
    kind, text = next((kind, text) for kind, text in _PRECEDENCE if by_kind[kind])
    first, *others = by_kind[kind]
    more = f" (and {len(others)} more)" if others else ""
    violations = [(conflict.pointer, conflict.text) for conflict in by_kind[kind]]
    return kind(f"{text}: {first.pointer}: {first.text}{more}", violations)
