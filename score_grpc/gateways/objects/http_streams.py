"""Bytes of parts and objects over HTTP, in flat memory, for the stores that are reached so.

The SDKs of such stores want a whole part first, to hash or rewind it, and hold whole pieces of what is read. Here a
part is pushed into one PUT while it arrives, and a range is read into one buffer. What an answer means, only the
store's own module knows: it hands that in.
"""

import re
import select
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Protocol
from urllib.parse import urlsplit

from score_grpc.domain.errors import ScoreError, StoreUnavailableError
from score_grpc.gateways.objects.port import PIECE_BYTES

CONNECT_TIMEOUT_SECONDS = 5
PROGRESS_TIMEOUT_SECONDS = 60
"""A call that moves nothing for so long has failed."""
ATTEMPTS = 4
"""How often a call is tried, and a read while no piece of it comes; the PUT of a part once, for its bytes are gone."""
FIRST_PAUSE_SECONDS = 0.25
"""Before the second try of a read; doubled before each further one."""
CONNECTIONS = 64
"""Kept open at most, of the SDK's calls and of parts each."""
IDLE_SECONDS = 4
"""A part takes no connection idle for longer: servers close those without a word."""

# Answers to a part's PUT are empty or a short error document.
_MAX_ANSWER_BYTES = 64 * 1024
_ERROR_CODE = re.compile(rb"<Error>.*?<Code>\s*(\w+)\s*</Code>", re.DOTALL)


class Body(Protocol):
    """The rest of an answer."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Read up to the buffer's length; 0 at the end, also at an untimely one."""

    def close(self) -> None:
        """Give the connection up, or back."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a store said to a request, read to its end."""

    status: int
    headers: Message
    error_code: str
    """`<Code>` of the error document in the body, whatever the status; empty where there is none."""
    is_whole: bool
    """False where the answer broke off or is too long to be one."""


