"""The unary methods of gRPC services over HTTP/1.1, by the Connect protocol: plain JSON for curl, or binary.

The same servicers answer, called as gRPC calls them, and the same error table says what their errors become. Streams
need HTTP/2: their methods answer `unimplemented`.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from traceback import clear_frames
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIEnvironment

import grpc
from connectrpc.code import Code
from connectrpc.errors import ConnectError, ErrorDetail
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectWSGIApplication, EndpointSync
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from protobuf.wkt import Any as AnyDetail
from protobuf.wkt import Struct

from runtime_grpc.connect_codecs import OneMember, bounded_codecs, message_size
from runtime_grpc.connect_memory import (
    LARGE_BODIES,
    MESSAGE_MEMORY_FACTOR,
    SMALL_CALL_BYTES,
    CallMemory,
    NoMemoryLeftError,
)
from runtime_grpc.errors import ErrorTable
from runtime_grpc.http_bodies import CHUNKED_BODY_BYTES
from runtime_grpc.logs import log_call
from runtime_grpc.server import Service

_NO_SIDE_EFFECTS = 1
"""`google.protobuf.MethodOptions.NO_SIDE_EFFECTS`."""
_CODES = {
    code.value[0]: Code.CANCELED if code is grpc.StatusCode.CANCELLED else Code[code.name]
    for code in grpc.StatusCode
    if code is not grpc.StatusCode.OK
}

CALL_WAIT_SECONDS = 1.0
"""How long a call waits while there are as many as may be at once."""

Endpoint = Any
"""The library's endpoint of one method."""


class ConnectDoor:
    """A WSGI application: `POST /<service>/<method>`, and GET where a method has no side effects."""

    def __init__(self, services: Sequence[Service], errors: ErrorTable, max_message_bytes: int, max_calls: int) -> None:
        """Serve the services beside their gRPC server; so many calls at once, with the time their messages take."""
        self._calls = threading.Semaphore(max_calls)
        self._bodies = CallMemory(LARGE_BODIES * max_message_bytes)
        self._messages = CallMemory(MESSAGE_MEMORY_FACTOR * max_message_bytes)
        self._errors, self._max_message_bytes = errors, max_message_bytes
        self._endpoints: dict[str, Endpoint] = {}
        self._streams: set[str] = set()
        for service in services:
            for method in Default().FindServiceByName(service.name).methods:
                path = f"/{service.name}/{method.name}"
                if method.client_streaming or method.server_streaming:
                    self._streams.add(path)
                else:
                    self._endpoints[path] = self._endpoint(path, method, getattr(service.servicer, method.name))
        self._application = _Application(self._endpoints, max_message_bytes)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a call."""
        path = environ["PATH_INFO"]
        if path in self._streams:
            text = "this method is a stream, which needs gRPC over HTTP/2: over HTTP/1.1 use signed URLs, or pages"
            return _refuse(start_response, "501 Not Implemented", "unimplemented", text)
        if path not in self._endpoints:
            return _refuse(start_response, "404 Not Found", "unimplemented", "there is no such method")
        if environ.get("CONTENT_TYPE", "").startswith("application/grpc"):
            text = "gRPC has a port of its own: here are application/json and application/proto, by Connect"
            return _refuse(start_response, "415 Unsupported Media Type", "unimplemented", text)
        # Before the library, which would take the whole before it refuses it.
        size_bytes = int(environ.get("CONTENT_LENGTH") or 0)
        if size_bytes > self._max_message_bytes:
            text = f"the message has more than {self._max_message_bytes} bytes"
            return _refuse(start_response, "429 Too Many Requests", "resource_exhausted", text)
        return self._in_turn(environ, start_response, size_bytes)

    def _in_turn(self, environ: WSGIEnvironment, start_response: StartResponse, size_bytes: int) -> Iterable[bytes]:
        """Answer a call, or say that there are too many."""
        if not self._calls.acquire(timeout=CALL_WAIT_SECONDS):
            return _refuse_for_now(start_response, "this server has as many calls over HTTP/1.1 as it takes: retry")
        try:
            return self._answer(environ, start_response, size_bytes)
        except NoMemoryLeftError:
            return _refuse_for_now(start_response, "other large messages have the memory there is for them: retry")
        finally:
            self._calls.release()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse, size_bytes: int) -> Iterable[bytes]:
        """Answer a call. Raises NoMemoryLeftError, and OSError where its message does not come."""
        is_chunked = environ.get("wsgi.input_terminated", False)
        with self._bodies.held(_if_large(CHUNKED_BODY_BYTES if is_chunked else size_bytes)):
            # Read here: the library would not let go of a body that does not come.
            body = environ["wsgi.input"].read(-1 if is_chunked else size_bytes)
            message_bytes = min(message_size(environ, body, self._max_message_bytes), self._max_message_bytes)
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(body), str(len(body))
            del body
            with self._messages.held(MESSAGE_MEMORY_FACTOR * _if_large(message_bytes)):
                return list(self._application(environ, start_response))

    def _endpoint(
        self, path: str, method: MethodDescriptor, behavior: Callable[[Any, grpc.ServicerContext], Message]
    ) -> Endpoint:
        is_pure = method.GetOptions().idempotency_level == _NO_SIDE_EFFECTS
        info = MethodInfo(
            name=method.name,
            service_name=method.containing_service.full_name,
            input=GetMessageClass(method.input_type),
            output=GetMessageClass(method.output_type),
            idempotency_level=IdempotencyLevel.NO_SIDE_EFFECTS if is_pure else IdempotencyLevel.UNKNOWN,
            stream_type=StreamType.UNARY,
        )

        def call(request: Message, context: RequestContext[Any, Any]) -> Message:
            started, adapted = time.monotonic(), _Context(context)
            if not adapted.is_active():
                raise ConnectError(Code.DEADLINE_EXCEEDED, "the time that the caller gives is over")
            try:
                response = behavior(request, cast("grpc.ServicerContext", adapted))
            except Exception as error:  # noqa: BLE001 - the one place where errors become statuses
                status = self._errors.status_of(error, path)
                log_call(path, started, status.message)
                raise _connect_error(status) from None
            log_call(path, started, None)
            return response

        return EndpointSync.unary(method=info, function=call)


class _Application(ConnectWSGIApplication):
    """The library's application over our endpoints."""

    path = "/"

    def __init__(self, endpoints: Mapping[str, Endpoint], max_message_bytes: int) -> None:
        super().__init__(
            endpoints=endpoints, read_max_bytes=max_message_bytes, compressions=[OneMember()], codecs=bounded_codecs()
        )

    def _handle_error(self, exc: Exception, *answering: Any) -> list[bytes]:  # noqa: ANN401 - the library's
        """Answer with the error, and let go of what the frames hold that it came through.

        The library keeps the error in one of them: else message and body would stay until garbage is collected.
        """
        found: BaseException | None = exc
        while found is not None:
            clear_frames(found.__traceback__)
            found = found.__context__
        return cast("list[bytes]", super()._handle_error(exc, *answering))


