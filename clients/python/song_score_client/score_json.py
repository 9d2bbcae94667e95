"""Score's messages as JSON: the contract's names, times in UTC, enums without their prefixes."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from score.v1.stored_object_pb2 import StoredObject, Verification
from score.v1.upload_pb2 import AbortReason, Upload, UploadState

from song_score_client.exact_json import Json


def render_time(moment: Timestamp) -> str:
    """Render UTC, to the second: 2026-01-31T12:00:00Z."""
    return moment.ToDatetime().isoformat(timespec="seconds") + "Z"


def parse_time(moment: datetime | None) -> Timestamp | None:
    """Return a moment, UTC where it has no zone, as the contract has it; None for none."""
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return timestamp


def render_object(stored: StoredObject) -> dict[str, Json]:
    """Render an object."""
    return {
        "object_id": stored.object_id,
        "generation": stored.generation,
        "study_id": stored.study_id,
        "analysis_id": stored.analysis_id,
        "file_name": stored.file_name,
        "size_bytes": stored.size_bytes,
        "md5": stored.md5,
        "verification": verification_name(stored),
        "part_total": stored.part_total,
        "create_time": render_time(stored.create_time),
        "verify_time": render_time(stored.verify_time) if stored.HasField("verify_time") else None,
        "damaged_part_total": stored.damaged_part_total,
    }


def render_upload(upload: Upload) -> dict[str, Json]:
    """Render an upload."""
    return {
        "upload_id": upload.upload_id,
        "object_id": upload.object_id,
        "state": upload_state_name(upload),
        "size_bytes": upload.size_bytes,
        "persisted_size_bytes": upload.persisted_size_bytes,
        "part_total": upload.part_total,
        "persisted_part_total": upload.persisted_part_total,
        "last_failure": upload.last_failure.reason or None,
        "abort_reason": AbortReason.Name(upload.abort_reason).removeprefix("ABORT_REASON_")
        if upload.abort_reason
        else None,
        "create_time": render_time(upload.create_time),
        "update_time": render_time(upload.update_time),
        "expire_time": render_time(upload.expire_time) if upload.HasField("expire_time") else None,
    }


def verification_name(stored: StoredObject) -> str:
    """Return VERIFIED or UNVERIFIED."""
    return Verification.Name(stored.verification).removeprefix("VERIFICATION_")


def upload_state_name(upload: Upload) -> str:
    """Return for example OPEN."""
    return UploadState.Name(upload.state).removeprefix("UPLOAD_STATE_")
