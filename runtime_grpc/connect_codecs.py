"""How messages of Connect calls are read: bounded, whatever a stranger sends, before anybody asks who is calling."""

import threading
import zlib
from typing import Any

from connectrpc.code import Code
from connectrpc.codec import Codec
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.compression.gzip import GzipCompression
from connectrpc.errors import ConnectError

_PROBLEM_MAX_CHARS = 300


class OneMember(GzipCompression):
    """gzip of a single member: of many empty ones, the library copies all that follow for each, for minutes."""

    def decompress(self, data: bytes | bytearray | memoryview, read_max_bytes: int | None = None) -> bytes:
        """Return the message. Raises ConnectError."""
        most = read_max_bytes or 0
        inflating = zlib.decompressobj(wbits=31)
        message = inflating.decompress(data, most + 1)
        if len(message) > most:
            raise ConnectError(Code.RESOURCE_EXHAUSTED, f"the message has more than {most} bytes")
        if data and (not inflating.eof or inflating.unused_data):
            raise ConnectError(Code.INVALID_ARGUMENT, "the body is not one whole member of gzip")
        return message


class OneAtATime:
    """The JSON codec, which reads one message at a time: a parsed one may take thirty times its size."""

    def __init__(self) -> None:
        self._codec: Any = google_protobuf_json_codec()
        self._turn = threading.Lock()

    def name(self) -> str:
        """Return its name in content types."""
        return str(self._codec.name())

    def encode(self, message: Any) -> bytes:  # noqa: ANN401 - any message
        """Return the message as JSON."""
        return bytes(self._codec.encode(message))

    def decode(self, data: bytes | bytearray, message_class: Any) -> Any:  # noqa: ANN401 - any message
        """Return the message. Raises ValueError."""
        with self._turn:
            try:
                return self._codec.decode(data, message_class)
            except Exception as error:  # noqa: BLE001 - the error of whoever sent it, whatever it is
                problem = str(error)[:_PROBLEM_MAX_CHARS]
        # A new one: the other's traceback holds all that was parsed.
        raise ValueError(problem)


def bounded_codecs() -> list[Codec]:
    """Return the codecs of JSON and of binary messages."""
    return [google_protobuf_binary_codec(), OneAtATime()]
