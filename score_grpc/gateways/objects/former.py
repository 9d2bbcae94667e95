"""Buckets that an Overture Score has filled, behind a small port: what lies there that our ledger does not know."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FormerObject:
    """Bytes under the key of an object id."""

    key: str
    """As the store of objects knows it, with the bucket where that is not the base bucket."""
    size_bytes: int
    version: str
    md5: str
    """Of the whole, by a header or the metadata of its uploader: 32 lower-case hexadecimal digits, or empty."""


class FormerBuckets(Protocol):
    """Looks; never writes. All methods block and raise StoreUnavailableError."""

    def find(self, object_id: str) -> FormerObject | None:
        """Return the object, from its partition or else from the base bucket; None where there is none."""

    def specification(self, object_id: str, max_bytes: int) -> bytes | None:
        """Return the object's `.meta`, from its partition or else from the base; None where there is none.

        A longer one is as if there were none.
        """

    def names(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield (bucket, names) page by page: all names, in every bucket, that lie where objects do."""

    def unfinished(self) -> Iterator[str]:
        """Yield where the state of each upload lies that was never finished, as `<bucket>/<key>`."""

    def close(self) -> None:
        """Release the connections."""
