"""Reading and hashing side by side: who reads an object to hash it would else do one after the other."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

from score_grpc.gateways.objects.port import PIECE_BYTES


def read_ahead(pieces: Iterator[memoryview]) -> Generator[memoryview, None, None]:
    """Yield what `ObjectStore.read` does, each piece while the next one is being read.

    A piece is valid until the next one is taken. Raises what reading raises, in its place. Closing it ends the reading.
    """
    held = memoryview(bytearray(PIECE_BYTES))
    with ThreadPoolExecutor(1, "ahead") as reader:
        coming = reader.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            data = held[: piece.nbytes]
            data[:] = piece  # the store has but one buffer
            coming = reader.submit(next, pieces, None)
            yield data
