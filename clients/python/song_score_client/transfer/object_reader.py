"""Reads ranges of an object one after the other: for a part of a file, for a pipe, for a repair."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import grpc
from score.v1.download_service_pb2 import ObjectPart, OpenObject, ReadObjectRequest, ReadRange
from score.v1.stored_object_pb2 import StoredObject

from byte_path.codec import ReadData, decode_read_response
from byte_path.digests import chunk_digest
from song_score_client.errors import ServiceError, StoredBytesCorruptError, from_rpc_error
from song_score_client.score import ScoreClient
from song_score_client.transfer.download_stream import METHOD
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.local_file import CHUNK_BYTES
from song_score_client.transfer.parts import PartQueue
from song_score_client.transfer.piece_digest import Piece, PieceDigest
from song_score_client.transfer.rate import RateLimit, piece_bytes
from song_score_client.transfer.signed_download import SignedUrl, read_range
from song_score_client.transfer.signed_requests import Tries
from song_score_client.transfer.streams import may_go_on, no_progress, pause

PIECE_TRIES = 3
"""How often a part may come with a wrong digest before the object itself is held to be damaged."""


@dataclass(frozen=True, slots=True)
class ObjectReader:
    """Reads one generation of an object. Every chunk is checked; a stream that breaks goes on where it was."""

    score: ScoreClient
    stored: StoredObject
    allow_unpublished: bool = False
    rate: RateLimit | None = None
    listener: Listener = field(default_factory=Listener)
    channel: grpc.Channel | None = None
    """For streams. None: the client's own."""

    def chunks(self, offset: int, size_bytes: int) -> Iterator[memoryview]:
        """Yield the bytes of a range in order; each piece is valid until the next one is taken. Raises ServiceError."""
        by_stream = self.score.connection.carries_streams
        for data in (self._streamed if by_stream else self._fetched)(offset, size_bytes):
            if self.rate is not None:
                self.rate.take(data.nbytes)
            self.listener.move(data.nbytes)
            yield data

    def _streamed(self, offset: int, size_bytes: int) -> Iterator[memoryview]:
        """Yield a range by streams, one after the other where they break."""
        connection, position, end, failures = self.score.connection, offset, offset + size_bytes, 0
        while position < end:
            error: ServiceError | None = None
            began = position
            try:
                for data in self._stream(position, end - position):
                    position += data.nbytes
                    yield data
            except grpc.RpcError as raised:
                error = from_rpc_error(raised, connection.service, connection.address)
                if not may_go_on(error):
                    raise error from raised
            failures = 0 if position > began else failures + 1
            if position < end:
                pause(connection, error or no_progress(connection), failures, self.listener)

    def _fetched(self, offset: int, size_bytes: int) -> Iterator[memoryview]:
        """Yield a range by signed URLs, again from where an answer broke off."""
        connection, position, end = self.score.connection, offset, offset + size_bytes
        url = SignedUrl(self.score, self.stored, allow_unpublished=self.allow_unpublished)
        tries, refused = Tries(connection, self.listener, PartQueue(())), None
        buffer = memoryview(bytearray(min(piece_bytes(self.rate, CHUNK_BYTES), size_bytes)))
        doing = f"bytes {offset} to {end - 1} of {self.stored.file_name}"
        while position < end:
            signed = url.get(refused)
            try:
                for data in read_range(connection.http, signed, position, end - position, doing, buffer):
                    position += data.nbytes
                    tries = Tries(connection, self.listener, PartQueue(()))
                    yield data
            except ServiceError as error:
                tries.failed(error)
                refused = signed

    def fetch(
        self,
        pieces: Sequence[Piece],
        write: Callable[[memoryview, int], None],
        on_piece: Callable[[Piece], None],
    ) -> None:
        """Fetch pieces in order: each is written as it comes, then verified; `on_piece` is told once it is right.

        `write` gets bytes and their offset in the object, again from the piece's start where it came damaged. Raises
        ServiceError; StoredBytesCorruptError where a piece has a wrong digest time and again.
        """
        done, failures = 0, 0
        while done < len(pieces):
            verified = self._fetch_run(_adjacent(pieces[done:]), write, on_piece)
            failures = 0 if verified else failures + 1
            if failures == PIECE_TRIES:
                raise _damaged(self.stored, pieces[done])
            done += verified

    def _fetch_run(
        self,
        pieces: Sequence[Piece],
        write: Callable[[memoryview, int], None],
        on_piece: Callable[[Piece], None],
    ) -> int:
        """Fetch adjacent pieces in one go; return how many were right before the first that was not."""
        chunks = self.chunks(pieces[0].offset, sum(piece.size_bytes for piece in pieces))
        rest = memoryview(b"")
        try:
            for number, piece in enumerate(pieces):
                digest, position = PieceDigest(piece), piece.offset
                while position < piece.end:
                    rest = rest or next(chunks)
                    data, rest = rest[: piece.end - position], rest[piece.end - position :]
                    digest.update(data)
                    write(data, position)
                    position += data.nbytes
                if not digest.is_right():
                    self.listener.say(f"the bytes from {piece.offset} on came damaged: fetching them again")
                    return number
                self.listener.verify(piece.size_bytes)
                on_piece(piece)
        finally:
            chunks.close()  # type: ignore[attr-defined] # a generator: its stream must not linger
        return len(pieces)

    def _stream(self, offset: int, size_bytes: int) -> Iterator[memoryview]:
        """Yield what one stream brings of a range, as far as it is in order and undamaged. Raises grpc.RpcError."""
        method = (self.channel or self.score.channel).stream_stream(
            METHOD, request_serializer=ReadObjectRequest.SerializeToString, response_deserializer=decode_read_response
        )
        stored = self.stored
        requests = [
            ReadObjectRequest(
                open=OpenObject(
                    object_id=stored.object_id, generation=stored.generation, allow_unpublished=self.allow_unpublished
                )
            ),
            ReadObjectRequest(range=ReadRange(read_id=1, offset=offset, size_bytes=size_bytes)),
        ]
        call = method(iter(requests), metadata=self.score.connection.metadata)
        received = 0
        try:
            for response in call:
                if not isinstance(response, ReadData):
                    continue
                is_next = response.offset == offset + received and received + response.data.nbytes <= size_bytes
                if not is_next or response.xxh3_64 != chunk_digest(response.data):
                    return  # damaged on the way: the rest of the stream is not worth having
                received += response.data.nbytes
                yield response.data
        finally:
            call.cancel()


