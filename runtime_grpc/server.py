"""A gRPC server of ours: two pools, admission, error mapping, health, reflection, channelz, drain.

Unary calls run in the control pool. Long streams run in a pool of their own behind a count that never
blocks: one stream too many is refused at once, by the control pool, so that unary calls stay fast while every
stream slot is taken.
"""

from __future__ import annotations  # grpc's classes are generic in its types only

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_status import rpc_status

from runtime_grpc.admission import DrainingError, StreamSlots
from runtime_grpc.errors import ErrorTable
from runtime_grpc.logs import log_call

CONTROL_WORKERS = 16
KEEPALIVE_SECONDS = 30
"""A peer that is silent for so long is asked for a sign of life, and given up if none comes in the next 20 s."""
KEEPALIVE_MIN_SECONDS = 20
STREAM_IDLE_SECONDS = 300.0
"""A stream on which no message has moved for so long is ended: its slot is another's. A slow line needs a minute and
more for one message of 1 MiB."""
STREAM_LOOK_SECONDS = 5.0
READINESS_PERIOD_SECONDS = 5
CALLS_PER_CONNECTION = 256
"""Unary calls of one connection beyond it wait at the peer, by HTTP/2's own limit. (Not grpc's server-wide limit: that
one refuses without a reason, and after a stream has been admitted.)"""
WINDOW_BYTES = 128 * 1024
"""What a stream may send ahead of being read; the message that is being read comes whole besides."""
HEALTH_WORKERS = 2
REFLECTION_STREAMS = 8
STOP_SECONDS = 5.0
"""How long stopping waits for handlers that are in the middle of something once the grace is over."""
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
REFLECTION_V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"

_log = structlog.get_logger()

Behavior = Callable[[Any, grpc.ServicerContext], Any]


@dataclass(frozen=True, slots=True)
class Codec:
    """A hand-written, wire-identical codec for one method's hot messages."""

    deserialize_request: Callable[[bytes], Any] | None = None
    serialize_response: Callable[[Any], bytes] | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One gRPC service to serve."""

    name: str
    """Full name, for example `song.v1.StudyService`."""
    add_to_server: Callable[[Any, Any], None]
    """The generated `add_…Servicer_to_server`."""
    servicer: object
    codecs: Mapping[str, Codec] = field(default_factory=dict)
    """By method name."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to serve."""

    address: str
    """`host:port`; port 0 lets the system choose."""
    max_message_bytes: int
    """A larger message from a client is refused with RESOURCE_EXHAUSTED."""
    max_streams: int = 64
    """Long streams at once; one more is refused."""
    drain_seconds: float = 10.0
    """How long calls under way may go on once the server stops."""
    shares_port: bool = False
    """Whether other processes of the same account may listen there too; see `workers.py`."""


