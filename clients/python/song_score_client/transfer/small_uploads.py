"""Upload many small files over one stream: no start, no completion, and no wait in between."""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from score.v1.item_error_pb2 import ItemError
from score.v1.stored_object_pb2 import VERIFICATION_VERIFIED, StoredObject
from score.v1.upload_service_pb2 import (
    AnnounceObjects,
    FinishSmallObject,
    OpenSmallObject,
    SmallObjectChunk,
    WriteObjectsRequest,
    WriteObjectsResponse,
)

from byte_path.digests import chunk_digest
from song_score_client.connection import CallMetadata
from song_score_client.errors import ClientError, ObjectDigestMismatchError, ServiceError, from_score_item_error
from song_score_client.score import ScoreClient
from song_score_client.transfer.batch import Members, Receipt
from song_score_client.transfer.local_file import open_file
from song_score_client.transfer.parts import PartQueue
from song_score_client.transfer.rate import RateLimit
from song_score_client.transfer.small_files import FILES_PER_CALL, SMALL_FILE_BYTES, SmallFiles

METHOD = "/score.v1.UploadService/WriteObjects"


@dataclass(frozen=True, slots=True)
class SmallUpload:
    """A file of at most SMALL_FILE_BYTES when it was looked at."""

    object_id: str
    path: Path
    expected_md5: str
    """Empty where it is not known."""


class SmallUploads:
    """Sends small files together. See `Group`."""

    def __init__(
        self, score: ScoreClient, files: Mapping[str, SmallUpload], *, replace: bool, rate: RateLimit | None
    ) -> None:
        """Make the group of these files, by object id; the other options are those of `upload_file`."""
        self._score, self._by_id, self._replace, self._rate = score, files, replace, rate

    def move(self, members: Members) -> None:
        """See `Group.move`. Left are files whose object is stored, unless it is known to be theirs."""
        connection = self._score.connection
        if not connection.carries_streams:
            return
        files = {number: self._by_id[transfer.object_id] for number, transfer in members.left.items()}
        small = SmallFiles(connection, members)
        wanted = [file.object_id for file in files.values()]
        found = self._score.batch_get_objects(wanted, allow_unpublished=True)
        stored = {there.object_id: there for there in found.stored_objects}
        for number, file in files.items():
            there = stored.get(file.object_id)
            if there is not None and _is_stored(file, there):
                members.listener(number).begin(there.size_bytes, there.size_bytes)
                small.end(number, Receipt(0, there.part_total, there.part_total, there.md5))
        queue = PartQueue(number for number, file in files.items() if file.object_id not in stored)
        small.keep_streaming(queue, lambda: _Stream(files, small, queue, self._replace, self._rate))


