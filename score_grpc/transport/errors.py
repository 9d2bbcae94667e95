"""What each error becomes on the wire: one gRPC code, one reason of the contract, retry or not."""

from grpc import StatusCode

from runtime_grpc.admission import DrainingError, TooManyStreamsError
from runtime_grpc.authentication import TokenInvalidError
from runtime_grpc.database import DatabaseUnavailableError
from runtime_grpc.errors import Entry, ErrorTable
from score_grpc.domain import errors

_SOON_SECONDS = 1.0

ERRORS = ErrorTable(
    "score",
    {
        errors.ObjectNotRegisteredError: Entry(StatusCode.NOT_FOUND, "OBJECT_NOT_REGISTERED"),
        errors.ObjectNotFoundError: Entry(StatusCode.NOT_FOUND, "OBJECT_NOT_FOUND"),
        errors.UploadNotFoundError: Entry(StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND"),
        errors.UploadAbortedError: Entry(StatusCode.NOT_FOUND, "UPLOAD_ABORTED"),
        errors.ObjectExistsError: Entry(StatusCode.ALREADY_EXISTS, "OBJECT_EXISTS"),
        errors.UploadNotOpenError: Entry(StatusCode.FAILED_PRECONDITION, "UPLOAD_NOT_OPEN"),
        errors.AnalysisNotUnpublishedError: Entry(StatusCode.FAILED_PRECONDITION, "ANALYSIS_NOT_UNPUBLISHED"),
        errors.AnalysisNotPublishedError: Entry(StatusCode.FAILED_PRECONDITION, "ANALYSIS_NOT_PUBLISHED"),
        errors.SizeNotRegisteredError: Entry(StatusCode.FAILED_PRECONDITION, "SIZE_NOT_REGISTERED"),
        errors.Md5NotRegisteredError: Entry(StatusCode.FAILED_PRECONDITION, "MD5_NOT_REGISTERED"),
        errors.ObjectDigestMismatchError: Entry(StatusCode.FAILED_PRECONDITION, "OBJECT_DIGEST_MISMATCH"),
        errors.GenerationChangedError: Entry(StatusCode.FAILED_PRECONDITION, "GENERATION_CHANGED"),
        errors.PartsMissingError: Entry(StatusCode.FAILED_PRECONDITION, "PARTS_MISSING"),
        errors.UploadConflictError: Entry(StatusCode.FAILED_PRECONDITION, "UPLOAD_CONFLICT"),
        errors.SigningUnsupportedError: Entry(StatusCode.FAILED_PRECONDITION, "SIGNING_UNSUPPORTED"),
        errors.DeleteRefusedError: Entry(StatusCode.FAILED_PRECONDITION, "DELETE_REFUSED"),
        errors.ChangingError: Entry(StatusCode.ABORTED, "CHANGING", _SOON_SECONDS),
        errors.SignatureInvalidError: Entry(StatusCode.PERMISSION_DENIED, "SIGNATURE_INVALID"),
        errors.PartTakenOverError: Entry(StatusCode.ABORTED, "PART_TAKEN_OVER"),
        errors.ChunkOutOfOrderError: Entry(StatusCode.OUT_OF_RANGE, "CHUNK_OUT_OF_ORDER"),
        errors.RangeInvalidError: Entry(StatusCode.OUT_OF_RANGE, "RANGE_INVALID"),
        errors.ChunkCorruptError: Entry(StatusCode.DATA_LOSS, "CHUNK_CORRUPT", _SOON_SECONDS),
        errors.StoredBytesCorruptError: Entry(StatusCode.DATA_LOSS, "STORED_BYTES_CORRUPT"),
        TokenInvalidError: Entry(StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"),
        errors.ScopeMissingError: Entry(StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"),
        errors.SongUnavailableError: Entry(StatusCode.UNAVAILABLE, "SONG_UNAVAILABLE", _SOON_SECONDS),
        errors.StoreUnavailableError: Entry(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", _SOON_SECONDS),
        # A store that has lost what it had says so as parts to send again; meanwhile it is of no use.
        errors.StagingLostError: Entry(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", _SOON_SECONDS),
        errors.PartsLostError: Entry(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", _SOON_SECONDS),
        errors.StoreFullError: Entry(StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL"),
        DrainingError: Entry(StatusCode.UNAVAILABLE, "DRAINING", 0.0),
        errors.DrainingError: Entry(StatusCode.UNAVAILABLE, "DRAINING", 0.0),
        DatabaseUnavailableError: Entry(StatusCode.UNAVAILABLE, "LEDGER_UNAVAILABLE", _SOON_SECONDS),
        TooManyStreamsError: Entry(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", _SOON_SECONDS),
        errors.TooManyUploadStreamsError: Entry(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", _SOON_SECONDS),
        errors.SmallObjectTooSlowError: Entry(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", _SOON_SECONDS),
        errors.PageTokenInvalidError: Entry(StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"),
        errors.FieldInvalidError: Entry(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
    },
    unknown=Entry(StatusCode.INTERNAL, "UNKNOWN_ERROR"),
)
