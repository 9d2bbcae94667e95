"""Requests to signed URLs: what their answers mean, and when they are sent again."""

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPResponse

import grpc
from score.v1.signed_request_pb2 import SignedRequest

from song_score_client.connection import Connection
from song_score_client.errors import (
    AccessError,
    IntegrityError,
    NotFoundError,
    ServiceError,
    StoreFullError,
    UnavailableError,
    UnreachableError,
)
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.parts import Parts

MAX_WORDS_BYTES = 64 * 1024
"""Read of an answer that has no bytes of an object."""
_CORRUPT = {"BadDigest", "InvalidDigest", "Md5Mismatch", "XAmzContentSHA256Mismatch", "CHUNK_CORRUPT"}
"""What stores call a body that is not the one that was signed."""
_GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE, HTTPStatus.PRECONDITION_FAILED}
_LATER = {
    HTTPStatus.BAD_REQUEST,  # so S3 calls a body that came too slowly, or broke off
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_XML_CODE = re.compile(rb"<Code>\s*([\w.]+)\s*</Code>")


def headers_of(request: SignedRequest) -> dict[str, str]:
    """Return the headers to send."""
    return {header.name: header.value for header in request.headers}


def refusal(answer: HTTPResponse, doing: str) -> ServiceError:
    """Return what an answer means that is no success. Reads its body, a short one, and repeats no more than a code."""
    status, code = answer.status, _code_of(answer)
    text = f"{doing}: the store answers {status} {code or answer.reason}".rstrip()
    kind: type[ServiceError] = ServiceError
    grpc_code, retry_after = grpc.StatusCode.UNKNOWN, None
    if code in _CORRUPT:
        kind, grpc_code, retry_after = IntegrityError, grpc.StatusCode.DATA_LOSS, 0.0
        text += ": the bytes were changed on their way"
    elif code == "STORE_FULL":
        kind, grpc_code = StoreFullError, grpc.StatusCode.RESOURCE_EXHAUSTED
    elif status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind, grpc_code, retry_after = UnavailableError, grpc.StatusCode.UNAVAILABLE, _retry_after(answer)
    elif status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        kind, grpc_code = AccessError, grpc.StatusCode.PERMISSION_DENIED
    elif status in _GONE:
        kind, grpc_code, retry_after = NotFoundError, grpc.StatusCode.NOT_FOUND, 0.0
    elif status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        kind, grpc_code = AccessError, grpc.StatusCode.UNAUTHENTICATED
    return kind(text, service="score", code=grpc_code, retry_after_seconds=retry_after)


def no_answer(error: Exception, doing: str) -> ServiceError:
    """Return what a connection that broke means. Only the kind is named: texts of such errors hold URLs."""
    text = f"{doing}: the store does not answer ({type(error).__name__})"
    return UnreachableError(text, service="score", code=grpc.StatusCode.UNAVAILABLE)


@dataclass(slots=True)
class Tries:
    """Counts what goes wrong with one part. A refused signature may be made anew once in a row."""

    connection: Connection
    listener: Listener
    queue: Parts
    failures: int = 0
    _was_refused: bool = False

    def failed(self, error: ServiceError) -> None:
        """Wait before the part is tried again, with a new signature. Raises the error where that is no use."""
        if self.queue.is_stopped:
            raise error
        if isinstance(error, AccessError) and error.code is grpc.StatusCode.PERMISSION_DENIED:
            if self._was_refused:
                raise error
            self._was_refused = True
            return
        self._was_refused = False
        self.failures += 1
        if isinstance(error, UnavailableError):
            self.queue.fail()
        delay = self.connection.retry.delay_seconds(self.failures, error)
        if delay is None:
            raise error
        self.listener.wait(error, delay)
        self.queue.sleep(delay)


def _code_of(answer: HTTPResponse) -> str:
    """Return the code in an error's body: `<Code>` of a store's document, `reason` of Score's."""
    try:
        body = answer.read(MAX_WORDS_BYTES)
    except Exception:  # noqa: BLE001 - the status says enough
        return ""
    if found := _XML_CODE.search(body):
        return found[1].decode("ascii", "replace")
    try:
        reason = json.loads(body)["reason"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return reason if isinstance(reason, str) and reason.isidentifier() else ""


def _retry_after(answer: HTTPResponse) -> float:
    text = answer.getheader("Retry-After") or ""
    return min(float(text), 60.0) if text.isdecimal() else 0.0
