"""Payloads: what a submitter sends, before and after it is known to keep its schema."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from song_grpc.domain import base_schema, json_text
from song_grpc.domain.analysis import Donor, File, FileAccess, Sample, Specimen
from song_grpc.domain.analysis_type import AnalysisType, EntityModel
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.ids import entity_id, object_id
from song_grpc.domain.limits import (
    MAX_PATTERN_SECONDS,
    MAX_PAYLOAD_BYTES,
    MAX_TYPE_VERSION,
    MAX_VIOLATION_MESSAGE_CHARS,
)
from song_grpc.domain.validation import Found, compile_base, compile_stored
from song_grpc.domain.violations import Violations, collect, violation
from song_grpc.domain.work import PatternTimeoutError, TooMuchWorkError, Work

_FILE_FIELDS = frozenset(
    {
        *("objectId", "studyId", "analysisId", "fileName", "fileSize", "fileType", "fileMd5sum", "fileAccess"),
        *("dataType", "info"),
    }
)
_DONOR_FIELDS = frozenset({"donorId", "studyId", "submitterDonorId", "gender", "info"})
_SPECIMEN_FIELDS = frozenset(
    {
        *("specimenId", "donorId", "submitterSpecimenId", "tumourNormalDesignation", "specimenTissueSource"),
        *("specimenType", "info"),
    }
)
_SAMPLE_FIELDS = frozenset(
    {
        *("sampleId", "specimenId", "submitterSampleId", "sampleType", "matchedNormalSubmitterSampleId"),
        *("specimen", "donor", "info"),
    }
)


@dataclass(frozen=True, slots=True)
class WantedType:
    """The type a payload names."""

    name: str
    version: int | None
    """None means the latest."""


@dataclass(frozen=True, slots=True)
class GivenIds:
    """Ids that a sample of the payload brings; they must be the ones it resolves to. None where it brings none."""

    donor_ids: Sequence[object]
    specimen_ids: Sequence[object]
    sample_ids: Sequence[object]


@dataclass(frozen=True, slots=True)
class Submission:
    """A payload that keeps its schema."""

    study_id: str
    samples: Sequence[Sample]
    given_ids: Sequence[GivenIds]
    """Beside each sample."""
    data_json: str
    ids_are_external: bool = False
    """New entities have ids of the id service: another study's may have got the same."""


