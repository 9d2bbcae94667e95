"""One large file up and down on loopback, against `md5sum` of the same file in the same run.

    python benchmarks/transfer.py [--gib 2] [--runs 5]

Each round runs `md5sum`, `score upload` and `score download` in turn, as processes from start to end: COMPLETED and
VERIFIED for the upload, verified and renamed for the download. Printed are medians, the ratio to the `md5sum` of
the same round, CPU time of both sides, peak memory, and what the parts of the work cost by themselves.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

GIB = 1024**3
MIB = 1024**2
BIN = Path(sys.executable).parent
STUDY = "BENCH"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one command cost."""

    seconds: float
    client_cpu_seconds: float
    server_cpu_seconds: float
    client_peak_mib: float


class Server:
    """`song-score serve` on free ports, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        log_path = folder / "serve.log"
        command: list[str | Path] = [BIN / "song-score", "serve", "--song-port=0", "--score-port=0"]
        command.append(f"--data-dir={folder / 'data'}")
        with log_path.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        while b'"listening"' not in log_path.read_bytes():
            if self.process.poll() is not None:
                raise SystemExit(log_path.read_text())
            time.sleep(0.05)
        (line,) = [line for line in log_path.read_text().splitlines() if '"listening"' in line]
        words = json.loads(line)["address"].replace(",", "").split()
        self.environment = os.environ | {
            "SONG_URL": words[1],
            "SCORE_URL": words[3],
            "SONG_STUDY_ID": STUDY,
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder),
        }

    def cpu_seconds(self) -> float:
        """CPU time used so far, by all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mib(self) -> float:
        """Peak resident memory so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def stop(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait()


def run(command: Sequence[str | Path], environment: Mapping[str, str], server: Server | None = None) -> Cost:
    """Run a command to its end and return what it cost. A failure ends the benchmark."""
    server_before = server.cpu_seconds() if server else 0.0
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed with {process.returncode}")
    server_used = server.cpu_seconds() - server_before if server else 0.0
    return Cost(seconds, usage.ru_utime + usage.ru_stime, server_used, usage.ru_maxrss / 1024)


def song(server: Server, *arguments: str | Path, text: str | None = None) -> str:
    """Run the song command and return what it prints."""
    command = [BIN / "song", *arguments]
    return subprocess.run(
        command, env=server.environment, input=text, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def register(server: Server, file: Path, md5: str) -> str:
    """Submit an analysis with the file and return the file's object id."""
    payload = {
        "studyId": STUDY,
        "analysisType": {"name": "bench"},
        "files": [
            {
                "dataType": "reads",
                "fileName": file.name,
                "fileSize": file.stat().st_size,
                "fileType": "BAM",
                "fileAccess": "open",
                "fileMd5sum": md5,
            }
        ],
    }
    submitted = json.loads(song(server, "submit", "-f", "-", "--allow-duplicates", text=json.dumps(payload)))
    found = json.loads(song(server, "search", "-a", submitted["analysisId"]))
    return str(found["files"][0]["objectId"])


def write_file(path: Path, size: int) -> str:
    """Write a file whose bytes differ at every offset; return its MD5."""
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            block = os.urandom(MIB)
            file.write(block)
            md5.update(block)
        file.flush()
        os.fsync(file.fileno())
    return md5.hexdigest()


