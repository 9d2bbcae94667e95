"""Everything Song can refuse or fail at. Each class has one gRPC code and reason, see `transport/errors.py`.

SongError
├── StudyNotFoundError · AnalysisNotFoundError · AnalysisTypeNotFoundError                          not there
│   └── FileNotFoundInStudyError · DonorNotFoundError · SpecimenNotFoundError · SampleNotFoundError
│       └── NotRelatedToStudyError
├── StudyExistsError · DuplicateFilesError                                                      there already
│   └── DonorExistsError · SpecimenExistsError · SampleExistsError
├── EtagMismatchError                                                                       changed meanwhile
├── PayloadParsingError · SchemaViolationError · MalformedSchemaError · ParameterError            bad request
│   └── TypeNameReservedError · StudyIdMismatchError · RequestIdReusedError
├── DonorIdCorruptedError · SpecimenIdCorruptedError · SampleIdCorruptedError                     wrong entity
│   └── DonorDataMismatchError · SpecimenDataMismatchError · SampleDataMismatchError
│       └── SpecimenDonorMismatchError · SampleSpecimenMismatchError
├── SuppressedError · TypeVersionNotLatestError                                                    wrong state
│   └── EntityInUseError · FileUpdateIllegalError · FileDeleteIllegalError · AnalysisUpdateIllegalError
├── FileUpdateInvalidError                                                                         bad request
├── IdNotFoundError · IdServiceError · IdServiceAnswerError                                         id service
├── ResumeTokenExpiredError · EventBrokerMissingError                                                   events
├── ObjectsMissingError · ObjectSizesMismatchError · ObjectChecksumsMismatchError           Score's other bytes
│   └── ObjectsChangingError                                                                      retry
├── ScoreUnreachableError · ScoreTimedOutError · ScoreAnswerUnusableError                               Score
├── ScopeMissingError · TokenMissingError                                                         not allowed
├── AnalysisBusyError · ValidationUnfinishedError · ScoreBusyError · CallerLeftError              retry
└── FilesLostError                                                                           database damaged
"""

from __future__ import annotations  # violations know this module

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from song_grpc.domain.violations import Violation

LISTED_IDS = 20


class SongError(Exception):
    """Base of all: the message is for people and names what to do; `metadata` is for programs.

    Messages and metadata hold ids and names, never the contents of a payload: they are logged.
    """

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.metadata: Mapping[str, str] = metadata
        self.violations: Sequence[tuple[str, str]] = ()


class StudyNotFoundError(SongError):
    """No such study."""

    def __init__(self, study_id: str) -> None:
        super().__init__(f"study '{study_id}' does not exist: ids are case-sensitive", study_id=study_id)


class StudyExistsError(SongError):
    """The study id is taken."""

    def __init__(self, study_id: str) -> None:
        super().__init__(f"study '{study_id}' exists already", study_id=study_id)


class AnalysisNotFoundError(SongError):
    """No such analysis in the study, or not for this caller."""

    def __init__(self, study_id: str | None, analysis_id: str) -> None:
        """Say that the study has no such analysis, or with None that no study has."""
        self.analysis_id = analysis_id
        if study_id is None:
            super().__init__(f"there is no analysis '{analysis_id}'", analysis_id=analysis_id)
            return
        super().__init__(
            f"study '{study_id}' has no analysis '{analysis_id}'", study_id=study_id, analysis_id=analysis_id
        )


class AnalysisTypeNotFoundError(SongError):
    """No such type, or no such version of it."""


class TypeVersionNotLatestError(SongError):
    """The version is not the latest of its type."""

    def __init__(self, name: str, version: int, latest: int) -> None:
        super().__init__(
            f"version {version} of analysis type '{name}' is not its latest, {latest}",
            name=name,
            version=str(version),
            latest=str(latest),
        )


class DuplicateFilesError(SongError):
    """Other analyses of the study hold files with the same MD5."""


class PayloadParsingError(SongError):
    """The text is no JSON object we accept. The message has the position, never the content."""


