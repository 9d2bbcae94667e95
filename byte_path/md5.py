"""MD5 of streams that several threads hash at the same time.

`_md5.c` computes them together, eight in a fifth of hashlib's time, where it was built and the processor is an x86-64
with AVX2; elsewhere it is hashlib that computes them, one by one. What comes out is the same (decision 0028).
"""

import hashlib
from typing import Protocol, Self

try:
    from byte_path._md5 import MD5
except ImportError:
    MD5 = None  # type: ignore[assignment, misc]  # not built, or not for this processor


class RunningMd5(Protocol):
    """The MD5 of the bytes so far. Threads may share one; `update` lets go of the interpreter's lock."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take the next bytes."""

    def copy(self) -> Self:
        """Return another one that has taken the same bytes."""

    def hexdigest(self) -> str:
        """Return the digest: 32 lower-case hexadecimal digits."""


def new_md5() -> RunningMd5:
    """Return the MD5 of nothing yet."""
    return MD5() if MD5 is not None else hashlib.md5(usedforsecurity=False)


def is_together() -> bool:
    """Whether streams are computed together here."""
    return MD5 is not None
