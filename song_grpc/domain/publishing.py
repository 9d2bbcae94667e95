"""What Score must hold for an analysis to be published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from song_grpc.domain.analysis import File
from song_grpc.domain.errors import (
    FilesLostError,
    ObjectChecksumsMismatchError,
    ObjectsChangingError,
    ObjectSizesMismatchError,
    ObjectsMissingError,
)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What Score says of an object."""

    object_id: str
    size_bytes: int
    md5: str
    is_verified: bool
    """Score has hashed every byte."""
    is_changing: bool = False
    """Score replaces or deletes it at this moment."""


def check_has_files(analysis_id: str, files: Sequence[File]) -> None:
    """Raise FilesLostError for an analysis without files: none is ever submitted."""
    if not files:
        raise FilesLostError(f"analysis '{analysis_id}' has no file: the database was damaged", analysis_id=analysis_id)


def check_stored(analysis_id: str, files: Sequence[File], stored: Mapping[str, StoredObject]) -> None:
    """Raise the first of ObjectsChanging-, -Missing-, -SizesMismatch- and -ChecksumsMismatchError that holds."""
    if changing := [file for file in files if file.object_id in stored and stored[file.object_id].is_changing]:
        text = f"Score replaces or deletes {_listed(changing)} at this moment: nothing changed, retry"
        raise ObjectsChangingError(text, analysis_id, _ids(changing))
    missing = [file for file in files if file.object_id not in stored or not stored[file.object_id].is_verified]
    if missing:
        text = f"Score does not hold {_listed(missing)} verified: upload first"
        raise ObjectsMissingError(text, analysis_id, _ids(missing))
    sizes = [file for file in files if stored[file.object_id].size_bytes != file.size_bytes]
    if sizes:
        text = f"Score holds {_listed(sizes)} with another size than registered"
        raise ObjectSizesMismatchError(text, analysis_id, _ids(sizes))
    checksums = [file for file in files if stored[file.object_id].md5.lower() != file.md5]
    if checksums:
        text = f"Score holds {_listed(checksums)} with another MD5 than registered"
        raise ObjectChecksumsMismatchError(text, analysis_id, _ids(checksums))


def _ids(files: Sequence[File]) -> list[str]:
    return [file.object_id for file in files]


def _listed(files: Sequence[File]) -> str:
    first = ", ".join(file.file_name for file in files[:3])
    return f"{len(files)} files ({first}, …)" if len(files) > 3 else f"file {first}"  # noqa: PLR2004 - as listed above
