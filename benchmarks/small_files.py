"""Many small files in one command, against `cp` and `md5sum` of the same files.

    python -m benchmarks.small_files [--files 1000] [--kib 64] [--rounds 5] [--quick]

From process start to end: stored, on the disk and VERIFIED for the upload, verified and renamed for the download. The
peers neither verify nor wait for the disk.
"""

import hashlib
import os
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import MIB, Cost, Report, Row, rounds
from benchmarks.score_servers import Server, parser, require_space, run, work_folder, write_manifest

KIB = 1024
TARGET = 150
"""Files a second, each way."""


def main() -> None:
    """Run it."""
    flags = parser(__doc__)
    flags.add_argument("--files", type=int, default=1000)
    flags.add_argument("--kib", type=int, default=64, help="of each file")
    flags.add_argument("--rounds", type=int, default=5)
    arguments = flags.parse_args()
    files, total = arguments.files, arguments.rounds
    if arguments.quick:
        files, total = 100, 1
    with work_folder(arguments.folder) as folder:
        require_space(folder, 4 * files * arguments.kib * KIB + 256 * MIB)
        measure(folder, files, arguments.kib * KIB, total, arguments.note)


def measure(folder: Path, files: int, size: int, total: int, note: str) -> None:
    """Measure in the folder, print and keep."""
    report = Report("small-files", f"{files} files of {size // KIB} KiB in one command", note)
    source = folder / "source"
    source.mkdir()
    md5s = write_files(source, files, size)
    server = Server(folder / "server")
    stored: list[str] = []

    def upload() -> Cost:
        objects = server.register(md5s)
        stored[:] = objects.values()
        return server.upload(write_manifest(folder / "manifest", objects, md5s))

    try:
        costs = rounds(
            total,
            {
                "cp": lambda: copy(source, folder / "copy"),
                "md5sum": lambda: run(["md5sum", *md5s], os.environ),
                "upload": upload,
                "download": lambda: server.download(stored, folder / "out"),
                "cp again": lambda: copy(source, folder / "copy"),
            },
        )
    finally:
        server.stop()
    moved = files * size
    report.add(
        Row("cp", moved, costs["cp"] + costs["cp again"]),
        Row("md5sum", moved, costs["md5sum"]),
        Row("upload", moved, costs["upload"], costs["cp"], f"≥ {TARGET} files/s"),
        Row("download", moved, costs["download"], costs["cp"], f"≥ {TARGET} files/s"),
    )
    for name in ("upload", "download"):
        report.say(f"{name}: {rate(files, costs[name]):.0f} files/s (median), {worst(files, costs[name]):.0f} at least")
    report.keep()


def write_files(folder: Path, total: int, size: int) -> dict[Path, str]:
    """Write files of random bytes; return their MD5s."""
    md5s = {}
    for number in range(total):
        path, data = folder / f"reads{number}.bai", os.urandom(size)
        path.write_bytes(data)
        md5s[path] = hashlib.md5(data, usedforsecurity=False).hexdigest()
    os.sync()
    return md5s


def copy(source: Path, target: Path) -> Cost:
    """Copy the folder, and remove the copy."""
    try:
        return run(["cp", "-r", source, target], os.environ)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def rate(files: int, costs: Sequence[Cost]) -> float:
    """Return how many files went a second, in the median run."""
    return files / statistics.median(cost.seconds for cost in costs)


def worst(files: int, costs: Sequence[Cost]) -> float:
    """Return the same of the slowest run."""
    return files / max(cost.seconds for cost in costs)


if __name__ == "__main__":
    main()
