"""Where downloads go: names that a server sent, made into paths that stay in the output folder."""

import errno
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from score.v1.stored_object_pb2 import StoredObject

from song_score_client.errors import ClientError, LocalFileError
from song_score_client.output_layout import OutputLayout
from song_score_client.quantities import format_bytes
from song_score_client.transfer.journal import journal_path


class DuplicateTargetsError(ClientError):
    """Two files would be written to one path; the message names both."""


def prepare_output_dir(directory: Path) -> None:
    """Make the folder; those above it must exist. Raises LocalFileError."""
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise LocalFileError(f"can't make the folder {directory}: {error.strerror}") from None


def choose_targets(objects: Sequence[StoredObject], directory: Path, layout: OutputLayout) -> list[Path]:
    """Return each object's path, in their order. Raises DuplicateTargetsError where two would meet."""
    targets = [_target(stored, directory, layout) for stored in objects]
    takers: Mapping[Path, list[StoredObject]] = defaultdict(list)
    for stored, target in zip(objects, targets, strict=True):
        takers[target].append(stored)
        # The file grows under this name first: another file must not have it.
        takers[target.with_name(f"{target.name}.partial")].append(stored)
    problems = [
        f"  {path}: {', '.join(f'{stored.object_id} ({stored.file_name})' for stored in those)}"
        for path, those in takers.items()
        if len(those) > 1 and (path in targets)
    ]
    if problems:
        heading = "several files would be written to one path; use --output-layout bundle or id:"
        raise DuplicateTargetsError("\n".join([heading, *problems]))
    return targets


def prepare_target(target: Path, directory: Path) -> None:
    """Make the folder a file goes to, and refuse what is no plain file of its own. Raises LocalFileError."""
    if target.parent != directory:
        if target.parent.is_symlink():
            raise LocalFileError(f"{target.parent} is a symbolic link: nothing is written through it")
        prepare_output_dir(target.parent)
    for path in (target, target.with_name(f"{target.name}.partial"), journal_path(target)):
        try:
            is_link, is_other = path.is_symlink(), path.exists() and not path.is_file()
        except OSError as error:
            remedy = "; --output-layout id gives it a short name" if error.errno == errno.ENAMETOOLONG else ""
            raise LocalFileError(f"{path}: {error.strerror}{remedy}") from error
        if is_link:
            raise LocalFileError(f"{path} is a symbolic link: it is neither followed nor replaced")
        if is_other:
            raise LocalFileError(f"{path} is not a file")


def require_room(directory: Path, sizes: Mapping[Path, int]) -> None:
    """Raise LocalFileError unless there is room for all files that are not begun: sizes in bytes by their paths.

    Of one that is begun the download itself asks, which knows how much of it is there.
    """
    wanted = sum(
        size_bytes
        for path, size_bytes in sizes.items()
        if not _is_there(path) and not _is_there(path.with_name(f"{path.name}.partial"))
    )
    folder = directory if directory.is_dir() else directory.absolute().parent
    if not folder.is_dir():
        return  # making the folder says so
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise LocalFileError(
            f"{directory}: {format_bytes(wanted)} are to come and {format_bytes(free)} are free: make room"
        )


def safe_name(name: str) -> str:
    """Return the name as one that can't leave its folder, hide itself or change a terminal.

    Separators, control and other unprintable characters, and leading dots, become underscores.
    """
    plain = "".join(char if char.isprintable() and char not in "/\\" else "_" for char in name)
    bare = plain.lstrip(".")
    return "_" * (len(plain) - len(bare)) + bare or "_"


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False  # its own turn says what is wrong


def _target(stored: StoredObject, directory: Path, layout: OutputLayout) -> Path:
    match layout:
        case OutputLayout.FILENAME:
            return directory / safe_name(stored.file_name)
        case OutputLayout.BUNDLE:
            return directory / safe_name(stored.analysis_id) / safe_name(stored.file_name)
        case OutputLayout.ID:
            return directory / safe_name(stored.object_id)
