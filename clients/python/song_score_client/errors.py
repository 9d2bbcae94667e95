"""Everything the SDK raises on purpose. Catch a class, or a parent; never match on messages.

ClientError
├── ConfigurationError                     a setting is missing or can't be read
├── LocalFileError                         a file on this machine is absent, unreadable or not the one meant
└── ServiceError                           a call failed: reason, code, message, metadata, violations
    ├── NotFoundError                      nothing there, or not for this caller
    │   ├── StudyNotFoundError · AnalysisNotFoundError · AnalysisTypeNotFoundError
    │   ├── FileNotFoundInStudyError · DonorNotFoundError · SpecimenNotFoundError · SampleNotFoundError
    │   ├── NotRelatedToStudyError · IdNotFoundError
    │   └── ObjectNotRegisteredError · ObjectNotFoundError · UploadNotFoundError · UploadAbortedError
    ├── InvalidRequestError                fix the request
    │   ├── SchemaViolationError · PayloadParsingError · MalformedSchemaError · ParameterError
    │   ├── StudyIdMismatchError · TypeNameReservedError · RequestIdReusedError
    │   ├── FileUpdateInvalidError
    │   ├── DonorIdCorruptedError · SpecimenIdCorruptedError · SampleIdCorruptedError
    │   └── FieldInvalidError · PageTokenInvalidError · RangeInvalidError · ChunkOutOfOrderError
    ├── StateConflictError                 change the state of things first
    │   ├── StudyExistsError · DuplicateFilesError · TypeVersionNotLatestError · SuppressedError
    │   ├── EtagMismatchError · EntityInUseError · FileUpdateIllegalError · FileDeleteIllegalError
    │   ├── AnalysisUpdateIllegalError · ResumeTokenExpiredError · EventBrokerMissingError
    │   ├── DonorExistsError · SpecimenExistsError · SampleExistsError
    │   ├── DonorDataMismatchError · SpecimenDataMismatchError · SampleDataMismatchError
    │   ├── SpecimenDonorMismatchError · SampleSpecimenMismatchError · ObjectsMissingError
    │   ├── ObjectExistsError · UploadNotOpenError · PartsMissingError · PartTakenOverError
    │   ├── UploadConflictError · DeleteRefusedError · SigningUnsupportedError
    │   └── GenerationChangedError · AnalysisNotUnpublishedError · AnalysisNotPublishedError
    ├── IntegrityError                     the bytes are not the ones registered, sent or stored
    │   ├── ObjectSizesMismatchError · ObjectChecksumsMismatchError · ObjectDigestMismatchError
    │   ├── SizeNotRegisteredError · Md5NotRegisteredError
    │   └── ChunkCorruptError · StoredBytesCorruptError · FilesLostError
    ├── AccessError                        another token, or another scope
    │   ├── TokenMissingError · TokenInvalidError · TokenExpiredError · ScopeMissingError
    │   └── SignatureInvalidError
    ├── UnavailableError                   not now: later, or once something is running again
    │   ├── UnreachableError               nothing answers at the address, or not the service; never sent by one
    │   ├── DeadlineExceededError          no answer in time; never sent by a service
    │   ├── ServiceUnavailableError · ScoreUnreachableError · ScoreTimedOutError · ScoreAnswerUnusableError
    │   ├── SongUnavailableError · StoreUnavailableError · LedgerUnavailableError · DrainingError
    │   ├── ChangingError · ObjectsChangingError
    │   ├── IdServiceError · IdServiceAnswerError · IdentityProviderAnswerError
    │   └── TooManyStreamsError · StoreFullError
    ├── UnimplementedError                 this server does not offer the method; never sent by a service
    └── UnknownError                       a defect of the service: its log has the details
"""

from __future__ import annotations  # grpc's classes are generic in its types only

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import grpc

if TYPE_CHECKING:
    from google.rpc.status_pb2 import Status
    from score.v1.item_error_pb2 import ItemError as ScoreItemError
    from song.v1.item_error_pb2 import ItemError

Violation = tuple[str, str]
"""(field or JSON Pointer, what is wrong)"""


class ClientError(Exception):
    """Base of all."""


class ConfigurationError(ClientError):
    """A setting is missing, unknown or can't be read; the message says which and where to set it."""


class LocalFileError(ClientError):
    """A file on this machine is absent, can't be read or written, or is not the one that was registered."""


