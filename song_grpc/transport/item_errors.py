"""Errors of items within an answer: the one error table once more, as message."""

from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from song.v1 import error_reason_pb2, item_error_pb2

from song_grpc.domain.errors import SchemaViolationError
from song_grpc.domain.limits import MAX_ITEM_VIOLATIONS
from song_grpc.transport.analysis_messages import violation_message
from song_grpc.transport.errors import ERRORS


def item_error(error: Exception, method: str) -> item_error_pb2.ItemError:
    """Return why an item of a call was refused: code, reason and facts are those of a call of its own.

    `method`, for example `/song.v1.AnalysisService/ExportAnalyses`, is for the log, where an error without an entry
    in the table goes.
    """
    status = ERRORS.status_of(error, method)
    info, retry = ErrorInfo(), RetryInfo()
    is_retryable = False
    for detail in status.details:
        detail.Unpack(info)
        is_retryable |= detail.Unpack(retry)
    message = item_error_pb2.ItemError(
        code=status.code,
        reason=error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{info.reason}"),
        message=status.message,
        metadata=info.metadata,
        retryable=is_retryable,
    )
    if isinstance(error, SchemaViolationError):
        message.violations.extend(map(violation_message, error.found[:MAX_ITEM_VIOLATIONS]))
        message.violation_total = error.total
    return message
