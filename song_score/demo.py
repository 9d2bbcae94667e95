"""`make demo`: the main job, from an empty folder to a verified download, on the embedded defaults.

Runs the commands that a data coordinator and an analyst run, against services of its own on free ports, in a
temporary folder. Ends with an error as soon as anything is not as it says.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Mapping
from pathlib import Path

import pysam

BIN = Path(sys.executable).parent
STUDY = "DEMO"
READS = 560_000
MIN_BAM_BYTES = 64 * 1024 * 1024
CONTIG, CONTIG_BASES, READ_BASES = "chr1", 248_956_422, 150
UPLOAD_RATE = "24M"
"""Bytes per second of the upload that is going to be killed: slow enough to kill it in the middle."""
SHOWN_LINES = 12
"""Of what a command prints."""

TYPE = {
    "name": "demoReads",
    "schema": {
        "type": "object",
        "required": ["experiment"],
        "properties": {
            "experiment": {
                "type": "object",
                "required": ["libraryStrategy", "insertSize"],
                "properties": {
                    "libraryStrategy": {"enum": ["WGS", "WXS", "RNA-Seq"]},
                    "insertSize": {"type": "integer", "minimum": 1},
                },
            },
            "coverage": {"type": "number", "exclusiveMinimum": 0},
        },
    },
    "options": {"fileTypes": ["BAM", "BAI"]},
}


class Demo:
    """The tour: a folder, an environment, and the services."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._step = folder, 0
        self._environment = os.environ | {
            "SONG_STUDY_ID": STUDY,
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        }

    def step(self, text: str) -> None:
        """Begin the next step."""
        self._step += 1
        print(f"\n{self._step:>2}. {text}")

    def run(self, command: str, *, fails: bool = False) -> str:
        """Run a command and show it with what it prints; return its standard output."""
        print(f"    $ {command}")
        done = subprocess.run(
            command.split(), cwd=self._folder, env=self._environment, capture_output=True, text=True, check=False
        )
        shown = (done.stdout + done.stderr).strip().splitlines()
        for line in shown[:SHOWN_LINES]:
            print(f"      {line}")
        if shown[SHOWN_LINES:]:
            print(f"      … ({len(shown) - SHOWN_LINES} more lines)")
        if (done.returncode != 0) != fails:
            raise SystemExit(f"the demo stops: this should have {'failed' if fails else 'worked'}")
        if fails:
            print(f"      (refused, exit code {done.returncode})")
        return done.stdout

    def serve(self) -> "subprocess.Popen[bytes]":
        """Start Song and Score in one process and point the commands at them."""
        print("    $ song-score serve")
        log_path = self._folder / "serve.log"
        command: list[str | Path] = [BIN / "song-score", "serve", "--song-port=0", "--score-port=0", "--data-dir=data"]
        with log_path.open("wb") as log:
            process = subprocess.Popen(command, cwd=self._folder, env=self._environment, stdout=log, stderr=log)
        while b'"listening"' not in log_path.read_bytes():
            if process.poll() is not None:
                raise SystemExit(log_path.read_text())
            time.sleep(0.05)
        (line,) = [line for line in log_path.read_text().splitlines() if '"listening"' in line]
        address = json.loads(line)["address"]
        print(f"      listening: {address}")
        song, score = address.replace(",", "").split()[1:4:2]
        self._environment |= {"SONG_URL": song, "SCORE_URL": score}
        return process

    def upload_and_kill(self, command: str) -> None:
        """Start an upload, and kill it with SIGKILL once two parts or so are safe."""
        print(f"    $ {command}")
        words = command.split()
        with subprocess.Popen(
            [words[0], "--json", *words[1:]], cwd=self._folder, env=self._environment, stdout=subprocess.PIPE, text=True
        ) as process:
            for line in process.stdout or ():
                event = json.loads(line)
                if event.get("event") == "progress" and event.get("bytes", 0) >= 2 * 16 * 1024 * 1024:
                    process.kill()
                    print(f"      killed with SIGKILL when {event['bytes']:,} bytes were safe in Score")
                    return
        raise SystemExit("the demo stops: the upload ended before it could be killed")