def read(text: str, field: str = "payload_json", name: str = "the payload") -> json_text.JsonObject:
    """Parse the JSON object in a field of a request; `name` is what messages call it.

    Raises PayloadParsingError, ParameterError.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_PAYLOAD_BYTES:
        raise ParameterError(field, f"has more than {MAX_PAYLOAD_BYTES} bytes")
    return json_text.read_object(text, name)


def wanted_type(document: json_text.JsonObject, field: str = "payload_json") -> WantedType:
    """Return the type the object in a field names. Raises ParameterError."""
    stated = document.get("analysisType")
    if not isinstance(stated, dict):
        raise ParameterError(field, "'analysisType' is missing or no object")
    name, version = stated.get("name"), stated.get("version")
    if not isinstance(name, str) or not name:
        raise ParameterError(field, "'analysisType' needs a 'name'")
    if version is None:
        return WantedType(name, None)
    if not _is_integer(version):
        raise ParameterError(field, "the 'version' of 'analysisType' is no integer")
    if version <= 0:
        raise ParameterError(field, "the 'version' of 'analysisType' counts from 1")
    # Beyond the contract's numbers one is like another, and none is the version of a type.
    return WantedType(name, int(min(version, MAX_TYPE_VERSION + 1)))


def violations(document: json_text.JsonObject, analysis_type: AnalysisType, work: Work) -> Violations:
    """Hold a payload against the base, its type's schema and the type's options.

    Where that takes too much work, this is the one violation. Raises ValidationUnfinishedError.
    """
    try:
        return collect(_found(document, analysis_type, work), document)
    except TooMuchWorkError:
        text = "this payload takes too much work against its schema"
        return Violations([violation((), "work", text, ())], 1)
    except PatternTimeoutError as error:
        own = compile_stored(analysis_type.schema_json, analysis_type.options.entity_model)
        text = f"takes more than {MAX_PATTERN_SECONDS:g} s to be searched for the pattern {error.pattern}"
        return Violations(
            [violation((), "pattern", text[:MAX_VIOLATION_MESSAGE_CHARS], own.where_is(error.pattern) or ())], 1
        )


def read_submission(document: json_text.JsonObject, study_id: str, model: EntityModel) -> Submission:
    """Return what a payload without violations says."""
    payload_samples = document["samples"] if model is EntityModel.DONOR_SPECIMEN_SAMPLE else []
    owned = base_schema.owned_properties(model)
    return Submission(
        study_id=document["studyId"],
        samples=[_sample(study_id, sample) for sample in payload_samples],
        given_ids=[_given_ids(sample) for sample in payload_samples],
        data_json=json_text.write({key: value for key, value in document.items() if key not in owned}),
    )


def read_files(document: json_text.JsonObject, study_id: str, analysis_id: str) -> list[File]:
    """Return the files of a payload without violations, by file name."""
    files = [_file(study_id, analysis_id, stated) for stated in document["files"]]
    return sorted(files, key=lambda file: file.file_name)


def _found(document: json_text.JsonObject, analysis_type: AnalysisType, work: Work) -> Iterator[Found]:
    options = analysis_type.options
    own = compile_stored(analysis_type.schema_json, options.entity_model)
    yield from compile_base(options.entity_model, type_defines_samples=own.defines_samples).violations(document, work)
    yield from own.violations(document, work)
    files = document.get("files")
    if isinstance(files, list):
        yield from _file_violations(files, options.file_types)


def _file_violations(files: Sequence[object], permitted: Sequence[str]) -> Iterator[Found]:
    seen: set[str] = set()
    for index, file in enumerate(files):
        if not isinstance(file, dict):
            continue
        name, file_type = file.get("fileName"), file.get("fileType")
        if permitted and isinstance(file_type, str) and file_type not in permitted:
            shown = name if isinstance(name, str) else f"file {index}"  # anything but a name would be a value
            message = f"file type of {shown} is not allowed, allowed are {', '.join(permitted)}"
            yield _at(("files", index, "fileType"), "fileTypes", message)
        if isinstance(name, str):
            if name in seen:
                yield _at(("files", index, "fileName"), "uniqueFileNames", "another file of the analysis has this name")
            seen.add(name)


def _at(path: tuple[str | int, ...], keyword: str, message: str) -> Found:
    return path, violation(path, keyword, message[:MAX_VIOLATION_MESSAGE_CHARS], ())


def _is_integer(value: object) -> bool:
    if isinstance(value, Decimal):
        return value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def _file(study_id: str, analysis_id: str, stated: Mapping[str, Any]) -> File:
    return File(
        object_id=object_id(analysis_id, stated["fileName"]),
        study_id=study_id,
        analysis_id=analysis_id,
        file_name=stated["fileName"],
        size_bytes=int(stated["fileSize"]),
        file_type=stated["fileType"],
        md5=stated["fileMd5sum"].lower(),
        access=FileAccess(stated["fileAccess"]),
        data_type=stated["dataType"],
        info_json=_info(stated, _FILE_FIELDS),
    )


def _sample(study_id: str, stated: Mapping[str, Any]) -> Sample:
    donor = _donor(study_id, stated["donor"])
    specimen = _specimen(study_id, donor.donor_id, stated["specimen"])
    return Sample(
        sample_id=entity_id(study_id, stated["submitterSampleId"]),
        specimen_id=specimen.specimen_id,
        submitter_sample_id=stated["submitterSampleId"],
        sample_type=stated["sampleType"],
        matched_normal_submitter_sample_id=stated["matchedNormalSubmitterSampleId"],
        info_json=_info(stated, _SAMPLE_FIELDS),
        specimen=specimen,
        donor=donor,
    )


def _specimen(study_id: str, donor_id: str, stated: Mapping[str, Any]) -> Specimen:
    return Specimen(
        specimen_id=entity_id(study_id, stated["submitterSpecimenId"]),
        donor_id=donor_id,
        submitter_specimen_id=stated["submitterSpecimenId"],
        tumour_normal_designation=stated["tumourNormalDesignation"],
        specimen_tissue_source=stated["specimenTissueSource"],
        specimen_type=stated["specimenType"],
        info_json=_info(stated, _SPECIMEN_FIELDS),
    )


def _donor(study_id: str, stated: Mapping[str, Any]) -> Donor:
    return Donor(
        donor_id=entity_id(study_id, stated["submitterDonorId"]),
        study_id=study_id,
        submitter_donor_id=stated["submitterDonorId"],
        gender=stated["gender"],
        info_json=_info(stated, _DONOR_FIELDS),
    )


def _given_ids(stated: Mapping[str, Any]) -> GivenIds:
    donor, specimen = stated["donor"], stated["specimen"]
    return GivenIds(
        donor_ids=(donor.get("donorId"), specimen.get("donorId")),
        specimen_ids=(specimen.get("specimenId"), stated.get("specimenId")),
        sample_ids=(stated.get("sampleId"),),
    )


def _info(stated: Mapping[str, Any], fields: frozenset[str]) -> str:
    """Return `info` with every unknown property of the object in it; what `info` says itself wins."""
    unknown = {key: value for key, value in stated.items() if key not in fields}
    return json_text.write_info(unknown | stated.get("info", {}))
