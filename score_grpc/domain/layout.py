"""Where in the store objects go: their keys, and the buckets they are spread over."""

from collections.abc import Sequence
from dataclasses import dataclass

POOL_DIGITS_MAX = 8
_HEX = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True)
class Layout:
    """How keys are made. What has a key already is found by that one, whatever the layout is by then."""

    folder: str = "data"
    """What keys begin with, before a slash; empty for none."""
    bucket: str = ""
    """The base bucket: the one where the store is told to be. Named only where there is a pool."""
    pool: int = 0
    """Over how many buckets, `<bucket>.0` and so on, objects are spread; 0: all go to the base bucket."""
    pool_digits: int = 2
    """How many hexadecimal digits of an object id say which, 1 to POOL_DIGITS_MAX."""

    def name(self, object_id: str) -> str:
        """Return the key within its bucket."""
        return f"{self.prefix}{object_id}"

    def key(self, object_id: str, attempt: int = 1) -> str:
        """Return the key of an object's attempt, from 1: `data/<object_id>` for the first one of all.

        Outside the base bucket the bucket is part of it, before a colon.
        """
        name = self.name(object_id) if attempt == 1 else f"{self.name(object_id)}.{attempt}"
        bucket = self.partition(object_id)
        return f"{bucket}:{name}" if bucket else name

    def partition(self, object_id: str) -> str:
        """Return the bucket that the id's digits choose; empty for the base bucket, also where they are no digits."""
        digits = object_id[: self.pool_digits]
        if not self.pool or len(digits) < self.pool_digits or not _HEX.issuperset(digits):
            return ""
        return f"{self.bucket}.{int(digits, 16) % self.pool}"

    @property
    def prefix(self) -> str:
        """What every key begins with, within its bucket."""
        return f"{self.folder}/" if self.folder else ""

    @property
    def partitions(self) -> Sequence[str]:
        """The buckets of the pool."""
        return [f"{self.bucket}.{index}" for index in range(self.pool)]


def split_key(key: str) -> tuple[str, str]:
    """Return the bucket, empty for the base bucket, and the key within it."""
    bucket, colon, name = key.partition(":")
    return (bucket, name) if colon else ("", key)
