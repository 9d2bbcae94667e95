"""Everything Song can refuse or fail at. Each class has one gRPC code and reason, see `transport/errors.py`.

SongError
├── StudyNotFoundError · AnalysisNotFoundError · AnalysisTypeNotFoundError                          not there
├── StudyExistsError · DuplicateFilesError                                                      there already
├── PayloadParsingError · SchemaViolationError · MalformedSchemaError · ParameterError            bad request
│   └── TypeNameReservedError · StudyIdMismatchError · RequestIdReusedError
├── DonorIdCorruptedError · SpecimenIdCorruptedError · SampleIdCorruptedError                     wrong entity
│   └── DonorDataMismatchError · SpecimenDataMismatchError · SampleDataMismatchError
│       └── SpecimenDonorMismatchError · SampleSpecimenMismatchError
├── SuppressedError · TypeVersionNotLatestError                                                    wrong state
├── ObjectsMissingError · ObjectSizesMismatchError · ObjectChecksumsMismatchError           Score's other bytes
├── ScoreUnreachableError · ScoreTimedOutError · ScoreAnswerUnusableError                               Score
├── ScopeMissingError                                                                             not allowed
├── AnalysisBusyError · ValidationUnfinishedError · ScoreBusyError                                retry
└── FilesLostError                                                                           database damaged
"""

from collections.abc import Mapping, Sequence

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

    def __init__(self, study_id: str, analysis_id: str) -> None:
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
        self.violations = violations


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


class FilesLostError(SongError):
    """A stored analysis has no file: the database was damaged."""
