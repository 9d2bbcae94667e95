"""The object store behind one small port. One module per store; one contract suite for all of them.

A store collects the parts of an upload in a *staging* and assembles them, whole or not at all, into an object
under a key. It knows no rule, no upload, no digest of ours: who may, what is right and what is visible is
decided elsewhere. All methods block, may be called from many threads, and raise the store errors of
`score_grpc.domain.errors`, never a vendor's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, Self

from score_grpc.domain.signed_requests import SignedRequest

PIECE_BYTES = 1024 * 1024
"""Reads come in pieces of this many bytes, the last one shorter."""


@dataclass(frozen=True, slots=True)
class Staging:
    """Where one upload's parts are collected. Kept in the ledger as two texts."""

    key: str
    """Where the object will be, for example `data/<object_id>`."""
    token: str
    """The store's own id of the staging."""


@dataclass(frozen=True, slots=True)
class StagedPart:
    """A part as the ledger remembers it."""

    part_number: int
    """From 1."""
    offset: int
    """First byte, in bytes from the object's start."""
    size_bytes: int
    etag: str
    """What `PartWriter.commit` returned."""


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """An object in the store."""

    size_bytes: int
    version: str
    """The store's mark of exactly these bytes; reads are pinned to it. Empty where a key is never rewritten."""
    digest: str = ""
    """Of all its bytes as they reached the store, by the digest of `passing_digest`; empty where it tells none."""


@dataclass(frozen=True, slots=True)
class StorePart:
    """A part as the store reports it."""

    part_number: int
    size_bytes: int
    etag: str


class PartWriter(Protocol):
    """Takes the bytes of one part, in order. Ends with `commit` or `discard`; used by one thread at a time."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes; the view is the caller's again afterwards.

        Raises StoreUnavailableError (the part must be written anew), StoreFullError.
        """

    def commit(self) -> str:
        """Persist the part, of which every byte was written, and return the store's etag for it.

        Afterwards the part survives the death of this process. Raises StoreUnavailableError, StoreFullError, and
        StagingLostError where the store says only now that the staging is gone.
        """

    def discard(self) -> None:
        """Give the part up and free what it holds. Never raises; after `commit` it does nothing."""


class RunningDigest(Protocol):
    """A digest in the making."""

    def update(self, data: memoryview, /) -> None:
        """Take the next bytes."""

    def copy(self) -> Self:
        """Return one that goes on from here by itself."""

    def digest(self) -> str:
        """Return the digest of all bytes so far, as the store writes it."""


class ObjectStore(Protocol):
    """One object store."""

    is_exclusive: bool
    """True where one process owns the store (local), false where replicas share it."""
    signs_parts: bool
    """Whether `sign_part` hands out requests."""

    def begin(self, key: str) -> Staging:
        """Open a staging for an object under `key`. Raises StoreUnavailableError, StoreFullError."""

    def open_part(self, staging: Staging, part_number: int, offset: int, size_bytes: int) -> PartWriter:
        """Begin a part: `size_bytes` (at least 1) bytes at `offset` of the object.

        Writing a part again replaces it: from here on an earlier commit of it counts no more, even if this one never
        commits. So the caller forgets it first.

        Raises StagingLostError, StoreUnavailableError, StoreFullError.
        """

    def read_staged(self, staging: Staging, offset: int, size_bytes: int) -> Iterator[memoryview] | None:
        """Read committed bytes back before they are assembled, as `read` does.

        None where this store can't, or where the staging is already assembled.
        """

    def assemble(self, staging: Staging, parts: Sequence[StagedPart]) -> StoredBytes:
        """Make the object of exactly these parts, given in order, without gaps; none makes an empty object.

        Durable on return. Repeating it after a crash, when the staging is already assembled, returns the same.
        Raises PartsLostError naming parts that are gone or differ, StagingLostError, StoreUnavailableError,
        StoreFullError. On an error nothing is assembled.
        """

    def reopen(self, staging: Staging, parts: Sequence[StagedPart]) -> tuple[Staging, Sequence[StagedPart]]:
        """Turn an assembled object back into a staging with these parts, so that some can be replaced.

        No byte passes through this process. What stays under the key, if anything, the next `assemble` overwrites.
        Raises as `assemble`; StagingLostError also where the store can't do it at all.
        """

    def abort(self, staging: Staging) -> None:
        """Free a staging, also one that is gone. An assembled object stays. Raises StoreUnavailableError."""

    def stagings(self, prefix: str, begun_before: datetime) -> Iterator[Staging]:
        """Yield the stagings of keys with this prefix that were begun before a moment, in any order.

        A store that others may use too yields theirs as well. One that belongs to us alone may leave the key empty,
        and then minds no prefix. Raises StoreUnavailableError.
        """

    def stat(self, key: str) -> StoredBytes | None:
        """Return what is under the key, None if nothing is. Raises StoreUnavailableError."""

    def read(self, key: str, version: str, offset: int, size_bytes: int) -> Iterator[memoryview]:
        """Yield exactly these bytes in pieces of PIECE_BYTES, the last one shorter.

        A piece is valid until the next one is taken. Raises StoredBytesCorruptError where the object is gone, has
        another version or ends early, StoreUnavailableError.
        """

    def delete(self, key: str) -> None:
        """Delete what is under the key, if anything is. Raises StoreUnavailableError."""

    def put(self, key: str, data: Sequence[memoryview]) -> StoredBytes:
        """Store a small object in one go, whole or not at all, durable on return. What was under the key is replaced.

        Raises StoreUnavailableError, StoreFullError.
        """

    def list_parts(self, staging: Staging, after: int = 0) -> Iterator[StorePart]:
        """Yield the parts of a staging as the store has them, by part number, those with numbers above `after`.

        Some stores list a part that was written again as often as it was. A store that does not sign parts may yield
        none. Raises StagingLostError, StoreUnavailableError.
        """

    def sign_part(
        self, staging: Staging, part_number: int, size_bytes: int, md5: str, lifetime: timedelta
    ) -> SignedRequest | None:
        """Sign a PUT of exactly these bytes, straight to the store. None where the store can't.

        The store refuses a body with another MD5 or length. The answer's ETag is the one that `assemble` wants. It
        may expire sooner than asked, with the credentials it is made of. No network, unless the machine's own
        credentials have to be renewed. Raises StoreUnavailableError where they can't.
        """

    def sign_read(
        self, key: str, version: str, byte_range: tuple[int, int] | None, lifetime: timedelta
    ) -> SignedRequest | None:
        """Sign a GET of an object, or of a range of it (first byte, length). None where the store can't.

        A GET of the whole takes a Range header of the caller's own. As to expiry, network and errors see `sign_part`.
        """

    def passing_digest(self) -> RunningDigest | None:
        """Return a new digest of the kind that the store itself computes of what it assembles, see `StoredBytes`.

        Who finds them equal need not read the bytes back. None where the store computes none, where that is not known
        yet, or where it shows the bytes of a staging, so that they can be read at any time. No network.
        """

    def free_bytes(self) -> int | None:
        """Return how many bytes still fit, None where the store has no such limit."""

    def check(self) -> None:
        """Raise StoreUnavailableError unless the store can be used now."""

    def close(self) -> None:
        """Release connections and locks."""