class _Context:
    """What servicers use of a `grpc.ServicerContext`; the rest is gRPC's alone."""

    def __init__(self, context: RequestContext[Any, Any]) -> None:
        self._context = context

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        """Return the request's headers, their names in lower case."""
        return [(name.lower(), value) for name, value in self._context.request_headers.allitems()]

    def is_active(self) -> bool:
        """Whether an answer still has a reader, as far as that is known: an HTTP client says nothing while it waits."""
        left = self.time_remaining()
        return left is None or left > 0

    def time_remaining(self) -> float | None:
        """Return the seconds that the caller still waits; None where it did not say."""
        return None if self._context.timeout_ms is None else self._context.timeout_ms / 1000

    def peer(self) -> str:
        """Return the other end of the connection, as gRPC spells it."""
        host, _, port = (self._context.client_address or "unknown:0").rpartition(":")
        return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"


def _connect_error(status: Status) -> ConnectError:
    return ConnectError(_CODES[status.code], status.message, [_Detail(detail) for detail in status.details])


class _Detail(ErrorDetail):
    """A detail of an error, whose `debug` is its JSON: people with curl read the reason there."""

    def __init__(self, detail: AnyMessage) -> None:
        super().__init__(AnyDetail(type_url=detail.type_url, value=detail.value))
        known = next((known for known in (ErrorInfo(), RetryInfo(), BadRequest()) if detail.Unpack(known)), None)
        self._shown = Struct() if known is None else Struct.from_python(MessageToDict(known))

    def value(self, *_registry: object) -> Any:  # noqa: ANN401 - a message of the library's
        """Return what is shown."""
        return self._shown


def _if_large(size_bytes: int) -> int:
    """Return the size, and 0 of what is small."""
    return size_bytes if size_bytes > SMALL_CALL_BYTES else 0


def _refuse_for_now(start_response: StartResponse, message: str) -> list[bytes]:
    """Answer that a repetition may help."""
    return _refuse(start_response, "503 Service Unavailable", "unavailable", message, ("Retry-After", "1"))


def _refuse(
    start_response: StartResponse, status: str, code: str, message: str, *headers: tuple[str, str]
) -> list[bytes]:
    """Answer as Connect spells an error of its own."""
    start_response(status, [("Content-Type", "application/json"), *headers])
    return [json.dumps({"code": code, "message": message}).encode()]
