"""Upload one file: start or join, send what is missing, complete, prove."""

import os
import threading
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
from score.v1.stored_object_pb2 import StoredObject
from score.v1.upload_pb2 import (
    TRANSFER_PATH_SIGNED,
    UPLOAD_STATE_OPEN,
    UploadFailure,
    UploadPart,
)
from score.v1.upload_service_pb2 import PartToRecord

from song_score_client.errors import (
    ClientError,
    ObjectDigestMismatchError,
    ServiceError,
    StoreUnavailableError,
    UploadAbortedError,
    UploadNotFoundError,
    UploadNotOpenError,
)
from song_score_client.manifests import is_md5
from song_score_client.score import MAX_SIGNED, ScoreClient
from song_score_client.transfer.completion import complete_upload
from song_score_client.transfer.journal import Journal, discard_journal
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.local_file import LocalFile, open_file
from song_score_client.transfer.parallelism import Streams, metered, useful_streams
from song_score_client.transfer.parts import Parts, part_range
from song_score_client.transfer.rate import RateLimit
from song_score_client.transfer.signed_upload import SignedUpload
from song_score_client.transfer.streams import keep_streaming, move_parts
from song_score_client.transfer.upload_errors import failure_error
from song_score_client.transfer.upload_stream import UploadStream

ROUNDS = 5
"""How often parts may turn out to be missing or different at completion before it is given up."""
_EXPIRED = "EXPIRED"
_DIGEST_MISMATCH = "OBJECT_DIGEST_MISMATCH"


