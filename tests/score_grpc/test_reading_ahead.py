"""Reading and hashing side by side."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from score_grpc.domain.errors import StoredBytesCorruptError
from score_grpc.gateways.objects.port import PIECE_BYTES
from score_grpc.use_cases.reading_ahead import read_ahead
from tests.servers.score_world import random_bytes

DATA = random_bytes(2 * PIECE_BYTES + 17)


class Source:
    """Yields DATA as a store does, over one buffer, and then fails if it is told so."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.read_pieces = self.wanted_pieces = 0
        self.moved = threading.Condition()
        self.is_closed = False

    def pieces(self) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(PIECE_BYTES))
        try:
            for start in range(0, len(DATA), PIECE_BYTES):
                piece = buffer[: len(DATA) - start]
                piece[:] = DATA[start : start + PIECE_BYTES]
                with self.moved:
                    self.read_pieces += 1
                    self.moved.notify_all()
                yield piece
            if self.error is not None:
                raise self.error
        finally:
            self.is_closed = True


def test_the_next_piece_is_read_while_one_is_held_which_stays_as_it_was() -> None:
    source = Source()
    with closing(read_ahead(source.pieces())) as pieces:
        for start in range(0, len(DATA), PIECE_BYTES):
            piece = next(pieces)
            source.wanted_pieces = min(start // PIECE_BYTES + 2, 3)
            with source.moved:
                assert source.moved.wait_for(lambda: source.read_pieces == source.wanted_pieces, 30)
            assert piece == DATA[start : start + PIECE_BYTES]
        assert next(pieces, None) is None


def test_what_fails_is_raised_after_the_pieces_before_it() -> None:
    pieces = read_ahead(Source(StoredBytesCorruptError("gone")).pieces())
    assert b"".join(bytes(next(pieces)) for _ in range(3)) == DATA
    with pytest.raises(StoredBytesCorruptError, match="gone"):
        next(pieces)


def test_who_stops_in_the_middle_ends_the_reading() -> None:
    source = Source()
    threads = threading.active_count()
    with closing(read_ahead(source.pieces())) as pieces:
        next(pieces)
    del pieces
    assert source.is_closed
    assert source.read_pieces <= 2
    assert threading.active_count() == threads
