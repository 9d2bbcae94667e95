"""Pieces of objects: ranges cut at the borders of parts, and what tells right bytes from wrong ones."""

from __future__ import annotations

import hashlib

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from score.v1.download_service_pb2 import ObjectPart
from song_score_client.transfer.object_reader import pieces_of
from song_score_client.transfer.piece_digest import Piece

DATA = bytes(range(256)) * 4


def parts_of(data: bytes, part_bytes: int) -> list[ObjectPart]:
    return [
        ObjectPart(
            offset=offset,
            size_bytes=len(data[offset : offset + part_bytes]),
            xxh3_128=xxhash.xxh3_128_hexdigest(data[offset : offset + part_bytes]),
        )
        for offset in range(0, len(data), part_bytes)
    ]


@given(st.integers(1, 300), st.integers(0, len(DATA)), st.integers(0, len(DATA)))
def test_a_range_is_cut_without_gaps_and_only_whole_parts_have_digests(part: int, offset: int, size: int) -> None:
    size = min(size, len(DATA) - offset)
    pieces = pieces_of(parts_of(DATA, part), offset, size)
    assert b"".join(DATA[piece.offset : piece.end] for piece in pieces) == DATA[offset : offset + size]
    for piece in pieces:
        bounds = (piece.offset, piece.end)
        is_part = piece.offset % part == 0 and (piece.size_bytes == part or piece.end == len(DATA))
        assert piece.has_digest == is_part, bounds
        assert piece.is_right([memoryview(DATA[piece.offset : piece.end])])


@pytest.mark.parametrize(
    ("piece", "tells"),
    [
        (Piece(0, 4, xxh3_128=xxhash.xxh3_128_hexdigest(b"abcd")), True),
        (Piece(0, 4, md5=hashlib.md5(b"abcd").hexdigest()), True),
        (Piece(0, 4, xxh3_128=xxhash.xxh3_128_hexdigest(b"abcd"), md5="0" * 32), True),
        (Piece(0, 4), False),
    ],
)
def test_wrong_bytes_are_told_by_whatever_digest_is_known(piece: Piece, tells: bool) -> None:
    assert piece.has_digest is tells
    assert piece.is_right([memoryview(b"ab"), memoryview(b"cd")])
    assert piece.is_right([memoryview(b"ab"), memoryview(b"cx")]) is not tells
    assert not piece.is_right([memoryview(b"abc")])
    assert not piece.is_right([memoryview(b"abcde")])
