"""Compares files on this machine with what Score holds, part by part, and mends them in place."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from score.v1.download_service_pb2 import GetChunkManifestResponse
from score.v1.stored_object_pb2 import StoredObject

from song_score_client.errors import LocalFileError, ObjectDigestMismatchError
from song_score_client.score import ScoreClient
from song_score_client.transfer.download_stream import write_at
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.local_file import open_file
from song_score_client.transfer.object_reader import ObjectReader, pieces_of
from song_score_client.transfer.parallel_read import fetch_pieces
from song_score_client.transfer.parallelism import Streams, metered, useful_streams
from song_score_client.transfer.piece_digest import Piece
from song_score_client.transfer.range_download import lock_file, require_space
from song_score_client.transfer.rate import RateLimit

SHOWN_PARTS = 20
"""Of the parts that differ, in a message."""


@dataclass(frozen=True, slots=True)
class Check:
    """What the comparison of a file with an object came to."""

    stored_object: StoredObject
    part_total: int
    size_bytes: int
    """Of the file."""
    bad_parts: tuple[int, ...]
    """Numbers, from 1, of the parts whose bytes are others, or are not there."""

    @property
    def is_right(self) -> bool:
        """Whether the file is the object, byte for byte."""
        return not self.bad_parts and self.size_bytes == self.stored_object.size_bytes

    def describe(self, path: Path) -> str:
        """Say what is wrong with the file, for people."""
        shown = ", ".join(map(str, self.bad_parts[:SHOWN_PARTS]))
        more = ", …" if len(self.bad_parts) > SHOWN_PARTS else ""
        problems = (
            [f"{len(self.bad_parts)} of {self.part_total} parts differ ({shown}{more})"] if self.bad_parts else []
        )
        if self.size_bytes != self.stored_object.size_bytes:
            problems.append(f"it has {self.size_bytes} bytes, the object {self.stored_object.size_bytes}")
        return f"{path}: {'; '.join(problems)}"


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What a repair came to."""

    check: Check
    """What was found before."""
    fetched_bytes: int


def check_file(
    score: ScoreClient,
    object_id: str,
    path: Path,
    *,
    allow_unpublished: bool = False,
    listener: Listener | None = None,
) -> Check:
    """Compare a file with an object; reads it whole, and fetches none of the object's bytes.

    Raises LocalFileError, ServiceError.
    """
    manifest = score.get_chunk_manifest(object_id, allow_unpublished=allow_unpublished)
    return _check(manifest, path, listener or Listener())


def require_right(check: Check, path: Path) -> None:
    """Raise ObjectDigestMismatchError, saying what differs, unless the file is the object."""
    if not check.is_right:
        raise ObjectDigestMismatchError(
            f"{check.describe(path)}: `score repair` mends it",
            service="score",
            code=grpc.StatusCode.FAILED_PRECONDITION,
            reason="OBJECT_DIGEST_MISMATCH",
            metadata={"object_id": check.stored_object.object_id},
        )


def repair_file(
    score: ScoreClient,
    object_id: str,
    path: Path,
    *,
    force: bool = False,
    allow_unpublished: bool = False,
    streams: int | Streams | None = None,
    rate: RateLimit | None = None,
    listener: Listener | None = None,
) -> RepairResult:
    """Fetch the parts of a file that are not the object's, and write them in their places; no other byte is touched.

    Run again after any failure, it fetches only what is still wrong. A file of which nothing is the object's, and
    that has another size or name, is taken for another one, and left as it is unless `force`. Raises LocalFileError,
    ServiceError.
    """
    streams = useful_streams(is_limited=rate is not None) if streams is None else streams
    listener = metered(listener or Listener(), streams)
    manifest = score.get_chunk_manifest(object_id, allow_unpublished=allow_unpublished)
    stored, parts = manifest.stored_object, manifest.parts
    if path.is_symlink():
        raise LocalFileError(f"{path} is a symbolic link: nothing is written through it")
    check = _check(manifest, path, listener)
    if check.is_right:
        return RepairResult(check, 0)
    is_other_file = len(check.bad_parts) == len(parts) and (
        check.size_bytes != stored.size_bytes or path.name not in {stored.file_name, stored.object_id}
    )
    if is_other_file and not force:
        raise LocalFileError(
            f"{path}: nothing in it is of object {object_id} ({stored.file_name}), so it looks like another file; "
            "--force overwrites it all the same"
        )
    pieces = [_piece(manifest, number) for number in check.bad_parts]
    fetched_bytes = sum(piece.size_bytes for piece in pieces)
    require_space(path.parent, path, max(0, stored.size_bytes - check.size_bytes))
    reader = ObjectReader(score, stored, allow_unpublished, rate, listener)
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise LocalFileError(f"{path}: {error.strerror}") from error
    try:
        lock_file(fd, path)
        fetch_pieces(reader, pieces, lambda data, at: write_at(fd, data, at), streams)
        os.ftruncate(fd, stored.size_bytes)
        os.fsync(fd)
    except OSError as error:
        raise LocalFileError(f"{path}: {error.strerror}") from error
    finally:
        os.close(fd)
    return RepairResult(check, fetched_bytes)


def _check(manifest: GetChunkManifestResponse, path: Path, listener: Listener) -> Check:
    stored = manifest.stored_object
    _require_there(path)
    with open_file(path) as file:
        size_bytes = file.identity.size_bytes
        listener.begin(stored.size_bytes, 0)
        pieces = pieces_of(manifest.parts, 0, stored.size_bytes)
        bad: list[int] = []
        unknown: Sequence[Piece] = [piece for piece in pieces if not piece.has_digest]
        for number, piece in enumerate(pieces, start=1):
            if piece.end > size_bytes or not piece.is_right(file.pieces(piece.offset, piece.size_bytes)):
                bad.append(number)
            else:
                listener.verify(piece.size_bytes)
        if unknown and not bad and size_bytes == stored.size_bytes and file.md5() != stored.md5:
            # Score itself has not read these parts yet: any of them may be the one.
            bad = [number for number, piece in enumerate(pieces, start=1) if not piece.has_digest]
    return Check(stored, len(pieces), size_bytes, tuple(bad))


def _require_there(path: Path) -> None:
    try:
        path.lstat()
    except FileNotFoundError:
        raise LocalFileError(f"{path} is not there: `score download` fetches it") from None
    except (OSError, ValueError):
        return  # opening it says what is wrong


def _piece(manifest: GetChunkManifestResponse, number: int) -> Piece:
    part = manifest.parts[number - 1]
    return Piece(part.offset, part.size_bytes, part.xxh3_128, part.md5)