def default_state_dir() -> Path:
    """Return where upload journals are kept: XDG_STATE_HOME/song-score, by default below the home directory."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "song-score"


@dataclass(frozen=True, slots=True)
class UploadResult:
    """What an upload came to."""

    stored_object: StoredObject
    part_total: int
    kept_part_total: int
    """Parts that were persisted before and not sent again. All of them where the object was there already."""
    sent_bytes: int
    """Bytes of the parts sent by this call."""


def upload_file(  # noqa: PLR0913 - one parameter an option, by keyword
    score: ScoreClient,
    object_id: str,
    path: Path,
    *,
    expected_md5: str = "",
    replace: bool = False,
    streams: int | Streams | None = None,
    rate: RateLimit | None = None,
    state_dir: Path | None = None,
    listener: Listener | None = None,
) -> UploadResult:
    """Upload a file under the object id that Song gave it, and return once the server has verified it.

    Run again after any failure, it sends no persisted part again, from this machine or another. `streams`: so many for
    this file, or as many as prove useful, together with those of other files. `replace` puts the file in the place of
    other bytes that are stored, and of a live upload of another size. Raises LocalFileError, ServiceError;
    ObjectDigestMismatchError if the file is not the registered one.
    """
    with open_file(path) as file:
        streams = useful_streams(is_limited=rate is not None) if streams is None else streams
        listener = metered(listener or Listener(), streams)

        def run() -> UploadResult:
            transfer = _Transfer(score, object_id, file, streams, rate, listener)
            return transfer.run(expected_md5, state_dir or default_state_dir(), replace=replace)

        try:
            return run()
        except (UploadAbortedError, UploadNotFoundError) as error:
            # Somebody aborted it on purpose, or it expired while this client was asleep: then there is a new one.
            if isinstance(error, UploadAbortedError) and error.metadata.get("abort_reason") != _EXPIRED:
                raise
            listener.say(f"{error}; starting anew")
            return run()


class _Transfer:
    def __init__(
        self,
        score: ScoreClient,
        object_id: str,
        file: LocalFile,
        streams: int | Streams,
        rate: RateLimit | None,
        listener: Listener,
    ) -> None:
        self._score, self._object_id, self._file = score, object_id, file
        self._streams, self._rate, self._listener = streams, rate, listener
        self._sent_bytes = 0
        self._proven: dict[tuple[int, int], str] = {}
        """xxh3_128 of the file's parts that the server was seen to have, by their (offset, size) in bytes."""
        self._lock = threading.Lock()
        """Streams note their parts from their own threads."""

    def run(self, expected_md5: str, state_dir: Path, *, replace: bool) -> UploadResult:
        size_bytes = self._file.identity.size_bytes
        started = self._score.start_upload(
            self._object_id, size_bytes=size_bytes, expected_md5=expected_md5, replace=replace
        )
        if started.WhichOneof("result") == "stored_object":
            stored = started.stored_object
            self._require_same(stored)
            self._listener.begin(size_bytes, size_bytes)
            discard_journal(self._journal_path(state_dir, self._object_id))
            return UploadResult(stored, stored.part_total, stored.part_total, 0)
        self._upload = started.upload
        self._journal = self._open_journal(state_dir)
        try:
            known = self._persisted_parts() if self._upload.persisted_part_total else []
            persisted, replaced = self._compare(known)
            if self._may_have_strays():
                persisted |= self._record_stray_parts(persisted)
            kept_total = len(persisted)
            kept_bytes = sum(self._part_bytes(number) for number in persisted)
            self._listener.begin(size_bytes, kept_bytes)
            if kept_total:
                self._listener.say(
                    f"resuming: {kept_total} of {self._upload.part_total} parts are persisted and are not sent again"
                )
            if self._upload.state == UPLOAD_STATE_OPEN:
                self._send(self._missing(persisted), replaced)
            stored = self._complete()
            self._require_same(stored)
            self._journal.remove()
        finally:
            self._journal.close()
        return UploadResult(stored, self._upload.part_total, kept_total, self._sent_bytes)

    def _may_have_strays(self) -> bool:
        """Whether somebody may have sent parts to signed URLs of this upload before."""
        upload = self._upload
        is_joined = upload.update_time != upload.create_time
        return upload.state == UPLOAD_STATE_OPEN and is_joined and TRANSFER_PATH_SIGNED in upload.transfer_paths

    def _open_journal(self, state_dir: Path) -> Journal:
        identity = self._file.identity
        header: dict[str, str | int] = {
            "server": self._score.connection.address,
            "upload_id": self._upload.upload_id,
            "path": str(self._file.path.absolute()),
            "size_bytes": identity.size_bytes,
            "modified_ns": identity.modified_ns,
            "device": identity.device,
            "inode": identity.inode,
        }
        return Journal(self._journal_path(state_dir, self._upload.object_id), header)

    @staticmethod
    def _journal_path(state_dir: Path, object_id: str) -> Path:
        return state_dir / f"{object_id}.upload"

    def _persisted_parts(self) -> list[UploadPart]:
        return list(self._score.list_upload_parts(self._upload.upload_id))

    def _compare(self, parts: Iterable[UploadPart], *, trust_journal: bool = True) -> tuple[set[int], set[int]]:
        """Return the persisted parts that have the file's bytes, and those that have others.

        Parts in the journal of this very file are known; the others are read and hashed.
        """
        same: set[int] = set()
        different: set[int] = set()
        self._proven.clear()
        for part in parts:
            number = part.part_number
            xxh3_128, md5 = self._journal.digests.get(number, ""), self._journal.md5s.get(number, "")
            if not (trust_journal and _has(part, xxh3_128, md5)):
                xxh3_128, md5 = self._read_digests(part)
            if _has(part, xxh3_128, md5):
                same.add(number)
                self._proven[self._range(number)] = xxh3_128
                if number not in self._journal.digests:
                    self._journal.add(number, xxh3_128, md5)
            else:
                different.add(number)
        return same, different

    def _read_digests(self, part: UploadPart) -> tuple[str, str]:
        """Return the xxh3_128 of the file's part, and its MD5 where the server knows no other digest."""
        if part.xxh3_128:
            return self._file.part_digest(*self._range(part.part_number)), ""
        return self._file.part_digests(*self._range(part.part_number))

    def _record_stray_parts(self, persisted: set[int]) -> set[int]:
        """Have parts recorded that the store holds and a client died over; return those that are persisted now."""
        try:
            strays = list(self._score.list_unrecorded_parts(self._upload.upload_id))
        except StoreUnavailableError:
            return set()  # then they are sent again
        found: list[tuple[PartToRecord, str]] = []
        for stray in strays:
            number = stray.part_number
            if number in persisted or stray.size_bytes != self._part_bytes(number):
                continue
            xxh3_128, md5 = self._file.part_digests(*self._range(number))
            etag = stray.store_etag.strip('"').lower()
            # An etag of another kind tells nothing; the whole is read back before it becomes visible.
            if etag == md5 or not is_md5(etag):
                found.append((PartToRecord(part_number=number, md5=md5, store_etag=stray.store_etag), xxh3_128))
        recorded: set[int] = set()
        for start in range(0, len(found), MAX_SIGNED):
            batch = found[start : start + MAX_SIGNED]
            answers = self._score.record_upload_parts(self._upload.upload_id, [part for part, _ in batch])
            for answer, (asked, xxh3_128) in zip(answers, batch, strict=True):
                if answer.HasField("part") and _has(answer.part, xxh3_128, asked.md5):
                    recorded.add(answer.part_number)
                    self._proven[self._range(answer.part_number)] = xxh3_128
                    self._journal.add(answer.part_number, xxh3_128, asked.md5)
        return recorded

    def _range(self, number: int) -> tuple[int, int]:
        return part_range(number, self._upload.part_size_bytes, self._upload.size_bytes)

    def _part_bytes(self, number: int) -> int:
        return self._range(number)[1]

    def _missing(self, persisted: set[int]) -> list[int]:
        return [number for number in range(1, self._upload.part_total + 1) if number not in persisted]

    def _send(self, part_numbers: Collection[int], replaced: set[int]) -> None:
        """Send these parts. Raises what ends the transfer."""
        connection, listener, rate = self._score.connection, self._listener, self._rate

        def make_stream(parts: Parts) -> UploadStream:
            return UploadStream(self._upload, self._file, parts, replaced, listener, rate, self._note_persisted)

        signed = SignedUpload(
            self._score, self._upload, self._file, part_numbers, replaced, listener, rate, self._note_stored
        )
        # Another client may have sent the last part and completed the upload: that is where to look next.
        with suppress(UploadNotOpenError):
            move_parts(
                connection,
                part_numbers,
                self._streams,
                lambda parts: keep_streaming(connection, parts, make_stream, listener),
                signed.run,
                listener,
            )

    def _note_persisted(self, part: UploadPart) -> None:
        self._note_stored(part, part.xxh3_128, "")

    def _note_stored(self, part: UploadPart, xxh3_128: str, md5: str) -> None:
        """Note a part that is persisted with these digests of the file's bytes."""
        with self._lock:
            self._sent_bytes += part.size_bytes
            self._proven[self._range(part.part_number)] = xxh3_128
            self._journal.add(part.part_number, xxh3_128, md5)

    def _complete(self) -> StoredObject:
        """Complete, sending again what turns out to be missing or different. Raises what ends the transfer."""
        for _ in range(ROUNDS):
            self._file.require_unchanged()
            upload, stored = complete_upload(self._score, self._upload.upload_id, str(self._file.path), self._listener)
            if stored is not None:
                return stored
            is_mismatch = upload.last_failure.reason == _DIGEST_MISMATCH
            # The file may have changed under its old name, size and time: then the journal is of no use.
            same, different = self._compare(self._persisted_parts(), trust_journal=not is_mismatch)
            missing = self._missing(same)
            if not missing and is_mismatch:
                raise self._wrong_file(upload.last_failure)
            if not missing:
                raise failure_error(upload.last_failure)
            self._listener.say(f"{upload.last_failure.message}; sending {len(missing)} parts again")
            self._listener.withdraw(sum(map(self._part_bytes, missing)))
            self._send(missing, different)
        raise ClientError(f"{self._file.path}: parts went missing {ROUNDS} times after they were sent; run it again")

    def _require_same(self, stored: StoredObject) -> None:
        """Raise ObjectDigestMismatchError where the object is not this file; reads only what was not compared yet."""
        if not self._is_same(stored):
            raise ObjectDigestMismatchError(
                f"{self._file.path} is not the registered file: its MD5 is {self._file.md5()}, and the bytes stored "
                f"under {stored.object_id} have {stored.md5}",
                service="score",
                code=grpc.StatusCode.FAILED_PRECONDITION,
                reason=_DIGEST_MISMATCH,
                metadata={"computed_md5": stored.md5, "object_id": stored.object_id},
            )

    def _is_same(self, stored: StoredObject) -> bool:
        if self._file.identity.size_bytes != stored.size_bytes:
            return False
        try:
            parts = self._score.get_chunk_manifest(
                stored.object_id, generation=stored.generation, allow_unpublished=True
            ).parts
        except ServiceError:
            parts = None
        if parts is None or sum(part.size_bytes for part in parts) != stored.size_bytes:
            # May write and not read, or it was published meanwhile: the whole is dearer to hash, and says the same.
            return self._is_proven(stored.size_bytes) or self._file.md5() == stored.md5
        return all(self._digest(part.offset, part.size_bytes) == part.xxh3_128 for part in parts)

    def _is_proven(self, size_bytes: int) -> bool:
        return bool(self._proven) and sum(length for _, length in self._proven) == size_bytes

    def _digest(self, offset: int, size_bytes: int) -> str:
        return self._proven.get((offset, size_bytes)) or self._file.part_digest(offset, size_bytes)

    def _wrong_file(self, failure: UploadFailure) -> ObjectDigestMismatchError:
        return ObjectDigestMismatchError(
            f"{self._file.path} is not the registered file: its MD5 is {self._file.md5()}, and the server received the "
            f"same bytes ({failure.computed_md5}). {failure.message}",
            service="score",
            code=grpc.StatusCode.FAILED_PRECONDITION,
            reason=failure.reason,
            metadata={"computed_md5": failure.computed_md5, "object_id": self._object_id},
        )


def _has(part: UploadPart, xxh3_128: str, md5: str) -> bool:
    """Whether a part has these digests, as far as the server knows any."""
    return bool(xxh3_128) and part.xxh3_128 == xxh3_128 if part.xxh3_128 else bool(md5) and part.md5 == md5
