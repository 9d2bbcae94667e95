"""One stream of an upload: chunks up, acknowledgements down."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock

import grpc
from score.v1.upload_pb2 import Upload, UploadPart
from score.v1.upload_service_pb2 import OpenUpload, WriteUploadRequest, WriteUploadResponse

from byte_path.codec import UploadChunk, encode_write_request
from byte_path.digests import PartDigest, chunk_digest
from song_score_client.connection import CallMetadata
from song_score_client.errors import ClientError, IntegrityError
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.local_file import CHUNK_BYTES, LocalFile
from song_score_client.transfer.parts import Parts, part_range
from song_score_client.transfer.rate import RateLimit, piece_bytes

METHOD = "/score.v1.UploadService/WriteUpload"


@dataclass(slots=True)
class UploadStream:
    """Sends parts from the queue until it is empty, the server drains, or the stream breaks.

    grpc takes the requests in a thread of its own, while `run` reads the answers.
    """

    upload: Upload
    file: LocalFile
    queue: Parts
    replaced: set[int]
    """Parts that are persisted with other bytes than the file has; those found on the way join them."""
    listener: Listener
    rate: RateLimit | None
    on_persisted: Callable[[UploadPart], None]
    finished_total: int = 0
    """Parts acknowledged on this stream."""
    failure: Exception | None = None
    """Why the requests ended early: the local file."""
    _lock: Lock = field(default_factory=Lock)
    _digests: dict[int, str] = field(default_factory=dict)
    """Sent whole, not acknowledged."""
    _current: int = 0
    _resend_offset: int | None = None
    _draining: bool = False

    def run(self, channel: grpc.Channel, metadata: CallMetadata) -> None:
        """Send and receive until the stream ends. Raises grpc.RpcError, ClientError; unfinished parts go back."""
        method = channel.stream_stream(
            METHOD, request_serializer=encode_write_request, response_deserializer=WriteUploadResponse.FromString
        )
        call = method(self._requests(), metadata=metadata)
        self.queue.on_stop(call.cancel)
        try:
            for response in call:
                self._answer(response)
        except grpc.RpcError as error:
            if self.failure is not None:
                raise self.failure from error
            raise
        finally:
            call.cancel()
            with self._lock:
                self.queue.give_back([*self._digests, *([self._current] if self._current else [])])
        if self.failure is not None:
            raise self.failure

    def _requests(self) -> Iterator[WriteUploadRequest | UploadChunk]:
        buffer = memoryview(bytearray(piece_bytes(self.rate, CHUNK_BYTES)))
        try:
            yield WriteUploadRequest(open=OpenUpload(upload_id=self.upload.upload_id))
            while (number := self._next_part()) is not None:
                yield from self._chunks(number, buffer)
        except ClientError as error:
            self.failure = error

    def _next_part(self) -> int | None:
        with self._lock:
            number = None if self._draining else self.queue.take()
            self._current, self._resend_offset = number or 0, None
            return number

    def _chunks(self, number: int, buffer: memoryview) -> Iterator[UploadChunk]:
        start, size_bytes = self._range(number)
        digest, digested_bytes, offset = PartDigest(), 0, 0
        while offset < size_bytes:
            data = buffer[: size_bytes - offset]
            self.file.read_into(data, start + offset)
            if offset == digested_bytes:
                digest.update(data)
                digested_bytes += data.nbytes
            if self.rate is not None:
                self.rate.take(data.nbytes)
            # grpc encodes the chunk before it asks for the next one: the buffer is free again then.
            yield UploadChunk(number, offset, data, chunk_digest(data), offset == 0 and number in self.replaced)
            self.listener.move(data.nbytes)
            offset = self._next_offset(number, offset + data.nbytes, size_bytes, digest)

    def _next_offset(self, number: int, offset: int, size_bytes: int, digest: PartDigest) -> int:
        with self._lock:
            if self._resend_offset is not None:
                offset, self._resend_offset = self._resend_offset, None
            elif offset == size_bytes and self._current == number:
                self._digests[number], self._current = digest.hexdigest(), 0
            return offset if self._current == number else size_bytes

    def _answer(self, response: WriteUploadResponse) -> None:
        match response.WhichOneof("message"):
            case "ack":
                self._persisted(response.ack.part)
            case "resend":
                self._send_again(response.resend.part_number, response.resend.offset)
            case "drain":
                with self._lock:
                    self._draining = True

    def _persisted(self, part: UploadPart) -> None:
        with self._lock:
            sent = self._digests.pop(part.part_number, None)
            if part.part_number == self._current:
                self._current = 0  # was persisted before: the server skips the rest of it
        self.finished_total += 1
        if sent is None:
            # Another client's bytes, for all that is known.
            sent = self.file.part_digest(*self._range(part.part_number))
        if sent != part.xxh3_128:
            self._replace(part.part_number)
            return
        self.listener.verify(part.size_bytes)
        self.on_persisted(part)

    def _replace(self, number: int) -> None:
        """Have a part sent again that is persisted with other bytes. Raises IntegrityError where it was before."""
        if number in self.replaced:
            raise IntegrityError(
                f"{self.file.path}: part {number} was replaced, and still has other bytes than the file; is somebody "
                "else uploading another file under this object id? Run the command again once nobody is",
                service="score",
                code=grpc.StatusCode.DATA_LOSS,
            )
        self.listener.say(f"part {number} is persisted with other bytes than the file has: replacing it")
        self.replaced.add(number)
        self.queue.give_back([number])

    def _range(self, number: int) -> tuple[int, int]:
        return part_range(number, self.upload.part_size_bytes, self.upload.size_bytes)

    def _send_again(self, number: int, offset: int) -> None:
        with self._lock:
            if number == self._current:
                self._resend_offset = offset
            elif self._digests.pop(number, None) is not None:
                self.queue.give_back([number])  # from its start: that is always understood