def write_bam(path: Path) -> None:
    """Write a sorted BAM of random reads with its index."""
    chance = random.Random(7)  # noqa: S311 - the same reads every time, no secret
    header = {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": CONTIG, "LN": CONTIG_BASES}]}
    starts = sorted(chance.randrange(CONTIG_BASES - READ_BASES) for _ in range(READS))
    bases = bytes(b"ACGT"[value % 4] for value in range(256))
    qualities = bytes(25 + value % 16 for value in range(256))
    with pysam.AlignmentFile(str(path), "wb", header=header) as bam:
        for number, start in enumerate(starts):
            read = pysam.AlignedSegment(bam.header)
            read.query_name = f"read{number}"
            read.flag = 0
            read.reference_id = 0
            read.reference_start = start
            read.mapping_quality = 60
            read.cigartuples = [(0, READ_BASES)]
            read.query_sequence = chance.randbytes(READ_BASES).translate(bases).decode()
            read.query_qualities = array("B", chance.randbytes(READ_BASES).translate(qualities))
            bam.write(read)
    pysam.index(str(path))


def md5_of(path: Path) -> str:
    """Return the file's MD5, as `md5sum` would."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def payload_of(folder: Path, experiment: Mapping[str, object]) -> str:
    """Return the JSON of an analysis of the two files."""
    files = [
        {
            "fileName": name,
            "fileType": name.rpartition(".")[2].upper(),
            "fileSize": (folder / name).stat().st_size,
            "fileMd5sum": md5_of(folder / name),
            "fileAccess": "open",
            "dataType": "aligned reads",
        }
        for name in ("sample1.bam", "sample1.bam.bai")
    ]
    sample = {
        "submitterSampleId": "sample-1",
        "sampleType": "Total DNA",
        "matchedNormalSubmitterSampleId": None,
        "specimen": {
            "submitterSpecimenId": "specimen-1",
            "specimenType": "Normal",
            "specimenTissueSource": "Blood derived",
            "tumourNormalDesignation": "Normal",
        },
        "donor": {"submitterDonorId": "donor-1", "gender": "Female"},
    }
    payload = {
        "studyId": STUDY,
        "analysisType": {"name": TYPE["name"]},
        "samples": [sample],
        "files": files,
        "experiment": experiment,
        "coverage": 30.10,
    }
    return json.dumps(payload, indent=2)


def tour(folder: Path) -> None:
    """Walk through the main job."""
    demo = Demo(folder)
    started = time.monotonic()
    print("From an empty folder to a verified download: metadata in Song, bytes in Score.")
    demo.step("Start both services: one process, loopback only, SQLite and a local folder.")
    server = demo.serve()
    try:
        walk(demo, folder)
    finally:
        server.terminate()
        server.wait()
    print(f"\nDone in {time.monotonic() - started:.0f} s. The services are stopped and the folder is removed.")


def walk(demo: Demo, folder: Path) -> None:
    """Do the steps that need the services."""
    demo.step("Make a real BAM and its index: the files of a sequencing run.")
    bam = folder / "sample1.bam"
    write_bam(bam)
    if bam.stat().st_size < MIN_BAM_BYTES:
        raise SystemExit(f"the demo stops: the BAM has only {bam.stat().st_size} bytes")
    print(f"      sample1.bam {bam.stat().st_size:,} bytes, sample1.bam.bai, {READS:,} reads")

    demo.step("Create a study, and register a schema of our own for its analyses.")
    demo.run(f"song create-study {STUDY} --name Demonstration")
    (folder / "type.json").write_text(json.dumps(TYPE))
    demo.run("song register-analysis-type -f type.json")

    demo.step("Submit an analysis with mistakes: it is refused, with every mistake at its place.")
    (folder / "wrong.json").write_text(payload_of(folder, {"libraryStrategy": "WGZ", "insertSize": 0}))
    demo.run("song submit -f wrong.json", fails=True)

    demo.step("Submit it corrected: Song gives the analysis and its files their ids.")
    (folder / "right.json").write_text(payload_of(folder, {"libraryStrategy": "WGS", "insertSize": 350}))
    analysis_id = json.loads(demo.run("song submit -f right.json"))["analysisId"]

    demo.step("Publish before the upload: refused, Score does not hold the files yet.")
    demo.run(f"song publish -a {analysis_id}", fails=True)

    demo.step("Upload, and kill the client in the middle.")
    demo.run(f"song manifest -a {analysis_id} -d . -f manifest.txt")
    demo.upload_and_kill(f"score upload --manifest manifest.txt --max-rate {UPLOAD_RATE}")

    demo.step("Run the same command again: what was persisted is not sent a second time.")
    demo.run("score upload --manifest manifest.txt")

    demo.step("Download before publication: refused.")
    download = f"score download --analysis-id {analysis_id} --output-dir downloads"
    demo.run(download, fails=True)

    demo.step("Publish: Score holds every file, with the registered size and the MD5 that Score itself computed.")
    demo.run(f"song publish -a {analysis_id}")

    demo.step("Download as an analyst, every part and the whole verified.")
    demo.run(download)

    demo.step("Compare the MD5s of what was sent and what came back.")
    for name in ("sample1.bam", "sample1.bam.bai"):
        sent, received = md5_of(folder / name), md5_of(folder / "downloads" / name)
        print(f"      {name:<16} sent {sent}  received {received}  {'equal' if sent == received else 'DIFFERENT'}")
        if sent != received:
            raise SystemExit("the demo stops: the bytes differ")
    with pysam.AlignmentFile(str(folder / "downloads" / "sample1.bam")) as downloaded:
        print(f"      and the downloaded BAM counts {downloaded.count():,} reads")


def main() -> None:
    """Run the tour in a folder of its own, and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="song-score-demo-"))
    try:
        tour(folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
