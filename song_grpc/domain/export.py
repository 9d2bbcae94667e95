"""An analysis as the payload that could be submitted again: no generated ids, no state, no times."""

from typing import Any

from song_grpc.domain import json_text
from song_grpc.domain.analysis import Analysis, Donor, File, Sample, Specimen


def payload_of(analysis: Analysis) -> json_text.JsonObject:
    """Return the payload of a stored analysis, the dynamic data flattened to its top level."""
    data: json_text.JsonObject = json_text.read_stored(analysis.data_json)
    return _owned(analysis, omit_type_version=False) | data


def payload_json(analysis: Analysis, *, omit_type_version: bool) -> str:
    """Return the same as text. The dynamic data, which may be large, are taken as they are stored: compact."""
    owned, data = json_text.write(_owned(analysis, omit_type_version=omit_type_version)), analysis.data_json
    return owned if data == "{}" else f"{owned[:-1]},{data[1:]}"


def _owned(analysis: Analysis, *, omit_type_version: bool) -> dict[str, Any]:
    """Return what the base schema owns of the payload."""
    analysis_type: dict[str, Any] = {"name": analysis.type_name}
    if not omit_type_version:
        analysis_type["version"] = analysis.type_version
    owned: dict[str, Any] = {"studyId": analysis.study_id, "analysisType": analysis_type}
    if analysis.samples:  # none under entity model NONE, where `samples` may be dynamic data
        owned["samples"] = [_sample(sample) for sample in analysis.samples]
    owned["files"] = [_file(file) for file in analysis.files]
    return owned


def _sample(sample: Sample) -> dict[str, Any]:
    fields = {
        "submitterSampleId": sample.submitter_sample_id,
        "sampleType": sample.sample_type,
        # Required also where it is null.
        "matchedNormalSubmitterSampleId": sample.matched_normal_submitter_sample_id,
    }
    parts = {"specimen": _specimen(sample.specimen), "donor": _donor(sample.donor)}
    return _with_info(fields, sample.info_json) | parts


def _specimen(specimen: Specimen) -> dict[str, Any]:
    fields = {
        "submitterSpecimenId": specimen.submitter_specimen_id,
        "tumourNormalDesignation": specimen.tumour_normal_designation,
        "specimenTissueSource": specimen.specimen_tissue_source,
        "specimenType": specimen.specimen_type,
    }
    return _with_info(fields, specimen.info_json)


def _donor(donor: Donor) -> dict[str, Any]:
    return _with_info({"submitterDonorId": donor.submitter_donor_id, "gender": donor.gender}, donor.info_json)


def _file(file: File) -> dict[str, Any]:
    fields = {
        "fileName": file.file_name,
        "fileSize": file.size_bytes,
        "fileType": file.file_type,
        "fileMd5sum": file.md5,
        "fileAccess": file.access.value,
        "dataType": file.data_type,
    }
    return _with_info(fields, file.info_json)


def _with_info(fields: dict[str, Any], info_json: str) -> dict[str, Any]:
    return fields | {"info": json_text.read_info(info_json)} if info_json else fields
