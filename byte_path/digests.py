"""Digests of chunks and parts, as the contract spells them: xxh3, seed 0, canonical (big-endian) hexadecimal."""

import xxhash

XXH3_128_HEX_DIGITS = 32


def chunk_digest(data: memoryview) -> int:
    """Return the xxh3_64 of one chunk's data."""
    return xxhash.xxh3_64_intdigest(data)


class PartDigest:
    """The xxh3_128 of a part, fed chunk by chunk."""

    def __init__(self) -> None:
        self._state = xxhash.xxh3_128()

    def update(self, data: memoryview) -> None:
        """Take the next bytes."""
        self._state.update(data)

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far: 32 lower-case hexadecimal digits."""
        return self._state.hexdigest()
