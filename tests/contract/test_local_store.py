"""What only the local store promises: one owner, a full disk said to be full, no key outside its folder."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from score_grpc.domain.errors import PartsLostError, StoreUnavailableError
from score_grpc.gateways.objects.local import LocalObjectStore
from score_grpc.gateways.objects.port import StagedPart, Staging

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Iterator[LocalObjectStore]:
    store = LocalObjectStore(root)
    yield store
    store.close()


def staged_part(store: LocalObjectStore, staging: Staging) -> StagedPart:
    writer = store.open_part(staging, 1, 0, len(CONTENT))
    writer.write(memoryview(CONTENT))
    return StagedPart(1, 0, len(CONTENT), writer.commit())


def test_a_second_owner_in_this_process_is_refused(store: LocalObjectStore, root: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="s3 store"):
        LocalObjectStore(root)
    store.close()
    LocalObjectStore(root).close()


OWNER = """
import sys
from pathlib import Path
from score_grpc.gateways.objects.local import LocalObjectStore
store = LocalObjectStore(Path(sys.argv[1]))
staging = store.begin("data/killed-1")
writer = store.open_part(staging, 1, 0, 1024 * 1024)
writer.write(memoryview(bytes(range(256)) * 4096))
writer.commit()
late = store.open_part(staging, 2, 1024 * 1024, 10)
late.write(memoryview(b"half"))
print(staging.token, flush=True)
sys.stdin.read()
"""


def test_another_process_is_refused_and_what_a_killed_one_persisted_is_there(root: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        token = owner.stdout.readline().strip()
        with pytest.raises(StoreUnavailableError, match="stop the other one, or use the s3 store"):
            LocalObjectStore(root)
        owner.kill()
        owner.wait()
    store = LocalObjectStore(root)
    staging = Staging("data/killed-1", token)
    stored = store.assemble(staging, [StagedPart(1, 0, len(CONTENT), "")])
    assert stored.size_bytes == len(CONTENT)
    assert (root / "data/killed-1").read_bytes() == CONTENT
    store.close()


FULL = """
import os, subprocess, sys
from pathlib import Path
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=16", "tmpfs", sys.argv[1]], check=True)
from score_grpc.domain.errors import StoreFullError
from score_grpc.gateways.objects.local import LocalObjectStore
from score_grpc.gateways.objects.port import StagedPart
store = LocalObjectStore(Path(sys.argv[1]))
assert store.free_bytes() <= 2 * 1024 * 1024
staging, chunk = store.begin("data/big-1"), os.urandom(1024 * 1024)
parts = []
for number in range(1, 5):
    writer = store.open_part(staging, number, (number - 1) * len(chunk), len(chunk))
    try:
        writer.write(memoryview(chunk))
    except StoreFullError as error:
        print(error)
        writer.discard()
        break
    parts.append(StagedPart(number, (number - 1) * len(chunk), len(chunk), writer.commit()))
assert 1 <= len(parts) <= 2, parts
try:
    for number in range(100):
        (Path(sys.argv[1]) / f"filler-{number}").touch()
except OSError:
    pass
try:
    store.begin("data/other-1")
except StoreFullError as error:
    print(error)
store.assemble(staging, parts)  # what was persisted is kept
assert b"".join(bytes(piece) for piece in store.read("data/big-1", "", 0, len(chunk))) == chunk
"""


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    isolated = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*isolated, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs `unshare --mount` to mount a small file system")
    done = subprocess.run(
        [*isolated, sys.executable, "-c", FULL, str(tmp_path)], check=False, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("no space left in the object store" in line for line in lines)
    assert str(tmp_path) not in done.stdout


@pytest.mark.parametrize(
    "key", ["../outside", "data/../../outside", "/etc/passwd", "data//x", "data/./x", "", "data/", "upload/x", "lock"]
)
def test_no_key_leaves_the_folder_or_meets_the_stores_own_files(store: LocalObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match=r"store|key"):
        store.begin(key)
    with pytest.raises(ValueError, match=r"store|key"):
        store.stat(key)
    with pytest.raises(ValueError, match=r"store|key"):
        store.delete(key)
    with pytest.raises(ValueError, match=r"store|key"):
        store.read(key, "", 0, 1)
    with pytest.raises(ValueError, match=r"store|key"):
        store.abort(Staging("data/x", "../data/y"))


def test_a_newer_writer_of_a_part_ends_the_older_one(store: LocalObjectStore, root: Path) -> None:
    staging = store.begin("data/taken-1")
    older = store.open_part(staging, 1, 0, 4)
    older.write(memoryview(b"ol"))
    newer = store.open_part(staging, 1, 0, 4)
    newer.write(memoryview(b"new!"))
    with pytest.raises(StoreUnavailableError, match="no longer"):
        older.write(memoryview(b"d!"))
    older.discard()
    store.assemble(staging, [StagedPart(1, 0, 4, newer.commit())])
    assert (root / "data/taken-1").read_bytes() == b"new!"


def test_parts_the_disk_did_not_take_are_lost(store: LocalObjectStore) -> None:
    staging = store.begin("data/bad-1")
    part = staged_part(store, staging)
    with (
        mock.patch.object(os, "fsync", side_effect=OSError(5, "Input/output error", "/secret/path")),
        pytest.raises(PartsLostError) as raised,
    ):
        store.assemble(staging, [part])
    assert raised.value.part_numbers == [1]
    assert "/secret" not in str(raised.value)
    assert store.stat("data/bad-1") is None


def test_a_disk_that_fails_is_unavailable_and_its_paths_stay_private(store: LocalObjectStore) -> None:
    staging = store.begin("data/bad-2")
    writer = store.open_part(staging, 1, 0, 4)
    failure = OSError(5, "Input/output error", "/secret/path")
    with mock.patch.object(os, "pwrite", side_effect=failure), pytest.raises(StoreUnavailableError) as raised:
        writer.write(memoryview(b"abcd"))
    assert "Input/output error" in str(raised.value)
    assert "/secret" not in str(raised.value)
    writer.discard()


def test_reopening_again_after_a_crash_returns_the_same(store: LocalObjectStore, root: Path) -> None:
    staging = store.begin("data/again-1")
    parts = [staged_part(store, staging)]
    store.assemble(staging, parts)
    assert store.reopen(staging, parts) == store.reopen(staging, parts) == (staging, parts)
    store.assemble(staging, parts)
    assert hashlib.md5((root / "data/again-1").read_bytes()).digest() == hashlib.md5(CONTENT).digest()


def test_a_folder_that_is_gone_or_closed_is_unavailable(store: LocalObjectStore, root: Path) -> None:
    (root / "upload").rename(root / "elsewhere")
    with pytest.raises(StoreUnavailableError):
        store.check()
    (root / "elsewhere").rename(root / "upload")
    store.check()
    store.close()
    with pytest.raises(StoreUnavailableError):
        store.check()


def test_only_the_servers_account_may_read_objects(store: LocalObjectStore, root: Path) -> None:
    staging = store.begin("data/private-1")
    store.assemble(staging, [staged_part(store, staging)])
    assert (root / "data/private-1").stat().st_mode & 0o077 == 0
