"""How calls reach a service: which way, the token, deadlines and repetition. Both clients stand on this.

A way is a channel: grpc's own, or one that carries unary calls over HTTP/1.1 and looks the same.
"""

from __future__ import annotations  # grpc's classes are generic in its types only

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc
from google.protobuf.wrappers_pb2 import StringValue, UInt32Value

from song_score_client.errors import ConfigurationError, ServiceError, UnreachableError, from_rpc_error
from song_score_client.transports import Transport

if TYPE_CHECKING:
    from song_score_client.http_connections import HttpConnections

KEEPALIVE_SECONDS = 30
MAX_RECEIVE_BYTES = 17 * 1024 * 1024
WINDOW_BYTES = 4 * 1024 * 1024
"""What a stream may be sent ahead of reading it: 40 MB/s over 100 ms there and back."""
DEADLINE_SECONDS = 30.0
STREAM_DEADLINE_SECONDS = 24 * 3600.0
PING_DEADLINE_SECONDS = 5.0
ROUND_TRIPS = 3
"""Measured to know how far a service is: the shortest counts, for a machine may be busy."""
_SERVING = 1
_HTTP = ("http://", "https://")
_RECONNECT_MILLISECONDS = (100, 5000)
_LOOPBACK = ("localhost:", "127.", "[::1]:")

CallMetadata = tuple[tuple[str, str], ...]
Request = TypeVar("Request")
Response = TypeVar("Response")


class PageRequest(Protocol):
    """A request of a method that answers in pages."""

    page_token: str


class Page(Protocol):
    """A page; its token is empty on the last one."""

    next_page_token: str


PageRequestType = TypeVar("PageRequestType", bound=PageRequest)
PageType = TypeVar("PageType", bound=Page)


def user_agent() -> str:
    """Return the name and version by which services know this client, in their audit too."""
    return f"song-score/{installed_version('song-score')}"


