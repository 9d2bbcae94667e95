"""Reads pieces of an object over as many streams as prove useful: of a range, of a repair."""

from __future__ import annotations  # grpc's classes are generic in its types only

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from song_score_client.connection import open_channel
from song_score_client.transfer.object_reader import ObjectReader
from song_score_client.transfer.parallelism import Streams
from song_score_client.transfer.parts import PartQueue, Parts
from song_score_client.transfer.piece_digest import Piece
from song_score_client.transfer.streams import choose_streams, run_streams


def fetch_pieces(
    reader: ObjectReader, pieces: Sequence[Piece], write: Callable[[memoryview, int], None], streams: int | Streams
) -> None:
    """Fetch pieces in any order, each written as it comes and then verified; `write` as in ObjectReader.fetch.

    One stream brings them in order, without a pause between two. Raises what ObjectReader.fetch does.
    """
    connection = reader.score.connection
    total = choose_streams(connection, streams) if connection.carries_streams else streams
    if total == 1 or len(pieces) <= 1:
        reader.fetch(pieces, write, _ignore)
        return

    def run_stream(queue: Parts) -> None:
        with _own_channel(reader) as own:
            while (number := queue.take()) is not None:
                try:
                    own.fetch([pieces[number]], write, _ignore)
                except BaseException:
                    queue.give_back([number])
                    raise

    run_streams(PartQueue(range(len(pieces))), total, run_stream)


@contextmanager
def _own_channel(reader: ObjectReader) -> Iterator[ObjectReader]:
    """Give a reader with a TCP connection of its own: streams of one connection share its window."""
    if not reader.score.connection.carries_streams:
        yield reader  # each request by HTTP has a connection anyway
        return
    with open_channel(reader.score.connection.address) as channel:
        yield replace(reader, channel=channel)


def _ignore(_piece: Piece) -> None:
    """Its bytes are where they belong: there is nothing more to do."""
