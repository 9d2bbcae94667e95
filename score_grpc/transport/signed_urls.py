"""Score's own signed URLs over HTTP/1.1: `PUT` of a part, `GET` and `HEAD` of an object.

    PUT       /signed/v1/uploads/{upload_id}/parts/{n}   200 with ETag "<md5>": the part is recorded
    GET HEAD  /signed/v1/objects/{object_id}             200, or 206 for a range

A refusal has the JSON body {"reason", "message"}, with a reason of the contract. Nothing of a query is ever logged.
"""

import base64
import binascii
import errno
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from grpc import StatusCode
from score.v1 import error_reason_pb2

from runtime_grpc.admission import DrainingError, StreamSlots, TooManyStreamsError
from runtime_grpc.logs import log_call
from score_grpc.domain import limits
from score_grpc.domain.byte_ranges import asked_range
from score_grpc.domain.errors import FieldInvalidError, ObjectNotFoundError, RangeInvalidError
from score_grpc.transport.item_errors import item_error
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.own_urls import SIGNED_PATH, OwnUrls
from score_grpc.use_cases.signed_transfers import SignedRead, write_part

_PART = re.compile(rf"{SIGNED_PATH}/uploads/([\w-]{{1,64}})/parts/([1-9][0-9]{{0,4}})", re.ASCII)
_OBJECT = re.compile(rf"{SIGNED_PATH}/objects/([\w-]{{1,64}})", re.ASCII)
_MD5_BYTES = 16

_STATUSES = {
    StatusCode.INVALID_ARGUMENT: "400 Bad Request",
    StatusCode.PERMISSION_DENIED: "403 Forbidden",
    StatusCode.NOT_FOUND: "404 Not Found",
    StatusCode.FAILED_PRECONDITION: "409 Conflict",
    StatusCode.ABORTED: "409 Conflict",
    StatusCode.OUT_OF_RANGE: "416 Range Not Satisfiable",
    StatusCode.RESOURCE_EXHAUSTED: "429 Too Many Requests",
    StatusCode.UNAVAILABLE: "503 Service Unavailable",
}
_STATUS_OF_CODE = {code.value[0]: status for code, status in _STATUSES.items()}
_STATUS_OF_REASON = {
    "CHUNK_CORRUPT": "400 Bad Request",  # as object stores answer a body with another MD5
    # Who asks for a new URL is told why there is none.
    "ANALYSIS_NOT_PUBLISHED": "403 Forbidden",
    "ANALYSIS_NOT_UNPUBLISHED": "403 Forbidden",
    "STORE_FULL": "507 Insufficient Storage",
}