class SchemaViolationError(SongError):
    """The document breaks its schema."""

    def __init__(self, message: str, violations: Sequence[tuple[str, str]], total: int) -> None:
        super().__init__(message, violation_count=str(total))
        self.violations, self.total = violations, total
        self.found: Sequence[Violation] = ()
        """All that is known of the violations, in document order."""


class MalformedSchemaError(SongError):
    """A type's schema does not compile."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(f"the schema does not compile at '{pointer}': {message}", pointer=pointer)


class ParameterError(SongError):
    """A field of the request is missing or out of its bounds."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}", field=field)
        self.violations = [(field, message)]


class TypeNameReservedError(SongError):
    """The name of the type is reserved."""


class StudyIdMismatchError(SongError):
    """The request and its payload name different studies."""


class RequestIdReusedError(SongError):
    """The request id came before with other content."""


class EntityError(SongError):
    """A donor, specimen or sample of the payload is refused; `violations` lists every one."""

    def __init__(self, message: str, violations: Sequence[tuple[str, str]]) -> None:
        super().__init__(message, violation_count=str(len(violations)))
        self.violations = violations


class DonorIdCorruptedError(EntityError):
    """The donor id is not the one its submitter id resolves to."""


class SpecimenIdCorruptedError(EntityError):
    """The specimen id is not the one its submitter id resolves to."""


class SampleIdCorruptedError(EntityError):
    """The sample id is not the one its submitter id resolves to."""


class DonorDataMismatchError(EntityError):
    """The donor is known with other data."""


class SpecimenDonorMismatchError(EntityError):
    """The specimen is known as another donor's."""


class SpecimenDataMismatchError(EntityError):
    """The specimen is known with other data."""


class SampleSpecimenMismatchError(EntityError):
    """The sample is known as another specimen's."""


class SampleDataMismatchError(EntityError):
    """The sample is known with other data."""


class SuppressedError(SongError):
    """The analysis is SUPPRESSED, for good."""


class StorageError(SongError):
    """Score does not hold what the analysis registers; `object_ids` names the first 20 objects."""

    def __init__(self, message: str, analysis_id: str, object_ids: Sequence[str]) -> None:
        super().__init__(
            message,
            analysis_id=analysis_id,
            object_ids=",".join(object_ids[:LISTED_IDS]),
            object_count=str(len(object_ids)),
        )


class ObjectsMissingError(StorageError):
    """Score does not hold these objects VERIFIED."""


class ObjectsChangingError(StorageError):
    """Score replaces or deletes these objects at this moment."""


class ObjectSizesMismatchError(StorageError):
    """Score holds objects of another size."""


class ObjectChecksumsMismatchError(StorageError):
    """Score holds objects with another MD5."""


class ScoreUnreachableError(SongError):
    """Score can't be reached."""


class ScoreTimedOutError(SongError):
    """Score did not answer in time."""


class ScoreAnswerUnusableError(SongError):
    """Score gave an answer that is no use."""


class ScopeMissingError(SongError):
    """The caller lacks a scope."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"this needs the scope '{scope}'", scope=scope)


class TokenMissingError(SongError):
    """The caller has not said who it is, and what it asks for is not for anyone."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"this needs a token with the scope '{scope}', and the call brings none", scope=scope)


class AnalysisBusyError(SongError):
    """Others keep changing the analysis; retry."""


class ValidationUnfinishedError(SongError):
    """The server is too busy to say whether the payload keeps its schema; or its caller has left."""

    def __init__(self) -> None:
        super().__init__("the server is too busy to check this payload in time: nothing changed, retry")


class ScoreBusyError(SongError):
    """Too many publishes wait for Score."""

    def __init__(self, waiting: int) -> None:
        super().__init__(f"{waiting} publishes wait for Score's answer already: nothing changed, retry once it answers")


class CallerLeftError(SongError):
    """The caller waited no longer for a change that touches many analyses; nothing changed."""

    def __init__(self) -> None:
        super().__init__("the caller left before every analysis was told: nothing changed, wait longer")


class FilesLostError(SongError):
    """A stored analysis has no file: the database was damaged."""


class FileNotFoundInStudyError(SongError):
    """No such file in the study, or not for this caller."""

    def __init__(self, study_id: str, object_id: str) -> None:
        super().__init__(f"study '{study_id}' has no file '{object_id}'", study_id=study_id, object_id=object_id)


