"""glibc's allocator, tuned once per process that moves bytes.

Message buffers of a megabyte lie beyond glibc's thresholds: each is mapped, faulted in page by page, and returned
to the kernel, for every message. Keeping them on the heap saves a third of a transfer's CPU time.
"""

import contextlib
import ctypes
import sys

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_MIB = 1024 * 1024
MMAP_THRESHOLD_BYTES = 32 * _MIB
"""The most that glibc takes: larger blocks are mapped."""
TRIM_THRESHOLD_BYTES = 64 * _MIB
"""Free memory kept at the heap's end; bounds what tuning adds to a process."""
TOP_PAD_BYTES = 4 * _MIB
ARENAS = 2
"""Fewer arenas than threads: each would keep free memory of its own."""
SWITCH_SECONDS = 0.0005
"""How soon a thread that wants the interpreter's lock gets it. A hasher lets go of it for two milliseconds at a time,
and would wait Python's default of five for each return: half of its speed."""


def tune_allocator() -> None:
    """Keep message buffers on the heap (where the C library is another one, nothing happens), and threads moving."""
    sys.setswitchinterval(SWITCH_SECONDS)
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # musl has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
        mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
        mallopt(_M_TOP_PAD, TOP_PAD_BYTES)
        mallopt(_M_ARENA_MAX, ARENAS)
