"""One stream of a download: ranges asked, data verified and written as it comes."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

import grpc
from score.v1.download_service_pb2 import ObjectPart, OpenObject, ReadObjectRequest, ReadRange
from score.v1.stored_object_pb2 import StoredObject

from byte_path.codec import ReadData, decode_read_response
from byte_path.digests import chunk_digest
from song_score_client.connection import CallMetadata
from song_score_client.errors import LocalFileError
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.partial_file import piece_of
from song_score_client.transfer.parts import Parts
from song_score_client.transfer.piece_digest import PieceDigest
from song_score_client.transfer.rate import RateLimit

METHOD = "/score.v1.DownloadService/ReadObject"
RANGES_AHEAD = 2
"""Asked for and not finished, so that the path is never idle between two parts."""


@dataclass(slots=True)
class _Arriving:
    """A part in the middle."""

    digest: PieceDigest
    received_bytes: int = 0


@dataclass(slots=True)
class DownloadStream:
    """Fetches parts from the queue into the file until the queue is empty or the stream breaks.

    Every chunk is checked before it is written. A part that breaks off is fetched again.
    """

    stored: StoredObject
    allow_unpublished: bool
    parts: Sequence[ObjectPart]
    """Of the whole object; part `n` is at `n - 1`."""
    fd: int
    queue: Parts
    listener: Listener
    rate: RateLimit | None
    on_fetched: Callable[[int], None]
    """Called with the number of each part that is written and verified."""
    finished_total: int = 0
    """Parts fetched on this stream."""
    _asked: SimpleQueue[int | None] = field(default_factory=SimpleQueue)
    _arriving: dict[int, _Arriving] = field(default_factory=dict)
    """Asked for and not finished, by part number."""

    def run(self, channel: grpc.Channel, metadata: CallMetadata) -> None:
        """Fetch until the stream ends. Raises grpc.RpcError, LocalFileError; unfinished parts go back."""
        method = channel.stream_stream(
            METHOD, request_serializer=ReadObjectRequest.SerializeToString, response_deserializer=decode_read_response
        )
        for _ in range(RANGES_AHEAD):
            self._ask()
        call = method(self._requests(), metadata=metadata)
        self.queue.on_stop(call.cancel)
        try:
            for response in call:
                if isinstance(response, ReadData):
                    if not self._write(response):
                        return  # damaged on the way: the rest of the stream is not worth having
                elif response.WhichOneof("message") == "range_end" and not self._finish(response.range_end.read_id):
                    return
        finally:
            self._asked.put(None)
            call.cancel()
            self.queue.give_back(self._arriving)

    def _ask(self) -> None:
        number = self.queue.take()
        if number is not None:
            self._arriving[number] = _Arriving(PieceDigest(piece_of(self.parts[number - 1])))
        self._asked.put(number)

    def _requests(self) -> Iterator[ReadObjectRequest]:
        stored = self.stored
        yield ReadObjectRequest(
            open=OpenObject(
                object_id=stored.object_id, generation=stored.generation, allow_unpublished=self.allow_unpublished
            )
        )
        while (number := self._asked.get()) is not None:
            part = self.parts[number - 1]
            yield ReadObjectRequest(range=ReadRange(read_id=number, offset=part.offset, size_bytes=part.size_bytes))

    def _write(self, data: ReadData) -> bool:
        """Write a chunk to its place; False if it is not what it should be."""
        arriving, size_bytes = self._arriving.get(data.read_id), data.data.nbytes
        if arriving is None or data.xxh3_64 != chunk_digest(data.data):
            return False
        part = self.parts[data.read_id - 1]
        if (
            data.offset != part.offset + arriving.received_bytes
            or arriving.received_bytes + size_bytes > part.size_bytes
        ):
            return False
        if self.rate is not None:
            self.rate.take(size_bytes)
        arriving.digest.update(data.data)
        write_at(self.fd, data.data, data.offset)
        arriving.received_bytes += size_bytes
        self.listener.move(size_bytes)
        return True

    def _finish(self, number: int) -> bool:
        """Count a part in; False if it is not the one that was asked for."""
        arriving, part = self._arriving.get(number), self.parts[number - 1]
        if arriving is None or not arriving.digest.is_right():
            return False
        del self._arriving[number]
        self._ask()
        self.finished_total += 1
        self.listener.verify(part.size_bytes)
        self.on_fetched(number)
        return True


def write_at(fd: int, data: memoryview, offset: int) -> None:
    """Write all of the data at this place of the file. Raises LocalFileError."""
    written = 0
    while written < data.nbytes:
        try:
            written += os.pwrite(fd, data[written:], offset + written)
        except OSError as error:
            raise LocalFileError(
                f"can't write what was downloaded: {error.strerror}; what is there is kept, run the command again"
            ) from error
