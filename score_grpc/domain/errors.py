"""Everything Score can refuse or fail at. Each class has one gRPC code and reason, see `transport/errors.py`.

ScoreError
├── ObjectNotRegisteredError · ObjectNotFoundError · UploadNotFoundError · UploadAbortedError      not there
├── ObjectExistsError · UploadNotOpenError · PartsMissingError · GenerationChangedError            wrong state
├── AnalysisNotUnpublishedError · AnalysisNotPublishedError · UploadConflictError                  wrong state
├── DeleteRefusedError · SigningUnsupportedError                                                   wrong state
├── SizeNotRegisteredError · Md5NotRegisteredError · ObjectDigestMismatchError                     other bytes
├── PartTakenOverError · ChunkOutOfOrderError · ChunkCorruptError                                  chunks
├── RangeInvalidError · FieldInvalidError · PageTokenInvalidError                                  bad request
├── ScopeMissingError · SignatureInvalidError                                                      not allowed
├── TooManyUploadStreamsError · SmallObjectTooSlowError · DrainingError · ChangingError            not now
└── SongUnavailableError · StoreUnavailableError · StoreFullError · StoredBytesCorruptError        the world outside
    └── PartsLostError · StagingLostError  raised by stores alone, handled by completion
"""

from collections.abc import Mapping, Sequence

LISTED_PARTS = 20


class ScoreError(Exception):
    """Base of all: the message is for people and names object, file and remedy; `metadata` is for programs."""

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.metadata: Mapping[str, str] = metadata
        self.violations: Sequence[tuple[str, str]] = ()


class ObjectNotRegisteredError(ScoreError):
    """Song knows no such object id."""


class ObjectNotFoundError(ScoreError):
    """Nothing visible under this id."""


class UploadNotFoundError(ScoreError):
    """No such upload."""


class UploadAbortedError(ScoreError):
    """The upload was aborted."""


class ObjectExistsError(ScoreError):
    """Other bytes are stored under this id."""


class UploadNotOpenError(ScoreError):
    """The upload takes no chunks in its state, or can't be aborted any more."""


class PartsMissingError(ScoreError):
    """Not all parts are persisted."""

    def __init__(self, message: str, part_numbers: Sequence[int], **metadata: str) -> None:
        shown = ",".join(map(str, part_numbers[:LISTED_PARTS]))
        super().__init__(message, part_numbers=shown, part_count=str(len(part_numbers)), **metadata)


class GenerationChangedError(ScoreError):
    """The generation asked for is no longer there."""


class UploadConflictError(ScoreError):
    """A live upload of another size holds the object."""


class SigningUnsupportedError(ScoreError):
    """This server hands out no signed URLs."""


class SignatureInvalidError(ScoreError):
    """A signed URL was altered or has expired."""


class DeleteRefusedError(ScoreError):
    """Objects of a PUBLISHED analysis are not deleted."""


class ChangingError(ScoreError):
    """The object is being replaced or deleted, or its analysis published, at this moment."""


class AnalysisNotUnpublishedError(ScoreError):
    """Uploads need an UNPUBLISHED analysis."""


class AnalysisNotPublishedError(ScoreError):
    """Downloads need a PUBLISHED analysis."""


class SizeNotRegisteredError(ScoreError):
    """The size is not the one registered in Song."""


class Md5NotRegisteredError(ScoreError):
    """The MD5 is not the one registered in Song."""


class ObjectDigestMismatchError(ScoreError):
    """The persisted parts' MD5 is not the registered one."""


class PartTakenOverError(ScoreError):
    """A newer stream writes this part."""


class ChunkOutOfOrderError(ScoreError):
    """A chunk does not follow the one before."""


class ChunkCorruptError(ScoreError):
    """Chunks did not match their xxh3_64, several times in a row."""


class RangeInvalidError(ScoreError):
    """The range does not lie in the object."""


class FieldInvalidError(ScoreError):
    """A field of the request is missing or out of its bounds."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message, field=field)
        self.violations = [(field, message)]


class PageTokenInvalidError(ScoreError):
    """The text is not a page token."""


class ScopeMissingError(ScoreError):
    """The caller lacks a scope."""


class TooManyUploadStreamsError(ScoreError):
    """Every stream one upload admits is taken."""


class SmallObjectTooSlowError(ScoreError):
    """The bytes of a small object came too slowly while others waited for the memory."""


class DrainingError(ScoreError):
    """This server is shutting down."""


class SongUnavailableError(ScoreError):
    """Song can't be reached."""


class StoreUnavailableError(ScoreError):
    """The object store does not answer."""


class StoreFullError(ScoreError):
    """No space left in the store."""


class StoredBytesCorruptError(ScoreError):
    """The store returned other bytes than it was given."""


class PartsLostError(ScoreError):
    """The store no longer has these parts as they were written."""

    def __init__(self, message: str, part_numbers: Sequence[int]) -> None:
        super().__init__(message)
        self.part_numbers = part_numbers


class StagingLostError(ScoreError):
    """The store knows neither the staging nor the object that would have come of it."""
