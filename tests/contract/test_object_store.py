"""What the object-store port promises, of every store. What only one store does stands in its own file beside this."""

import hashlib
import random
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from score_grpc.domain.errors import (
    PartsLostError,
    StagingLostError,
    StoredBytesCorruptError,
    StoreUnavailableError,
)
from score_grpc.gateways.objects.port import PIECE_BYTES, ObjectStore, StagedPart, Staging
from tests.contract.stores import Crash, StoreUnderTest

MIB = 1024 * 1024
PART_BYTES = 5 * MIB
"""S3's minimum for all parts but the last."""
CHUNK_BYTES = MIB + 7
"""Not a divisor of anything."""
# Random bytes: every shift, swap or hole shows.
CONTENT = random.Random(1).randbytes(2 * PART_BYTES + 12_345)
OTHER = random.Random(2).randbytes(len(CONTENT))
SPANS = [(0, PART_BYTES), (PART_BYTES, PART_BYTES), (2 * PART_BYTES, 12_345)]


@pytest.fixture
def key(under_test: StoreUnderTest) -> str:
    return f"{under_test.key_prefix}{uuid.uuid4()}"


@pytest.fixture
def store(under_test: StoreUnderTest) -> ObjectStore:
    return under_test.store


def write_part(store: ObjectStore, staging: Staging, number: int, content: bytes = CONTENT) -> StagedPart:
    """Write part `number` of SPANS in chunks and commit it."""
    offset, size_bytes = SPANS[number - 1]
    return write_span(store, staging, number, offset, content[offset : offset + size_bytes])


def write_span(store: ObjectStore, staging: Staging, number: int, offset: int, content: bytes) -> StagedPart:
    writer = store.open_part(staging, number, offset, len(content))
    view = memoryview(content)
    try:
        for start in range(0, len(content), CHUNK_BYTES):
            writer.write(view[start : start + CHUNK_BYTES])
        return StagedPart(number, offset, len(content), writer.commit())
    finally:
        writer.discard()


def write_parts(store: ObjectStore, staging: Staging, content: bytes = CONTENT) -> Sequence[StagedPart]:
    return [write_part(store, staging, number, content) for number in (1, 2, 3)]


def put(store: ObjectStore, key: str, content: bytes) -> str:
    """Store an object of one part; return its version."""
    staging = store.begin(key)
    return store.assemble(staging, [write_span(store, staging, 1, 0, content)]).version


def read(store: ObjectStore, key: str, version: str, offset: int, size_bytes: int) -> bytes:
    return b"".join(bytes(piece) for piece in store.read(key, version, offset, size_bytes))


def md5(content: bytes | None) -> str:
    assert content is not None
    return hashlib.md5(content).hexdigest()


