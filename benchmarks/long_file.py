"""One very long file up and down: neither the memory of both sides nor the time of a part must grow with it.

    python -m benchmarks.long_file [--gib 4,20] [--transport stream] [--store local] [--quick]

Each size has a server of its own. What comes down is compared by `md5sum`, not by the client's word alone. The disk
must hold two copies of the longest file: the source is gone before the download begins.
"""

import subprocess
from pathlib import Path

from benchmarks.report import GIB, MIB, Cost, Report, Row
from benchmarks.score_servers import Server, parser, require_space, work_folder, write_file, write_manifest
from benchmarks.stores import STORES, store_settings


def main() -> None:
    """Run it."""
    flags = parser(__doc__)
    flags.add_argument("--gib", default="4,20", help="sizes of the files, the shortest first")
    flags.add_argument("--transport", choices=("stream", "signed"), default="stream")
    flags.add_argument("--store", choices=STORES, default="local", help="s3: a SeaweedFS")
    arguments = flags.parse_args()
    sizes = [int(float(gib) * 1024) * MIB for gib in arguments.gib.split(",")]
    if arguments.quick:
        sizes = [64 * MIB, 256 * MIB]
    with work_folder(arguments.folder) as folder:
        require_space(folder, 2 * max(sizes))
        title = f"A long file up and down, {arguments.transport.upper()}, {arguments.store} store"
        report = Report(f"long-file-{arguments.transport}-{arguments.store}", title, arguments.note)
        costs = [measure(folder / f"{size}", size, arguments.transport, arguments.store) for size in sizes]
        for name in ("upload", "download"):
            for size, cost in zip(sizes, costs, strict=True):
                report.add(Row(f"{name}, {size / GIB:g} GiB", size, [cost[name]], target="≤ 256 MiB each"))
            first, last = costs[0][name], costs[-1][name]
            report.say(
                f"{name}, longest to shortest: client's RSS {last.client_peak_mib / first.client_peak_mib:.2f}, "
                f"server's {last.server_peak_mib / first.server_peak_mib:.2f}, "
                f"CPU-seconds per GiB {last.cpu_seconds / first.cpu_seconds * sizes[0] / sizes[-1]:.2f}"
            )
        report.keep()


def measure(folder: Path, size: int, transport: str, store: str) -> dict[str, Cost]:
    """Measure one size with a server of its own, in a folder of its own."""
    folder.mkdir()
    source, target = folder / "reads.bam", folder / "out"
    md5 = write_file(source, size)
    environment = {"SCORE_TRANSPORT": transport}
    with store_settings(store, folder) as settings:
        server = Server(folder / "server", {f"SCORE_SERVER_{name.upper()}": value for name, value in settings.items()})
        try:
            object_id = server.register({source: md5})[source]
            manifest = write_manifest(folder / "manifest", {source: object_id}, {source: md5})
            up = server.upload(manifest, environment=environment)
            print(f"  upload, {size / GIB:g} GiB: {up.seconds:.1f} s", flush=True)
            source.unlink()
            command = ["download", "--object-id", object_id, "--unpublished", f"--output-dir={target}"]
            down = server.score(*command, environment=environment)
            print(f"  download, {size / GIB:g} GiB: {down.seconds:.1f} s", flush=True)
            require_md5(target / source.name, md5)
            (target / source.name).unlink()
            server.drop_objects([object_id])
        finally:
            server.stop()
    return {"upload": up, "download": down}


def require_md5(path: Path, md5: str) -> None:
    """End the benchmark unless the file has this MD5, by another program than those that are measured."""
    seen = subprocess.run(["md5sum", path], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]
    if seen != md5:
        raise SystemExit(f"other bytes came down than went up: their MD5 is {seen}, not {md5}")


if __name__ == "__main__":
    main()
