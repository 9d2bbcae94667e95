"""Rows of the ledger ⇄ the domain's dataclasses."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row

from score_grpc.domain.stored_objects import StoredObject, Verification
from score_grpc.domain.uploads import AbortReason, Upload, UploadFailure, UploadPart, UploadState

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime | None = None) -> int:
    """Return the moment, or now, as microseconds since 1970."""
    return ((moment or datetime.now(UTC)) - _EPOCH) // timedelta(microseconds=1)


def moment_from(value: int) -> datetime:
    """Return the moment of so many microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=value)


def upload_from(row: Row[Any]) -> Upload:
    """Return the upload, with the totals of its parts left at 0."""
    failure = None
    if row.failure_reason:
        failure = UploadFailure(row.failure_reason, row.failure_message, row.computed_md5)
    return Upload(
        upload_id=row.upload_id,
        object_id=row.object_id,
        study_id=row.study_id,
        analysis_id=row.analysis_id,
        file_name=row.file_name,
        state=UploadState(row.state),
        size_bytes=row.size_bytes,
        expected_md5=row.expected_md5,
        part_size_bytes=row.part_size_bytes,
        staging_key=row.staging_key,
        staging_token=row.staging_token,
        persisted_part_total=0,
        persisted_size_bytes=0,
        hashed_size_bytes=row.hashed_size_bytes,
        last_failure=failure,
        create_time=moment_from(row.create_time),
        update_time=moment_from(row.update_time),
        abort_reason=AbortReason(row.abort_reason) if row.abort_reason else None,
        replaces_generation=row.replaces_generation,
    )


def upload_values(upload: Upload) -> dict[str, object]:
    """Return the row of an upload that begins."""
    return {
        "upload_id": upload.upload_id,
        "object_id": upload.object_id,
        "study_id": upload.study_id,
        "analysis_id": upload.analysis_id,
        "file_name": upload.file_name,
        "state": upload.state.value,
        "size_bytes": upload.size_bytes,
        "expected_md5": upload.expected_md5,
        "part_size_bytes": upload.part_size_bytes,
        "staging_key": upload.staging_key,
        "staging_token": upload.staging_token,
        "stream_epoch": 0,
        "hashed_size_bytes": 0,
        "computed_md5": "",
        "failure_reason": "",
        "failure_message": "",
        "lease_owner": "",
        "lease_until": 0,
        "create_time": microseconds(upload.create_time),
        "update_time": microseconds(upload.update_time),
        "abort_reason": "",
        "is_freed": False,
        "replaces_generation": upload.replaces_generation,
        "completion_asker_json": "",
    }


def part_values(part: UploadPart) -> dict[str, object]:
    """Return a part's row, but for its upload and the epoch of its stream."""
    return {
        "part_number": part.part_number,
        "size_bytes": part.size_bytes,
        "xxh3_128": part.xxh3_128,
        "store_etag": part.store_etag,
        "md5": part.md5,
    }


def part_from(row: Row[Any]) -> UploadPart:
    """Return the part."""
    return UploadPart(row.part_number, row.size_bytes, row.xxh3_128, row.store_etag, row.md5)


def object_from(row: Row[Any]) -> StoredObject:
    """Return the object."""
    return StoredObject(
        object_id=row.object_id,
        generation=row.generation,
        upload_id=row.upload_id,
        study_id=row.study_id,
        analysis_id=row.analysis_id,
        file_name=row.file_name,
        size_bytes=row.size_bytes,
        md5=row.md5,
        verification=Verification(row.verification),
        part_size_bytes=row.part_size_bytes,
        store_key=row.store_key,
        store_version=row.store_version,
        create_time=moment_from(row.create_time),
        verify_time=_moment_or_none(row.verify_time),
        verify_start_time=_moment_or_none(row.verify_start_time),
        verified_size_bytes=row.verified_size_bytes,
        damaged_parts=[int(number) for number in row.damaged_parts.split(",") if number],
        is_changing=row.changing_until > microseconds(),
    )


def _moment_or_none(value: int) -> datetime | None:
    return moment_from(value) if value else None


def object_values(stored: StoredObject) -> dict[str, object]:
    """Return the object's row."""
    return {
        "object_id": stored.object_id,
        "generation": stored.generation,
        "upload_id": stored.upload_id,
        "study_id": stored.study_id,
        "analysis_id": stored.analysis_id,
        "file_name": stored.file_name,
        "size_bytes": stored.size_bytes,
        "md5": stored.md5,
        "verification": stored.verification.value,
        "part_size_bytes": stored.part_size_bytes,
        "store_key": stored.store_key,
        "store_version": stored.store_version,
        "create_time": microseconds(stored.create_time),
        "verify_time": 0 if stored.verify_time is None else microseconds(stored.verify_time),
    }
