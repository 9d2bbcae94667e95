"""A disk that is really full: a file system of a few MiB, filled by somebody else in the middle of an upload."""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from song_score_client.errors import StoreFullError
from song_score_client.score import ScoreClient
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.upload import upload_file

from tests.servers.raw_score import MIB
from tests.servers.score_world import PART, World, random_bytes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system of a few MiB")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Take all the space that is left."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (MIB, 4096):
            while True:
                try:
                    os.write(descriptor, bytes(size))
                except OSError:
                    break
    finally:
        os.close(descriptor)


class FillAfterOnePart(Listener):
    """Lets somebody else fill the disk once the first part is persisted."""

    def __init__(self, ballast: Path) -> None:
        self._ballast, self.verified_bytes = ballast, 0

    def verify(self, size_bytes: int) -> None:
        if not self.verified_bytes:
            fill(self._ballast)
        self.verified_bytes += size_bytes


def test_a_disk_that_fills_up_stops_the_upload_and_loses_no_part(
    small_disk: Path, open_world: Callable[..., World], tmp_path: Path
) -> None:
    ballast = small_disk / "ballast"
    (small_disk / "objects").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "objects").symlink_to(small_disk / "objects")
    world = open_world(data_dir=tmp_path / "data")
    data = world.register("object-1", random_bytes(5 * PART))
    file = tmp_path / "reads.bam"
    file.write_bytes(data)
    upload = world.start("object-1")
    first, second = FillAfterOnePart(ballast), FillAfterOnePart(tmp_path / "elsewhere")
    with ScoreClient.open(world.score.address) as score:
        with pytest.raises(StoreFullError, match="no space left"):
            upload_file(score, "object-1", file, state_dir=tmp_path / "state", listener=first)
        persisted = score.get_upload(upload.upload_id).upload.persisted_size_bytes
        assert persisted >= first.verified_bytes >= PART
        ballast.unlink()
        second.verified_bytes = 1  # nothing more is filled
        done = upload_file(score, "object-1", file, state_dir=tmp_path / "state", listener=second)
    assert done.stored_object.md5 == hashlib.md5(data).hexdigest()
    assert second.verified_bytes - 1 == len(data) - persisted, "no persisted part went again"
