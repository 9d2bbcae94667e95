"""The canonical JSON of an analysis: what events carry. Exactly these keys, Overture's, since readers refuse others."""

from datetime import datetime
from typing import Any

from song_grpc.domain import json_text
from song_grpc.domain.analysis import Analysis, Donor, File, Sample, Specimen


def canonical_json(analysis: Analysis) -> str:
    """Return the analysis as one JSON object, the dynamic data flattened to its top level."""
    data = json_text.read_stored(analysis.data_json)
    document: dict[str, Any] = {
        "analysisId": analysis.analysis_id,
        "studyId": analysis.study_id,
        "analysisState": analysis.state.value,
        "createdAt": _local(analysis.create_time),
        "updatedAt": _local(analysis.update_time),
        "firstPublishedAt": _local(analysis.first_publish_time),
        "publishedAt": _local(analysis.publish_time),
        "analysisStateHistory": [
            {
                "initialState": change.initial_state.value,
                "updatedState": change.updated_state.value,
                "updatedAt": _local(change.time),
            }
            for change in analysis.state_changes
        ],
        # Under entity model NONE, `samples` may come from the dynamic data instead.
        "samples": [_sample(sample) for sample in analysis.samples],
        "files": [_file(file) for file in analysis.files],
        "analysisType": {"name": analysis.type_name, "version": analysis.type_version},
    }
    return json_text.write(document | data)


def _local(time: datetime | None) -> str | None:
    """Return a UTC time without zone, in microseconds."""
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%S.%f")


def _with_info(fields: dict[str, Any], info_json: str) -> dict[str, Any]:
    return fields | {"info": json_text.read_info(info_json)} if info_json else fields


def _sample(sample: Sample) -> dict[str, Any]:
    fields = {
        "sampleId": sample.sample_id,
        "specimenId": sample.specimen_id,
        "submitterSampleId": sample.submitter_sample_id,
        "sampleType": sample.sample_type,
        "matchedNormalSubmitterSampleId": sample.matched_normal_submitter_sample_id,
    }
    parts = {"specimen": _specimen(sample.specimen), "donor": _donor(sample.donor)}
    return _with_info(fields, sample.info_json) | parts


def _specimen(specimen: Specimen) -> dict[str, Any]:
    fields = {
        "specimenId": specimen.specimen_id,
        "donorId": specimen.donor_id,
        "submitterSpecimenId": specimen.submitter_specimen_id,
        "tumourNormalDesignation": specimen.tumour_normal_designation,
        "specimenTissueSource": specimen.specimen_tissue_source,
        "specimenType": specimen.specimen_type,
    }
    return _with_info(fields, specimen.info_json)


def _donor(donor: Donor) -> dict[str, Any]:
    fields = {
        "donorId": donor.donor_id,
        "studyId": donor.study_id,
        "submitterDonorId": donor.submitter_donor_id,
        "gender": donor.gender,
    }
    return _with_info(fields, donor.info_json)


def _file(file: File) -> dict[str, Any]:
    fields = {
        "objectId": file.object_id,
        "studyId": file.study_id,
        "analysisId": file.analysis_id,
        "fileName": file.file_name,
        "fileSize": file.size_bytes,
        "fileType": file.file_type,
        "fileMd5sum": file.md5,
        "fileAccess": file.access.value,
        "dataType": file.data_type,
    }
    return _with_info(fields, file.info_json)
