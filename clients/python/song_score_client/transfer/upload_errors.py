"""Errors that no call raised, and that an upload's state tells of."""

import grpc
from score.v1.upload_pb2 import UPLOAD_STATE_ABORTED, AbortReason, Upload, UploadFailure, UploadState

from song_score_client.errors import ServiceError, UploadAbortedError, UploadNotOpenError

_TRANSIENT_FAILURES = {"SONG_UNAVAILABLE", "STORE_UNAVAILABLE", "CHANGING"}


def aborted_error(upload: Upload, message: str) -> UploadAbortedError:
    """Return the error that a call to this ABORTED upload would have raised."""
    reason = AbortReason.Name(upload.abort_reason).removeprefix("ABORT_REASON_")
    return UploadAbortedError(
        message,
        service="score",
        code=grpc.StatusCode.NOT_FOUND,
        reason="UPLOAD_ABORTED",
        metadata={"upload_id": upload.upload_id, "abort_reason": reason},
    )


def ended_error(upload: Upload) -> ServiceError:
    """Return the error that writing to an upload that is no longer OPEN would have raised."""
    if upload.state == UPLOAD_STATE_ABORTED:
        return aborted_error(upload, f"upload {upload.upload_id} was aborted")
    state = UploadState.Name(upload.state).removeprefix("UPLOAD_STATE_")
    return UploadNotOpenError(
        f"upload {upload.upload_id} is {state} and takes no parts",
        service="score",
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason="UPLOAD_NOT_OPEN",
    )


def failure_error(failure: UploadFailure) -> ServiceError:
    """Return the error that a completion's failure would have been, had a call raised it."""
    kind = ServiceError.reasons.get(failure.reason, ServiceError)
    is_transient = failure.reason in _TRANSIENT_FAILURES
    code = grpc.StatusCode.UNAVAILABLE if is_transient else grpc.StatusCode.FAILED_PRECONDITION
    return kind(failure.message, service="score", code=code, reason=failure.reason)
