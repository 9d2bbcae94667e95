"""The one table from Song's errors to gRPC codes and the contract's reasons."""

from grpc import StatusCode

from runtime_grpc.admission import DrainingError, TooManyStreamsError
from runtime_grpc.authentication import (
    IdentityProviderAnswerError,
    IdentityProviderUnreachableError,
    TokenExpiredError,
    TokenInvalidError,
)
from runtime_grpc.database import DatabaseUnavailableError
from runtime_grpc.errors import Entry, ErrorTable
from song_grpc.domain import errors

_RETRY_SECONDS = 1.0

ERRORS = ErrorTable(
    "song",
    {
        errors.StudyNotFoundError: Entry(StatusCode.NOT_FOUND, "STUDY_ID_DOES_NOT_EXIST"),
        errors.StudyExistsError: Entry(StatusCode.ALREADY_EXISTS, "STUDY_ALREADY_EXISTS"),
        errors.StudyIdMismatchError: Entry(StatusCode.INVALID_ARGUMENT, "STUDY_ID_MISMATCH"),
        errors.PayloadParsingError: Entry(StatusCode.INVALID_ARGUMENT, "PAYLOAD_PARSING"),
        errors.SchemaViolationError: Entry(StatusCode.INVALID_ARGUMENT, "SCHEMA_VIOLATION"),
        errors.MalformedSchemaError: Entry(StatusCode.INVALID_ARGUMENT, "MALFORMED_JSON_SCHEMA"),
        errors.ParameterError: Entry(StatusCode.INVALID_ARGUMENT, "MALFORMED_PARAMETER"),
        errors.TypeNameReservedError: Entry(StatusCode.INVALID_ARGUMENT, "ILLEGAL_ANALYSIS_TYPE_NAME"),
        errors.AnalysisTypeNotFoundError: Entry(StatusCode.NOT_FOUND, "ANALYSIS_TYPE_NOT_FOUND"),
        errors.TypeVersionNotLatestError: Entry(StatusCode.FAILED_PRECONDITION, "ANALYSIS_TYPE_INCORRECT_VERSION"),
        errors.DuplicateFilesError: Entry(StatusCode.ALREADY_EXISTS, "INFO_ALREADY_EXISTS"),
        errors.AnalysisNotFoundError: Entry(StatusCode.NOT_FOUND, "ANALYSIS_ID_NOT_FOUND"),
        errors.FilesLostError: Entry(StatusCode.DATA_LOSS, "ANALYSIS_MISSING_FILES"),
        errors.SuppressedError: Entry(StatusCode.FAILED_PRECONDITION, "SUPPRESSED_STATE_TRANSITION"),
        errors.ObjectsMissingError: Entry(StatusCode.FAILED_PRECONDITION, "MISSING_STORAGE_OBJECTS"),
        errors.ObjectSizesMismatchError: Entry(StatusCode.FAILED_PRECONDITION, "MISMATCHING_STORAGE_OBJECT_SIZES"),
        errors.ObjectChecksumsMismatchError: Entry(
            StatusCode.FAILED_PRECONDITION, "MISMATCHING_STORAGE_OBJECT_CHECKSUMS"
        ),
        errors.ObjectsChangingError: Entry(StatusCode.ABORTED, "CHANGING_STORAGE_OBJECTS", _RETRY_SECONDS),
        errors.ScoreAnswerUnusableError: Entry(StatusCode.UNAVAILABLE, "STORAGE_SERVICE_ERROR"),
        errors.ScoreUnreachableError: Entry(StatusCode.UNAVAILABLE, "GATEWAY_IS_DOWN", _RETRY_SECONDS),
        errors.ScoreTimedOutError: Entry(StatusCode.DEADLINE_EXCEEDED, "GATEWAY_TIMED_OUT", _RETRY_SECONDS),
        errors.DonorIdCorruptedError: Entry(StatusCode.INVALID_ARGUMENT, "DONOR_ID_IS_CORRUPTED"),
        errors.SpecimenIdCorruptedError: Entry(StatusCode.INVALID_ARGUMENT, "SPECIMEN_ID_IS_CORRUPTED"),
        errors.SampleIdCorruptedError: Entry(StatusCode.INVALID_ARGUMENT, "SAMPLE_ID_IS_CORRUPTED"),
        errors.DonorDataMismatchError: Entry(StatusCode.FAILED_PRECONDITION, "MISMATCHING_DONOR_DATA"),
        errors.SpecimenDataMismatchError: Entry(StatusCode.FAILED_PRECONDITION, "MISMATCHING_SPECIMEN_DATA"),
        errors.SampleDataMismatchError: Entry(StatusCode.FAILED_PRECONDITION, "MISMATCHING_SAMPLE_DATA"),
        errors.SpecimenDonorMismatchError: Entry(StatusCode.FAILED_PRECONDITION, "SPECIMEN_TO_DONOR_ID_MISMATCH"),
        errors.SampleSpecimenMismatchError: Entry(StatusCode.FAILED_PRECONDITION, "SAMPLE_TO_SPECIMEN_ID_MISMATCH"),
        errors.RequestIdReusedError: Entry(StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"),
        errors.FileNotFoundInStudyError: Entry(StatusCode.NOT_FOUND, "FILE_NOT_FOUND"),
        errors.DonorNotFoundError: Entry(StatusCode.NOT_FOUND, "DONOR_DOES_NOT_EXIST"),
        errors.SpecimenNotFoundError: Entry(StatusCode.NOT_FOUND, "SPECIMEN_DOES_NOT_EXIST"),
        errors.SampleNotFoundError: Entry(StatusCode.NOT_FOUND, "SAMPLE_DOES_NOT_EXIST"),
        errors.NotRelatedToStudyError: Entry(StatusCode.NOT_FOUND, "ENTITY_NOT_RELATED_TO_STUDY"),
        errors.DonorExistsError: Entry(StatusCode.ALREADY_EXISTS, "DONOR_ALREADY_EXISTS"),
        errors.SpecimenExistsError: Entry(StatusCode.ALREADY_EXISTS, "SPECIMEN_ALREADY_EXISTS"),
        errors.SampleExistsError: Entry(StatusCode.ALREADY_EXISTS, "SAMPLE_ALREADY_EXISTS"),
        errors.EtagMismatchError: Entry(StatusCode.ABORTED, "ETAG_MISMATCH"),
        errors.EntityInUseError: Entry(StatusCode.FAILED_PRECONDITION, "ENTITY_IN_USE"),
        errors.FileUpdateInvalidError: Entry(StatusCode.INVALID_ARGUMENT, "INVALID_FILE_UPDATE_REQUEST"),
        errors.FileUpdateIllegalError: Entry(StatusCode.FAILED_PRECONDITION, "ILLEGAL_FILE_UPDATE_REQUEST"),
        errors.FileDeleteIllegalError: Entry(StatusCode.FAILED_PRECONDITION, "ILLEGAL_FILE_DELETE_REQUEST"),
        errors.AnalysisUpdateIllegalError: Entry(StatusCode.FAILED_PRECONDITION, "ILLEGAL_ANALYSIS_UPDATE_REQUEST"),
        errors.IdNotFoundError: Entry(StatusCode.NOT_FOUND, "ID_NOT_FOUND"),
        errors.IdServiceError: Entry(StatusCode.UNAVAILABLE, "ID_SERVICE_ERROR", _RETRY_SECONDS),
        errors.IdServiceAnswerError: Entry(StatusCode.UNAVAILABLE, "REST_CLIENT_UNEXPECTED_RESPONSE"),
        errors.ResumeTokenExpiredError: Entry(StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED"),
        errors.EventBrokerMissingError: Entry(StatusCode.FAILED_PRECONDITION, "EVENT_BROKER_MISSING"),
        errors.ScopeMissingError: Entry(StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"),
        errors.AnalysisBusyError: Entry(StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE", _RETRY_SECONDS),
        errors.ValidationUnfinishedError: Entry(StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE", _RETRY_SECONDS),
        errors.CallerLeftError: Entry(StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE", _RETRY_SECONDS),
        errors.ScoreBusyError: Entry(StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE", _RETRY_SECONDS),
        errors.TokenMissingError: Entry(StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"),
        TokenInvalidError: Entry(StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"),
        TokenExpiredError: Entry(StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED"),
        IdentityProviderUnreachableError: Entry(StatusCode.UNAVAILABLE, "GATEWAY_IS_DOWN", _RETRY_SECONDS),
        IdentityProviderAnswerError: Entry(StatusCode.UNAVAILABLE, "BAD_REPLY_FROM_GATEWAY"),
        DatabaseUnavailableError: Entry(StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE", _RETRY_SECONDS),
        DrainingError: Entry(StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE", _RETRY_SECONDS),
        TooManyStreamsError: Entry(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", _RETRY_SECONDS),
    },
    unknown=Entry(StatusCode.INTERNAL, "UNKNOWN_ERROR"),
)