def open_channel(address: str) -> grpc.Channel:
    """Open a channel with a TCP connection of its own to `host:port`; it connects, and reconnects, by itself."""
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.primary_user_agent", user_agent()),
            ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
            ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
            # Windows that grow with the path's bandwidth grow to 16 MiB, for each of many streams.
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
            # Channels with equal options would share one connection: one flow-control window, one poller.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MILLISECONDS[0]),
            ("grpc.max_reconnect_backoff_ms", _RECONNECT_MILLISECONDS[1]),
            # A proxy named in the environment does not lead back to this machine.
            ("grpc.enable_http_proxy", 0 if address.startswith(_LOOPBACK) else 1),
        ],
    )


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to repeat a call that failed for a passing cause, and when to give up."""

    max_tries: int = 10
    """Tries without progress, the first included; 1 means: never repeat."""
    first_delay_seconds: float = 0.1
    """Doubled from one failure to the next. Where the service asks for a longer delay, that one is doubled instead."""
    max_delay_seconds: float = 30.0
    """No delay is longer, unless the service asks for it."""

    def delay_seconds(self, failures: int, error: ServiceError) -> float | None:
        """How long to wait after so many failures in a row (from 1) before the next try; None means: give up."""
        if failures >= self.max_tries or not error.is_transient:
            return None
        # 0 asks for another try at once, at another server perhaps; where there is only one, it must not be stormed.
        asked = error.retry_after_seconds or 0.0
        first = max(asked, self.first_delay_seconds)
        delay = min(first * 2.0 ** (failures - 1), max(first, self.max_delay_seconds))
        # Many clients fail at the same moment: they must not come back at the same moment. Never before the
        # time the service asked for.
        low, high = (1.0, 1.2) if asked else (0.5, 1.0)
        return delay * random.uniform(low, high)  # noqa: S311 - spreads load, guards nothing


RetryListener = Callable[[ServiceError, int, float], None]
"""Called before each repetition with the error, the failures so far and the delay in seconds."""


@dataclass(slots=True)
class Connection:
    """Calls to one service. May be used by many threads, and by both sides of a fork."""

    service: str
    """`song` or `score`: for messages."""
    address: str
    """`host:port` for gRPC; or `http://host:port`, `https://host:port`: then unary calls go by HTTP, and no stream."""
    token: str | None = field(default=None, repr=False)
    """Bearer token, sent with every call. Never printed."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    on_retry: RetryListener | None = field(default=None, repr=False)
    http_url: str = ""
    """The same service's HTTP side, for where gRPC does not pass: `https://host:port`. Empty: there is none."""
    transport: Transport = Transport.AUTO
    """How bytes go, and with them calls: AUTO tries gRPC first, SIGNED takes HTTP where there is any."""
    ca_file: Path | None = None
    """Authorities (PEM) to trust over HTTP besides the system's."""
    # A child process must neither use nor collect its parent's channel, so entries are never replaced.
    _channels: dict[int, grpc.Channel] = field(default_factory=dict, init=False, repr=False)
    _https: dict[int, HttpConnections] = field(default_factory=dict, init=False, repr=False)
    _choosing: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _is_http: bool | None = field(default=None, init=False, repr=False)
    """Whether calls go by HTTP; None while that is not known."""
    _streams_fail: bool = field(default=False, init=False, repr=False)
    _round_trip_seconds: float | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.address.startswith(_HTTP):
            self.http_url = self.address
        if self.address == self.http_url:
            if self.transport is Transport.STREAM:
                raise ConfigurationError(
                    f"the transport stream needs gRPC, and {self.address} is HTTP: name {self.service.capitalize()}'s "
                    f"gRPC address ({self.service.upper()}_URL), or let the transport be auto"
                )
            self._is_http = True
        elif not self.http_url or self.transport is Transport.STREAM:
            self._is_http = False
        elif self.transport is Transport.SIGNED:
            self._is_http = True

    @property
    def channel(self) -> grpc.Channel:
        """The channel of this process, opened on first use. Streams may use it too, if it `carries_streams`.

        Raises UnreachableError where there are two ways and neither leads to the service.
        """
        process = os.getpid()
        if process not in self._channels:
            opened = self._open_http() if self.goes_by_http else open_channel(self.address)
            if self._channels.setdefault(process, opened) is not opened:
                opened.close()  # another thread was faster
        return self._channels[process]

    @property
    def http(self) -> HttpConnections:
        """The HTTP connections of this process, for signed URLs and calls."""
        from song_score_client.http_connections import HttpConnections  # noqa: PLC0415 - most runs need none

        process = os.getpid()
        if process not in self._https:
            self._https.setdefault(process, HttpConnections(self.ca_file))
        return self._https[process]

    @property
    def goes_by_http(self) -> bool:
        """Whether calls go by HTTP. Where both ways are possible, gRPC is tried first, once."""
        if self._is_http is None:
            with self._choosing:
                if self._is_http is None:
                    self._is_http = self._choose_http()
        return self._is_http

    @property
    def carries_streams(self) -> bool:
        """Whether bytes go by streams; else by signed URLs."""
        return self.transport is not Transport.SIGNED and not self._streams_fail and not self.goes_by_http

    @property
    def round_trip_seconds(self) -> float:
        """How long a call takes at least; measured once."""
        if self._round_trip_seconds is None:
            _is_answered(self.channel)  # it opens the connection, too
            self._round_trip_seconds = min(_answer_seconds(self.channel) for _ in range(ROUND_TRIPS))
        return self._round_trip_seconds

    def give_up_streams(self) -> bool:
        """Take signed URLs from now on, as streams do not get through; False where that is not allowed."""
        self._streams_fail = self._streams_fail or self.transport is Transport.AUTO
        return self._streams_fail

    def _choose_http(self) -> bool:
        """Find the way that leads to the service, again as the retry policy has it. Raises UnreachableError."""
        failures = 0
        while True:
            channel = open_channel(self.address)
            try:
                if _is_answered(channel):
                    return False
            finally:
                channel.close()
            if _is_answered(self._open_http()):
                return True
            failures += 1
            text = (
                f"{self.service.capitalize()} can't be reached, neither by gRPC at {self.address} nor by HTTP at "
                f"{self.http_url}: is it running, and are both addresses right?"
            )
            self.wait_to_repeat(
                UnreachableError(text, service=self.service, code=grpc.StatusCode.UNAVAILABLE), failures
            )

    def _open_http(self) -> grpc.Channel:
        from song_score_client.connect_channel import ConnectChannel  # noqa: PLC0415 - most runs need none

        return ConnectChannel(self.http_url, self.http)

    @property
    def metadata(self) -> CallMetadata:
        """What every call carries."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def call(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        may_repeat_unanswered: bool = True,
    ) -> Response:
        """Call a method of `channel`, again where the failure is transient, and return its response.

        The method must be one that may be repeated; or else `may_repeat_unanswered` is False: then it is repeated only
        where the service itself says that it has not acted. Each try has the whole deadline. Raises ServiceError.
        """
        failures = 0
        while True:
            try:
                return method(request, timeout=deadline_seconds, metadata=self.metadata)
            except grpc.RpcError as raised:
                error = from_rpc_error(raised, self.service, self.address)
            if not (may_repeat_unanswered or error.reason):
                raise error
            failures += 1
            self.wait_to_repeat(error, failures)

    def wait_to_repeat(self, error: ServiceError, failures: int) -> None:
        """Wait before the next try after so many failures in a row; raise the error where another is no use."""
        delay = self.retry.delay_seconds(failures, error)
        if delay is None:
            raise error
        if self.on_retry is not None:
            self.on_retry(error, failures, delay)
        time.sleep(delay)

    def stream(
        self,
        method: grpc.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        advance: Callable[[Response], None] | None = None,
        *,
        is_done: Callable[[], bool] = lambda: False,
        deadline_seconds: float | None = STREAM_DEADLINE_SECONDS,
    ) -> Iterator[Response]:
        """Yield what a method streams. Raises ServiceError.

        `advance` is told of each response before it is yielded, and changes the request to begin after it: the
        stream then goes on by itself where it broke for a passing cause, unless `is_done` says that nothing is left.
        Without it, only what failed before the first response is repeated. The deadline is that of each try.
        """
        failures, has_begun = 0, False
        while True:
            call = method(request, timeout=deadline_seconds, metadata=self.metadata)
            try:
                for response in call:
                    failures, has_begun = 0, True
                    if advance is not None:
                        advance(response)
                    yield response
            except grpc.RpcError as raised:
                error = from_rpc_error(raised, self.service, self.address)
                if is_done():
                    return
                if has_begun and advance is None:
                    raise error from None
                failures += 1
                self.wait_to_repeat(error, failures)
            else:
                return
            finally:
                call.cancel()

    def pages(
        self, method: grpc.UnaryUnaryMultiCallable[PageRequestType, PageType], request: PageRequestType
    ) -> Iterator[PageType]:
        """Yield the pages from that of the request to the last. Its `page_token` is changed on the way."""
        while True:
            page = self.call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def is_serving(self, service_name: str, *, deadline_seconds: float = PING_DEADLINE_SECONDS) -> bool:
        """Ask once for the health of, for example, `song.v1.StudyService`. False also where nothing answers."""
        check = _health(self.channel)
        try:
            answer = check(StringValue(value=service_name), timeout=deadline_seconds, metadata=self.metadata)
        except grpc.RpcError as error:
            return _is_answer(error)
        return answer.value == _SERVING

    def close(self) -> None:
        """Close this process' channel; calls under way fail."""
        channel = self._channels.pop(os.getpid(), None)
        if channel is not None:
            channel.close()
        http = self._https.pop(os.getpid(), None)
        if http is not None:
            http.close()


def _health(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable[StringValue, UInt32Value]:
    # HealthCheckRequest and -Response have one field each, a string and an enum: on the wire they are
    # these wrappers, and the plain install does without the health package.
    return channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=StringValue.SerializeToString,
        response_deserializer=UInt32Value.FromString,
    )


def _is_answered(channel: grpc.Channel) -> bool:
    """Whether a service is at the other end, in whatever health."""
    try:
        _health(channel)(StringValue(), timeout=PING_DEADLINE_SECONDS)
    except grpc.RpcError as error:
        return _is_answer(error)
    return True


def _is_answer(error: grpc.RpcError) -> bool:
    """Whether a service is at the other end of HTTP, and only its health can't be asked for there."""
    is_unknown = isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNIMPLEMENTED
    return is_unknown and getattr(error, "is_answer", False)


def _answer_seconds(channel: grpc.Channel) -> float:
    began = time.monotonic()
    return time.monotonic() - began if _is_answered(channel) else 0.0
