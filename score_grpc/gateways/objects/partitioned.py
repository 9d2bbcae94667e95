"""One object store over several buckets: a key may begin with the name of its bucket and a colon.

Which object goes to which bucket is said by the key alone (`score_grpc.domain.layout`), and the ledger keeps keys: so
whatever buckets new objects go to, old ones are found where they are.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from score_grpc.domain.layout import split_key
from score_grpc.domain.signed_requests import SignedRequest
from score_grpc.gateways.objects.port import (
    ObjectStore,
    PartWriter,
    RunningDigest,
    StagedPart,
    Staging,
    StoredBytes,
    StorePart,
)


class PartitionedStore:
    """Hands each call to the store of the key's bucket. See `ObjectStore`, whose promises are those stores'."""

    is_exclusive = False

    def __init__(
        self, base: ObjectStore, open_bucket: Callable[[str], ObjectStore], partitions: Sequence[str] = ()
    ) -> None:
        """Take the base bucket's store, where keys without a bucket are; what `open_bucket` makes lives off it.

        `partitions` are the buckets in use now: those that are checked, and looked through for stagings.
        """
        self._base, self._open_bucket, self._partitions = base, open_bucket, partitions
        self.signs_parts = base.signs_parts
        self._stores: dict[str, ObjectStore] = {"": base}

    def begin(self, key: str) -> Staging:
        """See `ObjectStore.begin`."""
        store, bucket, name = self._split(key)
        return _outside(bucket, store.begin(name))

    def open_part(self, staging: Staging, part_number: int, offset: int, size_bytes: int) -> PartWriter:
        """See `ObjectStore.open_part`."""
        store, _, inside = self._inside(staging)
        return store.open_part(inside, part_number, offset, size_bytes)

    def read_staged(self, staging: Staging, offset: int, size_bytes: int) -> Iterator[memoryview] | None:
        """See `ObjectStore.read_staged`."""
        store, _, inside = self._inside(staging)
        return store.read_staged(inside, offset, size_bytes)

    def assemble(self, staging: Staging, parts: Sequence[StagedPart]) -> StoredBytes:
        """See `ObjectStore.assemble`."""
        store, _, inside = self._inside(staging)
        return store.assemble(inside, parts)

    def reopen(self, staging: Staging, parts: Sequence[StagedPart]) -> tuple[Staging, Sequence[StagedPart]]:
        """See `ObjectStore.reopen`."""
        store, bucket, inside = self._inside(staging)
        fresh, copies = store.reopen(inside, parts)
        return _outside(bucket, fresh), copies

    def abort(self, staging: Staging) -> None:
        """See `ObjectStore.abort`."""
        store, _, inside = self._inside(staging)
        store.abort(inside)

    def stagings(self, prefix: str, begun_before: datetime) -> Iterator[Staging]:
        """See `ObjectStore.stagings`. The prefix is that of keys within their buckets."""
        for bucket in ("", *self._partitions):
            for staging in self._store(bucket).stagings(prefix, begun_before):
                yield _outside(bucket, staging)

    def stat(self, key: str) -> StoredBytes | None:
        """See `ObjectStore.stat`."""
        store, _, name = self._split(key)
        return store.stat(name)

    def read(self, key: str, version: str, offset: int, size_bytes: int) -> Iterator[memoryview]:
        """See `ObjectStore.read`."""
        store, _, name = self._split(key)
        return store.read(name, version, offset, size_bytes)

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        store, _, name = self._split(key)
        store.delete(name)

    def put(self, key: str, data: Sequence[memoryview]) -> StoredBytes:
        """See `ObjectStore.put`."""
        store, _, name = self._split(key)
        return store.put(name, data)

    def list_parts(self, staging: Staging, after: int = 0) -> Iterator[StorePart]:
        """See `ObjectStore.list_parts`."""
        store, _, inside = self._inside(staging)
        return store.list_parts(inside, after)

    def sign_part(
        self, staging: Staging, part_number: int, size_bytes: int, md5: str, lifetime: timedelta
    ) -> SignedRequest | None:
        """See `ObjectStore.sign_part`."""
        store, _, inside = self._inside(staging)
        return store.sign_part(inside, part_number, size_bytes, md5, lifetime)

    def sign_read(
        self, key: str, version: str, byte_range: tuple[int, int] | None, lifetime: timedelta
    ) -> SignedRequest | None:
        """See `ObjectStore.sign_read`."""
        store, _, name = self._split(key)
        return store.sign_read(name, version, byte_range, lifetime)

    def passing_digest(self) -> RunningDigest | None:
        """See `ObjectStore.passing_digest`."""
        return self._base.passing_digest()

    def free_bytes(self) -> int | None:
        """See `ObjectStore.free_bytes`."""
        return self._base.free_bytes()

    def check(self) -> None:
        """See `ObjectStore.check`. Looks at the base bucket: it is asked every few seconds."""
        self._base.check()

    def check_partitions(self) -> None:
        """Raise StoreUnavailableError unless every bucket of the pool can be used: for the start."""
        for bucket in self._partitions:
            self._store(bucket).check()

    def close(self) -> None:
        """See `ObjectStore.close`."""
        self._base.close()

    def _store(self, bucket: str) -> ObjectStore:
        # Two threads may open the same one: both hold the same connections, and one is kept.
        return self._stores.get(bucket) or self._stores.setdefault(bucket, self._open_bucket(bucket))

    def _split(self, key: str) -> tuple[ObjectStore, str, str]:
        bucket, name = split_key(key)
        return self._store(bucket), bucket, name

    def _inside(self, staging: Staging) -> tuple[ObjectStore, str, Staging]:
        store, bucket, name = self._split(staging.key)
        return store, bucket, Staging(name, staging.token)


def _outside(bucket: str, staging: Staging) -> Staging:
    return Staging(f"{bucket}:{staging.key}", staging.token) if bucket else staging
