"""Downloads of less than a file, or to no file: a byte range under a name of its own, an object into a pipe."""

import fcntl
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import grpc
from score.v1.stored_object_pb2 import StoredObject

from byte_path.md5 import new_md5
from song_score_client.errors import LocalFileError, RangeInvalidError, StoredBytesCorruptError
from song_score_client.quantities import format_bytes
from song_score_client.score import ScoreClient
from song_score_client.transfer.download_stream import write_at
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.local_file import CHUNK_BYTES, LocalFile, open_file
from song_score_client.transfer.object_reader import ObjectReader, pieces_of
from song_score_client.transfer.parallel_read import fetch_pieces
from song_score_client.transfer.parallelism import Streams, metered, useful_streams
from song_score_client.transfer.piece_digest import Piece
from song_score_client.transfer.rate import RateLimit

TO_END = -1
"""As a length: all that follows."""


@dataclass(frozen=True, slots=True)
class RangeResult:
    """What the download of a range came to."""

    fetched_bytes: int
    piece_total: int
    kept_piece_total: int
    """Pieces, whole parts or the edges of the range, that were there before."""


def clip_range(stored: StoredObject, offset: int, length: int) -> tuple[int, int]:
    """Return (offset, length) in bytes, the length counted where it was TO_END. Raises RangeInvalidError."""
    rest = stored.size_bytes - offset
    if rest < 0 or length > rest:
        raise RangeInvalidError(
            f"{stored.file_name} has {stored.size_bytes} bytes: there is no range from {offset} "
            + ("on" if length == TO_END else f"of {length}"),
            service="score",
            code=grpc.StatusCode.OUT_OF_RANGE,
            reason="RANGE_INVALID",
            metadata={"size_bytes": str(stored.size_bytes)},
        )
    return offset, rest if length == TO_END else length


def download_range(  # noqa: PLR0913 - one parameter an option, by keyword
    score: ScoreClient,
    stored: StoredObject,
    target: Path,
    offset: int,
    length: int,
    *,
    force: bool = False,
    allow_unpublished: bool = False,
    streams: int | Streams | None = None,
    rate: RateLimit | None = None,
    listener: Listener | None = None,
) -> RangeResult:
    """Download a range into the target file: every chunk is checked, and every part that lies wholly in it.

    It grows in `<target>.partial`. Run again after any failure, it fetches no part again that is there and right. An
    existing target with the right bytes is left as it is; with others it is an error unless `force`. Raises
    LocalFileError, ServiceError.
    """
    streams = useful_streams(is_limited=rate is not None) if streams is None else streams
    listener = metered(listener or Listener(), streams)
    manifest = score.get_chunk_manifest(
        stored.object_id, generation=stored.generation, allow_unpublished=allow_unpublished
    )
    pieces = pieces_of(manifest.parts, offset, length)
    reader = ObjectReader(score, manifest.stored_object, allow_unpublished, rate, listener)
    if target.exists() and not force:
        with open_file(target) as file:
            if file.identity.size_bytes == length and _is_same(file, reader, pieces, offset):
                listener.begin(length, length)
                return RangeResult(0, len(pieces), len(pieces))
        raise LocalFileError(f"{target} exists with other bytes: move it away, or use --force to replace it")
    partial = target.with_name(f"{target.name}.partial")
    try:
        # Whoever may write to the folder must not lead the bytes elsewhere.
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise LocalFileError(f"{partial}: {error.strerror}") from error
    try:
        lock_file(fd, partial)
        missing = [piece for piece in pieces if not _is_there(partial, piece, offset)]
        missing_bytes = sum(piece.size_bytes for piece in missing)
        require_space(target.parent, target, missing_bytes)
        listener.begin(length, length - missing_bytes)
        fetch_pieces(reader, missing, lambda data, at: write_at(fd, data, at - offset), streams)
        os.ftruncate(fd, length)
        os.fsync(fd)
        partial.replace(target)
    except OSError as error:
        raise LocalFileError(f"{target}: {error.strerror}") from error
    finally:
        os.close(fd)
    return RangeResult(missing_bytes, len(pieces), len(pieces) - len(missing))