def unit_costs(file: Path, folder: Path) -> dict[str, float]:
    """CPU-seconds per GiB of what a transfer is made of, each alone, in 1 MiB pieces from the page cache."""
    buffer = memoryview(bytearray(MIB))
    md5 = hashlib.md5(usedforsecurity=False)
    part = xxhash.xxh3_128()
    source = os.open(file, os.O_RDONLY)
    target = os.open(folder / "written", os.O_RDWR | os.O_CREAT)

    def cpu_seconds(work: Callable[[int], object]) -> float:
        before = time.process_time()
        for offset in range(0, GIB, MIB):
            work(offset)
        return time.process_time() - before

    costs = {
        "read (preadv)": cpu_seconds(lambda offset: os.preadv(source, [buffer], offset)),
        "write (pwrite)": cpu_seconds(lambda offset: os.pwrite(target, buffer, offset)),
        "xxh3_64 of chunks": cpu_seconds(lambda _: xxhash.xxh3_64_intdigest(buffer)),
        "xxh3_128 of parts": cpu_seconds(lambda _: part.update(buffer)),
        "MD5 (hashlib)": cpu_seconds(lambda _: md5.update(buffer)),
    }
    os.close(source)
    os.close(target)
    (folder / "written").unlink()
    return costs


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=arguments.folder))
    try:
        measure(folder, int(arguments.gib * 1024) * MIB, arguments.runs)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, size: int, runs: int) -> None:
    """Measure in the folder and print."""
    file = folder / "reads.bam"
    md5 = write_file(file, size)
    server = Server(folder)
    costs: dict[str, list[Cost]] = {"md5sum": [], "upload": [], "download": [], "download --validate parts": []}
    try:
        song(server, "create-study", STUDY)
        (folder / "type.json").write_text(
            json.dumps(
                {
                    "name": "bench",
                    "schema": {"type": "object", "properties": {}},
                    "options": {"entityModel": "NONE"},
                }
            )
        )
        song(server, "register-analysis-type", "-f", folder / "type.json")
        for number in range(runs + 1):  # the first round warms up
            object_id = register(server, file, md5)
            target = folder / "out"
            download: list[str | Path] = [BIN / "score", "--quiet", "download", f"--object-id={object_id}"]
            download += ["--unpublished", f"--output-dir={target}", "--force"]
            upload: list[str | Path] = [
                BIN / "score",
                "--quiet",
                "upload",
                f"--file={file}",
                f"--object-id={object_id}",
            ]
            measured = {
                "md5sum": run(["md5sum", file], os.environ),
                "upload": run(upload, server.environment, server),
                "download": run(download, server.environment, server),
                "download --validate parts": run([*download, "--validate=parts"], server.environment, server),
            }
            shutil.rmtree(target)
            for name, cost in measured.items():
                if number:
                    costs[name].append(cost)
        print_table(costs, size, server.peak_mib())
        print("\nCPU-seconds per GiB, each alone:")
        for name, seconds in unit_costs(file, folder).items():
            print(f"  {name:<20} {seconds:5.2f}")
    finally:
        server.stop()


def print_table(costs: Mapping[str, Sequence[Cost]], size: int, server_peak_mib: float) -> None:
    """Print medians and the ratios to the md5sum of the same round."""
    gib = size / GIB
    rounds = len(costs["md5sum"])
    print(f"one file of {gib:g} GiB on loopback, local store, {os.cpu_count()} cores, {rounds} rounds, medians")
    print(f"{'':<26}{'seconds':>9}{'GiB/s':>8}{'/ md5sum':>10}{'CPU-s/GiB':>11}{'/ md5sum':>10}", end="")
    print(f"{'client':>8}{'server':>8}{'RSS':>7}")
    for name, measured in costs.items():
        seconds = statistics.median(cost.seconds for cost in measured)
        pairs = list(zip(measured, costs["md5sum"], strict=True))
        ratio = statistics.median(cost.seconds / base.seconds for cost, base in pairs)
        cpu = statistics.median((cost.client_cpu_seconds + cost.server_cpu_seconds) / gib for cost in measured)
        cpu_ratio = statistics.median(
            (cost.client_cpu_seconds + cost.server_cpu_seconds) / base.client_cpu_seconds for cost, base in pairs
        )
        client = statistics.median(cost.client_cpu_seconds / gib for cost in measured)
        on_server = statistics.median(cost.server_cpu_seconds / gib for cost in measured)
        peak = max(cost.client_peak_mib for cost in measured)
        print(
            f"{name:<26}{seconds:>9.2f}{gib / seconds:>8.2f}{ratio:>10.2f}{cpu:>11.2f}{cpu_ratio:>10.2f}"
            f"{client:>8.2f}{on_server:>8.2f}{peak:>5.0f} M"
        )
    print(f"server's peak memory {server_peak_mib:.0f} MiB")


if __name__ == "__main__":
    main()