def pieces_of(parts: Iterable[ObjectPart], offset: int, size_bytes: int) -> list[Piece]:
    """Return a range cut at the parts' borders; a part that lies wholly in it comes with its digest."""
    pieces, end = [], offset + size_bytes
    for part in parts:
        start, stop = max(offset, part.offset), min(end, part.offset + part.size_bytes)
        if start >= stop:
            continue
        is_whole = stop - start == part.size_bytes
        pieces.append(Piece(start, stop - start, part.xxh3_128 if is_whole else "", part.md5 if is_whole else ""))
    return pieces


def _adjacent(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """Return the first pieces, as far as each follows the one before without a gap."""
    total = 1
    while total < len(pieces) and pieces[total].offset == pieces[total - 1].end:
        total += 1
    return pieces[:total]


def _damaged(stored: StoredObject, piece: Piece) -> StoredBytesCorruptError:
    return StoredBytesCorruptError(
        f"{stored.file_name}: the bytes from {piece.offset} to {piece.end} of object {stored.object_id} are damaged in "
        "Score's store: tell those who run it",
        service="score",
        code=grpc.StatusCode.DATA_LOSS,
        reason="STORED_BYTES_CORRUPT",
        metadata={"object_id": stored.object_id, "offset": str(piece.offset)},
    )
