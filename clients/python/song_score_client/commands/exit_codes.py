"""What `score` exits with: 0 only if everything that was asked for is done."""

from collections.abc import Iterable, Mapping
from enum import IntEnum

from song_score_client import errors
from song_score_client.manifest_source import ManifestError
from song_score_client.targets import DuplicateTargetsError
from song_score_client.transfer.batch import StoppedError


class ExitCode(IntEnum):
    """The codes of the program."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    """Wrong usage, a bad manifest, duplicate names, a request that can't be right."""
    ACCESS = 3
    NOT_FOUND = 4
    CONFLICT = 5
    """The state of things forbids it."""
    INTEGRITY = 6
    TRANSIENT = 7
    """Given up on something that may pass: running it again resumes."""
    LOCAL = 8
    """A file, folder or disk of this machine."""
    SEVERAL = 9
    """Files failed for reasons of several kinds."""
    INTERRUPTED = 130
    """128 + SIGINT, as shells have it. Running it again resumes."""


_CODES: Mapping[type[Exception], ExitCode] = {
    errors.ConfigurationError: ExitCode.USAGE,
    ManifestError: ExitCode.USAGE,
    DuplicateTargetsError: ExitCode.USAGE,
    errors.InvalidRequestError: ExitCode.USAGE,
    # What only a defect of the client can bring about.
    errors.ChunkOutOfOrderError: ExitCode.UNEXPECTED,
    errors.PageTokenInvalidError: ExitCode.UNEXPECTED,
    errors.AccessError: ExitCode.ACCESS,
    errors.NotFoundError: ExitCode.NOT_FOUND,
    errors.StateConflictError: ExitCode.CONFLICT,
    errors.IntegrityError: ExitCode.INTEGRITY,
    errors.UnavailableError: ExitCode.TRANSIENT,
    errors.LocalFileError: ExitCode.LOCAL,
    OSError: ExitCode.LOCAL,
    errors.UnimplementedError: ExitCode.UNEXPECTED,
    errors.UnknownError: ExitCode.UNEXPECTED,
    errors.ServiceError: ExitCode.UNEXPECTED,
    errors.ClientError: ExitCode.UNEXPECTED,
}
"""The code of each class of errors; one without a line of its own has that of its nearest parent."""


def exit_code(error: Exception) -> ExitCode:
    """Return the code of one error."""
    known = (_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)
    return next(known, ExitCode.UNEXPECTED)


def combined_exit_code(failures: Iterable[Exception]) -> ExitCode:
    """Return the code for many files. Those only stopped because of another's failure do not count."""
    codes = {exit_code(error) for error in failures if not isinstance(error, StoppedError)}
    if not codes:
        return ExitCode.DONE
    return codes.pop() if len(codes) == 1 else ExitCode.SEVERAL
