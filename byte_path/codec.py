"""Lean codec for the hot messages: UploadChunk up, ReadData down; and SmallObjectChunk, as the server decodes it.

The generated codec copies `data` into its arena and again at every access, on both sides; at a gigabyte per
second that is most of the work. Here a message is encoded with one copy (a short header joined with the data)
and decoded with none (`data` is a view of the received bytes). The bytes on the wire are those of the generated
codec, which a property test proves; what does not look like them (fields in another order, unknown
fields) is left to the generated parser.
"""

from dataclasses import dataclass

from score.v1.download_service_pb2 import ReadObjectResponse
from score.v1.upload_service_pb2 import WriteObjectsRequest, WriteUploadRequest

_HOT_FIELD = b"\x12"  # field 2 of the outer message, length-delimited
_FIRST_NUMBER = 0x08  # field 1, varint
_OFFSET = 0x10  # field 2, varint
_XXH3_64 = 0x19  # field 3, fixed64
_FLAG = 0x20  # field 4, varint (UploadChunk alone)
_UPLOAD_DATA = 0x2A  # field 5, length-delimited
_READ_DATA = 0x22  # field 4, length-delimited
_SMALL_CHUNK = b"\x1a"  # field 3 of WriteObjectsRequest, length-delimited
_SMALL_XXH3_64 = 0x09  # field 1, fixed64
_SMALL_DATA = 0x12  # field 2, length-delimited

_INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1
_UINT64_MAX = 2**64 - 1
_MAX_VARINT_BITS = 63


@dataclass(frozen=True, slots=True)
class UploadChunk:
    """`score.v1.UploadChunk`, with `data` as a view of the received message or of the sender's buffer."""

    part_number: int
    offset: int
    data: memoryview
    xxh3_64: int | None = None
    replace_part: bool = False


@dataclass(frozen=True, slots=True)
class ReadData:
    """`score.v1.ReadData`, with `data` as a view of the received message or of the sender's buffer."""

    read_id: int
    offset: int
    data: memoryview
    xxh3_64: int | None = None


@dataclass(frozen=True, slots=True)
class SmallChunk:
    """`score.v1.SmallObjectChunk`, with `data` as a view of the received message."""

    data: memoryview
    xxh3_64: int | None = None


def encode_write_request(message: WriteUploadRequest | UploadChunk) -> bytes:
    """Encode a request of WriteUpload. The chunk's data is copied: its buffer is free again on return."""
    if isinstance(message, WriteUploadRequest):
        return message.SerializeToString()
    return _encode(
        message.part_number, message.offset, message.xxh3_64, _UPLOAD_DATA, message.data, message.replace_part
    )


def decode_write_request(message: bytes) -> WriteUploadRequest | UploadChunk:
    """Decode a request of WriteUpload: a chunk becomes an UploadChunk whose data is a view of `message`."""
    fields = _decode(message, _UPLOAD_DATA, _INT32_MAX)
    if fields is not None:
        number, offset, xxh3_64, flag, data = fields
        return UploadChunk(number, offset, data, xxh3_64, flag)
    parsed = WriteUploadRequest.FromString(message)
    if parsed.WhichOneof("message") != "chunk":
        return parsed
    chunk = parsed.chunk
    digest = chunk.xxh3_64 if chunk.HasField("xxh3_64") else None
    return UploadChunk(chunk.part_number, chunk.offset, memoryview(chunk.data), digest, chunk.replace_part)


def decode_small_request(message: bytes) -> WriteObjectsRequest | SmallChunk:
    """Decode a request of WriteObjects: a chunk becomes a SmallChunk whose data is a view of `message`."""
    try:
        lean = _read_small_chunk(message)
    except IndexError:  # ends in the middle of a field
        lean = None
    if lean is not None:
        return lean
    parsed = WriteObjectsRequest.FromString(message)
    if parsed.WhichOneof("message") != "chunk":
        return parsed
    chunk = parsed.chunk
    return SmallChunk(memoryview(chunk.data), chunk.xxh3_64 if chunk.HasField("xxh3_64") else None)


def encode_read_response(message: ReadObjectResponse | ReadData) -> bytes:
    """Encode a response of ReadObject. The data is copied: its buffer is free again on return."""
    if isinstance(message, ReadObjectResponse):
        return message.SerializeToString()
    return _encode(message.read_id, message.offset, message.xxh3_64, _READ_DATA, message.data)


