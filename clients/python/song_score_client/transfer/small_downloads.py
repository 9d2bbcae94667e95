"""Download many small objects over one stream; each file is whole, proven and on the disk before it has its name."""

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from score.v1.download_service_pb2 import ReadObjectsRequest, ReadObjectsResponse
from score.v1.stored_object_pb2 import StoredObject

from byte_path.digests import PartDigest, chunk_digest
from song_score_client.connection import CallMetadata
from song_score_client.errors import ClientError, LocalFileError, StoredBytesCorruptError, from_score_item_error
from song_score_client.score import ScoreClient
from song_score_client.targets import prepare_target
from song_score_client.transfer.batch import Members, Receipt
from song_score_client.transfer.download_stream import write_at
from song_score_client.transfer.journal import Journal, discard_journal, journal_path
from song_score_client.transfer.local_file import open_file
from song_score_client.transfer.parts import PartQueue
from song_score_client.transfer.rate import RateLimit
from song_score_client.transfer.small_files import FILES_PER_CALL, SmallFiles

METHOD = "/score.v1.DownloadService/ReadObjects"
SYNCED_TOGETHER = 64
"""Files that are written before they are synced to the disk and get their names."""
SYNCED_TOGETHER_BYTES = 8 * 1024 * 1024
SYNCS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class SmallDownload:
    """An object of at most SMALL_FILE_BYTES, and where it goes."""

    stored: StoredObject
    target: Path
    directory: Path
    """The folder that the command was given."""


class SmallDownloads:
    """Fetches small objects together. See `Group`."""

    def __init__(
        self,
        score: ScoreClient,
        files: Mapping[str, SmallDownload],
        *,
        force: bool,
        allow_unpublished: bool,
        whole_md5: bool,
        rate: RateLimit | None,
    ) -> None:
        """Make the group of these files, by object id; the other options are those of `download_object`."""
        self._score, self._by_id = score, files
        self._force, self._allow_unpublished, self._whole_md5, self._rate = force, allow_unpublished, whole_md5, rate

    def move(self, members: Members) -> None:
        """See `Group.move`. Left are files whose target is there with other bytes."""
        connection = self._score.connection
        if not connection.carries_streams:
            return
        small = SmallFiles(connection, members)
        files: dict[int, SmallDownload] = {}
        for number, transfer in list(members.left.items()):
            file = self._by_id[transfer.object_id]
            try:
                prepare_target(file.target, file.directory)
            except ClientError as error:
                small.end(number, error)
                continue
            if self._force or not file.target.exists():
                files[number] = file
            elif _is_right(file):
                size_bytes, part_total = file.stored.size_bytes, file.stored.part_total
                members.listener(number).begin(size_bytes, size_bytes)
                discard_journal(journal_path(file.target))
                small.end(number, Receipt(0, part_total, part_total, file.stored.md5))
        queue = PartQueue(files)
        with ThreadPoolExecutor(SYNCS_AT_ONCE, "sync") as pool:
            small.keep_streaming(
                queue,
                lambda: _Stream(
                    files=files,
                    small=small,
                    queue=queue,
                    rate=self._rate,
                    allow_unpublished=self._allow_unpublished,
                    whole_md5=self._whole_md5,
                    pool=pool,
                ),
            )


