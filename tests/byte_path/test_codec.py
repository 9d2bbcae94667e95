"""The lean codec is the generated codec, byte for byte."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from score.v1 import download_service_pb2, upload_service_pb2

from byte_path import codec

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
DIGEST = st.none() | st.integers(0, 2**64 - 1)
DATA = st.binary(max_size=300)


def generated_chunk(chunk: codec.UploadChunk) -> upload_service_pb2.WriteUploadRequest:
    message = upload_service_pb2.UploadChunk(
        part_number=chunk.part_number,
        offset=chunk.offset,
        xxh3_64=chunk.xxh3_64,
        replace_part=chunk.replace_part,
        data=bytes(chunk.data),
    )
    return upload_service_pb2.WriteUploadRequest(chunk=message)


def generated_data(data: codec.ReadData) -> download_service_pb2.ReadObjectResponse:
    message = download_service_pb2.ReadData(
        read_id=data.read_id, offset=data.offset, xxh3_64=data.xxh3_64, data=bytes(data.data)
    )
    return download_service_pb2.ReadObjectResponse(data=message)


@given(INT32, INT64, DATA, DIGEST, st.booleans())
def test_a_chunk_is_encoded_and_decoded_as_by_the_generated_codec(
    part_number: int, offset: int, data: bytes, digest: int | None, replace: bool
) -> None:
    chunk = codec.UploadChunk(part_number, offset, memoryview(data), digest, replace)
    wire = codec.encode_write_request(chunk)
    assert wire == generated_chunk(chunk).SerializeToString()
    assert codec.decode_write_request(wire) == chunk


@given(INT64, INT64, DATA, DIGEST)
def test_read_data_is_encoded_and_decoded_as_by_the_generated_codec(
    read_id: int, offset: int, data: bytes, digest: int | None
) -> None:
    message = codec.ReadData(read_id, offset, memoryview(data), digest)
    wire = codec.encode_read_response(message)
    assert wire == generated_data(message).SerializeToString()
    assert codec.decode_read_response(wire) == message


@given(DATA, DIGEST)
def test_a_small_chunk_is_decoded_as_by_the_generated_codec(data: bytes, digest: int | None) -> None:
    message = upload_service_pb2.SmallObjectChunk(data=data, xxh3_64=digest)
    wire = upload_service_pb2.WriteObjectsRequest(chunk=message).SerializeToString()
    assert codec.decode_small_request(wire) == codec.SmallChunk(memoryview(data), digest)


@given(st.permutations([b"\x09" + bytes(8), b"\x12\x03abc", b"\x78\x05"]))
def test_fields_of_a_small_chunk_are_understood_in_any_order(fields: list[bytes]) -> None:
    inner = b"".join(fields)
    chunk = codec.decode_small_request(b"\x1a" + bytes([len(inner)]) + inner)
    assert chunk == codec.SmallChunk(memoryview(b"abc"), 0)


@given(st.permutations([b"\x08\x07", b"\x10\x09", b"\x19" + bytes(8), b"\x20\x01", b"\x2a\x03abc", b"\x78\x05"]))
def test_fields_in_any_order_and_unknown_ones_are_understood(fields: list[bytes]) -> None:
    inner = b"".join(fields)
    chunk = codec.decode_write_request(b"\x12" + bytes([len(inner)]) + inner)
    assert chunk == codec.UploadChunk(7, 9, memoryview(b"abc"), 0, replace_part=True)


@given(st.binary(max_size=80))
def test_any_bytes_mean_what_the_generated_parser_says(wire: bytes) -> None:
    compare(wire, codec.decode_write_request, upload_service_pb2.WriteUploadRequest.FromString, "chunk")
    compare(wire, codec.decode_read_response, download_service_pb2.ReadObjectResponse.FromString, "data")
    compare(wire, codec.decode_small_request, upload_service_pb2.WriteObjectsRequest.FromString, "chunk")


@given(DATA, DIGEST, st.data())
def test_damaged_small_chunks_mean_what_the_generated_parser_says(
    data: bytes, digest: int | None, draw: st.DataObject
) -> None:
    message = upload_service_pb2.SmallObjectChunk(data=data, xxh3_64=digest)
    wire = bytearray(upload_service_pb2.WriteObjectsRequest(chunk=message).SerializeToString())
    wire[draw.draw(st.integers(0, min(len(wire), 20) - 1))] = draw.draw(st.integers(0, 255))
    compare(bytes(wire), codec.decode_small_request, upload_service_pb2.WriteObjectsRequest.FromString, "chunk")


@given(INT32, INT64, DATA, DIGEST, st.booleans(), st.data())
def test_damaged_chunks_mean_what_the_generated_parser_says(
    part_number: int, offset: int, data: bytes, digest: int | None, replace: bool, draw: st.DataObject
) -> None:
    chunk = codec.UploadChunk(part_number, offset, memoryview(data), digest, replace)
    wire = bytearray(codec.encode_write_request(chunk))
    wire[draw.draw(st.integers(0, min(len(wire), 30) - 1))] = draw.draw(st.integers(0, 255))
    compare(bytes(wire), codec.decode_write_request, upload_service_pb2.WriteUploadRequest.FromString, "chunk")


def compare(wire: bytes, lean: Callable[[bytes], Any], generated: Callable[[bytes], Any], hot: str) -> None:
    try:
        expected = generated(wire)
    except DecodeError:
        with pytest.raises(DecodeError):
            lean(wire)
        return
    decoded = lean(wire)
    if expected.WhichOneof("message") != hot:
        assert decoded == expected
        return
    inner = getattr(expected, hot)
    for field in inner.DESCRIPTOR.fields:
        value = getattr(inner, field.name)
        if field.name == "xxh3_64" and not inner.HasField("xxh3_64"):
            value = None
        assert getattr(decoded, field.name) == value
