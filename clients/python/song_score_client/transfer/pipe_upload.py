"""Upload what comes through a pipe: one part at a time on the disk, which can be sent again; the pipe can't."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import grpc
from score.v1.stored_object_pb2 import StoredObject
from score.v1.upload_pb2 import UPLOAD_STATE_OPEN, Upload, UploadPart

from byte_path.md5 import new_md5
from song_score_client.errors import LocalFileError, ObjectDigestMismatchError, UploadNotOpenError
from song_score_client.score import ScoreClient
from song_score_client.transfer.completion import complete_upload
from song_score_client.transfer.download_stream import write_at
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.local_file import CHUNK_BYTES, FileIdentity, LocalFile
from song_score_client.transfer.parts import Parts, part_range
from song_score_client.transfer.range_download import require_space
from song_score_client.transfer.rate import RateLimit
from song_score_client.transfer.signed_upload import SignedUpload
from song_score_client.transfer.streams import keep_streaming, move_parts
from song_score_client.transfer.upload import UploadResult
from song_score_client.transfer.upload_errors import failure_error
from song_score_client.transfer.upload_stream import UploadStream

NAME = "stdin"


@dataclass(frozen=True, slots=True)
class _Spool(LocalFile):
    """The part of the pipe that is on the disk, read as if the whole were there."""

    origin: int
    """Where in the whole it begins, in bytes."""

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """See LocalFile."""
        # Not super(): a dataclass with slots is made twice, and only the second one is known to be its own.
        LocalFile.read_into(self, buffer, offset - self.origin)


def upload_pipe(
    score: ScoreClient,
    object_id: str,
    source: BinaryIO,
    *,
    expected_md5: str = "",
    replace: bool = False,
    rate: RateLimit | None = None,
    listener: Listener | None = None,
) -> UploadResult:
    """Upload all that comes through a pipe, whose size and MD5 must be those registered.

    Needs the disk space of one part. Run again with the same bytes after any failure, it reads them all, and sends no
    persisted part again. Raises LocalFileError, ServiceError; ObjectDigestMismatchError where other bytes came.
    """
    listener = listener or Listener()
    started = score.start_upload(object_id, expected_md5=expected_md5, replace=replace)
    if started.WhichOneof("result") == "stored_object":
        stored = started.stored_object
        listener.begin(stored.size_bytes, stored.size_bytes)
        _require_registered(_md5_of(source, stored.size_bytes), stored.md5, object_id)
        return UploadResult(stored, stored.part_total, stored.part_total, 0)
    upload = started.upload
    if upload.state != UPLOAD_STATE_OPEN:
        # All parts were there when a run before ended: it is being completed.
        _require_registered(_md5_of(source, upload.size_bytes), upload.expected_md5, object_id)
        return UploadResult(_complete(score, upload, listener), upload.part_total, upload.part_total, 0)
    transfer = _PipeTransfer(score, upload, rate, listener)
    kept_total, sent_bytes = transfer.run(source)
    return UploadResult(_complete(score, upload, listener), upload.part_total, kept_total, sent_bytes)


class _PipeTransfer:
    def __init__(self, score: ScoreClient, upload: Upload, rate: RateLimit | None, listener: Listener) -> None:
        self._score, self._upload, self._rate, self._listener = score, upload, rate, listener
        self._sent_bytes = 0

    def run(self, source: BinaryIO) -> tuple[int, int]:
        """Send the parts that are not persisted; return how many were, and the bytes sent."""
        upload, kept_total = self._upload, 0
        persisted = {part.part_number: part for part in self._score.list_upload_parts(upload.upload_id)}
        md5 = new_md5()
        self._listener.begin(upload.size_bytes, 0)
        require_space(Path(tempfile.gettempdir()), NAME, min(upload.part_size_bytes, upload.size_bytes))
        with tempfile.TemporaryFile(buffering=0) as disk:
            for number in range(1, upload.part_total + 1):
                offset, size_bytes = part_range(number, upload.part_size_bytes, upload.size_bytes)
                position = 0
                for piece in _pieces(source, offset, size_bytes, upload.size_bytes):
                    md5.update(piece)
                    write_at(disk.fileno(), piece, position)
                    position += piece.nbytes
                identity = FileIdentity(upload.size_bytes, 0, 0, 0)
                spool = _Spool(Path(NAME), disk.fileno(), identity, offset)
                if number in persisted and _is_same(spool, persisted[number], offset, size_bytes):
                    kept_total += 1
                    self._listener.verify(size_bytes)
                else:
                    self._send(spool, number, replaces=number in persisted)
            _require_end(source, upload.size_bytes)
        _require_registered(md5.hexdigest(), upload.expected_md5, upload.object_id)
        return kept_total, self._sent_bytes

    def _send(self, spool: LocalFile, number: int, *, replaces: bool) -> None:
        upload, listener, rate, score = self._upload, self._listener, self._rate, self._score
        replaced = {number} if replaces else set()

        def make_stream(parts: Parts) -> UploadStream:
            return UploadStream(upload, spool, parts, replaced, listener, rate, self._note)

        signed = SignedUpload(
            score, upload, spool, [number], replaced, listener, rate, lambda part, *_: self._note(part)
        )
        # Another client may have sent the last part and completed the upload: that is where to look next.
        with suppress(UploadNotOpenError):
            move_parts(
                score.connection,
                [number],
                1,
                lambda parts: keep_streaming(score.connection, parts, make_stream, listener),
                signed.run,
                listener,
            )

    def _note(self, part: UploadPart) -> None:
        self._sent_bytes += part.size_bytes


def _is_same(spool: LocalFile, part: UploadPart, offset: int, size_bytes: int) -> bool:
    xxh3_128, md5 = spool.part_digests(offset, size_bytes)
    return part.xxh3_128 == xxh3_128 if part.xxh3_128 else part.md5 == md5


def _complete(score: ScoreClient, upload: Upload, listener: Listener) -> StoredObject:
    """Return the object. Raises ServiceError: what is missing now can't be read from the pipe again."""
    ended, stored = complete_upload(score, upload.upload_id, NAME, listener)
    if stored is None:
        error = failure_error(ended.last_failure)
        error.args = (f"{error.message}; the same command with the same bytes sends what is missing",)
        raise error
    return stored


