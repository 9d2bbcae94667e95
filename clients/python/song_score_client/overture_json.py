"""Song's messages as JSON with Overture's names, which existing scripts and pipelines read."""

from google.protobuf.timestamp_pb2 import Timestamp
from song.v1.analysis_pb2 import Analysis, AnalysisState, StateChange
from song.v1.analysis_service_pb2 import HistoryAction, HistoryEntry
from song.v1.analysis_type_pb2 import AnalysisType, EntityModel
from song.v1.entity_pb2 import Donor, Sample, Specimen
from song.v1.event_service_pb2 import Event, EventAction
from song.v1.file_pb2 import File, FileAccess
from song.v1.study_pb2 import Study, StudyVisibility

from song_score_client.exact_json import Json, parse, parse_object


def render_study(study: Study) -> dict[str, Json]:
    """Render a study."""
    return {
        "studyId": study.study_id,
        "name": study.name,
        "organization": study.organization,
        "description": study.description,
        "visibility": StudyVisibility.Name(study.visibility).removeprefix("STUDY_VISIBILITY_"),
        **_info(study.info_json),
    }


def render_analysis(analysis: Analysis) -> dict[str, Json]:
    """Render an analysis, its dynamic data beside the fixed members. Its numbers keep every digit."""
    return {
        "analysisId": analysis.analysis_id,
        "studyId": analysis.study_id,
        "analysisState": state_name(analysis.state),
        "createdAt": _time(analysis, "create_time"),
        "updatedAt": _time(analysis, "update_time"),
        "firstPublishedAt": _time(analysis, "first_publish_time"),
        "publishedAt": _time(analysis, "publish_time"),
        "analysisStateHistory": [_render_change(change) for change in analysis.state_changes],
        "samples": [render_sample(sample, analysis.study_id) for sample in analysis.samples],
        "files": [render_file(file) for file in analysis.files],
        "analysisType": {"name": analysis.analysis_type.name, "version": analysis.analysis_type.version},
        # Last: under entity model NONE the type itself may define `samples`.
        **parse_object(analysis.data_json),
    }


def render_file(file: File) -> dict[str, Json]:
    """Render a file."""
    access = FileAccess.Name(file.access).removeprefix("FILE_ACCESS_").lower()
    return {
        "objectId": file.object_id,
        "studyId": file.study_id,
        "analysisId": file.analysis_id,
        "fileName": file.file_name,
        "fileSize": file.size_bytes,
        "fileType": file.file_type,
        "fileMd5sum": file.md5,
        # Song treats unspecified access as controlled.
        "fileAccess": "open" if access == "open" else "controlled",
        "dataType": file.data_type,
        **_info(file.info_json),
    }


def render_analysis_type(kind: AnalysisType) -> dict[str, Json]:
    """Render a version of an analysis type; `schema` is left out where it was not asked for."""
    rendered: dict[str, Json] = {
        "name": kind.name,
        "version": kind.version,
        "createdAt": _time(kind, "create_time"),
        "options": {
            "fileTypes": list(kind.options.file_types.names),
            "entityModel": EntityModel.Name(kind.options.entity_model).removeprefix("ENTITY_MODEL_"),
            "externalValidations": [
                {"url": one.url, "jsonPath": one.json_path} for one in kind.options.external_validations.items
            ],
        },
    }
    if kind.schema_json:
        rendered["schema"] = parse(kind.schema_json)
    return rendered


def render_history(entry: HistoryEntry) -> dict[str, Json]:
    """Render an entry of a history."""
    return {
        "action": history_action(entry.action),
        "time": _time(entry, "time"),
        "actor": entry.actor,
        "reason": entry.reason,
        "analysisState": state_name(entry.state),
        "subjects": list(entry.subjects),
    }


def render_event(event: Event) -> dict[str, Json]:
    """Render an event: Overture's names, and its id and time."""
    rendered: dict[str, Json] = {
        "eventId": event.event_id,
        "time": _time(event, "time"),
        "analysisId": event.analysis_id,
        "studyId": event.study_id,
        "state": state_name(event.state),
        "action": EventAction.Name(event.action).removeprefix("EVENT_ACTION_"),
        "analysisTypeName": event.analysis_type_name,
    }
    if event.analysis_json:
        rendered["analysis"] = parse(event.analysis_json)
    return rendered


def history_action(action: HistoryAction.ValueType) -> str:
    """Return for example UPDATE_FILE."""
    return HistoryAction.Name(action).removeprefix("HISTORY_ACTION_")


def state_name(state: AnalysisState.ValueType) -> str:
    """Return for example PUBLISHED."""
    return AnalysisState.Name(state).removeprefix("ANALYSIS_STATE_")


def _render_change(change: StateChange) -> dict[str, Json]:
    return {
        "initialState": state_name(change.initial_state),
        "updatedState": state_name(change.updated_state),
        "updatedAt": _time(change, "update_time"),
    }


def render_sample(sample: Sample, study_id: str) -> dict[str, Json]:
    """Render a sample with its specimen and donor."""
    has_normal = sample.HasField("matched_normal_submitter_sample_id")
    return {
        "sampleId": sample.sample_id,
        "specimenId": sample.specimen_id,
        "submitterSampleId": sample.submitter_sample_id,
        "sampleType": sample.sample_type,
        "matchedNormalSubmitterSampleId": sample.matched_normal_submitter_sample_id if has_normal else None,
        **_info(sample.info_json),
        "specimen": render_specimen(sample.specimen),
        "donor": render_donor(sample.donor, study_id),
    }


def render_specimen(specimen: Specimen) -> dict[str, Json]:
    """Render a specimen."""
    return {
        "specimenId": specimen.specimen_id,
        "donorId": specimen.donor_id,
        "submitterSpecimenId": specimen.submitter_specimen_id,
        "tumourNormalDesignation": specimen.tumour_normal_designation,
        "specimenTissueSource": specimen.specimen_tissue_source,
        "specimenType": specimen.specimen_type,
        **_info(specimen.info_json),
    }


def render_donor(donor: Donor, study_id: str) -> dict[str, Json]:
    """Render a donor."""
    return {
        "donorId": donor.donor_id,
        "studyId": study_id,
        "submitterDonorId": donor.submitter_donor_id,
        "gender": donor.gender,
        **_info(donor.info_json),
    }


def _info(info_json: str) -> dict[str, Json]:
    info = parse_object(info_json)
    return {"info": info} if info else {}


def _time(message: Analysis | AnalysisType | StateChange | HistoryEntry | Event, field: str) -> str | None:
    """Render UTC without a zone, to the microsecond: Overture's form. None where the field is absent."""
    if not message.HasField(field):  # type: ignore[arg-type]  # each message types its own field names
        return None
    moment: Timestamp = getattr(message, field)
    return moment.ToDatetime().isoformat(timespec="microseconds")
