"""Whether signed URLs lead to the bytes from here: a GET of a stored object, a PUT of a trial upload, taken back."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from score.v1.download_service_pb2 import RangeToSign, SignDownloadRequest
from score.v1.signed_request_pb2 import SignedRequest
from score.v1.stored_object_pb2 import StoredObject
from score.v1.upload_pb2 import Upload
from score.v1.upload_service_pb2 import PartToSign

from song_score_client.errors import ServiceError
from song_score_client.findings import Clocks, Finding, Verdict
from song_score_client.http_connections import HTTP_FAILURES, HttpRequest
from song_score_client.quantities import format_bytes
from song_score_client.score import ScoreClient
from song_score_client.transfer.signed_requests import headers_of, no_answer, refusal

GET, PUT = "signed GET", "signed PUT"
TIMEOUT_SECONDS = 10.0
"""How long nothing may move."""
LIFETIME_SECONDS = 60
TRIAL_PART_BYTES = 7 * 1024 * 1024
"""A part size that nobody else asks for tells a trial upload from others; objects above 70 GB have larger parts."""
_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class SigningCheck:
    """Tries signed URLs."""

    score: ScoreClient
    clocks: Clocks

    def get(self, stored: StoredObject) -> Finding:
        """Fetch the first byte by a signed URL."""
        count = min(1, stored.size_bytes)
        request = SignDownloadRequest(
            object_id=stored.object_id, allow_unpublished=True, lifetime_seconds=LIFETIME_SECONDS
        )
        if count:
            request.ranges.append(RangeToSign(offset=0, size_bytes=count))
        try:
            signed = self.score.sign_download(request).requests[0]
            self._tell_clock(signed)
            fetched = self._exchange(signed, "fetching a byte by a signed URL")
        except ServiceError as error:
            return self._trouble(GET, error)
        if len(fetched) < count:
            return Finding(GET, Verdict.WARNING, "a signed URL brings no byte", "look at what stands between")
        return Finding(GET, Verdict.OK, "a signed URL brings the object's bytes")

    def put(self, object_id: str) -> Finding:
        """Send a part of a trial upload, of zeros, and abort it. Raises ServiceError where none can be started.

        An upload that is under way is joined by that, and left alone.
        """
        started = self.score.start_upload(object_id, part_size_hint_bytes=TRIAL_PART_BYTES)
        upload = started.upload
        is_stored = started.WhichOneof("result") == "stored_object"
        if is_stored or upload.part_size_bytes != TRIAL_PART_BYTES or upload.persisted_part_total:
            text = "not tried: an upload of the object is under way, and left alone"
            return Finding(PUT, Verdict.SKIPPED, text)
        finding = self._send(upload)
        try:
            if self.score.get_upload(upload.upload_id).upload.persisted_part_total <= 1:
                self.score.abort_upload(upload.upload_id)
            # Otherwise somebody has joined meanwhile, and sends the one part of zeros anew when the whole is not right.
        except ServiceError as error:
            text, remedy = f"the trial upload is still there: {error}", f"score rm --upload {upload.upload_id}"
            return Finding(PUT, Verdict.WARNING, text, remedy)
        return finding

    def _send(self, upload: Upload) -> Finding:
        """Send the first part of an upload."""
        size_bytes = min(upload.part_size_bytes, upload.size_bytes)
        if not size_bytes:
            return Finding(PUT, Verdict.SKIPPED, "not tried: the object is to be empty")
        digest = hashlib.md5(usedforsecurity=False)
        for piece in _zeros(size_bytes):
            digest.update(piece)
        wanted = [PartToSign(part_number=1, md5=digest.hexdigest())]
        try:
            answer = self.score.sign_upload_parts(upload.upload_id, wanted, lifetime_seconds=LIFETIME_SECONDS)
            signed = answer.signed_parts[0].request
            self._tell_clock(signed)
            self._exchange(signed, "sending a part to a signed URL", size_bytes)
        except ServiceError as error:
            return self._trouble(PUT, error)
        return Finding(PUT, Verdict.OK, f"{format_bytes(size_bytes)} were sent to a signed URL, and are taken back")

    def _exchange(self, signed: SignedRequest, doing: str, size_bytes: int | None = None) -> bytes:
        """Send the request, zeros where it has a body, and return the beginning of the answer. Raises ServiceError."""
        body = () if size_bytes is None else _zeros(size_bytes)
        asked = HttpRequest(signed.method, signed.url, headers_of(signed), body, size_bytes)
        try:
            with self.score.connection.http.exchange(asked, timeout_seconds=TIMEOUT_SECONDS) as answer:
                self.clocks.tell_date("the store's", answer.getheader("Date"))
                if answer.status >= 300:  # noqa: PLR2004 - no success
                    raise refusal(answer, doing)
                return answer.read(_PIECE_BYTES)
        except HTTP_FAILURES as error:
            raise no_answer(error, doing) from None

    def _tell_clock(self, signed: SignedRequest) -> None:
        self.clocks.tell("Score's", signed.expire_time.seconds - LIFETIME_SECONDS)

    def _trouble(self, check: str, error: ServiceError) -> Finding:
        if self.score.connection.carries_streams:
            remedy = "streams work without it; those who run Score see to its HTTP side, or to the store's address"
            return Finding(check, Verdict.WARNING, str(error), remedy)
        remedy = "no stream passes, so bytes need it: look at the store's address, clocks, and what stands between"
        return Finding(check, Verdict.FAILED, str(error), remedy, error)


def _zeros(size_bytes: int) -> Iterator[memoryview]:
    zeros = memoryview(bytes(_PIECE_BYTES))
    for offset in range(0, size_bytes, _PIECE_BYTES):
        yield zeros[: min(_PIECE_BYTES, size_bytes - offset)]
