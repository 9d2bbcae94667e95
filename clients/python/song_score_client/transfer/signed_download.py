"""Parts of a download by a signed URL: ranges of the whole, verified and written as they come; any number at once."""

import re
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPResponse

import grpc
from score.v1.download_service_pb2 import ObjectPart, SignDownloadRequest
from score.v1.signed_request_pb2 import SignedRequest
from score.v1.stored_object_pb2 import StoredObject

from song_score_client.errors import IntegrityError, ServiceError, UnavailableError
from song_score_client.http_connections import HTTP_FAILURES, Cancellation, HttpConnections, HttpRequest
from song_score_client.score import ScoreClient
from song_score_client.transfer.download_stream import write_at
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.local_file import CHUNK_BYTES
from song_score_client.transfer.partial_file import piece_of
from song_score_client.transfer.parts import Parts
from song_score_client.transfer.piece_digest import PieceDigest
from song_score_client.transfer.rate import RateLimit, piece_bytes
from song_score_client.transfer.signed_requests import Tries, headers_of, no_answer, refusal

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/")


class SignedUrl:
    """The URL of a whole object, signed again when the store takes it no more. For all who fetch parts of it."""

    def __init__(self, score: ScoreClient, stored: StoredObject, *, allow_unpublished: bool) -> None:
        self._score, self._lock = score, threading.Lock()
        self._request = SignDownloadRequest(
            object_id=stored.object_id, generation=stored.generation, allow_unpublished=allow_unpublished
        )
        self._signed: SignedRequest | None = None

    def get(self, refused: SignedRequest | None) -> SignedRequest:
        """Return a URL that is not the refused one. Raises ServiceError."""
        with self._lock:
            if self._signed is None or self._signed is refused:
                (self._signed,) = self._score.sign_download(self._request).requests
            return self._signed


class SignedDownload:
    """Fetches parts of an object into a file."""

    def __init__(
        self,
        score: ScoreClient,
        stored: StoredObject,
        parts: Sequence[ObjectPart],
        fd: int,
        url: SignedUrl,
        listener: Listener,
        rate: RateLimit | None,
        on_fetched: Callable[[int], None],
    ) -> None:
        """`parts`: of the whole object; part `n` is at `n - 1`. `on_fetched` gets each that is written and verified."""
        self._score, self._stored, self._parts, self._fd, self._url = score, stored, parts, fd, url
        self._listener, self._rate, self._on_fetched = listener, rate, on_fetched

    def run(self, queue: Parts) -> None:
        """Be one worker: fetch parts until none is left. Raises ServiceError, ClientError; its part goes back."""
        cancellation = Cancellation()
        queue.on_stop(cancellation.cancel)
        buffer = memoryview(bytearray(piece_bytes(self._rate, CHUNK_BYTES)))
        while (number := queue.take()) is not None:
            try:
                self._fetch(number, Tries(self._score.connection, self._listener, queue), cancellation, buffer)
            except BaseException:
                queue.give_back([number])
                if queue.is_stopped:
                    return  # another worker's failure is the one that is told
                raise

    def _fetch(self, number: int, tries: Tries, cancellation: Cancellation, buffer: memoryview) -> None:
        refused: SignedRequest | None = None
        while True:
            signed = self._url.get(refused)
            try:
                self._try(number, signed, cancellation, buffer)
            except ServiceError as error:
                tries.failed(error)
                # What the store says may be meant of the URL; after a broken connection it is as good as before.
                refused = None if isinstance(error, (UnavailableError, IntegrityError)) else signed
                continue
            self._listener.verify(self._parts[number - 1].size_bytes)
            self._on_fetched(number)
            return

    def _try(self, number: int, signed: SignedRequest, cancellation: Cancellation, buffer: memoryview) -> None:
        """Fetch a part into its place. Raises ServiceError, LocalFileError."""
        part = self._parts[number - 1]
        doing = f"part {number} of {self._stored.file_name}"
        http = self._score.connection.http
        digest, position = PieceDigest(piece_of(part)), part.offset
        coming = read_range(http, signed, part.offset, part.size_bytes, doing, buffer, cancellation)
        with closing(coming):
            for data in coming:
                if self._rate is not None:
                    self._rate.take(data.nbytes)
                digest.update(data)
                write_at(self._fd, data, position)
                position += data.nbytes
                self._listener.move(data.nbytes)
        if not digest.is_right():
            text = f"{doing}: other bytes came than are stored: they were changed on their way, or in the store"
            raise IntegrityError(text, service="score", code=grpc.StatusCode.DATA_LOSS, retry_after_seconds=0.0)


def read_range(
    http: HttpConnections,
    signed: SignedRequest,
    offset: int,
    size_bytes: int,
    doing: str,
    buffer: memoryview,
    cancellation: Cancellation | None = None,
) -> Generator[memoryview, None, None]:
    """Yield a range of the whole that the URL stands for, in pieces of the buffer. Raises ServiceError."""
    headers = {**headers_of(signed), "Range": f"bytes={offset}-{offset + size_bytes - 1}"}
    asked, missing = HttpRequest(signed.method, signed.url, headers), size_bytes
    try:
        with http.exchange(asked, cancellation=cancellation) as answer:
            if answer.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
                raise refusal(answer, doing)
            _skip(answer, offset - _start_of(answer, offset), buffer)
            while missing:
                count = answer.readinto(buffer[:missing])
                if not count:
                    raise ConnectionResetError("the answer broke off")
                missing -= count
                yield buffer[:count]
    except HTTP_FAILURES as error:
        raise no_answer(error, doing) from None


def _start_of(answer: HTTPResponse, asked: int) -> int:
    """Return which byte of the object an answer begins with: some stores send the whole, or 200 with a range."""
    found = _CONTENT_RANGE.match(answer.getheader("Content-Range") or "")
    if found is not None and int(found[1]) <= asked:
        return int(found[1])
    if found is None and (answer.status == HTTPStatus.OK or asked == 0):
        return 0
    raise ConnectionResetError("another range than the one that was asked for")


def _skip(answer: HTTPResponse, count: int, buffer: memoryview) -> None:
    while count:
        skipped = answer.readinto(buffer[:count])
        if not skipped:
            raise ConnectionResetError("the answer broke off")
        count -= skipped
