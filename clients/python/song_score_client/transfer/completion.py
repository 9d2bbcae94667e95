"""Waits while Score verifies what was uploaded and makes it visible."""

import time

import grpc
from score.v1.stored_object_pb2 import StoredObject
from score.v1.upload_pb2 import (
    UPLOAD_STATE_ABORTED,
    UPLOAD_STATE_COMPLETED,
    UPLOAD_STATE_OPEN,
    Upload,
    UploadFailure,
)
from score.v1.upload_service_pb2 import CompleteUploadResponse, GetUploadResponse

from song_score_client.errors import PartsMissingError, ServiceError, UnavailableError
from song_score_client.score import ScoreClient
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.upload_errors import aborted_error, failure_error

POLL_SECONDS = (0.05, 1.0)
"""First and longest pause between two looks at a completion."""


def complete_upload(
    score: ScoreClient, upload_id: str, name: str, listener: Listener
) -> tuple[Upload, StoredObject | None]:
    """Return the upload once it is COMPLETED with its object, or OPEN again with what is wrong.

    `name` is that of the file, for messages. Raises ServiceError.
    """
    failures, delay = 0, POLL_SECONDS[0]
    try:
        answer: CompleteUploadResponse | GetUploadResponse = score.complete_upload(upload_id)
    except PartsMissingError as error:
        failure = UploadFailure(reason=error.reason, message=error.message)
        return Upload(last_failure=failure), None
    while True:
        upload = answer.upload
        if upload.state == UPLOAD_STATE_COMPLETED:
            return upload, answer.stored_object
        if upload.state == UPLOAD_STATE_ABORTED:
            raise aborted_error(upload, f"the upload of {name} was aborted")
        if upload.state == UPLOAD_STATE_OPEN:
            is_failed = upload.HasField("last_failure")
            cause = failure_error(upload.last_failure) if is_failed else _not_begun(name)
            pause = score.connection.retry.delay_seconds(failures := failures + 1, cause)
            if pause is None and not is_failed:
                raise cause
            if pause is None:
                return upload, None
            listener.say(f"{cause}; asking again in {pause:.1f} s")
            time.sleep(pause)
            answer = score.complete_upload(upload_id)
        else:
            time.sleep(delay)
            delay = min(delay * 2, POLL_SECONDS[1])
            answer = score.get_upload(upload_id)


def _not_begun(name: str) -> ServiceError:
    """Return the error of a server that was asked to complete, and neither does nor says what hinders it."""
    return UnavailableError(
        f"{name}: Score has not begun to verify it; all parts are kept, the same command resumes",
        service="score",
        code=grpc.StatusCode.UNAVAILABLE,
    )
