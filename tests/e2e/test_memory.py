"""Memory of both sides is bounded, and does not grow with the file."""

import hashlib
import json
import os
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.servers.processes import ServiceProcess, free_port
from tests.servers.registry_song import TOKEN, RegistrySong

MIB = 1024 * 1024
GIB = 1024 * MIB
LIMIT_MIB = 256
GROWTH_MIB = 24
"""What chance may add to a peak; a leak of one byte in a hundred would add 30 MiB from 1 to 4 GiB."""


@dataclass
class Peaks:
    """Most memory resident, in MiB."""

    server: float
    up: float
    down: float


def write_file(path: Path, size: int) -> str:
    """Write a file whose bytes differ at every offset; return its MD5."""
    block = bytearray(os.urandom(MIB))
    md5 = hashlib.md5()
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            for offset in range(0, MIB, 4096):
                struct.pack_into(">Q", block, offset, start + offset)
            file.write(block)
            md5.update(block)
    return md5.hexdigest()


def transfer(folder: Path, song: RegistrySong, size: int) -> Peaks:
    """Move one file up and down between fresh processes."""
    folder.mkdir()
    file = folder / "reads.bam"
    md5 = write_file(file, size)
    song.register("object-1", size, md5)
    settings = {
        "port": free_port(),
        "song_address": song.address,
        "service_token": TOKEN,
        "data_dir": str(folder / "data"),
    }
    path = {"PYTHONPATH": str(Path.cwd())}
    command = ["tests/servers/dying_score.py", "nowhere", "1", json.dumps(settings)]
    score = ServiceProcess(command, folder / "score.log", path)
    up = run_client(["up", score.address, "object-1", str(file), str(folder)], path)
    file.unlink()
    target = folder / "out.bam"
    down = run_client(["down", score.address, "object-1", str(target), str(folder)], path)
    peaks = Peaks(score.peak_mib(), up, down)
    score.kill()
    assert target.stat().st_size == size  # the client has compared the MD5
    return peaks


def run_client(arguments: list[str], path: dict[str, str]) -> float:
    """Run a client to its end; return its peak memory in MiB."""
    command = [sys.executable, "tests/e2e/uploader.py", *arguments]
    output = subprocess.run(command, env={**os.environ, **path}, check=True, stdout=subprocess.PIPE).stdout
    return float(json.loads(output)["peak_mib"])


def test_memory_is_bounded_and_does_not_grow_from_1_to_4_gib(tmp_path: Path, song: RegistrySong) -> None:
    small = transfer(tmp_path / "small", song, GIB)
    large = transfer(tmp_path / "large", song, 4 * GIB)
    print(small, large)
    for peak, before in ((large.server, small.server), (large.up, small.up), (large.down, small.down)):
        assert peak < LIMIT_MIB
        assert peak < before + GROWTH_MIB
