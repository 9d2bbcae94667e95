"""Memory and CPU time of both sides: a file small and large, and as many streams as one upload may have.

    python -m benchmarks.resources [--gib 0.5,4] [--streams 16] [--quick]

The disk must hold three copies of the largest file.
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
    flags.add_argument("--gib", default="0.5,4", help="sizes of the files")
    flags.add_argument("--streams", type=int, default=16)
    arguments = flags.parse_args()
    sizes = [int(float(gib) * 1024) * MIB for gib in arguments.gib.split(",")]
    if arguments.quick:
        sizes = [64 * MIB, 256 * MIB]
    with work_folder(arguments.folder) as folder:
        require_space(folder, 3 * max(sizes))
        report = Report("resources", "Peak memory and CPU time of both sides, local store", arguments.note)
        for size in sizes:
            measure(folder, size, arguments.streams, report)
        report.keep()


def measure(folder: Path, size: int, streams: int, report: Report) -> None:
    """Measure one size, with a server of its own."""
    file = folder / "reads.bam"
    md5s = {file: write_file(file, size)}
    (base,) = rounds(1, {"md5sum": lambda: md5sums([file])}).values()
    report.add(Row(f"md5sum, {size / GIB:g} GiB", size, base))
    for number in (1, streams):
        costs = with_streams(folder, file, md5s, number)
        target = "≤ 256 MiB each" + ("; ≤ 2.4 in CPU" if number == 1 else "")
        for name, cost in costs.items():
            what = f"{name}, {size / GIB:g} GiB, {number} stream{'s' if number > 1 else ''}"
            report.add(Row(what, size, cost, base, target))
    file.unlink()


def with_streams(folder: Path, file: Path, md5s: dict[Path, str], streams: int) -> dict[str, list[Cost]]:
    """Upload and download with so many streams, and a server of its own."""
    server = Server(folder / f"server-{file.stat().st_size}-{streams}")
    try:
        objects = server.register(md5s)
        manifest = write_manifest(folder / "manifest", objects, md5s)
        flag = f"--streams={streams}"
        costs = rounds(
            1,
            {
                "upload": lambda: server.upload(manifest, flag),
                "download": lambda: server.download([*objects.values()], folder / "out", flag),
            },
        )
        server.drop_objects([*objects.values()])
    finally:
        server.stop()
    return costs


if __name__ == "__main__":
    main()