class EntityNotFoundError(SongError):
    """No such donor, specimen or sample in the study, or not for this caller."""

    kind = "entity"

    def __init__(self, study_id: str, entity_id: str) -> None:
        super().__init__(f"study '{study_id}' has no {self.kind} '{entity_id}'", study_id=study_id, entity_id=entity_id)


class DonorNotFoundError(EntityNotFoundError):
    """No such donor."""

    kind = "donor"


class SpecimenNotFoundError(EntityNotFoundError):
    """No such specimen."""

    kind = "specimen"


class SampleNotFoundError(EntityNotFoundError):
    """No such sample."""

    kind = "sample"


class NotRelatedToStudyError(SongError):
    """It belongs to another study, which the caller may read, and which is not named."""

    def __init__(self, study_id: str, entity_id: str) -> None:
        super().__init__(f"'{entity_id}' does not belong to study '{study_id}'", study_id=study_id, entity_id=entity_id)


class EntityExistsError(SongError):
    """The id service gave an id that is another entity's already."""

    kind = "entity"

    def __init__(self, submitter_id: str, entity_id: str) -> None:
        super().__init__(
            f"the id service gave {self.kind} '{submitter_id}' the id '{entity_id}', which is another {self.kind}'s",
            submitter_id=submitter_id,
            entity_id=entity_id,
        )


class DonorExistsError(EntityExistsError):
    """The id is another donor's."""

    kind = "donor"


class SpecimenExistsError(EntityExistsError):
    """The id is another specimen's."""

    kind = "specimen"


class SampleExistsError(EntityExistsError):
    """The id is another sample's."""

    kind = "sample"


class EtagMismatchError(SongError):
    """Somebody else changed it since it was read."""

    def __init__(self, what: str, etag: str) -> None:
        super().__init__(f"{what} was changed since it was read: read it again, its etag is now '{etag}'", etag=etag)


class EntityInUseError(SongError):
    """Analyses refer to what was to be deleted; `analysis_ids` names the first 20."""

    def __init__(self, kind: str, entity_id: str, analysis_ids: Sequence[str], total: int) -> None:
        super().__init__(
            f"{kind} '{entity_id}' can't be deleted: {total} analyses refer to it or to what is below it",
            entity_id=entity_id,
            analysis_ids=",".join(analysis_ids[:LISTED_IDS]),
            analysis_count=str(total),
        )


class FileUpdateInvalidError(SongError):
    """Values of a file update are out of their bounds; `violations` lists every one."""

    def __init__(self, object_id: str, violations: Sequence[tuple[str, str]]) -> None:
        first, text = violations[0]
        super().__init__(f"the update of file '{object_id}' is not valid: {first}: {text}", object_id=object_id)
        self.violations = violations


class FileUpdateIllegalError(SongError):
    """The state of the analysis forbids the update of the file."""


class FileDeleteIllegalError(SongError):
    """The analysis is not UNPUBLISHED, or no file would be left."""


class AnalysisUpdateIllegalError(SongError):
    """The analysis is SUPPRESSED, or would move to another entity model."""


class IdNotFoundError(SongError):
    """The id service knows no id for a submitter id."""

    def __init__(self, kind: str, study_id: str, submitter_id: str) -> None:
        super().__init__(
            f"the id service knows no {kind} '{submitter_id}' of study '{study_id}'",
            kind=kind,
            study_id=study_id,
            submitter_id=submitter_id,
        )


class IdServiceError(SongError):
    """The id service can't be reached, or failed; metadata `status` has its HTTP status where it gave one."""


class IdServiceAnswerError(SongError):
    """The id service answered with nothing, or with what can't be an id."""


class ResumeTokenExpiredError(SongError):
    """The events after a resume token are no longer kept."""

    def __init__(self) -> None:
        super().__init__("the events after this resume token are no longer kept: begin anew, from what there is")


class EventBrokerMissingError(SongError):
    """No Kafka is configured."""

    def __init__(self) -> None:
        super().__init__("this server sends events to no Kafka: replay them with WatchEvents from a time")
