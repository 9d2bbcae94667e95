"""Pieces of an object whose bytes can be told right or wrong: whole parts, and what a range cuts off of one."""

from collections.abc import Iterable
from dataclasses import dataclass

from byte_path.digests import PartDigest
from byte_path.md5 import new_md5


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of an object, with the digest of them where one is known."""

    offset: int
    """In bytes, from the object's start."""
    size_bytes: int
    xxh3_128: str = ""
    """Empty where it is not known."""
    md5: str = ""
    """Known instead of the other where the bytes went to the store by a signed URL, or were adopted."""

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.size_bytes

    @property
    def has_digest(self) -> bool:
        """Whether anything is known that tells it from other bytes."""
        return bool(self.xxh3_128 or self.md5)

    def is_right(self, data: Iterable[memoryview]) -> bool:
        """Whether these are its bytes, as far as can be told."""
        digest = PieceDigest(self)
        for chunk in data:
            digest.update(chunk)
        return digest.is_right()


class PieceDigest:
    """Compares bytes that come chunk by chunk with what is known of a piece."""

    def __init__(self, piece: Piece) -> None:
        self._piece, self._received_bytes = piece, 0
        self._xxh3 = PartDigest() if piece.xxh3_128 else None
        self._md5 = new_md5() if piece.md5 and not piece.xxh3_128 else None

    def update(self, data: memoryview) -> None:
        """Take the next bytes."""
        self._received_bytes += data.nbytes
        if self._xxh3 is not None:
            self._xxh3.update(data)
        if self._md5 is not None:
            self._md5.update(data)

    def is_right(self) -> bool:
        """Whether all bytes came, and are the right ones; without a digest only their number is known."""
        if self._received_bytes != self._piece.size_bytes:
            return False
        if self._xxh3 is not None:
            return self._xxh3.hexdigest() == self._piece.xxh3_128
        return self._md5 is None or self._md5.hexdigest() == self._piece.md5
