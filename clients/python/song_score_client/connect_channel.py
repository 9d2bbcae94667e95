"""Unary calls by the Connect protocol over HTTP/1.1, behind the interface of grpc's channels: stubs know no difference.

See https://connectrpc.com/docs/protocol. Streams are refused: they need gRPC.
"""

from __future__ import annotations  # grpc's classes are generic in its types only

import base64
import json
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPResponse
from typing import Any, NoReturn, Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status

from song_score_client.connection import user_agent
from song_score_client.http_connections import HTTP_FAILURES, HttpConnections, HttpRequest

MAX_ANSWER_BYTES = 17 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
_PIECE_BYTES = 256 * 1024
_TYPE = "application/proto"
_CODES = {code.name.lower(): code for code in grpc.StatusCode} | {"canceled": grpc.StatusCode.CANCELLED}
_CODES_OF_PROXIES: Mapping[int, grpc.StatusCode] = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INTERNAL,
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.UNIMPLEMENTED,
    HTTPStatus.REQUEST_TIMEOUT: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.BAD_GATEWAY: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: grpc.StatusCode.UNAVAILABLE,
}
"""What an answer means that is not the service's own: the table of the protocol."""

Serialize = Callable[[Any], bytes]
Parse = Callable[[bytes], Any]


class ConnectError(grpc.RpcError, grpc.Call):
    """A call that failed, as grpc would have raised it."""

    def __init__(
        self, code: grpc.StatusCode, details: str, status: Status | None = None, *, is_answer: bool = False
    ) -> None:
        super().__init__(details)
        self._code, self._details, self._status = code, details, status
        self.is_answer = is_answer
        """Whether a server of the protocol said so, and not a proxy, another server or nobody."""

    def code(self) -> grpc.StatusCode:
        """Return the code."""
        return self._code

    def details(self) -> str:
        """Return the message."""
        return self._details

    def trailing_metadata(self) -> Any:  # noqa: ANN401 - grpc's own type is private
        """Return the status with its details, where a service spoke."""
        if self._status is None:
            return ()
        return (("grpc-status-details-bin", self._status.SerializeToString()),)

    def initial_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return nothing: nobody asks for the headers."""
        return ()

    def is_active(self) -> bool:
        """Return False: it has ended."""
        return False

    def time_remaining(self) -> float:
        """Return 0: it has ended."""
        return 0.0

    def cancel(self) -> bool:
        """Return False: it has ended."""
        return False

    def add_callback(self, callback: Callable[[], None]) -> bool:  # noqa: ARG002 - never called: it has ended
        """Return False: it has ended."""
        return False


class ConnectChannel(grpc.Channel):
    """Carries unary calls to `base_url` by HTTP; it may be used by many threads."""

    def __init__(self, base_url: str, connections: HttpConnections) -> None:
        self._base_url, self._connections = base_url.rstrip("/"), connections

    def unary_unary(
        self,
        method: str,
        request_serializer: Serialize | None = None,
        response_deserializer: Parse | None = None,
        _registered_method: bool | None = False,  # noqa: FBT001 - grpc's own signature
    ) -> ConnectMethod:
        """See grpc.Channel."""
        if request_serializer is None or response_deserializer is None:
            raise TypeError("calls over HTTP need to know their messages")
        return ConnectMethod(self._base_url + method, self._connections, request_serializer, response_deserializer)

    def unary_stream(self, method: str, *_: object, **__: object) -> Any:  # noqa: ANN401 - looks like any stream
        """Return what fails when it is read."""
        return _RefusedStream(method)

    def stream_unary(self, method: str, *_: object, **__: object) -> Any:  # noqa: ANN401 - looks like any stream
        """Return what fails when it is read."""
        return _RefusedStream(method)

    def stream_stream(self, method: str, *_: object, **__: object) -> Any:  # noqa: ANN401 - looks like any stream
        """Return what fails when it is read."""
        return _RefusedStream(method)

    def subscribe(self, callback: Callable[..., None], try_to_connect: bool | None = False) -> None:  # noqa: FBT001 - grpc's own
        """Do nothing: each request finds its connection."""

    def unsubscribe(self, callback: Callable[..., None]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Close idle connections."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ConnectMethod(grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]  # generic in its types only
    """One method."""

    def __init__(self, url: str, connections: HttpConnections, serialize: Serialize, parse: Parse) -> None:
        self._url, self._connections, self._serialize, self._parse = url, connections, serialize, parse

    def __call__(
        self,
        request: Any,  # noqa: ANN401 - the method's own message
        timeout: float | None = None,
        metadata: Any = None,  # noqa: ANN401 - grpc's own type is private
        credentials: grpc.CallCredentials | None = None,  # noqa: ARG002 - not used by this SDK
        wait_for_ready: bool | None = None,  # noqa: ARG002, FBT001 - as above
        compression: grpc.Compression | None = None,  # noqa: ARG002 - as above
    ) -> Any:  # noqa: ANN401 - the method's own message
        """Call it. Raises ConnectError."""
        body = self._serialize(request)
        headers = {
            "Content-Type": _TYPE,
            "Connect-Protocol-Version": "1",
            "User-Agent": user_agent(),
            **{name: str(v) for name, v in metadata or ()},
        }
        if timeout is not None:
            headers["Connect-Timeout-Ms"] = str(max(1, int(timeout * 1000)))
        asked = HttpRequest("POST", self._url, headers, [body], len(body))
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            with self._connections.exchange(asked, timeout_seconds=timeout) as answer:
                is_ok = answer.status == HTTPStatus.OK
                data = _read(answer, deadline, MAX_ANSWER_BYTES if is_ok else MAX_ERROR_BYTES)
        except TimeoutError:
            raise ConnectError(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time") from None
        except ssl.SSLError as error:
            raise _tls_error(error) from None
        except HTTP_FAILURES as error:
            raise ConnectError(grpc.StatusCode.UNAVAILABLE, str(error) or type(error).__name__) from None
        if is_ok and _media_type(answer) == _TYPE:
            with suppress(DecodeError):
                return self._parse(data)
        raise _error_of(answer, data)

    def with_call(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - never used
        """Not offered."""
        raise NotImplementedError

    def future(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - never used
        """Not offered."""
        raise NotImplementedError


def _read(answer: HTTPResponse, deadline: float | None, most: int) -> bytes:
    """Read a body. Raises TimeoutError, OSError, HTTPException."""
    pieces, size = [], 0
    while piece := answer.read(_PIECE_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise OSError(f"an answer of more than {most} bytes")
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError
    if answer.length:
        raise OSError("the answer broke off")
    return b"".join(pieces)


def _error_of(answer: HTTPResponse, data: bytes) -> ConnectError:
    """Return what an answer says that is no success; it may be a proxy's, of any kind."""
    try:
        document = json.loads(data) if _media_type(answer) == "application/json" else {}
        code = _CODES[document["code"]]
        status = Status(code=code.value[0], message=str(document.get("message", "")))
        for detail in document.get("details", ()):
            value = str(detail["value"])
            packed = AnyMessage(type_url=f"type.googleapis.com/{detail['type']}")
            packed.value = base64.b64decode(value + "=" * (-len(value) % 4))
            status.details.append(packed)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        reason = f"HTTP {answer.status} {answer.reason}"
        if answer.status == HTTPStatus.OK or HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
            # A page for people, or a redirection to one: of a portal that wants a login, of another service.
            return ConnectError(grpc.StatusCode.UNIMPLEMENTED, f"{reason}, and no answer of a service")
        return ConnectError(_CODES_OF_PROXIES.get(answer.status, grpc.StatusCode.UNKNOWN), reason)
    # A server that knows no such method says so as Connect has it, and without a status of the contract.
    return ConnectError(code, status.message, status if status.details else None, is_answer=True)


def _media_type(answer: HTTPResponse) -> str:
    return (answer.getheader("Content-Type") or "").partition(";")[0].strip().lower()


def _tls_error(error: ssl.SSLError) -> ConnectError:
    text = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason or str(error)
    return ConnectError(grpc.StatusCode.UNAUTHENTICATED, f"TLS fails: {text} (see ca_file in the configuration)")


class _RefusedStream:
    """A stream that fails at its first answer, as grpc's do."""

    def __init__(self, method: str) -> None:
        self._name = method.rpartition("/")[2]

    def __call__(self, *_: object, **__: object) -> _RefusedStream:
        return self

    def __iter__(self) -> _RefusedStream:
        return self

    def __next__(self) -> NoReturn:
        text = f"{self._name} is a stream, and HTTP carries none: name the gRPC address, host:port"
        raise ConnectError(grpc.StatusCode.FAILED_PRECONDITION, text)

    def cancel(self) -> bool:
        """Return False: it has ended."""
        return False