@dataclass(slots=True)
class _Written:
    """A file that has its bytes, and waits for the disk and its name."""

    number: int
    file: SmallDownload
    fd: int
    journal: Journal
    md5: str | None

    @property
    def partial(self) -> Path:
        return self.file.target.with_name(f"{self.file.target.name}.partial")

    def close(self) -> None:
        """Let go; what has no name yet stays for the next run."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
        self.journal.close()


@dataclass(slots=True)
class _Stream:
    """Asks for files of the queue, as many as one call takes, again and again until it is empty."""

    files: Mapping[int, SmallDownload]
    small: SmallFiles
    queue: PartQueue
    rate: RateLimit | None
    allow_unpublished: bool
    whole_md5: bool
    pool: ThreadPoolExecutor
    finished_total: int = 0
    """Files dealt with on this stream."""
    _again: list[int] = field(default_factory=list)
    _arriving: list[bytes] = field(default_factory=list)
    """What has come of the current file."""
    _written: list[_Written] = field(default_factory=list)

    def run(self, channel: grpc.Channel, metadata: CallMetadata) -> None:
        """Fetch until the queue is empty. Raises grpc.RpcError, ClientError; unfinished files go back."""
        method = channel.unary_stream(
            METHOD,
            request_serializer=ReadObjectsRequest.SerializeToString,
            response_deserializer=ReadObjectsResponse.FromString,
        )
        asked: list[int] = []
        try:
            while asked := self._take():
                ids = [self.files[number].stored.object_id for number in asked]
                request = ReadObjectsRequest(object_ids=ids, allow_unpublished=self.allow_unpublished)
                call = method(request, metadata=metadata)
                self.queue.on_stop(call.cancel)
                try:
                    for response in call:
                        if not self._answer(asked[response.index], response):
                            return  # damaged on the way: the rest of the stream is not worth having
                        if self.small.members.is_stopped:
                            self.queue.stop()
                finally:
                    call.cancel()
                    self._name_written()
        finally:
            left = self.small.members.left
            self.queue.give_back(number for number in {*asked, *self._again} if number in left)

    def _take(self) -> list[int]:
        taken: list[int] = []
        while len(taken) < FILES_PER_CALL and (number := self.queue.take()) is not None:
            taken.append(number)
        return taken

    def _answer(self, number: int, response: ReadObjectsResponse) -> bool:
        """Take what comes of a file; False if it is not what it should be."""
        if number not in self.small.members.left:
            return True  # it failed on this machine
        match response.WhichOneof("message"):
            case "stored_object":
                return self._begin(number, response.stored_object)
            case "data":
                data = response.data.data
                if response.data.xxh3_64 != chunk_digest(memoryview(data)):
                    return False
                return self._take_in(number, data)
            case "end":
                return self._finish(number, response.end.xxh3_128)
            case "refusal":
                if self.small.is_refused(number, from_score_item_error(response.refusal)):
                    self.finished_total += 1
                else:
                    self._again.append(number)
        return True

    def _begin(self, number: int, stored: StoredObject) -> bool:
        file = self.files[number]
        self._arriving.clear()
        if stored.generation != file.stored.generation:
            file.stored.CopyFrom(stored)
            self.small.members.listener(number).say("the object was replaced meanwhile: its new bytes are fetched")
        self.small.members.listener(number).begin(stored.size_bytes, 0)
        return True

    def _take_in(self, number: int, data: bytes) -> bool:
        try:
            if self.rate is not None:
                self.rate.take(len(data))
            self.small.members.listener(number).move(len(data))
        except ClientError as error:
            self.small.end(number, error)
        self._arriving.append(data)
        return sum(map(len, self._arriving)) <= self.files[number].stored.size_bytes

    def _finish(self, number: int, xxh3_128: str) -> bool:
        file = self.files[number]
        data = b"".join(self._arriving)
        self._arriving.clear()
        digest = PartDigest()
        digest.update(memoryview(data))
        if len(data) != file.stored.size_bytes or (data and digest.hexdigest() != xxh3_128):
            return False
        self.finished_total += 1
        try:
            self._write(number, file, data)
        except ClientError as error:
            self.small.end(number, error)
        waiting_bytes = sum(written.file.stored.size_bytes for written in self._written)
        if len(self._written) >= SYNCED_TOGETHER or waiting_bytes >= SYNCED_TOGETHER_BYTES:
            self._name_written()
        return True

    def _write(self, number: int, file: SmallDownload, data: bytes) -> None:
        """Write the bytes beside where they will be. Raises LocalFileError, StoredBytesCorruptError."""
        stored = file.stored
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest() if self.whole_md5 else None
        if md5 not in {None, stored.md5}:
            raise StoredBytesCorruptError(
                f"{file.target}: what the server sent for its object has MD5 {md5} and not {stored.md5}: the object "
                "itself is damaged; tell those who run Score",
                service="score",
                code=grpc.StatusCode.DATA_LOSS,
                reason="STORED_BYTES_CORRUPT",
                metadata={"object_id": stored.object_id},
            )
        header: dict[str, str | int] = {"object_id": stored.object_id, "generation": stored.generation}
        journal = Journal(journal_path(file.target), header)
        written = _Written(number, file, -1, journal, md5)
        try:
            # Whoever may write to the folder must not lead the bytes elsewhere.
            written.fd = os.open(written.partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            os.ftruncate(written.fd, 0)
            write_at(written.fd, memoryview(data), 0)
        except (OSError, LocalFileError) as error:
            written.close()
            if isinstance(error, OSError):
                raise LocalFileError(f"{written.partial}: {error.strerror}") from error
            raise
        self._written.append(written)

    def _name_written(self) -> None:
        """Sync what is written, several files at once, and give the files their names."""
        group, self._written = self._written, []
        named: list[_Written] = []
        for written, error in zip(group, self.pool.map(_sync, group), strict=True):
            try:
                if error is not None:
                    raise error
                written.partial.replace(written.file.target)
                named.append(written)
            except OSError as failure:
                written.close()
                self.small.end(written.number, _local_error(written.file.target, failure))
        error = _sync_folders({written.file.target.parent for written in named})
        for written in named:
            if error is None:
                written.journal.remove()
            written.close()
            self._end(written, error)

    def _end(self, written: _Written, error: OSError | None) -> None:
        stored = written.file.stored
        if error is not None:
            self.small.end(written.number, _local_error(written.file.target, error))
            return
        self.small.members.listener(written.number).verify(stored.size_bytes)
        self.small.end(written.number, Receipt(stored.size_bytes, stored.part_total, 0, written.md5))


def _is_right(file: SmallDownload) -> bool:
    """Whether the target has the object's bytes already; what else is wrong with it is another's to say."""
    try:
        with open_file(file.target) as there:
            return there.identity.size_bytes == file.stored.size_bytes and there.md5() == file.stored.md5
    except LocalFileError:
        return False


def _sync(written: _Written) -> OSError | None:
    try:
        os.fsync(written.fd)
    except OSError as error:
        return error
    return None


def _sync_folders(folders: set[Path]) -> OSError | None:
    """Have the new names on the disk."""
    try:
        for folder in folders:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
    except OSError as error:
        return error
    return None


def _local_error(path: Path, error: OSError) -> LocalFileError:
    return LocalFileError(f"{path}: {error.strerror}")
