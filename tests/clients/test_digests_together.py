"""Digests of parts that are computed together: each once, and only of what is to be sent."""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from song_score_client.errors import LocalFileError
from song_score_client.transfer import digests_together
from song_score_client.transfer.digests_together import PARTS_TOGETHER, TOGETHER_MAX_BYTES, DigestsTogether
from song_score_client.transfer.local_file import LocalFile, open_file
from song_score_client.transfer.parts import part_range
from xxhash import xxh3_128_hexdigest

from tests.servers.score_world import random_bytes

PART = 64 * 1024
TOTAL = 21
DATA = random_bytes((TOTAL - 1) * PART + 17)


@dataclass(frozen=True, slots=True)
class Watched(LocalFile):
    """Counts how often each part is hashed."""

    seen: Counter[int] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def part_digests(self, offset: int, size_bytes: int) -> tuple[str, str]:
        with self.lock:
            self.seen[offset // PART + 1] += 1
        return LocalFile.part_digests(self, offset, size_bytes)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Watched]:
    path = tmp_path / "reads.bam"
    path.write_bytes(DATA)
    with open_file(path) as opened:
        yield Watched(opened.path, opened.fd, opened.identity)


@pytest.fixture(params=[True, False], ids=["together", "one by one"], autouse=True)
def is_together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    together: bool = request.param
    monkeypatch.setattr(digests_together, "is_together", lambda: together)
    return together


def range_of(number: int) -> tuple[int, int]:
    return part_range(number, PART, len(DATA))


def digests_of(number: int) -> tuple[str, str]:
    part = DATA[(number - 1) * PART : number * PART]
    return xxh3_128_hexdigest(part), hashlib.md5(part).hexdigest()


def test_many_workers_get_the_digests_of_their_parts_and_each_is_hashed_once(file: Watched) -> None:
    numbers = range(1, TOTAL + 1)
    digests = DigestsTogether(file, numbers, range_of)
    with ThreadPoolExecutor(5) as workers:
        assert list(workers.map(digests.of, numbers)) == [digests_of(number) for number in numbers]
    assert file.seen == dict.fromkeys(numbers, 1)


def test_only_what_is_to_be_sent_and_comes_next_is_hashed_ahead(file: Watched, *, is_together: bool) -> None:
    digests = DigestsTogether(file, [1, 3, 4, TOTAL], range_of)
    digests.of(1)
    assert set(file.seen) == ({1, 3, 4} if is_together else {1})


def test_large_parts_are_hashed_one_by_one_so_that_the_first_can_go_soon(file: Watched) -> None:
    digests = DigestsTogether(file, [1, 2, 3], lambda _: (0, TOGETHER_MAX_BYTES // 2 + 1))
    assert digests._batch(1) == [1]
    assert PARTS_TOGETHER > 1


def test_a_part_that_is_sent_again_is_hashed_again(file: Watched) -> None:
    digests = DigestsTogether(file, [1], range_of)
    assert digests.of(1) == digests.of(1) == digests_of(1)
    assert file.seen[1] == 2


def test_a_file_that_became_shorter_is_told_to_each_who_asks(file: Watched) -> None:
    digests = DigestsTogether(file, [1, 2, 3], range_of)
    file.path.write_bytes(DATA[: PART + 5])
    for number in (2, 3):
        with pytest.raises(LocalFileError, match="shorter"):
            digests.of(number)
    assert digests.of(1) == digests_of(1)
