"""Song and Score as one process to be measured, commands run against it, and files to move."""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import MIB, Cost

BIN = Path(sys.executable).parent
STUDY = "BENCH"
_BLOCK_BYTES = 16 * MIB
_TYPE = {"name": "bench", "schema": {"type": "object", "properties": {}}, "options": {"entityModel": "NONE"}}


class Server:
    """`song-score serve` on free ports, in a folder of its own, with one study."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        """Start it; `settings` are Score's, by their names in the environment."""
        folder.mkdir(exist_ok=True)
        self.data = folder / "data"
        log_path = folder / "serve.log"
        command: list[str | Path] = [BIN / "song-score", "serve", "--song-port=0", "--score-port=0"]
        command.append(f"--data-dir={self.data}")
        environment = os.environ | {"SCORE_SERVER_HTTP_PORT": "0"} | dict(settings or {})
        with log_path.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        while b'"listening"' not in log_path.read_bytes():
            if self.process.poll() is not None:
                raise SystemExit(log_path.read_text())
            time.sleep(0.05)
        (line,) = [line for line in log_path.read_text().splitlines() if '"listening"' in line]
        words = json.loads(line)["address"].replace(",", "").split()
        self.score_address = words[3]
        self.environment = os.environ | {
            "SONG_URL": words[1],
            "SCORE_URL": words[3],
            "SONG_STUDY_ID": STUDY,
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder),
        }
        self.song("create-study", STUDY)
        (folder / "type.json").write_text(json.dumps(_TYPE))
        self.song("register-analysis-type", "-f", folder / "type.json")

    def song(self, *arguments: str | Path, text: str | None = None) -> str:
        """Run the song command and return what it prints."""
        command = [BIN / "song", *arguments]
        done = subprocess.run(command, env=self.environment, input=text, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    def register(self, files: Mapping[Path, str]) -> dict[Path, str]:
        """Submit an analysis with the files, given with their MD5s; return their object ids."""
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
                for file, md5 in files.items()
            ],
        }
        submitted = json.loads(self.song("submit", "-f", "-", "--allow-duplicates", text=json.dumps(payload)))
        found = json.loads(self.song("search", "-a", submitted["analysisId"]))
        ids = {file["fileName"]: str(file["objectId"]) for file in found["files"]}
        return {file: ids[file.name] for file in files}

    def score(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Cost:
        """Run the score command, silent but for errors, and return what it cost."""
        return run([BIN / "score", "--quiet", *arguments], {**self.environment, **(environment or {})}, self)

    def upload(self, manifest: Path, *options: str, environment: Mapping[str, str] | None = None) -> Cost:
        """Upload what a manifest names."""
        return self.score("upload", f"--manifest={manifest}", *options, environment=environment)

    def download(
        self, object_ids: Sequence[str], target: Path, *options: str, environment: Mapping[str, str] | None = None
    ) -> Cost:
        """Download objects into an empty folder, which is gone afterwards."""
        command = ["download", "--object-id", *object_ids, "--unpublished", f"--output-dir={target}", *options]
        try:
            return self.score(*command, environment=environment)
        finally:
            shutil.rmtree(target, ignore_errors=True)

    def drop_objects(self, object_ids: Sequence[str]) -> None:
        """Delete their bytes from the local store: they are measured, and the disk is not endless."""
        for object_id in object_ids:
            for path in self.data.rglob(f"*{object_id}*"):
                if path.is_file():
                    path.unlink()

    def cpu_seconds(self) -> float:
        """CPU time used so far, by all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def forget_peak(self) -> None:
        """Let the peak of the memory be counted anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        """Peak resident memory since `forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def stop(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait()


def run(command: Sequence[str | Path], environment: Mapping[str, str], server: Server | None = None) -> Cost:
    """Run a command to its end and return what it cost. A failure ends the benchmark."""
    before = 0.0
    if server:
        server.forget_peak()
        before = server.cpu_seconds()
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed with {process.returncode}")
    return Cost(
        seconds,
        usage.ru_utime + usage.ru_stime,
        server.cpu_seconds() - before if server else 0.0,
        usage.ru_maxrss / 1024,
        server.peak_mib() if server else 0.0,
    )


def md5sums(files: Sequence[Path]) -> Cost:
    """Run one md5sum for each file, all at once."""
    command = " & ".join(f"md5sum '{file}'" for file in files)
    return run(["sh", "-c", f"{command} & wait"], os.environ)


def write_file(path: Path, size_bytes: int) -> str:
    """Write a file of whole MiB whose pieces all differ; return its MD5."""
    md5 = hashlib.md5(usedforsecurity=False)
    block = memoryview(os.urandom(_BLOCK_BYTES + MIB))
    with path.open("wb") as file:
        for number in range(size_bytes // MIB):
            start = number * 4099 % _BLOCK_BYTES  # random bytes are dear: each MiB is the block from elsewhere on
            for piece in (number.to_bytes(8), block[start : start + MIB - 8]):
                file.write(piece)
                md5.update(piece)
        file.flush()
        os.fsync(file.fileno())
    return md5.hexdigest()


def write_manifest(path: Path, objects: Mapping[Path, str], md5s: Mapping[Path, str]) -> Path:
    """Write an upload manifest of files and their object ids."""
    lines = ["bench\t\t", *(f"{object_id}\t{file}\t{md5s[file]}" for file, object_id in objects.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser with the flags that all benchmarks have."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="small files and one round: whether it works, not how fast")
    made.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    made.add_argument("--note", default="", help="kept with the results, for example what else the machine did")
    return made


@contextmanager
def work_folder(parent: Path | None) -> Iterator[Path]:
    """Make a folder to work in; it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def require_space(folder: Path, size_bytes: int) -> None:
    """End the benchmark unless so many bytes are free."""
    free = shutil.disk_usage(folder).free
    if free < size_bytes + 512 * MIB:
        raise SystemExit(f"{folder} has {free // MIB} MiB free, {size_bytes // MIB + 512} are needed: see --folder")
