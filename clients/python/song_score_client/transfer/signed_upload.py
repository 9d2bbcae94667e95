"""Parts of an upload by signed URLs: hashed, signed, PUT, recorded; any number at once."""

from collections.abc import Callable, Collection, Iterator, Sequence

import grpc
from score.v1.upload_pb2 import UPLOAD_STATE_OPEN, Upload, UploadPart
from score.v1.upload_service_pb2 import PartToRecord, PartToSign, RecordedPart, SignedUploadPart

from song_score_client.errors import IntegrityError, NotFoundError, ServiceError, UnavailableError
from song_score_client.http_connections import HTTP_FAILURES, Cancellation, HttpRequest
from song_score_client.score import MAX_SIGNED, ScoreClient
from song_score_client.transfer.digests_together import DigestsTogether
from song_score_client.transfer.gathering import Gathering
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.local_file import CHUNK_BYTES, LocalFile
from song_score_client.transfer.parts import Parts, part_range
from song_score_client.transfer.rate import RateLimit, piece_bytes
from song_score_client.transfer.signed_requests import MAX_WORDS_BYTES, Tries, headers_of, no_answer, refusal
from song_score_client.transfer.upload_errors import ended_error

OnPersisted = Callable[[UploadPart, str, str], None]
"""Called with each part that is persisted, and the xxh3_128 and the MD5 of the local file's bytes."""


class SignedUpload:
    """Sends parts of an upload. What its workers ask of Score at the same time is one call."""

    def __init__(
        self,
        score: ScoreClient,
        upload: Upload,
        file: LocalFile,
        part_numbers: Collection[int],
        replaced: set[int],
        listener: Listener,
        rate: RateLimit | None,
        on_persisted: OnPersisted,
    ) -> None:
        """Make what its workers share.

        `part_numbers`: the parts to be sent. `replaced`: parts persisted with other bytes than the file has; those
        found on the way join them.
        """
        self._score, self._upload, self._file, self._replaced = score, upload, file, replaced
        self._listener, self._rate, self._on_persisted = listener, rate, on_persisted
        self._digests = DigestsTogether(file, part_numbers, self._range)
        self._signing = Gathering(self._sign, MAX_SIGNED)
        self._recording = Gathering(self._record, MAX_SIGNED)

    def run(self, queue: Parts) -> None:
        """Be one worker: send parts until none is left. Raises ServiceError, ClientError; its part goes back."""
        cancellation = Cancellation()
        queue.on_stop(cancellation.cancel)
        while (number := queue.take()) is not None:
            try:
                self._send(number, Tries(self._score.connection, self._listener, queue), cancellation)
            except BaseException:
                queue.give_back([number])
                if queue.is_stopped:
                    return  # another worker's failure is the one that is told
                raise

    def _send(self, number: int, tries: Tries, cancellation: Cancellation) -> None:
        xxh3_128, md5 = self._digests.of(number)
        while True:
            try:
                part = self._try(number, md5, cancellation)
            except ServiceError as error:
                self._look_after(error)
                tries.failed(error)
                continue
            if (part.xxh3_128 or part.md5) == (xxh3_128 if part.xxh3_128 else md5):
                self._listener.verify(part.size_bytes)
                self._on_persisted(part, xxh3_128, md5)
                return
            self._replace(number)

    def _try(self, number: int, md5: str, cancellation: Cancellation) -> UploadPart:
        """Have the part persisted. Raises ServiceError."""
        signed = self._signing.ask(PartToSign(part_number=number, md5=md5, replace_part=number in self._replaced))
        if isinstance(signed, UploadPart):
            return signed
        etag = self._put(signed, cancellation)
        recorded = self._recording.ask(PartToRecord(part_number=number, md5=md5, store_etag=etag))
        if recorded.HasField("refusal"):
            text = f"part {number} of {self._file.path}: {recorded.refusal.message}"
            raise UnavailableError(text, service="score", code=grpc.StatusCode.UNAVAILABLE)
        return recorded.part

    def _put(self, signed: SignedUploadPart, cancellation: Cancellation) -> str:
        """Send the bytes; return the store's ETag. Raises ServiceError, ClientError."""
        number, request = signed.part_number, signed.request
        doing = f"part {number} of {self._file.path}"
        size_bytes = self._range(number)[1]
        asked = HttpRequest(request.method, request.url, headers_of(request), self._body(number), size_bytes)
        try:
            with self._score.connection.http.exchange(asked, cancellation=cancellation) as answer:
                if answer.status // 100 != 2:  # noqa: PLR2004 - HTTP's own
                    raise refusal(answer, doing)
                answer.read(MAX_WORDS_BYTES)
                return answer.getheader("ETag") or ""
        except HTTP_FAILURES as error:
            raise no_answer(error, doing) from None

    def _body(self, number: int) -> Iterator[memoryview]:
        for piece in self._file.pieces(*self._range(number), piece_bytes(self._rate, CHUNK_BYTES)):
            if self._rate is not None:
                self._rate.take(piece.nbytes)
            yield piece
            self._listener.move(piece.nbytes)

    def _look_after(self, error: ServiceError) -> None:
        """Raise what makes another try senseless: a file that changed, an upload that ended."""
        if isinstance(error, IntegrityError):
            self._file.require_unchanged()
        if isinstance(error, NotFoundError) and not error.reason:
            # The store knows no such upload: Score knows why.
            upload = self._score.get_upload(self._upload.upload_id).upload
            if upload.state != UPLOAD_STATE_OPEN:
                raise ended_error(upload) from error

    def _replace(self, number: int) -> None:
        if number in self._replaced:
            raise IntegrityError(
                f"{self._file.path}: part {number} was replaced, and still has other bytes than the file; is somebody "
                "else uploading another file under this object id? Run the command again once nobody is",
                service="score",
                code=grpc.StatusCode.DATA_LOSS,
            )
        self._listener.say(f"part {number} is persisted with other bytes than the file has: replacing it")
        self._replaced.add(number)

    def _sign(self, parts: Sequence[PartToSign]) -> Sequence[SignedUploadPart | UploadPart]:
        answer = self._score.sign_upload_parts(self._upload.upload_id, parts)
        found: dict[int, SignedUploadPart | UploadPart] = {part.part_number: part for part in answer.signed_parts}
        found |= {part.part_number: part for part in answer.persisted_parts}
        return [found[part.part_number] for part in parts]

    def _record(self, parts: Sequence[PartToRecord]) -> Sequence[RecordedPart]:
        return self._score.record_upload_parts(self._upload.upload_id, parts)

    def _range(self, number: int) -> tuple[int, int]:
        return part_range(number, self._upload.part_size_bytes, self._upload.size_bytes)
