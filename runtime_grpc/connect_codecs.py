"""How messages of Connect calls are read: bounded, whatever a stranger sends, before anybody asks who is calling."""

import re
import threading
import zlib
from typing import Any
from wsgiref.types import WSGIEnvironment

from connectrpc.code import Code
from connectrpc.codec import Codec
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.compression.gzip import GzipCompression
from connectrpc.errors import ConnectError

JSON_MAX_TOKENS = 200_000
"""Texts, brackets that open and commas of a JSON message: a value parsed takes fifty times what it takes in JSON, and
long to parse. Messages of the contract have some thousands; what is JSON inside a text counts as one."""

_PROBLEM_MAX_CHARS = 300
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[,\[{]', re.DOTALL)


class OneMember(GzipCompression):
    """gzip of a single member: of many empty ones, the library copies all that follow for each, for minutes."""

    def decompress(self, data: bytes | bytearray | memoryview, read_max_bytes: int | None = None) -> bytes:
        """Return the message. Raises ConnectError."""
        most = min(read_max_bytes or 0, _said_bytes(data))
        inflating = zlib.decompressobj(wbits=31)
        message = inflating.decompress(data, most + 1)
        if len(message) > most == read_max_bytes:
            raise ConnectError(Code.RESOURCE_EXHAUSTED, f"the message has more than {most} bytes")
        if data and (not inflating.eof or inflating.unused_data):
            raise ConnectError(Code.INVALID_ARGUMENT, "the body is not one whole member of gzip")
        return message


class OneAtATime:
    """The JSON codec, which reads one message at a time, and writes one: between, they take many times their size."""

    def __init__(self) -> None:
        self._codec: Any = google_protobuf_json_codec()
        self._reading, self._writing = threading.Lock(), threading.Lock()

    def name(self) -> str:
        """Return its name in content types."""
        return str(self._codec.name())

    def encode(self, message: Any) -> bytes:  # noqa: ANN401 - any message
        """Return the message as JSON."""
        with self._writing:
            return bytes(self._codec.encode(message))

    def decode(self, data: bytes | bytearray, message_class: Any) -> Any:  # noqa: ANN401 - any message
        """Return the message. Raises ValueError."""
        with self._reading:
            try:
                _require_few_tokens(data)
                return self._codec.decode(data, message_class)
            except Exception as error:  # noqa: BLE001 - the error of whoever sent it, whatever it is
                problem = str(error)[:_PROBLEM_MAX_CHARS]
        # A new one: the other's traceback holds all that was parsed.
        raise ValueError(problem)


def _require_few_tokens(data: bytes | bytearray) -> None:
    """Raise ValueError for a message of very many small values."""
    if sum(data.count(mark) for mark in b'",[{') <= JSON_MAX_TOKENS:
        return
    for number, _ in enumerate(_TOKEN.finditer(data)):
        if number == JSON_MAX_TOKENS:
            raise ValueError(f"a message has at most {JSON_MAX_TOKENS} texts, lists, objects and commas")


def _said_bytes(data: bytes | bytearray | memoryview) -> int:
    """Return how long gzip says that its message is, at its end; a longer one is no message."""
    return int.from_bytes(data[-4:], "little")


def message_size(environ: WSGIEnvironment, body: bytes, unknown: int) -> int:
    """Return how many bytes a call's message has, or says it has; `unknown` where only reading it would tell."""
    if environ["REQUEST_METHOD"] != "POST":
        return unknown if "compression" in environ.get("QUERY_STRING", "") else 0
    is_plain = environ.get("HTTP_CONTENT_ENCODING", "identity") == "identity"
    return len(body) if is_plain else _said_bytes(body)


def bounded_codecs() -> list[Codec]:
    """Return the codecs of JSON and of binary messages."""
    return [google_protobuf_binary_codec(), OneAtATime()]
