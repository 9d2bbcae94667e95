"""Lists of values for SQL's IN, in batches that every database takes."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

MAX_VALUES = 1000


def in_batches(values: Iterable[str]) -> Iterator[Sequence[str]]:
    """Yield the distinct values in batches of at most 1000."""
    rest = iter(dict.fromkeys(values))
    while batch := list(islice(rest, MAX_VALUES)):
        yield batch