class Connections:
    """Connections straight to a store: HTTP proxies are not used."""

    def __init__(self, tls: ssl.SSLContext, progress_timeout_seconds: float) -> None:
        self._tls = tls
        self._progress_timeout_seconds = progress_timeout_seconds
        self._mutex = threading.Lock()
        # Those that may carry another request, each with the time its last one ended; the latest is last.
        self._idle: list[tuple[float, HTTPConnection]] = []

    def send(self, method: str, url: str, headers: Mapping[str, str]) -> HTTPConnection:
        """Send the head of a request and return its connection. Raises OSError, HTTPException."""
        scheme, netloc, path, query, _ = urlsplit(url)
        connection = self._take_idle() or self._connect(scheme, netloc)
        try:
            connection.putrequest(method, f"{path}?{query}", skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
        except BaseException:
            connection.close()
            raise
        return connection

    def keep(self, connection: HTTPConnection) -> None:
        """Take a connection back whose answer was read to its end."""
        with self._mutex:
            if connection.sock is not None and len(self._idle) < CONNECTIONS:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle."""
        with self._mutex:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _take_idle(self) -> HTTPConnection | None:
        while True:
            with self._mutex:
                if not self._idle:
                    return None
                since, connection = self._idle.pop()
            # The server has nothing to say on an idle connection but that it ends.
            if time.monotonic() - since < IDLE_SECONDS and connection.sock and not _is_readable(connection):
                return connection
            connection.close()

    def _connect(self, scheme: str, netloc: str) -> HTTPConnection:
        connection = (
            HTTPSConnection(netloc, timeout=CONNECT_TIMEOUT_SECONDS, context=self._tls)
            if scheme == "https"
            else HTTPConnection(netloc, timeout=CONNECT_TIMEOUT_SECONDS)
        )
        connection.connect()
        connection.sock.settimeout(self._progress_timeout_seconds)
        return connection


class HttpPartWriter:
    """Pushes one part into its PUT. See `PartWriter`; also raises StagingLostError where the store says so only now.

    `conclude` takes the answer, returns the part's etag or raises what a refusal means.
    """

    def __init__(
        self,
        connections: Connections,
        connection: HTTPConnection,
        doing: str,
        size_bytes: int,
        conclude: Callable[[Answer], str],
    ) -> None:
        self._connections = connections
        self._connection: HTTPConnection | None = connection
        self._doing = doing
        self._missing_bytes = size_bytes
        self._conclude = conclude

    def write(self, data: memoryview) -> None:
        """See `PartWriter.write`."""
        connection = self._demand_open()
        if data.nbytes > self._missing_bytes:
            raise ValueError("more bytes than the part has")
        try:
            connection.send(data)
        except OSError as error:
            try:
                if isinstance(error, ConnectionError):
                    # A store that refuses a part says why, and hangs up on the rest of it.
                    with suppress(OSError, HTTPException):
                        self._conclude(answer_of(connection))
            finally:
                self.discard()
            raise unreachable(self._doing, error) from error
        self._missing_bytes -= data.nbytes

    def commit(self) -> str:
        """See `PartWriter.commit`."""
        connection = self._demand_open()
        if self._missing_bytes:
            raise ValueError(f"the part lacks {self._missing_bytes} bytes")
        try:
            with http_errors(self._doing):
                answer = answer_of(connection)
            etag = self._conclude(answer)
            self._connection = None
            self._connections.keep(connection)
            return etag
        finally:
            self.discard()

    def discard(self) -> None:
        """See `PartWriter.discard`. The store drops a body that ends early."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _demand_open(self) -> HTTPConnection:
        if self._connection is None:
            raise StoreUnavailableError(f"{self._doing}: it is no longer being written.")
        return self._connection


def answer_of(connection: HTTPConnection) -> Answer:
    """Read an answer that is short. Raises OSError, HTTPException."""
    response = connection.getresponse()
    error = _ERROR_CODE.search(response.read(_MAX_ANSWER_BYTES))
    # Not closed: the answer broke off.
    return Answer(response.status, response.headers, error[1].decode() if error else "", response.isclosed())


def read_pieces(
    open_range: Callable[[int], tuple[Body, int]], offset: int, size_bytes: int, doing: str
) -> Iterator[memoryview]:
    """Yield `size_bytes` bytes from `offset` on, as `ObjectStore.read` does.

    `open_range` opens the object from a position on, pinned to its version, and says how many bytes come before that
    position: a store may answer a range with everything. Where a body breaks off, the rest is asked for anew.
    """
    if not size_bytes:
        return
    position, end, failures = offset, offset + size_bytes, 0
    buffer = memoryview(bytearray(min(size_bytes, PIECE_BYTES)))
    body: Body | None = None
    try:
        while position < end:
            piece = buffer[: end - position]
            try:
                if body is None:
                    body, skipped = open_range(position)
                    for left in range(skipped, 0, -len(buffer)):
                        _fill(body, buffer[:left], doing)
                _fill(body, piece, doing)
            except StoreUnavailableError:
                failures += 1
                if body is None or failures == ATTEMPTS:  # who opens has tried often enough
                    raise
                body.close()
                body = None
                time.sleep(FIRST_PAUSE_SECONDS * 2 ** (failures - 1))
                continue
            failures = 0
            position += len(piece)
            yield piece
    finally:
        if body is not None:
            body.close()


def skipped_bytes(content_range: str | None, position: int) -> int:
    """Return how many bytes an answer to a range brings before `position`, by its header Content-Range.

    Not by its status: rclone sends a part with 200. Without the header it is everything, from the first byte on.
    """
    if content_range is None:
        return position
    start = re.match(r"bytes (\d+)-", content_range)
    if start is None or int(start[1]) > position:
        raise StoreUnavailableError("The object store answered with another range than the one it was asked for.")
    return position - int(start[1])


def unreachable(doing: str, error: Exception) -> ScoreError:
    """Return what a store that does not answer is to the caller."""
    # The kind alone: the text of such errors holds URLs.
    return StoreUnavailableError(f"{doing}: the object store does not answer ({type(error).__name__}).")


@contextmanager
def http_errors(doing: str) -> Iterator[None]:
    """Turn a broken connection into StoreUnavailableError."""
    try:
        yield
    except (HTTPException, OSError) as error:
        raise unreachable(doing, error) from error


def _fill(body: Body, piece: memoryview, doing: str) -> None:
    rest = piece
    while rest:
        with http_errors(doing):
            count = body.readinto(rest)
        if not count:
            raise StoreUnavailableError(f"{doing}: the object store stopped sending.")
        rest = rest[count:]


def _is_readable(connection: HTTPConnection) -> bool:
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))