class RunningServer:
    """A server that serves from construction to `stop`."""

    def __init__(
        self,
        options: ServerOptions,
        services: Sequence[Service],
        errors: ErrorTable,
        draining: threading.Event,
        check_ready: Callable[[], None],
        slots: StreamSlots | None = None,
    ) -> None:
        """Bind the address and serve.

        `draining` is set by `stop` before anything ends: long streams look at it. `check_ready` raises while
        the service can't work; health says NOT_SERVING then. `slots` are those of `max_streams` where other doors
        admit to them too.
        """
        slots = slots or StreamSlots(options.max_streams)
        self._options, self._draining, self._check_ready = options, draining, check_ready
        self._control = ThreadPoolExecutor(CONTROL_WORKERS, "control")
        self._streams = ThreadPoolExecutor(options.max_streams, "stream")
        self._server = grpc.server(
            self._control,
            options=[
                ("grpc.so_reuseport", int(options.shares_port)),
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", options.max_message_bytes),
                ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MIN_SECONDS * 1000),
                ("grpc.max_concurrent_streams", CALLS_PER_CONNECTION),
                # Windows that grow with the path's bandwidth grow with ours too: while a slow store holds streams up,
                # each would keep many megabytes that nobody has asked for.
                ("grpc.http2.bdp_probe", 0),
                ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
                ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        self._router = _Router(services, errors, self._streams, slots, draining)
        self._health = health.HealthServicer()
        self._names = [*(service.name for service in services), health.SERVICE_NAME, REFLECTION_V1, REFLECTION_V1ALPHA]
        # Pools of their own: whoever asks for health, or reads descriptors, neither waits for calls nor holds them up.
        reflected = _reflection(self._names)
        readers = ThreadPoolExecutor(REFLECTION_STREAMS, "reflection")
        reflection_router = _Router(reflected, errors, readers, StreamSlots(REFLECTION_STREAMS), draining)
        self._server.add_generic_rpc_handlers((self._router, _health_handlers(self._health), reflection_router))
        channelz.add_channelz_servicer(self._server)
        host = options.address.rpartition(":")[0]
        try:
            port = self._server.add_insecure_port(options.address)
        except RuntimeError:
            self._control.shutdown(wait=False)
            raise OSError(
                f"can't listen on {options.address}: the port is taken (choose another, 0 takes any free one), or the "
                "host is not this machine's"
            ) from None
        self.address = f"{host}:{port}"
        self._server.start()
        self._set_health()
        threading.Thread(target=self._watch_readiness, name="readiness", daemon=True).start()

    def stop(self) -> None:
        """Stop: not serving, drain, grace, end. Returns when all handlers have ended or the grace is over."""
        self._draining.set()
        self._health.enter_graceful_shutdown()
        self._server.stop(self._options.drain_seconds).wait()
        self._router.await_streams(STOP_SECONDS)
        self._control.shutdown(wait=False, cancel_futures=True)
        self._streams.shutdown(wait=False, cancel_futures=True)

    def _watch_readiness(self) -> None:
        while not self._draining.wait(READINESS_PERIOD_SECONDS):
            self._set_health()

    def _set_health(self) -> None:
        try:
            self._check_ready()
            state: int = health_pb2.HealthCheckResponse.SERVING
        except Exception as error:  # noqa: BLE001 - whatever it is, the service can't work
            _log.warning("not ready", error=str(error))
            state = health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ["", *self._names]:
            self._health.set(name, state)


class _Router(grpc.GenericRpcHandler):
    """Finds the handler of a call. Runs on the one serving thread, so it only looks things up and counts."""

    def __init__(
        self,
        services: Sequence[Service],
        errors: ErrorTable,
        streams: ThreadPoolExecutor,
        slots: StreamSlots,
        draining: threading.Event,
    ) -> None:
        self._errors, self._streams, self._slots, self._draining = errors, streams, slots, draining
        self._idle_streams = _IdleStreams(draining)
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for service in services:
            collected = _Collector()
            service.add_to_server(service.servicer, collected)
            for method, handler in collected.handlers.items():
                self._handlers[f"/{service.name}/{method}"] = _with_codec(handler, service.codecs.get(method))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None:
            return None
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(method, handler.unary_unary),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if self._draining.is_set():
            behavior = self._refusal(method, DrainingError("this server is shutting down: go on at another one"))
        elif self._slots.take():
            behavior = self._admitted(method, handler)
        else:
            behavior = self._refusal(method, self._slots.refusal())
        # Also where there is one request only: grpcio calls a unary-stream handler once the request is there, so that
        # the slot of a caller who leaves before, or sends none, would never be free again.
        return grpc.stream_stream_rpc_method_handler(
            behavior, handler.request_deserializer, handler.response_serializer
        )

    def await_streams(self, timeout_seconds: float) -> None:
        """Wait until no stream's handler runs any more: they may be writing to what is about to be closed."""
        if not self._slots.are_free_within(timeout_seconds):
            _log.warning("streams still run while the server stops")

    def _unary(self, method: str, behavior: Behavior) -> Behavior:
        def call(request: Message, context: grpc.ServicerContext) -> Any:  # noqa: ANN401 - the method's response
            started = time.monotonic()
            status: Status | None = None
            response = None
            if not context.is_active():  # it waited for a worker longer than its caller did
                context.abort(grpc.StatusCode.CANCELLED, "the caller has left")
            try:
                response = behavior(request, context)
            except Exception as error:  # noqa: BLE001 - the one place where errors become statuses
                status = self._errors.status_of(error, method)
            log_call(method, started, None if status is None else status.message)
            if status is not None:
                context.abort_with_status(rpc_status.to_status(status))
            return response

        return call

    def _admitted(self, method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> Behavior:
        behavior = handler.stream_stream or handler.unary_stream
        if behavior is None:
            raise TypeError(f"{method} is no method that answers with a stream")
        release = _once(self._slots.free)

        def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: ANN401 - of the method
            started = time.monotonic()
            status: Status | None = None
            moved = self._idle_streams.watch(context)
            try:
                # What comes and what goes both count.
                requests = _noting(request, moved)
                asked = requests if handler.request_streaming else next(requests, None)
                if asked is None:
                    status = Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message="the request is missing")
                else:
                    for response in behavior(asked, context):
                        yield response
                        moved()
            except Exception as error:  # noqa: BLE001 - the one place where errors become statuses
                # An error of the request stream only says that the peer has gone: nobody is left to be told.
                if context.is_active():
                    status = self._errors.status_of(error, method)
            finally:
                self._idle_streams.forget(context)
                release()
            log_call(method, started, None if status is None else status.message)
            if status is not None:
                context.abort_with_status(rpc_status.to_status(status))

        # grpcio looks for this attribute and runs the call there.
        call.experimental_thread_pool = self._streams  # type: ignore[attr-defined]
        return call

    def _refusal(self, method: str, error: Exception) -> Behavior:
        def refuse(_request: object, context: grpc.ServicerContext) -> Iterator[Any]:
            context.abort_with_status(rpc_status.to_status(self._errors.status_of(error, method)))
            yield  # makes this a generator, as every answer of a stream is

        return refuse


class _IdleStreams:
    """Ends streams on which nothing moves: a peer that keeps a slot for nothing, or reads nothing."""

    def __init__(self, draining: threading.Event) -> None:
        self._draining, self._lock = draining, threading.Lock()
        self._moved: dict[grpc.ServicerContext, float] = {}
        threading.Thread(target=self._look, name="idle streams", daemon=True).start()

    def watch(self, context: grpc.ServicerContext) -> Callable[[], None]:
        """Watch a stream; call what is returned whenever a message has moved."""

        def moved() -> None:
            self._moved[context] = time.monotonic()

        with self._lock:
            moved()
        return moved

    def forget(self, context: grpc.ServicerContext) -> None:
        """Watch a stream no longer."""
        with self._lock:
            self._moved.pop(context, None)

    def _look(self) -> None:
        while not self._draining.wait(STREAM_LOOK_SECONDS):
            since = time.monotonic() - STREAM_IDLE_SECONDS
            with self._lock:
                idle = [context for context, moved in self._moved.items() if moved < since]
            for context in idle:
                _log.info("stream ended, nothing has moved", seconds=STREAM_IDLE_SECONDS)
                context.cancel()


def _noting(requests: Iterator[Any], moved: Callable[[], None]) -> Iterator[Any]:
    for request in requests:
        moved()
        yield request
        del request  # else it would be kept, with its megabyte, while the next one comes


class _Collector:
    """Takes what generated code would add to a server."""

    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """Ignore them: the same handlers come registered."""

    def add_registered_method_handlers(
        self, _service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Take the handlers by method name."""
        self.handlers.update(handlers)


def _with_codec(handler: grpc.RpcMethodHandler[Any, Any], codec: Codec | None) -> grpc.RpcMethodHandler[Any, Any]:
    if codec is None:
        return handler
    if handler.stream_stream is None:
        raise TypeError("only methods with streams both ways have hot messages")
    return grpc.stream_stream_rpc_method_handler(
        handler.stream_stream,
        codec.deserialize_request or handler.request_deserializer,
        codec.serialize_response or handler.response_serializer,
    )


def _once(action: Callable[[], object]) -> Callable[[], None]:
    lock = threading.Lock()

    def act() -> None:
        if lock.acquire(blocking=False):
            action()

    return act


def _health_handlers(servicer: health.HealthServicer) -> grpc.GenericRpcHandler:
    """Return the health service, its unary methods in a pool of their own."""
    collected = _Collector()
    add: Callable[[Any, Any], None] = health_pb2_grpc.add_HealthServicer_to_server
    add(servicer, collected)
    pool = ThreadPoolExecutor(HEALTH_WORKERS, "health")
    handlers = {
        name: handler if handler.unary_unary is None else _in_pool(handler, handler.unary_unary, pool)
        for name, handler in collected.handlers.items()
    }
    return grpc.method_handlers_generic_handler(health.SERVICE_NAME, handlers)


def _in_pool(
    handler: grpc.RpcMethodHandler[Any, Any], behavior: Behavior, pool: ThreadPoolExecutor
) -> grpc.RpcMethodHandler[Any, Any]:
    def call(request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401 - whatever the method takes and gives
        return behavior(request, context)

    call.experimental_thread_pool = pool  # type: ignore[attr-defined]  # grpcio looks for it
    return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)


def _reflection(names: Sequence[str]) -> list[Service]:
    """Return reflection as v1 and v1alpha: the same messages under two names; the library serves v1alpha alone."""
    servicer = reflection.ReflectionServicer(names)
    add: Callable[[Any, Any], None] = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
    return [Service(name, add, servicer) for name in (REFLECTION_V1, REFLECTION_V1ALPHA)]
