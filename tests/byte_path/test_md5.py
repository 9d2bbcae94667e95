"""MD5s that threads compute together are hashlib's."""

import hashlib
import os
import platform
import random
import signal
import subprocess
import sys
import sysconfig
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byte_path.md5 import is_together, new_md5

_DATA = random.Random(7).randbytes(300_000)


def _plain(data: bytes | bytearray | memoryview) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def test_it_is_built_where_it_can_be() -> None:
    can_build = (
        platform.machine() == "x86_64"
        and " avx2 " in Path("/proc/cpuinfo").read_text()
        and Path(sysconfig.get_paths()["include"], "Python.h").exists()
        and _has_compiler()
    )
    assert is_together() == can_build


def _has_compiler() -> bool:
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    try:
        return subprocess.run([compiler, "--version"], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def test_without_it_hashlib_computes_the_same() -> None:
    program = (
        "import sys; sys.modules['byte_path._md5'] = None\n"
        "from byte_path.md5 import is_together, new_md5\n"
        "md5 = new_md5(); md5.update(b'abc'); print(is_together(), md5.copy().hexdigest())"
    )
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["False", "900150983cd24fb0d6963f7d28e17f72"]


@given(st.lists(st.integers(0, 5000), max_size=8))
def test_bytes_may_come_in_any_pieces(sizes: list[int]) -> None:
    md5, offset = new_md5(), 0
    for size in sizes:
        md5.update(memoryview(_DATA)[offset : offset + size])
        offset += size
        assert md5.hexdigest() == _plain(_DATA[:offset])


@pytest.mark.parametrize("size", [0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 128, 2048, 2049, 2112, 65536, 65600, 299_999])
def test_every_length_is_padded_right(size: int) -> None:
    for data in (_DATA[:size], bytearray(_DATA[:size]), memoryview(_DATA)[1 : size + 1]):
        md5 = new_md5()
        md5.update(data)
        assert md5.hexdigest() == _plain(data)


def test_a_length_beyond_32_bits_of_bits_is_padded_right() -> None:
    md5, plain = new_md5(), hashlib.md5(usedforsecurity=False)
    piece = bytes(16 * 1024 * 1024)
    for _ in range(33):  # 528 MiB: more than 2 ** 32 bits
        md5.update(piece)
        plain.update(piece)
    assert md5.hexdigest() == plain.hexdigest()


def test_a_copy_goes_its_own_way() -> None:
    md5 = new_md5()
    md5.update(_DATA[:100_001])
    copy = md5.copy()
    md5.update(b"one")
    copy.update(b"other")
    assert (md5.hexdigest(), copy.hexdigest()) == (_plain(_DATA[:100_001] + b"one"), _plain(_DATA[:100_001] + b"other"))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(1, len(_DATA)), min_size=1, max_size=12), min_size=2, max_size=40))
def test_threads_that_hash_at_once_disturb_nobody(sizes: list[list[int]]) -> None:
    """More threads than lanes, with pieces of all lengths: leading, joining, handing over."""
    found: dict[int, str] = {}

    def run(thread: int) -> None:
        md5 = new_md5()
        for size in sizes[thread]:
            md5.update(memoryview(_DATA)[thread:size])
        found[thread] = md5.hexdigest()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(sizes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == {n: _plain(b"".join(_DATA[n:size] for size in sizes[n])) for n in range(len(sizes))}


def test_threads_may_share_one() -> None:
    md5 = new_md5()
    threads = [threading.Thread(target=md5.update, args=(_DATA,)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert md5.hexdigest() == _plain(_DATA * 12)


@pytest.mark.skipif(not is_together(), reason="not built here, or not for this processor")
def test_a_thread_that_wakes_while_another_computes_its_data_lets_that_one_go_on(tmp_path: Path) -> None:
    """Two are left, one leads for both: the other has nothing to lead, and must not keep the lock in search of it."""
    source = (Path(__file__).parents[2] / "byte_path" / "_md5.c").read_text()
    for found, replacement in {
        "#define SLICE_BLOCKS 1024 ": "static void hold(void);\nstatic __thread int turn;\n"
        "#define SLICE_BLOCKS (1 << 22) ",
        "sched_yield();": "hold();",
    }.items():
        assert source.count(found) == 1
        source = source.replace(found, replacement)
    program = tmp_path / "hand_over.c"
    program.write_text(source + (Path(__file__).parent / "md5_hand_over.c").read_text())
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    options = ["-O2", "-pthread", "-shared", "-fPIC", f"-I{sysconfig.get_paths()['include']}"]
    subprocess.run([compiler, *options, program, "-o", tmp_path / "hand_over.so"], check=True)
    # Making the module chooses the vectors.
    run = (
        "import ctypes, importlib.util, sys; path = sys.argv[1]\n"
        "spec = importlib.util.spec_from_file_location('_md5', path); importlib.util.module_from_spec(spec)\n"
        "sys.exit(ctypes.CDLL(path).hand_over())"
    )
    subprocess.run([sys.executable, "-c", run, tmp_path / "hand_over.so"], check=True, timeout=120)


def test_a_process_forked_while_others_hash_hashes_too() -> None:
    program = (
        "import os, sys, threading\n"
        "from byte_path.md5 import new_md5\n"
        "data = bytes(1_000_000)\n"
        "def run():\n"
        "    md5 = new_md5()\n"
        "    while True: md5.update(data)\n"
        "for _ in range(5): threading.Thread(target=run, daemon=True).start()\n"
        "found = []\n"
        "for _ in range(40):\n"
        "    forked = os.fork()\n"
        "    if not forked:\n"
        "        md5 = new_md5(); md5.update(data)\n"
        "        os._exit(md5.hexdigest() != sys.argv[1])\n"
        "    found.append(os.waitpid(forked, 0)[1])\n"
        "sys.stdout.write(str(sum(found)))\n"
        "sys.stdout.flush(); os._exit(0)\n"
    )
    # A session of its own: where a forked one hangs, it goes with its parent.
    with subprocess.Popen(
        [sys.executable, "-c", program, _plain(bytes(1_000_000))], stdout=subprocess.PIPE, start_new_session=True
    ) as running:
        try:
            assert running.communicate(timeout=120)[0] == b"0"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


@pytest.mark.skipif(not is_together(), reason="not built here, or not for this processor")
def test_what_is_no_bytes_is_refused() -> None:
    md5 = new_md5()
    for data in ("text", 7, None):
        with pytest.raises(TypeError):
            md5.update(data)  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        md5.update(memoryview(_DATA)[::2])
    assert md5.hexdigest() == _plain(b"")