def _pieces(source: BinaryIO, offset: int, size_bytes: int, whole_bytes: int) -> Iterator[memoryview]:
    """Yield the next bytes of the pipe; each piece is valid until the next one is taken. Raises LocalFileError."""
    buffer = memoryview(bytearray(min(CHUNK_BYTES, size_bytes)))
    done = 0
    while done < size_bytes:
        try:
            count = os.readv(source.fileno(), [buffer[: size_bytes - done]])
        except OSError as error:
            raise LocalFileError(f"{NAME}: {error.strerror} at byte {offset + done}") from error
        if not count:
            raise LocalFileError(f"{NAME} ended after {offset + done} bytes, registered are {whole_bytes}")
        yield buffer[:count]
        done += count


def _require_end(source: BinaryIO, size_bytes: int) -> None:
    if os.read(source.fileno(), 1):
        raise LocalFileError(f"{NAME} has more than the {size_bytes} bytes that are registered")


def _md5_of(source: BinaryIO, size_bytes: int) -> str:
    """Read the pipe to its end; return the MD5. Raises LocalFileError where it has another length."""
    md5 = new_md5()
    for piece in _pieces(source, 0, size_bytes, size_bytes):
        md5.update(piece)
    _require_end(source, size_bytes)
    return md5.hexdigest()


def _require_registered(md5: str, registered: str, object_id: str) -> None:
    if md5 != registered:
        raise ObjectDigestMismatchError(
            f"what came through {NAME} is not the registered file: its MD5 is {md5}, registered is {registered}",
            service="score",
            code=grpc.StatusCode.FAILED_PRECONDITION,
            reason="OBJECT_DIGEST_MISMATCH",
            metadata={"computed_md5": md5, "object_id": object_id},
        )