def download_to(  # noqa: PLR0913 - one parameter an option, by keyword
    score: ScoreClient,
    stored: StoredObject,
    out: BinaryIO,
    offset: int,
    length: int,
    *,
    allow_unpublished: bool = False,
    whole_md5: bool = True,
    rate: RateLimit | None = None,
    listener: Listener | None = None,
) -> str | None:
    """Write a range to a pipe, in order; a part goes out only once it is verified, from a file that nobody sees.

    With the whole object and `whole_md5`, also compares its MD5 at the end and returns it. Raises LocalFileError,
    ServiceError; StoredBytesCorruptError where the right parts make a wrong whole; what `out` raises.
    """
    listener = listener or Listener()
    manifest = score.get_chunk_manifest(
        stored.object_id, generation=stored.generation, allow_unpublished=allow_unpublished
    )
    md5 = new_md5() if whole_md5 and length == stored.size_bytes else None
    pieces = pieces_of(manifest.parts, offset, length)
    reader = ObjectReader(score, manifest.stored_object, allow_unpublished, rate, listener)
    listener.begin(length, 0)
    with tempfile.TemporaryFile(buffering=0) as spool:
        require_space(Path(tempfile.gettempdir()), stored.file_name, max((p.size_bytes for p in pieces), default=0))
        waiting = deque(pieces)

        def write(data: memoryview, at: int) -> None:
            write_at(spool.fileno(), data, at - waiting[0].offset)

        def pass_on(piece: Piece) -> None:
            waiting.popleft()
            spool.seek(0)
            rest = piece.size_bytes
            while rest:
                data = spool.read(min(rest, CHUNK_BYTES))
                if md5 is not None:
                    md5.update(data)
                out.write(data)
                rest -= len(data)

        reader.fetch(pieces, write, pass_on)
    out.flush()
    if md5 is not None and md5.hexdigest() != stored.md5:
        raise StoredBytesCorruptError(
            f"{stored.file_name}: every part is right, but the whole has MD5 {md5.hexdigest()} and not {stored.md5}: "
            "the object itself is damaged, and so is what was written; tell those who run Score",
            service="score",
            code=grpc.StatusCode.DATA_LOSS,
            reason="STORED_BYTES_CORRUPT",
            metadata={"object_id": stored.object_id},
        )
    return None if md5 is None else md5.hexdigest()


def require_space(folder: Path, what: Path | str, size_bytes: int) -> None:
    """Raise LocalFileError unless so many bytes are free in the folder's file system."""
    free = shutil.disk_usage(folder).free
    if free < size_bytes:
        raise LocalFileError(
            f"{what}: {format_bytes(size_bytes)} are to come and {format_bytes(free)} are free in {folder}: make room"
        )


def lock_file(fd: int, path: Path) -> None:
    """Keep other runs of ours off a file that is being written. Raises LocalFileError."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LocalFileError(f"another process is at work on {path}") from None


def _is_there(path: Path, piece: Piece, origin: int) -> bool:
    """Whether the file that begins at `origin` of the object holds this piece, proven by its digest."""
    if not piece.has_digest:
        return False
    with open_file(path) as file:
        is_long_enough = file.identity.size_bytes >= piece.end - origin
        return is_long_enough and piece.is_right(file.pieces(piece.offset - origin, piece.size_bytes))


def _is_same(file: LocalFile, reader: ObjectReader, pieces: Sequence[Piece], origin: int) -> bool:
    """Whether a file holds a range; what has no digest is fetched and compared."""
    for piece in pieces:
        if piece.has_digest:
            if not piece.is_right(file.pieces(piece.offset - origin, piece.size_bytes)):
                return False
            continue
        position = piece.offset - origin
        for chunk in reader.chunks(piece.offset, piece.size_bytes):
            buffer = memoryview(bytearray(chunk.nbytes))
            file.read_into(buffer, position)
            if buffer != chunk:
                return False
            position += chunk.nbytes
    return True
