"""Domain → proto for what several servicers answer with."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from score.v1 import signed_request_pb2, stored_object_pb2, upload_pb2

from score_grpc.domain.errors import LISTED_PARTS, FieldInvalidError
from score_grpc.domain.signed_requests import SignedRequest
from score_grpc.domain.stored_objects import StoredObject, Verification
from score_grpc.domain.uploads import AbortReason, Upload, UploadPart, UploadState, expire_time

_VERIFICATIONS = {
    Verification.VERIFIED: stored_object_pb2.VERIFICATION_VERIFIED,
    Verification.UNVERIFIED: stored_object_pb2.VERIFICATION_UNVERIFIED,
}
_STATES = {
    UploadState.OPEN: upload_pb2.UPLOAD_STATE_OPEN,
    UploadState.COMPLETING: upload_pb2.UPLOAD_STATE_COMPLETING,
    UploadState.COMPLETED: upload_pb2.UPLOAD_STATE_COMPLETED,
    UploadState.ABORTED: upload_pb2.UPLOAD_STATE_ABORTED,
}
_STATES_BY_VALUE: dict[int, UploadState] = {value: state for state, value in _STATES.items()}
_VERIFICATIONS_BY_VALUE: dict[int, Verification] = {value: kind for kind, value in _VERIFICATIONS.items()}

_ABORT_REASONS = {
    AbortReason.CALLER: upload_pb2.ABORT_REASON_CALLER,
    AbortReason.EXPIRED: upload_pb2.ABORT_REASON_EXPIRED,
    AbortReason.SUPPRESSED: upload_pb2.ABORT_REASON_SUPPRESSED,
    AbortReason.REPLACED: upload_pb2.ABORT_REASON_REPLACED,
}


def object_message(stored: StoredObject) -> stored_object_pb2.StoredObject:
    """Return the message of an object."""
    return stored_object_pb2.StoredObject(
        object_id=stored.object_id,
        generation=stored.generation,
        study_id=stored.study_id,
        analysis_id=stored.analysis_id,
        file_name=stored.file_name,
        size_bytes=stored.size_bytes,
        md5=stored.md5,
        verification=_VERIFICATIONS[stored.verification],
        part_size_bytes=stored.part_size_bytes,
        part_total=stored.plan.part_total,
        create_time=_timestamp(stored.create_time),
        verify_time=None if stored.verify_time is None else _timestamp(stored.verify_time),
        verification_run=None
        if stored.verify_start_time is None
        else stored_object_pb2.VerificationRun(
            start_time=_timestamp(stored.verify_start_time), verified_size_bytes=stored.verified_size_bytes
        ),
        damaged_part_numbers=stored.damaged_parts[:LISTED_PARTS],
        damaged_part_total=len(stored.damaged_parts),
        is_changing=stored.is_changing,
    )


def upload_message(upload: Upload, expiry: timedelta, *, signs_parts: bool) -> upload_pb2.Upload:
    """Return the message of an upload, which may go without activity for `expiry`.

    `signs_parts` says whether this server hands out signed URLs.
    """
    expires = expire_time(upload, expiry)
    failure = upload.last_failure
    paths = [upload_pb2.TRANSFER_PATH_STREAM] + [upload_pb2.TRANSFER_PATH_SIGNED] * signs_parts
    return upload_pb2.Upload(
        upload_id=upload.upload_id,
        object_id=upload.object_id,
        state=_STATES[upload.state],
        size_bytes=upload.size_bytes,
        expected_md5=upload.expected_md5,
        part_size_bytes=upload.part_size_bytes,
        part_total=upload.plan.part_total,
        persisted_part_total=upload.persisted_part_total,
        persisted_size_bytes=upload.persisted_size_bytes,
        hashed_size_bytes=upload.hashed_size_bytes,
        last_failure=None
        if failure is None
        else upload_pb2.UploadFailure(
            reason=failure.reason, message=failure.message, computed_md5=failure.computed_md5
        ),
        create_time=_timestamp(upload.create_time),
        update_time=_timestamp(upload.update_time),
        expire_time=None if expires is None else _timestamp(expires),
        abort_reason=upload_pb2.ABORT_REASON_UNSPECIFIED
        if upload.abort_reason is None
        else _ABORT_REASONS[upload.abort_reason],
        transfer_paths=paths if upload.state is UploadState.OPEN else [],
    )


def signed_request_message(request: SignedRequest) -> signed_request_pb2.SignedRequest:
    """Return the message of a signed request."""
    return signed_request_pb2.SignedRequest(
        method=request.method,
        url=request.url,
        headers=[signed_request_pb2.HttpHeader(name=name, value=value) for name, value in request.headers.items()],
        expire_time=_timestamp(request.expire_time),
    )


def part_message(part: UploadPart) -> upload_pb2.UploadPart:
    """Return the message of a part."""
    return upload_pb2.UploadPart(
        part_number=part.part_number, size_bytes=part.size_bytes, xxh3_128=part.xxh3_128, md5=part.md5
    )


def upload_state(value: int) -> UploadState:
    """Return the state that a filter names. Raises FieldInvalidError."""
    if value not in _STATES_BY_VALUE:
        raise FieldInvalidError("states", f"{value} is none of the contract's states")
    return _STATES_BY_VALUE[value]


def verification_filter(value: int) -> Verification | None:
    """Return the verification that a filter names, None for any. Raises FieldInvalidError."""
    if value == stored_object_pb2.VERIFICATION_UNSPECIFIED:
        return None
    if value not in _VERIFICATIONS_BY_VALUE:
        raise FieldInvalidError("verification", f"{value} is none of the contract's values")
    return _VERIFICATIONS_BY_VALUE[value]


def moment_filter(field: str, timestamp: Timestamp) -> datetime:
    """Return the moment that a filter names. Raises FieldInvalidError."""
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise FieldInvalidError(field, "is no moment between the years 1 and 9999") from None


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
