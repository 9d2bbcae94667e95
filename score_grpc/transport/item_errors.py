"""Errors of items within an answer: the one error table once more, as message."""

from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from score.v1 import error_reason_pb2, item_error_pb2

from score_grpc.transport.errors import ERRORS


def item_error(error: Exception, method: str) -> item_error_pb2.ItemError:
    """Return why an item of a call was refused: code, reason and facts are those of a call of its own.

    `method`, for example `/score.v1.UploadService/WriteObjects`, is for the log, where an error without an entry in
    the table goes.
    """
    status = ERRORS.status_of(error, method)
    info, retry = ErrorInfo(), RetryInfo()
    is_retryable = False
    for detail in status.details:
        detail.Unpack(info)
        is_retryable |= detail.Unpack(retry)
    return item_error_pb2.ItemError(
        code=status.code,
        reason=error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{info.reason}"),
        message=status.message,
        metadata=info.metadata,
        retryable=is_retryable,
    )