def test_parts_written_in_any_order_become_the_object(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    parts = sorted((write_part(store, staging, number) for number in (3, 1, 2)), key=lambda part: part.part_number)
    stored = store.assemble(staging, parts)
    assert stored.size_bytes == len(CONTENT)
    assert store.stat(key) == stored
    assert md5(under_test.plain_bytes(key)) == md5(CONTENT)
    assert md5(read(store, key, stored.version, 0, len(CONTENT))) == md5(CONTENT)
    assert under_test.staging_count(key) == 0


def test_parts_are_written_by_several_threads_at_once(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    count, content = 8, random.Random(3).randbytes(8 * PART_BYTES)
    staging = store.begin(key)

    def write(number: int) -> StagedPart:
        offset = (number - 1) * PART_BYTES
        return write_span(store, staging, number, offset, content[offset : offset + PART_BYTES])

    with ThreadPoolExecutor(count) as pool:
        parts = list(pool.map(write, range(1, count + 1)))
    store.assemble(staging, parts)
    assert md5(under_test.plain_bytes(key)) == md5(content)


@pytest.mark.parametrize("size_bytes", [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1])
def test_an_object_may_be_one_short_part(under_test: StoreUnderTest, key: str, size_bytes: int) -> None:
    version = put(under_test.store, key, CONTENT[:size_bytes])
    assert under_test.plain_bytes(key) == CONTENT[:size_bytes]
    assert read(under_test.store, key, version, 0, size_bytes) == CONTENT[:size_bytes]


def test_a_part_takes_chunks_of_any_size(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    writer = store.open_part(staging, 1, 0, PART_BYTES)
    view, start = memoryview(CONTENT)[:PART_BYTES], 0
    for size_bytes in (1, 0, 2 * MIB, 3, MIB, PART_BYTES):
        chunk = bytearray(view[start : start + size_bytes])
        writer.write(memoryview(chunk))
        chunk[:] = bytes(len(chunk))  # the view is the caller's again
        start += size_bytes
    store.assemble(staging, [StagedPart(1, 0, PART_BYTES, writer.commit())])
    assert md5(under_test.plain_bytes(key)) == md5(CONTENT[:PART_BYTES])


def test_a_part_is_neither_longer_nor_shorter_than_said(store: ObjectStore, key: str) -> None:
    staging = store.begin(key)
    writer = store.open_part(staging, 1, 0, 10)
    with pytest.raises(ValueError, match="part"):
        writer.commit()
    with pytest.raises(ValueError, match="part"):
        writer.write(memoryview(bytes(11)))
    writer.discard()
    store.abort(staging)


def test_writing_a_part_again_replaces_it(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    write_parts(store, staging, OTHER)
    parts = write_parts(store, staging)
    store.assemble(staging, parts)
    assert md5(under_test.plain_bytes(key)) == md5(CONTENT)


def test_a_discarded_part_leaves_nothing(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    first = write_part(store, staging, 1)
    writer = store.open_part(staging, 2, PART_BYTES, PART_BYTES)
    writer.write(memoryview(OTHER)[:MIB])
    writer.discard()
    writer.discard()
    with pytest.raises(StoreUnavailableError):
        writer.write(memoryview(OTHER)[:1])
    stored = store.assemble(staging, [first])
    assert stored.size_bytes == PART_BYTES
    assert md5(under_test.plain_bytes(key)) == md5(CONTENT[:PART_BYTES])


def test_a_discarded_part_can_be_written_again(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    writer = store.open_part(staging, 1, 0, PART_BYTES)
    writer.write(memoryview(OTHER)[: PART_BYTES - 1])
    writer.discard()
    store.assemble(staging, write_parts(store, staging))
    assert md5(under_test.plain_bytes(key)) == md5(CONTENT)


def test_discarding_a_committed_part_does_nothing(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    writer = store.open_part(staging, 1, 0, 3)
    writer.write(memoryview(b"abc"))
    etag = writer.commit()
    writer.discard()
    store.assemble(staging, [StagedPart(1, 0, 3, etag)])
    assert under_test.plain_bytes(key) == b"abc"


def test_no_parts_make_an_empty_object(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    write_part(store, staging, 1)
    stored = store.assemble(staging, [])
    assert stored.size_bytes == 0
    assert store.assemble(staging, []) == stored == store.stat(key)
    assert under_test.plain_bytes(key) == b""
    assert list(store.read(key, stored.version, 0, 0)) == []
    assert under_test.staging_count(key) == 0


def test_assembling_twice_returns_the_same(under_test: StoreUnderTest, key: str) -> None:
    staging = under_test.store.begin(key)
    parts = write_parts(under_test.store, staging)
    stored = under_test.store.assemble(staging, parts)
    assert under_test.store.assemble(staging, parts) == stored
    under_test.restart()
    assert under_test.store.assemble(staging, parts) == stored


@pytest.mark.parametrize("content", [CONTENT, b""], ids=["parts", "empty"])
def test_assembling_again_after_a_crash_at_any_step_returns_the_same(
    under_test: StoreUnderTest, key: str, content: bytes
) -> None:
    steps = 0
    while True:
        steps += 1
        name = f"{key}.{steps}"
        staging = under_test.store.begin(name)
        parts = write_parts(under_test.store, staging) if content else []
        try:
            with under_test.crashing(steps):
                under_test.store.assemble(staging, parts)
        except Crash:
            under_test.restart()
            stored = under_test.store.assemble(staging, parts)
            assert stored == under_test.store.stat(name)
            assert md5(under_test.plain_bytes(name)) == md5(content)
            assert under_test.staging_count(name) == 0
        else:
            break
    assert steps > 4


def test_committed_parts_outlive_the_process(under_test: StoreUnderTest, key: str) -> None:
    staging = under_test.store.begin(key)
    parts = [write_part(under_test.store, staging, number) for number in (1, 2)]
    late = under_test.store.open_part(staging, 3, *SPANS[2])
    late.write(memoryview(OTHER)[:100])
    under_test.restart()
    late.discard()
    parts.append(write_part(under_test.store, staging, 3))
    under_test.store.assemble(staging, parts)
    assert md5(under_test.plain_bytes(key)) == md5(CONTENT)


def test_assembling_names_the_parts_that_are_gone(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    parts = [write_part(store, staging, number) for number in (1, 2)]
    with pytest.raises(PartsLostError) as raised:
        store.assemble(staging, [*parts, StagedPart(3, *SPANS[2], etag=parts[0].etag)])
    assert raised.value.part_numbers == [3]
    assert store.stat(key) is None
    assert under_test.plain_bytes(key) is None
    store.assemble(staging, [*parts, write_part(store, staging, 3)])
    assert md5(under_test.plain_bytes(key)) == md5(CONTENT)


def test_a_staging_that_is_gone_is_said_to_be_lost(store: ObjectStore, key: str) -> None:
    staging = store.begin(key)
    parts = write_parts(store, staging)
    store.abort(staging)
    with pytest.raises(StagingLostError):
        write_part(store, staging, 1)
    with pytest.raises(StagingLostError):
        store.assemble(staging, parts)
    with pytest.raises(StagingLostError):
        store.reopen(staging, parts)


def test_another_object_under_the_key_is_not_taken_for_the_staging(store: ObjectStore, key: str) -> None:
    put(store, key, b"shorter")
    staging = store.begin(key)
    parts = write_parts(store, staging)
    store.abort(staging)
    with pytest.raises(StagingLostError):
        store.assemble(staging, parts)


def test_a_late_writer_does_not_touch_the_object(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    late = store.open_part(staging, 1, 0, 4)
    late.write(memoryview(b"no"))
    stored = store.assemble(staging, [write_span(store, staging, 1, 0, b"good")])

    def finish() -> None:
        late.write(memoryview(b"no"))
        late.commit()

    with pytest.raises((StoreUnavailableError, StagingLostError)):
        finish()
    late.discard()
    assert under_test.plain_bytes(key) == b"good"
    assert store.stat(key) == stored


def test_a_reopened_object_takes_another_part_in_place_of_one(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    wrong = CONTENT[:PART_BYTES] + OTHER[PART_BYTES : 2 * PART_BYTES] + CONTENT[2 * PART_BYTES :]
    staging = store.begin(key)
    parts = write_parts(store, staging, wrong)
    store.assemble(staging, parts)
    again, kept = store.reopen(staging, parts)
    assert [(part.part_number, part.offset, part.size_bytes) for part in kept] == [
        (part.part_number, part.offset, part.size_bytes) for part in parts
    ]
    under_test.restart()
    store = under_test.store
    store.assemble(again, [kept[0], write_part(store, again, 2), kept[2]])
    assert md5(under_test.plain_bytes(key)) == md5(CONTENT)
    assert under_test.staging_count(key) == 0


def test_an_empty_object_can_be_reopened(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    store.assemble(staging, [])
    again, parts = store.reopen(staging, [])
    assert list(parts) == []
    store.assemble(again, [write_span(store, again, 1, 0, b"abc")])
    assert under_test.plain_bytes(key) == b"abc"


def test_stagings_are_found_by_their_age_until_they_are_assembled_or_aborted(
    under_test: StoreUnderTest, key: str
) -> None:
    store = under_test.store
    open_one, aborted, assembled = store.begin(key), store.begin(f"{key}.2"), store.begin(f"{key}.3")
    part = write_part(store, open_one, 1)
    store.abort(aborted)
    store.assemble(assembled, write_parts(store, assembled))

    def found(begun_before: datetime) -> set[str]:
        tokens = {staging.token for staging in store.stagings(key.rpartition(":")[2], begun_before)}
        return tokens & {open_one.token, aborted.token, assembled.token}

    assert found(datetime.now(UTC) - timedelta(hours=1)) == set()
    assert found(datetime.now(UTC) + timedelta(hours=1)) == {open_one.token}
    # Found or not, it goes on.
    store.assemble(open_one, [part])
    assert found(datetime.now(UTC) + timedelta(hours=1)) == set()


def test_aborting_frees_the_staging_however_often(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    write_part(store, staging, 1)
    store.open_part(staging, 2, PART_BYTES, PART_BYTES).discard()
    assert under_test.staging_count(key) == 1
    store.abort(staging)
    store.abort(staging)
    assert under_test.staging_count(key) == 0
    assert store.stat(key) is None


def test_aborting_an_assembled_staging_leaves_the_object(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    store.assemble(staging, [write_span(store, staging, 1, 0, b"abc")])
    store.abort(staging)
    assert under_test.plain_bytes(key) == b"abc"


def test_two_stagings_of_one_key_know_nothing_of_each_other(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    ours, other = store.begin(key), store.begin(key)
    parts = write_parts(store, ours)
    write_parts(store, other, OTHER)
    store.abort(other)
    store.assemble(ours, parts)
    assert md5(under_test.plain_bytes(key)) == md5(CONTENT)


def test_what_is_deleted_is_missing(store: ObjectStore, key: str) -> None:
    assert store.stat(key) is None
    store.delete(key)
    version = put(store, key, b"abc")
    assert store.stat(key) is not None
    store.delete(key)
    store.delete(key)
    assert store.stat(key) is None
    with pytest.raises(StoredBytesCorruptError):
        read(store, key, version, 0, 3)


def test_every_range_is_read_exactly(store: ObjectStore, key: str) -> None:
    staging = store.begin(key)
    version = store.assemble(staging, write_parts(store, staging)).version
    edges = sorted(
        {
            edge + step
            for edge in (0, PIECE_BYTES, PART_BYTES, 2 * PART_BYTES, len(CONTENT))
            for step in (-1, 0, 1)
            if 0 <= edge + step <= len(CONTENT)
        }
    )
    for start in edges:
        for end in edges:
            if start <= end:
                pieces = [bytes(piece) for piece in store.read(key, version, start, end - start)]
                assert b"".join(pieces) == CONTENT[start:end], (start, end)
                assert all(len(piece) == PIECE_BYTES for piece in pieces[:-1])
                assert all(pieces)


def test_one_buffer_serves_all_pieces(store: ObjectStore, key: str) -> None:
    version = put(store, key, CONTENT)
    pieces = store.read(key, version, 0, len(CONTENT))
    buffers = {id(piece.obj) for piece in pieces}
    assert len(buffers) == 1


def test_reading_past_the_end_is_corrupt(store: ObjectStore, key: str) -> None:
    version = put(store, key, CONTENT)
    for offset, size_bytes in ((0, len(CONTENT) + 1), (len(CONTENT) - 1, 2), (len(CONTENT), 1), (len(CONTENT) + 5, 1)):
        with pytest.raises(StoredBytesCorruptError):
            read(store, key, version, offset, size_bytes)


def test_reads_are_pinned_to_a_version(store: ObjectStore, key: str) -> None:
    put(store, key, b"abc")
    with pytest.raises(StoredBytesCorruptError):
        read(store, key, '"00000000000000000000000000000000"', 0, 3)


def test_an_object_cut_short_behind_our_back_is_corrupt(under_test: StoreUnderTest, key: str) -> None:
    version = put(under_test.store, key, CONTENT)
    under_test.overwrite(key, CONTENT[:-1])
    with pytest.raises(StoredBytesCorruptError):
        read(under_test.store, key, version, 0, len(CONTENT))


def test_abandoned_readers_and_writers_hold_no_files(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    version = put(store, key, CONTENT)
    staging = store.begin(key)

    def abandon() -> None:
        reader = store.read(key, version, 0, len(CONTENT))
        next(reader)
        del reader
        store.read(key, version, 0, len(CONTENT))  # not even begun
        writer = store.open_part(staging, 1, 0, PART_BYTES)
        writer.write(memoryview(CONTENT)[:MIB])
        writer.discard()

    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    abandon()
    before = open_files()
    for _ in range(20):
        abandon()
    assert open_files() <= before
    store.abort(staging)


def test_committed_bytes_may_be_read_before_they_are_assembled(store: ObjectStore, key: str) -> None:
    staging = store.begin(key)
    parts = write_parts(store, staging)
    pieces = store.read_staged(staging, PART_BYTES, PART_BYTES)
    if pieces is not None:
        assert md5(b"".join(bytes(piece) for piece in pieces)) == md5(CONTENT[PART_BYTES : 2 * PART_BYTES])
    store.assemble(staging, parts)
    assert store.read_staged(staging, 0, 1) is None


def test_a_usable_store_says_so(store: ObjectStore) -> None:
    store.check()
    free_bytes = store.free_bytes()
    assert (free_bytes is None) is not store.is_exclusive
    assert free_bytes is None or free_bytes > 0