@dataclass(slots=True)
class _Stream:
    """Sends files from the queue until it is empty, the server drains, or the stream breaks.

    grpc takes the requests in a thread of its own, while `run` reads the answers: what is said of a file is said there.
    """

    files: Mapping[int, SmallUpload]
    small: SmallFiles
    queue: PartQueue
    replace: bool
    rate: RateLimit | None
    finished_total: int = 0
    """Files dealt with on this stream."""
    _sent: deque[tuple[int, int]] = field(default_factory=deque)
    """Number and size of the files that were begun and not answered, in the order opened."""
    _unreadable: deque[tuple[int, Exception]] = field(default_factory=deque)
    _waiting: list[int] = field(default_factory=list)
    """Taken from the queue and not begun."""
    _again: list[int] = field(default_factory=list)
    _draining: bool = False

    def run(self, channel: grpc.Channel, metadata: CallMetadata) -> None:
        """Send and receive until the stream ends. Raises grpc.RpcError; unanswered files go back."""
        method = channel.stream_stream(
            METHOD,
            request_serializer=WriteObjectsRequest.SerializeToString,
            response_deserializer=WriteObjectsResponse.FromString,
        )
        call = method(self._requests(), metadata=metadata)
        self.queue.on_stop(call.cancel)
        try:
            for response in call:
                self._answer(response)
                if self.small.members.is_stopped:
                    self.queue.stop()
        finally:
            call.cancel()
            self._end_unreadable()
            sent = [number for number, _ in self._sent if number in self.small.members.left]
            self.queue.give_back([*sent, *self._waiting, *self._again])

    def _requests(self) -> Iterator[WriteObjectsRequest]:
        while not self._draining and not self.small.members.is_stopped and (batch := self._take()):
            ids = [self.files[number].object_id for number in batch]
            yield WriteObjectsRequest(announce=AnnounceObjects(object_ids=ids))
            while self._waiting and not self._draining and not self.small.members.is_stopped:
                yield from self._file(self._waiting[0])

    def _take(self) -> list[int]:
        while len(self._waiting) < FILES_PER_CALL and (number := self.queue.take()) is not None:
            self._waiting.append(number)
        return self._waiting

    def _file(self, number: int) -> Iterator[WriteObjectsRequest]:
        """Yield what sends a file; nothing of one that can't be read, or has grown beyond what goes this way."""
        file, listener = self.files[number], self.small.members.listener(number)
        try:
            data = _content(file.path)
            if data is None:
                self._waiting.remove(number)
                return
            if self.rate is not None:
                self.rate.take(data.nbytes)
            listener.begin(data.nbytes, 0)
            listener.move(data.nbytes)
        except ClientError as error:
            self._waiting.remove(number)
            self._unreadable.append((number, error))
            return
        self._sent.append((number, data.nbytes))
        self._waiting.remove(number)
        yield WriteObjectsRequest(
            open=OpenSmallObject(
                object_id=file.object_id,
                size_bytes=data.nbytes,
                expected_md5=file.expected_md5,
                replace=self.replace,
            )
        )
        if data:
            yield WriteObjectsRequest(chunk=SmallObjectChunk(xxh3_64=chunk_digest(data), data=data.tobytes()))
        yield WriteObjectsRequest(finish=FinishSmallObject())

    def _answer(self, response: WriteObjectsResponse) -> None:
        self._end_unreadable()
        if response.WhichOneof("result") == "drain":
            self._draining = True
            return
        number, size_bytes = self._sent.popleft()
        if response.HasField("stored_object"):
            stored = response.stored_object
            self.small.members.listener(number).verify(size_bytes)
            self.small.end(number, Receipt(size_bytes, stored.part_total, 0, stored.md5))
        elif not self.small.is_refused(number, _error(response.refusal, self.files[number].path)):
            self._again.append(number)
            return
        self.finished_total += 1

    def _end_unreadable(self) -> None:
        while self._unreadable:
            self.small.end(*self._unreadable.popleft())
            self.finished_total += 1


def _content(path: Path) -> memoryview | None:
    """Return what is in the file, None where that is too much. Raises LocalFileError."""
    with open_file(path) as file:
        if file.identity.size_bytes > SMALL_FILE_BYTES:
            return None
        data = memoryview(bytearray(file.identity.size_bytes))
        file.read_into(data, 0)
        return data


def _is_stored(file: SmallUpload, stored: StoredObject) -> bool:
    """Whether the object is this very file; without an MD5 that was registered, that is another's to say."""
    if stored.verification != VERIFICATION_VERIFIED or file.expected_md5 != stored.md5:
        return False
    try:
        data = _content(file.path)
    except ClientError:
        return False
    return data is not None and hashlib.md5(data, usedforsecurity=False).hexdigest() == stored.md5


def _error(refusal: ItemError, path: Path) -> ServiceError:
    error = from_score_item_error(refusal)
    if not isinstance(error, ObjectDigestMismatchError):
        return error
    return ObjectDigestMismatchError(
        f"{path} is not the registered file: its MD5 is {error.metadata.get('computed_md5')}. {error.message}",
        service=error.service,
        code=error.code,
        reason=error.reason,
        metadata=error.metadata,
    )