class SignedUrls:
    """A WSGI application for `HttpServer`."""

    def __init__(self, environment: Environment, own_urls: OwnUrls, slots: StreamSlots) -> None:
        """Serve what `own_urls` signs; transfers take the slots of streams."""
        self._environment, self._own_urls, self._slots = environment, own_urls, slots
        self._readers = _Readers(min(limits.SIGNED_READS_PER_OBJECT, max(1, slots.total // 2)))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[Any]:
        """Answer a request."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        name, started = f"{method} {path}", time.monotonic()
        try:
            if part := _PART.fullmatch(path):
                if method != "PUT":
                    return _wrong_method(start_response, "PUT")
                return self._put(environ, start_response, part[1], int(part[2]))
            if found := _OBJECT.fullmatch(path):
                if method not in {"GET", "HEAD"}:
                    return _wrong_method(start_response, "GET, HEAD")
                return self._get(environ, start_response, found[1], started)
            return _refuse(start_response, ObjectNotFoundError("there is nothing under this path"), name, started)
        except (ConnectionError, TimeoutError):
            raise  # the client has gone
        except Exception as error:  # noqa: BLE001 - the one place where errors become answers
            return _refuse(start_response, error, name, started)

    def _put(
        self, environ: WSGIEnvironment, start_response: StartResponse, upload_id: str, part_number: int
    ) -> Iterable[bytes]:
        grant = self._own_urls.part_grant(upload_id, part_number, environ.get("QUERY_STRING", ""))
        length = environ.get("CONTENT_LENGTH", "")
        if environ.get("wsgi.input_terminated") or length != str(grant.size_bytes):
            raise FieldInvalidError(
                "Content-Length", f"part {part_number} has {grant.size_bytes} bytes: send a body of that length"
            )
        content_md5 = _content_md5(environ.get("HTTP_CONTENT_MD5", ""))
        self._admit()
        try:
            md5 = write_part(self._environment, grant, content_md5, environ["wsgi.input"].readinto)
        finally:
            self._slots.free()
        start_response("200 OK", [("ETag", f'"{md5}"')])
        return []

    def _get(
        self, environ: WSGIEnvironment, start_response: StartResponse, object_id: str, started: float
    ) -> Iterable[bytes | memoryview]:
        grant = self._own_urls.read_grant(object_id, environ.get("QUERY_STRING", ""))
        body = _Body(self._admit_reader(object_id), f"GET {SIGNED_PATH}/objects/{object_id}", started)
        try:
            read = SignedRead(self._environment, grant)
            stored = read.stored
            etag = f'"{stored.md5}"'
            is_asked = environ.get("HTTP_IF_RANGE", etag) == etag
            header = environ.get("HTTP_RANGE", "") if is_asked else ""
            try:
                byte_range = asked_range(header, stored.size_bytes, grant.byte_range)
            except RangeInvalidError as error:
                unsatisfied = ("Content-Range", f"bytes */{stored.size_bytes}")
                body.close()
                return _refuse(start_response, error, body.name, started, unsatisfied)
            first, length = byte_range or (0, stored.size_bytes)
            headers = [
                ("Content-Length", str(length)),
                ("Content-Type", "application/octet-stream"),
                ("Accept-Ranges", "bytes"),
                ("ETag", etag),
                ("Cache-Control", "private, no-transform"),
            ]
            if byte_range is not None:
                headers.append(("Content-Range", f"bytes {first}-{first + length - 1}/{stored.size_bytes}"))
            if length and environ["REQUEST_METHOD"] == "GET":
                body.begin(read.read(first, length))
        except BaseException:
            body.close()
            raise
        start_response("200 OK" if byte_range is None else "206 Partial Content", headers)
        return body

    def _admit(self) -> None:
        """Take a slot. Raises DrainingError, TooManyStreamsError."""
        if self._environment.draining.is_set():
            raise DrainingError("this server is shutting down: go on at another one")
        if not self._slots.take():
            raise self._slots.refusal()

    def _admit_reader(self, object_id: str) -> ExitStack:
        """Take a slot for a reader of the object; closing gives it back. Raises DrainingError, TooManyStreamsError."""
        with ExitStack() as admitted:
            self._readers.enter(object_id)
            admitted.callback(self._readers.leave, object_id)
            self._admit()
            admitted.callback(self._slots.free)
            return admitted.pop_all()


class _Readers:
    """Counts who reads by object. A URL may be anybody's: its holders must not have every slot there is."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._readers: Counter[str] = Counter()

    def enter(self, object_id: str) -> None:
        """Count one in. Raises TooManyStreamsError."""
        with self._lock:
            if self._readers[object_id] >= self._most:
                raise TooManyStreamsError(
                    f"object {object_id} is read by {self._most} signed requests, which is all it may have at once"
                )
            self._readers[object_id] += 1

    def leave(self, object_id: str) -> None:
        """Count one out."""
        with self._lock:
            self._readers[object_id] -= 1
            if not self._readers[object_id]:
                del self._readers[object_id]


class _Body:
    """Bytes of an object on their way: holds a slot until it is closed."""

    def __init__(self, admitted: ExitStack, name: str, started: float) -> None:
        self._admitted, self.name, self._started = admitted, name, started
        self._first: memoryview | None = None
        self._pieces: Iterator[memoryview] = iter(())

    def begin(self, pieces: Iterator[memoryview]) -> None:
        """Take the first piece, while an error can still be told."""
        self._pieces = pieces
        self._first = next(pieces, None)

    def __iter__(self) -> Iterator[memoryview]:
        if self._first is not None:
            yield self._first
        try:
            yield from self._pieces
        except Exception as error:
            # The head is out: a body that ends early is all that can be said.
            refusal = item_error(error, self.name)
            log_call(self.name, self._started, refusal.message)
            raise ConnectionAbortedError(errno.ECONNABORTED, refusal.message) from error
        log_call(self.name, self._started, None)

    def close(self) -> None:
        """Give the slot back, once."""
        self._admitted.close()


def _content_md5(header: str) -> str:
    """Return the MD5 of a header, as hexadecimal digits. Raises FieldInvalidError."""
    try:
        md5 = base64.b64decode(header, validate=True)
    except (binascii.Error, ValueError):
        md5 = b"?"
    if header and len(md5) != _MD5_BYTES:
        raise FieldInvalidError("Content-MD5", "Content-MD5 is not the base64 of 16 bytes")
    return md5.hex()


def _wrong_method(start_response: StartResponse, allowed: str) -> list[bytes]:
    start_response("405 Method Not Allowed", [("Allow", allowed)])
    return []


def _refuse(
    start_response: StartResponse, error: Exception, name: str, started: float, *headers: tuple[str, str]
) -> list[bytes]:
    refusal = item_error(error, name)
    log_call(name, started, refusal.message)
    reason = error_reason_pb2.ErrorReason.Name(refusal.reason).removeprefix("ERROR_REASON_")
    status = _STATUS_OF_REASON.get(reason) or _STATUS_OF_CODE.get(refusal.code, "500 Internal Server Error")
    if refusal.retryable:
        headers = (*headers, ("Retry-After", "1"))
    start_response(status, [("Content-Type", "application/json"), *headers])
    return [json.dumps({"reason": reason, "message": refusal.message}).encode()]
