"""Ten minutes up and ten minutes down by signed URLs that hold for one, with a client that is killed on the way.

    python -m benchmarks.expiring_urls [--seconds 600] [--lifetime 60] [--rate-mib 4] [--store local] [--quick]

Not how fast, but whether: bytes go at `--rate-mib`, so that one transfer takes `--seconds`. In the middle of each the
client gets SIGKILL, and the same command is run again. What came down is compared by `md5sum`. The audit tells how
often URLs were signed.
"""

import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.long_file import require_md5
from benchmarks.report import MIB, Report
from benchmarks.score_servers import BIN, parser, require_space, work_folder, write_file
from benchmarks.stores import STORES, store_settings
from tests.servers.processes import ServiceProcess
from tests.servers.registry_song import TOKEN, RegistrySong

OBJECT_ID = "a-long-transfer"


def main() -> None:
    """Run it."""
    flags = parser(__doc__)
    flags.add_argument("--seconds", type=int, default=600, help="of one transfer, without its interruption")
    flags.add_argument("--lifetime", type=int, default=60, help="seconds that a signed URL holds")
    flags.add_argument("--rate-mib", type=float, default=4.0, help="MiB a second")
    flags.add_argument("--store", choices=STORES, default="local", help="s3: a SeaweedFS")
    arguments = flags.parse_args()
    seconds, lifetime, rate_mib = arguments.seconds, arguments.lifetime, arguments.rate_mib
    if arguments.quick:
        seconds, lifetime, rate_mib = 20, 2, 8.0
    size = int(seconds * rate_mib) * MIB
    with work_folder(arguments.folder) as folder:
        require_space(folder, 3 * size)
        title = f"{size // MIB} MiB at {rate_mib:g} MiB/s by URLs that hold for {lifetime} s, {arguments.store} store"
        report = Report(f"expiring-urls-{arguments.store}", title, arguments.note)
        with store_settings(arguments.store, folder) as settings:
            move(folder, size, lifetime, rate_mib, settings, report)
        report.keep()


def move(folder: Path, size: int, lifetime: int, rate_mib: float, settings: Mapping[str, str], report: Report) -> None:
    """Move a file up and down, and say what became of it."""
    source, target, data = folder / "reads.bam", folder / "out", folder / "data"
    song = RegistrySong()  # type: ignore[abstract] # the rest is not asked for
    md5 = write_file(source, size)
    song.register(OBJECT_ID, size, md5, file_name=source.name)
    settings = {
        "port": "0",
        "song_address": song.address,
        "service_token": TOKEN,
        "data_dir": str(data),
        "http_port": "0",
        **settings,
    }
    # A program of the tests: in the product nobody can make all URLs so short.
    limits = json.dumps({"SIGNED_PART_SECONDS": lifetime, "SIGNED_READ_SECONDS": lifetime})
    program = ["-m", "tests.servers.dying_score", "nowhere", "1", json.dumps(settings), limits]
    server = ServiceProcess(program, folder / "score.log")
    command: list[str | Path] = [
        BIN / "score",
        f"--score={server.address.split()[0].rstrip(',')}",
        "--transport=signed",
        "--json",
    ]
    rate = f"--max-rate={rate_mib}M"
    transfers = (
        ["upload", f"--file={source}", f"--object-id={OBJECT_ID}", rate],
        ["download", "--object-id", OBJECT_ID, "--unpublished", f"--output-dir={target}", rate],
    )
    try:
        for words in transfers:
            signed_before = count_signatures(data)
            seconds, resumed, peak_mib = run_with_a_kill([*command, *words], folder, size / rate_mib / MIB / 2)
            signed = count_signatures(data) - signed_before
            report.say(
                f"{words[0]}: {seconds:.0f} s in two runs, URLs signed by {signed} calls; {resumed}; peak RSS "
                f"{peak_mib:.0f} MiB of the client, {server.peak_mib():.0f} of the server"
            )
        require_md5(target / source.name, md5)
        report.say("what came down is what went up")
    finally:
        server.terminate()
        song.stop()


def run_with_a_kill(command: list[str | Path], folder: Path, kill_after_seconds: float) -> tuple[float, str, float]:
    """Run a command, kill it after a while and run it again to its end.

    Return the seconds of both, what the first one had brought about, and the second one's peak memory in MiB.
    """
    environment = os.environ | {"XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder)}
    started = time.monotonic()
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    time.sleep(kill_after_seconds)
    if first.poll() is not None:
        raise SystemExit(f"{command} ended with {first.returncode} before it was to be killed")
    first.kill()
    first.wait()
    log = folder / "client.log"
    with log.open("wb") as output:
        second = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        _, status, usage = os.wait4(second.pid, 0)
    second.returncode = os.waitstatus_to_exitcode(status)
    said = log.read_text()
    if second.returncode:
        raise SystemExit(f"{command} failed with {second.returncode}:\n{said[-4000:]}")
    (done,) = [event for event in map(json.loads, said.splitlines()) if event["event"] == "done"]
    resumed = f"{done['kept_part_total']} of {done['part_total']} parts were there after SIGKILL"
    return time.monotonic() - started, resumed, usage.ru_maxrss / 1024


def count_signatures(data: Path) -> int:
    """Return how many calls for signatures the audit has seen."""
    time.sleep(1.5)  # it is written from time to time
    with sqlite3.connect(data / "score.db") as database:
        (found,) = database.execute("select count(*) from audit where action like '%sign%'").fetchone()
    return int(found)


if __name__ == "__main__":
    main()
