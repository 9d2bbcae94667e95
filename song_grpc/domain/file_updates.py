"""Updates of files: what they come to, and in which state of the analysis they are allowed.

Name and type of a file never change, nor does the state of its analysis.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from song_grpc.domain import info
from song_grpc.domain.analysis import Analysis, AnalysisState, File, FileAccess
from song_grpc.domain.errors import (
    FileDeleteIllegalError,
    FileNotFoundInStudyError,
    FileUpdateIllegalError,
    FileUpdateInvalidError,
    ParameterError,
)
from song_grpc.domain.limits import MAX_DELETED_FILES, MAX_INFO_BYTES, MAX_MESSAGE_BYTES
from song_grpc.domain.validation import compile_definition
from song_grpc.domain.violations import collect
from song_grpc.domain.work import Work

UPDATABLE = ("size_bytes", "md5", "access", "data_type", "info_json")
_FIELD_OF = {"fileSize": "size_bytes", "fileMd5sum": "md5", "fileAccess": "access", "dataType": "data_type"}
_CONTENT = ("size_bytes", "md5")


class FileUpdateType(Enum):
    """What an update comes to."""

    NO_UPDATE = "NO_UPDATE"
    METADATA_UPDATE = "METADATA_UPDATE"
    CONTENT_UPDATE = "CONTENT_UPDATE"


@dataclass(frozen=True, slots=True)
class FileValues:
    """What a request says about a file, checked by nobody yet."""

    size_bytes: int
    md5: str
    access: str
    """`open`, `controlled`, or empty where the request says neither."""
    data_type: str
    info_json: str


def update_file(file: File, wanted: FileValues, fields: Collection[str]) -> File:
    """Return a file with these fields, some of `UPDATABLE`, as wanted. Raises FileUpdateInvalidError."""
    violations = list(_violations(file, wanted, fields))
    info_json = file.info_json
    if "info_json" in fields:
        try:
            stated = info.read(wanted.info_json, "file.info_json", MAX_INFO_BYTES)
            info_json = file.info_json if info.is_same(file.info_json, stated) else stated
        except ParameterError as error:
            violations += error.violations
    if violations:
        raise FileUpdateInvalidError(file.object_id, violations)
    return replace(
        file,
        size_bytes=wanted.size_bytes if "size_bytes" in fields else file.size_bytes,
        md5=wanted.md5.lower() if "md5" in fields else file.md5,
        access=FileAccess(wanted.access) if "access" in fields else file.access,
        data_type=wanted.data_type if "data_type" in fields else file.data_type,
        info_json=info_json,
    )


def classify(before: File, after: File) -> FileUpdateType:
    """Return what an update came to."""
    if before == after:
        return FileUpdateType.NO_UPDATE
    if any(getattr(before, name) != getattr(after, name) for name in _CONTENT):
        return FileUpdateType.CONTENT_UPDATE
    return FileUpdateType.METADATA_UPDATE


def check_not_suppressed(file: File, state: AnalysisState) -> None:
    """Raise FileUpdateIllegalError where the analysis takes no update at all, not even one that changes nothing."""
    if state is AnalysisState.SUPPRESSED:
        raise _illegal(file, state, "takes no update any more", "UNPUBLISHED")


def check_allowed(file: File, state: AnalysisState, update_type: FileUpdateType) -> None:
    """Raise FileUpdateIllegalError where an analysis in this state can't take such an update."""
    check_not_suppressed(file, state)
    if update_type is FileUpdateType.CONTENT_UPDATE and state is not AnalysisState.UNPUBLISHED:
        raise _illegal(file, state, "keeps size and MD5 of its files: unpublish it first", "UNPUBLISHED")


def check_fits(analysis: Analysis, file: File) -> None:
    """Raise FileUpdateInvalidError where the file makes its analysis too large to be read again."""
    if analysis.wire_bytes > MAX_MESSAGE_BYTES:
        text = f"makes an analysis of more than {MAX_MESSAGE_BYTES} bytes"
        raise FileUpdateInvalidError(file.object_id, [("file.info_json", text)])


def check_deleted(object_ids: Collection[str]) -> None:
    """Raise ParameterError unless a request may name so many files."""
    if not 0 < len(object_ids) <= MAX_DELETED_FILES:
        raise ParameterError("object_ids", f"give 1 to {MAX_DELETED_FILES} ids")


def check_deletable(analysis: Analysis, object_ids: Sequence[str]) -> None:
    """Raise unless these files are of this analysis: FileNotFoundInStudyError; and its state allows it."""
    own = {file.object_id for file in analysis.files}
    for object_id in object_ids:
        if object_id not in own:
            raise FileNotFoundInStudyError(analysis.study_id, object_id)
    if analysis.state is not AnalysisState.UNPUBLISHED:
        raise FileDeleteIllegalError(
            f"analysis '{analysis.analysis_id}' is {analysis.state.value}: files are only deleted from an UNPUBLISHED "
            "one",
            analysis_id=analysis.analysis_id,
            state=analysis.state.value,
        )


def files_without(analysis: Analysis, object_ids: Collection[str]) -> list[File]:
    """Return the files that are left. Raises FileDeleteIllegalError where none would be."""
    left = [file for file in analysis.files if file.object_id not in object_ids]
    if not left:
        raise FileDeleteIllegalError(
            f"analysis '{analysis.analysis_id}' would have no file left: it needs at least one",
            analysis_id=analysis.analysis_id,
            state=analysis.state.value,
        )
    return left


def _violations(file: File, wanted: FileValues, fields: Collection[str]) -> Iterator[tuple[str, str]]:
    """Hold the named values against the base schema of payloads."""
    document = {
        "fileName": file.file_name,
        "fileType": file.file_type,
        "fileSize": wanted.size_bytes if "size_bytes" in fields else file.size_bytes,
        "fileMd5sum": wanted.md5 if "md5" in fields else file.md5,
        "fileAccess": wanted.access if "access" in fields else file.access.value,
        "dataType": wanted.data_type if "data_type" in fields else file.data_type,
    }
    for found in collect(compile_definition("file/fileData").violations(document, Work()), document).first:
        name = found.pointer.removeprefix("/")
        yield f"file.{_FIELD_OF.get(name, name)}", found.message
    if "data_type" in fields and "\0" in wanted.data_type:
        yield "file.data_type", "has a NUL character, which can't be stored"


def _illegal(file: File, state: AnalysisState, what: str, required: str) -> FileUpdateIllegalError:
    return FileUpdateIllegalError(
        f"file '{file.object_id}' can't be updated so: analysis '{file.analysis_id}' is {state.value} and {what}",
        object_id=file.object_id,
        analysis_id=file.analysis_id,
        state=state.value,
        required_state=required,
    )
