"""Digests of a file's parts, several parts at a time: their MD5s then cost little more than one."""

import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

from byte_path.md5 import is_together
from song_score_client.transfer.local_file import LocalFile

PARTS_TOGETHER = 8
"""As many as are computed side by side."""
TOGETHER_MAX_BYTES = 128 * 1024 * 1024
"""Read before the first of them can be sent."""


class DigestsTogether:
    """Computes the digests of parts that workers are about to send, and of those that come next. For any thread."""

    def __init__(
        self, file: LocalFile, part_numbers: Collection[int], part_range: Callable[[int], tuple[int, int]]
    ) -> None:
        """`part_numbers`: those to be sent; `part_range` returns the offset and length of one, in bytes."""
        self._file, self._range = file, part_range
        self._waiting = set(part_numbers)
        """Nobody has asked for them yet, nor computes them."""
        self._computing: set[int] = set()
        self._found: dict[int, tuple[str, str]] = {}
        self._changed = threading.Condition()

    def of(self, number: int) -> tuple[str, str]:
        """Return the xxh3_128 and the MD5 of a part. Raises LocalFileError."""
        with self._changed:
            self._changed.wait_for(lambda: number not in self._computing)
            if number in self._found:
                return self._found.pop(number)
            batch = self._batch(number)
            self._waiting.difference_update(batch)
            self._computing.update(batch)
        found: dict[int, tuple[str, str]] = {}
        try:
            with ThreadPoolExecutor(len(batch), "digest") as pool:
                digests = pool.map(lambda each: self._file.part_digests(*self._range(each)), batch)
                found = dict(zip(batch, digests, strict=True))
            return found.pop(number)
        finally:
            with self._changed:
                self._computing.difference_update(batch)
                self._found |= found
                self._changed.notify_all()

    def _batch(self, number: int) -> list[int]:
        most = min(PARTS_TOGETHER, TOGETHER_MAX_BYTES // self._range(number)[1]) if is_together() else 1
        ahead = (each for each in range(number + 1, number + max(most, 1)) if each in self._waiting)
        return [number, *ahead]