def decode_read_response(message: bytes) -> ReadObjectResponse | ReadData:
    """Decode a response of ReadObject: data becomes a ReadData whose data is a view of `message`."""
    fields = _decode(message, _READ_DATA, _INT64_MAX)
    if fields is not None:
        number, offset, xxh3_64, _, data = fields
        return ReadData(number, offset, data, xxh3_64)
    parsed = ReadObjectResponse.FromString(message)
    if parsed.WhichOneof("message") != "data":
        return parsed
    data_message = parsed.data
    digest = data_message.xxh3_64 if data_message.HasField("xxh3_64") else None
    return ReadData(data_message.read_id, data_message.offset, memoryview(data_message.data), digest)


def _encode(
    number: int,
    offset: int,
    xxh3_64: int | None,
    data_tag: int,
    data: memoryview,
    flag: bool = False,  # noqa: FBT001 - a field
) -> bytes:
    inner = bytearray()
    if number:
        inner.append(_FIRST_NUMBER)
        _append_varint(inner, number)
    if offset:
        inner.append(_OFFSET)
        _append_varint(inner, offset)
    if xxh3_64 is not None:
        inner.append(_XXH3_64)
        inner += xxh3_64.to_bytes(8, "little")
    if flag:
        inner.append(_FLAG)
        inner.append(1)
    if data.nbytes:
        inner.append(data_tag)
        _append_varint(inner, data.nbytes)
    outer = bytearray(_HOT_FIELD)
    _append_varint(outer, len(inner) + data.nbytes)
    return b"".join((outer, inner, data))


def _append_varint(buffer: bytearray, value: int) -> None:
    value &= _UINT64_MAX  # negative numbers take ten bytes, as protobuf has it
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        buffer.append(value & 0x7F | 0x80)
        value >>= 7
    buffer.append(value)


def _decode(message: bytes, data_tag: int, number_max: int) -> tuple[int, int, int | None, bool, memoryview] | None:
    """Return (number, offset, xxh3_64, flag, data), or None where the generated parser must look."""
    try:
        return _read_fields(message, data_tag, number_max)
    except IndexError:  # ends in the middle of a field
        return None


def _read_fields(
    message: bytes, data_tag: int, number_max: int
) -> tuple[int, int, int | None, bool, memoryview] | None:
    size = len(message)
    if message[:1] != _HOT_FIELD:
        return None
    length, at = _read_varint(message, 1)
    if at + length != size:
        return None
    number = offset = 0
    xxh3_64: int | None = None
    flag = False
    if at < size and message[at] == _FIRST_NUMBER:
        number, at = _read_varint(message, at + 1)
    if at < size and message[at] == _OFFSET:
        offset, at = _read_varint(message, at + 1)
    if at < size and message[at] == _XXH3_64 and at + 9 <= size:
        xxh3_64 = int.from_bytes(message[at + 1 : at + 9], "little")
        at += 9
    if data_tag == _UPLOAD_DATA and at < size and message[at] == _FLAG:
        value, at = _read_varint(message, at + 1)
        flag = bool(value)
    if at < size and message[at] == data_tag:
        length, at = _read_varint(message, at + 1)
        if at + length != size:
            return None
    elif at != size:
        return None
    if number > number_max or offset > _INT64_MAX:
        return None
    return number, offset, xxh3_64, flag, memoryview(message)[at:]


def _read_small_chunk(message: bytes) -> SmallChunk | None:
    size = len(message)
    if message[:1] != _SMALL_CHUNK:
        return None
    length, at = _read_varint(message, 1)
    if at + length != size:
        return None
    xxh3_64: int | None = None
    if at < size and message[at] == _SMALL_XXH3_64 and at + 9 <= size:
        xxh3_64 = int.from_bytes(message[at + 1 : at + 9], "little")
        at += 9
    if at < size and message[at] == _SMALL_DATA:
        length, at = _read_varint(message, at + 1)
        if at + length != size:
            return None
    elif at != size:
        return None
    return SmallChunk(memoryview(message)[at:], xxh3_64)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte <= 0x7F:  # noqa: PLR2004 - seven bits a byte
            return value, at
        shift += 7
        if shift > _MAX_VARINT_BITS:
            raise IndexError(at)
