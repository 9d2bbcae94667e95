"""Corrections of donors, specimens and samples. Their ids, submitter ids and parents never change.

A corrected entity keeps the rules of the base schema that payloads are held against: the same definitions are asked.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from song_grpc.domain import info
from song_grpc.domain.analysis import Analysis, Donor, Sample, Specimen
from song_grpc.domain.errors import (
    DonorNotFoundError,
    EntityNotFoundError,
    ParameterError,
    SampleNotFoundError,
    SpecimenNotFoundError,
)
from song_grpc.domain.limits import MAX_INFO_BYTES, MAX_MESSAGE_BYTES, MAX_VIOLATION_MESSAGE_CHARS
from song_grpc.domain.validation import Found, compile_definition
from song_grpc.domain.violations import Violations, collect, refuse, violation
from song_grpc.domain.work import Work

Entity = Donor | Specimen | Sample
E = TypeVar("E", Donor, Specimen, Sample)
_Document = Mapping[str, Any]
_MATCHED_NORMAL = "matchedNormalSubmitterSampleId"
_DESIGNATION = "tumourNormalDesignation"


@dataclass(frozen=True, slots=True)
class EntityKind(Generic[E]):
    """Donor, specimen or sample."""

    name: str
    correctable: Sequence[str]
    """The fields that a correction may name."""
    not_found: type[EntityNotFoundError]


DONOR: EntityKind[Donor] = EntityKind("donor", ("gender", "info_json"), DonorNotFoundError)
SPECIMEN: EntityKind[Specimen] = EntityKind(
    "specimen",
    ("tumour_normal_designation", "specimen_tissue_source", "specimen_type", "info_json"),
    SpecimenNotFoundError,
)
SAMPLE: EntityKind[Sample] = EntityKind(
    "sample", ("sample_type", "matched_normal_submitter_sample_id", "info_json"), SampleNotFoundError
)


def correct(kind: EntityKind[E], known: E, wanted: E, fields: Collection[str]) -> E:
    """Return an entity with these fields, some of those correctable, as wanted. Raises ParameterError."""
    values: dict[str, Any] = {name: getattr(wanted, name) for name in fields}
    if "info_json" in values:
        stated = info.read(wanted.info_json, f"{kind.name}.info_json", MAX_INFO_BYTES)
        values["info_json"] = known.info_json if info.is_same(known.info_json, stated) else stated
    return replace(known, **values)


def check(entity: Entity) -> None:
    """Raise SchemaViolationError unless a payload could say this of an entity."""
    if isinstance(entity, Donor):
        _check("donor/donorData", _donor(entity))
    elif isinstance(entity, Specimen):
        _check("specimen/specimenData", _specimen(entity))
    else:
        _check("sample/sampleData", _sample(entity))


def may_break_samples(before: Entity, after: Entity) -> bool:
    """Say whether a correction can break rules about the samples below it: then `check_samples`."""
    return (
        isinstance(before, Specimen)
        and isinstance(after, Specimen)
        and before.tumour_normal_designation != after.tumour_normal_designation
    )


def check_samples(specimen: Specimen, samples: Iterable[Sample]) -> None:
    """Raise SchemaViolationError where the new designation of a specimen does not suit all of its samples."""
    violations = collect(_conflicts(specimen, samples), {_DESIGNATION: None})
    if violations.total:
        raise refuse("the specimen breaks the base schema", violations)


def check_fits(kind: EntityKind[E], analysis: Analysis) -> None:
    """Raise ParameterError where a correction makes an analysis too large to be read again."""
    if analysis.wire_bytes > MAX_MESSAGE_BYTES:
        raise ParameterError(
            f"{kind.name}.info_json",
            f"makes analysis '{analysis.analysis_id}' larger than {MAX_MESSAGE_BYTES} bytes",
        )


def _conflicts(specimen: Specimen, samples: Iterable[Sample]) -> Iterator[Found]:
    at = (_DESIGNATION,)
    for sample in samples:
        document = _sample(replace(sample, specimen=specimen))
        for path, one in compile_definition("sample/sampleData").violations(document, Work()):
            if path == (_MATCHED_NORMAL,):
                text = f"does not suit sample '{sample.submitter_sample_id}', whose {_MATCHED_NORMAL} {one.message}"
                yield at, violation(at, one.keyword, text[:MAX_VIOLATION_MESSAGE_CHARS], ())


def _check(definition: str, document: _Document) -> None:
    violations = _violations(definition, document)
    if violations.total:
        raise refuse(f"the {definition.partition('/')[0]} breaks the base schema", violations)


def _violations(definition: str, document: _Document) -> Violations:
    return collect(compile_definition(definition).violations(document, Work()), document)


# As a payload says them, without ids and `info`, about which the base schema has no rule that could be broken here.
def _donor(donor: Donor) -> _Document:
    return {"submitterDonorId": donor.submitter_donor_id, "gender": donor.gender}


def _specimen(specimen: Specimen) -> _Document:
    return {
        "submitterSpecimenId": specimen.submitter_specimen_id,
        "specimenTissueSource": specimen.specimen_tissue_source,
        _DESIGNATION: specimen.tumour_normal_designation,
        "specimenType": specimen.specimen_type,
    }


def _sample(sample: Sample) -> _Document:
    return {
        "submitterSampleId": sample.submitter_sample_id,
        "sampleType": sample.sample_type,
        _MATCHED_NORMAL: sample.matched_normal_submitter_sample_id,
        "specimen": _specimen(sample.specimen),
        "donor": _donor(sample.donor),
    }
