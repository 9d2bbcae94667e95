"""Several files in one command, against as many `md5sum` processes at once.

    python -m benchmarks.parallel_files [--files 8] [--mib 512] [--rounds 3] [--quick]

The disk must hold three copies of all files.
"""

from pathlib import Path

from benchmarks.report import GIB, MIB, Cost, Report, Row, rounds
from benchmarks.score_servers import (
    Server,
    md5sums,
    parser,
    require_space,
    work_folder,
    write_file,
    write_manifest,
)


def main() -> None:
    """Run it."""
    flags = parser(__doc__)
    flags.add_argument("--files", type=int, default=8)
    flags.add_argument("--mib", type=int, default=512, help="of each file")
    flags.add_argument("--rounds", type=int, default=3)
    arguments = flags.parse_args()
    size, total = arguments.mib * MIB, arguments.rounds
    if arguments.quick:
        size, total = 32 * MIB, 1
    with work_folder(arguments.folder) as folder:
        require_space(folder, 3 * size * arguments.files)
        measure(folder, arguments.files, size, total, arguments.note)


def measure(folder: Path, files: int, size: int, total: int, note: str) -> None:
    """Measure in the folder, print and keep."""
    title = f"{files} files of {size / GIB:g} GiB in one command, against {files} md5sum processes at once"
    report = Report("parallel-files", title, note)
    paths = [folder / f"reads{number}.bam" for number in range(files)]
    md5s = {path: write_file(path, size) for path in paths}
    server = Server(folder / "server")
    stored: list[str] = []

    def upload() -> Cost:
        server.drop_objects(stored)
        objects = server.register(md5s)
        stored[:] = objects.values()
        return server.upload(write_manifest(folder / "manifest", objects, md5s))

    try:
        costs = rounds(
            total,
            {
                "md5sum": lambda: md5sums(paths),
                "upload": upload,
                "download": lambda: server.download(stored, folder / "out"),
            },
        )
    finally:
        server.stop()
    base, moved = costs["md5sum"], size * files
    report.add(
        Row("md5sum", moved, base),
        Row("upload", moved, costs["upload"], base, "≤ 1.5 in time"),
        Row("download", moved, costs["download"], base, "≤ 1.5 in time"),
    )
    report.keep()


if __name__ == "__main__":
    main()