class ServiceError(ClientError):
    """A call failed. The class tells why; a reason this SDK does not know yet gets the parent of its code."""

    reasons: ClassVar[dict[str, type[ServiceError]]] = {}
    """The one class of each reason of song.v1 and score.v1."""

    def __init_subclass__(cls, reason: str | None = None) -> None:
        """Register the class for a reason of the contract, where it has one."""
        if reason is not None and cls.reasons.setdefault(reason, cls) is not cls:
            raise TypeError(f"{reason} has a class already: {cls.reasons[reason].__name__}")

    def __init__(
        self,
        message: str,
        *,
        service: str,
        code: grpc.StatusCode,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.service = service
        """`song` or `score`."""
        self.code = code
        self.reason = reason
        """Name in the contract's ErrorReason, without the prefix; empty where no service spoke."""
        self.metadata = dict(metadata or {})
        """Facts for programs; the contract names the keys."""
        self.violations = list(violations)
        """The first 20 at most; `metadata["violation_count"]` says how many there are."""
        self.retry_after_seconds = retry_after_seconds
        """How long the service asks to wait before the call is repeated; None where it did not ask."""

    @property
    def is_transient(self) -> bool:
        """True when the same call may succeed later: the service says so, or could not be asked."""
        return self.retry_after_seconds is not None or (self.code is grpc.StatusCode.UNAVAILABLE and not self.reason)


class NotFoundError(ServiceError):
    """Nothing there, or not for this caller."""


class StudyNotFoundError(NotFoundError, reason="STUDY_ID_DOES_NOT_EXIST"):
    """No such study; ids are case-sensitive."""


class AnalysisTypeNotFoundError(NotFoundError, reason="ANALYSIS_TYPE_NOT_FOUND"):
    """No such analysis type, or no such version of it (`metadata["latest"]`)."""


class AnalysisNotFoundError(NotFoundError, reason="ANALYSIS_ID_NOT_FOUND"):
    """No such analysis in the study, or not for this caller."""


class ObjectNotRegisteredError(NotFoundError, reason="OBJECT_NOT_REGISTERED"):
    """Song knows no such object id: submit the analysis first."""


class ObjectNotFoundError(NotFoundError, reason="OBJECT_NOT_FOUND"):
    """Nothing visible under this id (yet)."""


class UploadNotFoundError(NotFoundError, reason="UPLOAD_NOT_FOUND"):
    """No such upload: start again."""


class UploadAbortedError(NotFoundError, reason="UPLOAD_ABORTED"):
    """The upload was aborted, its parts are gone: start again."""


class InvalidRequestError(ServiceError):
    """The request itself is wrong."""


class SchemaViolationError(InvalidRequestError, reason="SCHEMA_VIOLATION"):
    """A document breaks its schema; `violations` has the first places, ValidateAnalysis returns all."""


class PayloadParsingError(InvalidRequestError, reason="PAYLOAD_PARSING"):
    """The text is not a JSON object."""


class MalformedSchemaError(InvalidRequestError, reason="MALFORMED_JSON_SCHEMA"):
    """The schema of an analysis type does not compile."""


class ParameterError(InvalidRequestError, reason="MALFORMED_PARAMETER"):
    """A field of a request to Song is missing or out of its bounds."""


class StudyIdMismatchError(InvalidRequestError, reason="STUDY_ID_MISMATCH"):
    """The payload names another study than the request."""


class TypeNameReservedError(InvalidRequestError, reason="ILLEGAL_ANALYSIS_TYPE_NAME"):
    """The name of the analysis type is reserved."""


class RequestIdReusedError(InvalidRequestError, reason="REQUEST_ID_REUSED"):
    """The request id came before with other content."""


class DonorIdCorruptedError(InvalidRequestError, reason="DONOR_ID_IS_CORRUPTED"):
    """The payload's donorId is not the one its submitter id resolves to."""


class SpecimenIdCorruptedError(InvalidRequestError, reason="SPECIMEN_ID_IS_CORRUPTED"):
    """The payload's specimenId is not the one its submitter id resolves to."""


class SampleIdCorruptedError(InvalidRequestError, reason="SAMPLE_ID_IS_CORRUPTED"):
    """The payload's sampleId is not the one its submitter id resolves to."""


class FieldInvalidError(InvalidRequestError, reason="FIELD_INVALID"):
    """A field of a request to Score is missing or out of its bounds."""


class PageTokenInvalidError(InvalidRequestError, reason="PAGE_TOKEN_INVALID"):
    """The page token is not one of this method's."""


class RangeInvalidError(InvalidRequestError, reason="RANGE_INVALID"):
    """The range does not lie in the object (`metadata["size_bytes"]`)."""


class ChunkOutOfOrderError(InvalidRequestError, reason="CHUNK_OUT_OF_ORDER"):
    """A chunk does not follow the one before (`metadata["expected_offset"]`)."""


class StateConflictError(ServiceError):
    """The state of things forbids it: change that first."""


class StudyExistsError(StateConflictError, reason="STUDY_ALREADY_EXISTS"):
    """The study id is taken."""


class DuplicateFilesError(StateConflictError, reason="INFO_ALREADY_EXISTS"):
    """The study has a file with the same MD5."""


class TypeVersionNotLatestError(StateConflictError, reason="ANALYSIS_TYPE_INCORRECT_VERSION"):
    """The version of the analysis type is not the latest."""


class SuppressedError(StateConflictError, reason="SUPPRESSED_STATE_TRANSITION"):
    """The analysis is SUPPRESSED and stays so."""


class ObjectsMissingError(StateConflictError, reason="MISSING_STORAGE_OBJECTS"):
    """Score does not hold these files yet (`metadata["object_ids"]`): upload them."""


class DonorDataMismatchError(StateConflictError, reason="MISMATCHING_DONOR_DATA"):
    """The donor is known with other data."""


class SpecimenDataMismatchError(StateConflictError, reason="MISMATCHING_SPECIMEN_DATA"):
    """The specimen is known with other data."""


class SampleDataMismatchError(StateConflictError, reason="MISMATCHING_SAMPLE_DATA"):
    """The sample is known with other data."""


class SpecimenDonorMismatchError(StateConflictError, reason="SPECIMEN_TO_DONOR_ID_MISMATCH"):
    """The specimen is known as another donor's."""


class SampleSpecimenMismatchError(StateConflictError, reason="SAMPLE_TO_SPECIMEN_ID_MISMATCH"):
    """The sample is known as another specimen's."""


class ObjectExistsError(StateConflictError, reason="OBJECT_EXISTS"):
    """Other bytes are stored under this id."""


class UploadConflictError(StateConflictError, reason="UPLOAD_CONFLICT"):
    """A live upload of another size holds the object."""


class SigningUnsupportedError(StateConflictError, reason="SIGNING_UNSUPPORTED"):
    """This server hands out no signed URLs."""


class DeleteRefusedError(StateConflictError, reason="DELETE_REFUSED"):
    """Objects of a PUBLISHED analysis are not deleted."""


class UploadNotOpenError(StateConflictError, reason="UPLOAD_NOT_OPEN"):
    """The upload takes no chunks in its state, or can't be aborted any more."""


class PartsMissingError(StateConflictError, reason="PARTS_MISSING"):
    """Not all parts are persisted (`metadata["part_numbers"]`)."""


class PartTakenOverError(StateConflictError, reason="PART_TAKEN_OVER"):
    """A newer stream writes this part."""


class GenerationChangedError(StateConflictError, reason="GENERATION_CHANGED"):
    """The generation asked for was replaced."""


class AnalysisNotUnpublishedError(StateConflictError, reason="ANALYSIS_NOT_UNPUBLISHED"):
    """Uploads need an UNPUBLISHED analysis."""


class AnalysisNotPublishedError(StateConflictError, reason="ANALYSIS_NOT_PUBLISHED"):
    """Downloads need a PUBLISHED analysis."""


class IntegrityError(ServiceError):
    """The bytes are not the ones that were registered, sent or stored."""


class ObjectSizesMismatchError(IntegrityError, reason="MISMATCHING_STORAGE_OBJECT_SIZES"):
    """Score holds objects of other sizes (`metadata["object_ids"]`)."""


class ObjectChecksumsMismatchError(IntegrityError, reason="MISMATCHING_STORAGE_OBJECT_CHECKSUMS"):
    """Score holds objects with other MD5s (`metadata["object_ids"]`)."""


class SizeNotRegisteredError(IntegrityError, reason="SIZE_NOT_REGISTERED"):
    """The size is not the one registered in Song (`metadata["registered"]`)."""


class Md5NotRegisteredError(IntegrityError, reason="MD5_NOT_REGISTERED"):
    """The MD5 is not the one registered in Song (`metadata["registered"]`)."""


class ObjectDigestMismatchError(IntegrityError, reason="OBJECT_DIGEST_MISMATCH"):
    """The persisted parts' MD5 is not the registered one."""


class ChunkCorruptError(IntegrityError, reason="CHUNK_CORRUPT"):
    """Chunks did not match their xxh3_64, several times in a row."""


class StoredBytesCorruptError(IntegrityError, reason="STORED_BYTES_CORRUPT"):
    """The store returned other bytes than it was given."""


class FilesLostError(IntegrityError, reason="ANALYSIS_MISSING_FILES"):
    """The stored analysis has no file: Song's database was damaged."""


class AccessError(ServiceError):
    """The caller may not."""


class TokenInvalidError(AccessError, reason="TOKEN_INVALID"):
    """The access token is not one this server accepts."""


class SignatureInvalidError(AccessError, reason="SIGNATURE_INVALID"):
    """A signed URL was altered or has expired."""


class ScopeMissingError(AccessError, reason="SCOPE_MISSING"):
    """The caller lacks a scope (`metadata["scope"]`)."""


class UnavailableError(ServiceError):
    """The service can't do it now."""


class ChangingError(UnavailableError, reason="CHANGING"):
    """The object is being replaced or deleted, or its analysis published, at this moment."""


class ObjectsChangingError(UnavailableError, reason="CHANGING_STORAGE_OBJECTS"):
    """Score replaces or deletes files of the analysis at this moment (`metadata["object_ids"]`)."""


class UnreachableError(UnavailableError):
    """Nothing answers at the address, or only something that stands before the service."""


class DeadlineExceededError(UnavailableError):
    """The service did not answer in time; whether it acted is unknown, calls of this SDK may be repeated."""


class ServiceUnavailableError(UnavailableError, reason="SERVICE_UNAVAILABLE"):
    """Song's database can't be reached, or Song is shutting down."""


class ScoreAnswerUnusableError(UnavailableError, reason="STORAGE_SERVICE_ERROR"):
    """Score gave Song an answer it can't use."""


class ScoreUnreachableError(UnavailableError, reason="GATEWAY_IS_DOWN"):
    """Song can't reach Score."""


class ScoreTimedOutError(UnavailableError, reason="GATEWAY_TIMED_OUT"):
    """Score did not answer Song in time."""


class SongUnavailableError(UnavailableError, reason="SONG_UNAVAILABLE"):
    """Score can't reach Song."""


class StoreUnavailableError(UnavailableError, reason="STORE_UNAVAILABLE"):
    """Score's object store does not answer."""


class LedgerUnavailableError(UnavailableError, reason="LEDGER_UNAVAILABLE"):
    """Score's database can't be reached."""


class DrainingError(UnavailableError, reason="DRAINING"):
    """This server is shutting down."""


class TooManyStreamsError(UnavailableError, reason="TOO_MANY_STREAMS"):
    """Every stream the server or the upload admits is taken."""


class StoreFullError(UnavailableError, reason="STORE_FULL"):
    """No space left in Score's store; persisted parts are kept."""


class UnimplementedError(ServiceError):
    """The server at the address does not offer this method."""


class FileNotFoundInStudyError(NotFoundError, reason="FILE_NOT_FOUND"):
    """No such file in the study, or not for this caller."""


class DonorNotFoundError(NotFoundError, reason="DONOR_DOES_NOT_EXIST"):
    """No such donor in the study, or not for this caller."""


class SpecimenNotFoundError(NotFoundError, reason="SPECIMEN_DOES_NOT_EXIST"):
    """No such specimen in the study, or not for this caller."""


class SampleNotFoundError(NotFoundError, reason="SAMPLE_DOES_NOT_EXIST"):
    """No such sample in the study, or not for this caller."""


class NotRelatedToStudyError(NotFoundError, reason="ENTITY_NOT_RELATED_TO_STUDY"):
    """It belongs to another study."""


class DonorExistsError(StateConflictError, reason="DONOR_ALREADY_EXISTS"):
    """The id service gave a new donor an id that another one has."""


class SpecimenExistsError(StateConflictError, reason="SPECIMEN_ALREADY_EXISTS"):
    """The id service gave a new specimen an id that another one has."""


class SampleExistsError(StateConflictError, reason="SAMPLE_ALREADY_EXISTS"):
    """The id service gave a new sample an id that another one has."""


class EtagMismatchError(StateConflictError, reason="ETAG_MISMATCH"):
    """It was changed since it was read (`metadata["etag"]` is the one in force)."""


class EntityInUseError(StateConflictError, reason="ENTITY_IN_USE"):
    """Analyses refer to what was to be deleted (`metadata["analysis_ids"]`)."""


class FileUpdateInvalidError(InvalidRequestError, reason="INVALID_FILE_UPDATE_REQUEST"):
    """Values of a file update are out of their bounds."""


class FileUpdateIllegalError(StateConflictError, reason="ILLEGAL_FILE_UPDATE_REQUEST"):
    """The state of the analysis forbids the update of the file."""


class FileDeleteIllegalError(StateConflictError, reason="ILLEGAL_FILE_DELETE_REQUEST"):
    """The analysis is not UNPUBLISHED, or no file would be left."""


class AnalysisUpdateIllegalError(StateConflictError, reason="ILLEGAL_ANALYSIS_UPDATE_REQUEST"):
    """The analysis is SUPPRESSED, or would change its entity model."""


class IdNotFoundError(NotFoundError, reason="ID_NOT_FOUND"):
    """The id service knows no id for a submitter id."""


class IdServiceError(UnavailableError, reason="ID_SERVICE_ERROR"):
    """The id service failed, or can't be reached."""


class IdServiceAnswerError(UnavailableError, reason="REST_CLIENT_UNEXPECTED_RESPONSE"):
    """The id service answered with what can't be an id."""


class ResumeTokenExpiredError(StateConflictError, reason="RESUME_TOKEN_EXPIRED"):
    """The events after a resume token are no longer kept."""


class EventBrokerMissingError(StateConflictError, reason="EVENT_BROKER_MISSING"):
    """The server sends events to no Kafka."""


class TokenMissingError(AccessError, reason="TOKEN_MISSING"):
    """The call needs a token and brings none."""


class TokenExpiredError(AccessError, reason="TOKEN_EXPIRED"):
    """The token has expired."""


class IdentityProviderAnswerError(UnavailableError, reason="BAD_REPLY_FROM_GATEWAY"):
    """The identity provider's answer can't be used."""


class UnknownError(ServiceError, reason="UNKNOWN_ERROR"):
    """A defect of the service; the message has an id under which its log holds the details."""


_PARENTS: Mapping[grpc.StatusCode, type[ServiceError]] = {
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.ALREADY_EXISTS: StateConflictError,
    grpc.StatusCode.FAILED_PRECONDITION: StateConflictError,
    grpc.StatusCode.ABORTED: StateConflictError,
    grpc.StatusCode.DATA_LOSS: IntegrityError,
    grpc.StatusCode.UNAUTHENTICATED: AccessError,
    grpc.StatusCode.PERMISSION_DENIED: AccessError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: UnavailableError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnavailableError,
    grpc.StatusCode.INTERNAL: UnknownError,
    grpc.StatusCode.UNKNOWN: UnknownError,
}
_BROKEN = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
"""What grpc makes of an HTTP status that it has no code for, and of a call that was reset."""
_HTTP_STATUS = re.compile(r"\b(?:HTTP|http2 header with status:) (\d{3})\b")
_LASTING = {"501", "505", "511"}
"""Statuses from 500 on that do not pass: not implemented, another HTTP version, a portal that wants a login."""


def from_rpc_error(error: grpc.RpcError, service: str, address: str) -> ServiceError:
    """Turn what grpc raises into the error of its reason.

    `service` is `song` or `score`; it and the address go into the message where no service spoke.
    """
    if not isinstance(error, grpc.Call):
        return UnknownError(str(error), service=service, code=grpc.StatusCode.UNKNOWN)
    status = _status_of(error)
    if status is None:
        is_answer = getattr(error, "is_answer", False)
        return _from_transport(error.code(), error.details() or "", service, address, is_answer=is_answer)
    return _from_status(error.code(), status, service)


def from_item_error(error: ItemError) -> ServiceError:
    """Turn the error of one item of Song's streams into the error that a single call would have raised."""
    from song.v1.error_reason_pb2 import ErrorReason  # noqa: PLC0415 - Score's users need none of Song's stubs

    reason = (
        ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_") if error.reason in ErrorReason.values() else ""
    )
    code = next((code for code in grpc.StatusCode if code.value[0] == error.code), grpc.StatusCode.UNKNOWN)
    kind = ServiceError.reasons.get(reason) or _PARENTS.get(code, ServiceError)
    metadata = dict(error.metadata)
    if error.violation_total:
        metadata.setdefault("violation_count", str(error.violation_total))
    return kind(
        error.message,
        service="song",
        code=code,
        reason=reason,
        metadata=metadata,
        violations=[(violation.pointer, violation.message) for violation in error.violations],
        retry_after_seconds=1.0 if error.retryable else None,
    )


def from_score_item_error(error: ScoreItemError) -> ServiceError:
    """Turn the error of one object or part of Score's streams into the error that a single call would have raised."""
    from score.v1.error_reason_pb2 import ErrorReason  # noqa: PLC0415 - Song's users need none of Score's stubs

    is_known = error.reason in ErrorReason.values()
    reason = ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_") if is_known else ""
    code = next((code for code in grpc.StatusCode if code.value[0] == error.code), grpc.StatusCode.UNKNOWN)
    kind = ServiceError.reasons.get(reason) or _PARENTS.get(code, ServiceError)
    return kind(
        error.message,
        service="score",
        code=code,
        reason=reason,
        metadata=error.metadata,
        retry_after_seconds=1.0 if error.retryable else None,
    )


def _status_of(call: grpc.Call) -> Status | None:
    from google.rpc.status_pb2 import Status  # noqa: PLC0415 - a call that succeeds needs no decoder

    for key, value in call.trailing_metadata() or ():
        # Not by grpc_status: it refuses a status whose text differs from the call's, proxies do that.
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return Status.FromString(value)
    return None


def _from_status(code: grpc.StatusCode, status: Status, service: str) -> ServiceError:
    from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo  # noqa: PLC0415 - as above

    info, bad_request, retry = ErrorInfo(), BadRequest(), RetryInfo()
    retry_after_seconds = None
    for detail in status.details:
        if detail.Unpack(retry):
            retry_after_seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        else:
            _ = detail.Unpack(info) or detail.Unpack(bad_request)
    kind = ServiceError.reasons.get(info.reason) or _PARENTS.get(code, ServiceError)
    return kind(
        status.message,
        service=info.domain or service,
        code=code,
        reason=info.reason,
        metadata=info.metadata,
        violations=[(violation.field, violation.description) for violation in bad_request.field_violations],
        retry_after_seconds=retry_after_seconds,
    )


def _from_transport(
    code: grpc.StatusCode, details: str, service: str, address: str, *, is_answer: bool
) -> ServiceError:
    name = service.capitalize()
    http = _HTTP_STATUS.search(details)
    # Nobody but a service knows what it was to do; whoever answers in its place, or breaks a call off, may soon
    # let calls through again. What grpc calls an exception is a defect of this side.
    is_broken = code in _BROKEN and not is_answer and not details.startswith("Exception ")
    if is_broken and (http is None or (http[1] >= "500" and http[1] not in _LASTING)):
        code = grpc.StatusCode.UNAVAILABLE
    if code is grpc.StatusCode.UNAVAILABLE:
        if http is not None:
            text = f"{name} can't be reached at {address}: what stands before it answers HTTP {http[1]}"
        elif is_broken:
            text = f"{name} can't be reached at {address}: calls break off ({details})"
        else:
            text = (
                f"{name} can't be reached at {address}: is it running? "
                f"Start it with `song-score serve`, or name another address ({service.upper()}_URL)"
            )
        return UnreachableError(text, service=service, code=code, metadata={"details": details})
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        text = f"{name} at {address} did not answer in time"
        return DeadlineExceededError(text, service=service, code=code)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        text = f"the server at {address} does not offer this method: is it {name}, and is it recent enough?"
        return UnimplementedError(text, service=service, code=code)
    kind = _PARENTS.get(code, ServiceError)
    return kind(f"{name} at {address}: {details or code.name}", service=service, code=code)
