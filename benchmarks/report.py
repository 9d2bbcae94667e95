"""What every benchmark of transfers prints and keeps: medians, spreads, and ratios within the same round."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
MIB = 1024**2
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Cost:
    """What one command cost."""

    seconds: float
    client_cpu_seconds: float
    """User and system time of the command and its children."""
    server_cpu_seconds: float
    """The same of the server meanwhile."""
    client_peak_mib: float
    server_peak_mib: float = 0.0

    @property
    def cpu_seconds(self) -> float:
        """Of both sides."""
        return self.client_cpu_seconds + self.server_cpu_seconds


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a result: what was measured, against what, and what it should be."""

    name: str
    size_bytes: int
    """Moved by one run."""
    costs: Sequence[Cost]
    base: Sequence[Cost] = ()
    """What the ratios are to: of the same rounds, in their order."""
    target: str = ""


def rounds(total: int, works: Mapping[str, Callable[[], Cost]]) -> dict[str, list[Cost]]:
    """Run the works in turn, so many times, so that what else the machine does meets all of them alike."""
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for number in range(total):
        for name, work in works.items():
            cost = work()
            costs[name].append(cost)
            print(f"  round {number + 1}: {name}: {cost.seconds:.2f} s", flush=True)
    return costs


class Report:
    """One benchmark's result, with the machine it was made on."""

    def __init__(self, name: str, title: str, note: str = "") -> None:
        self._name, self._title = name, title
        self._machine: dict[str, str | int | float] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "cores": os.cpu_count() or 0,
            "processor": _processor(),
            "python": platform.python_version(),
            "system": platform.platform(),
            "load at the start": round(os.getloadavg()[0], 1),
            "note": note,
        }
        self._rows: list[Row] = []
        self._lines: list[str] = []
        print(f"\n{title}", flush=True)

    def add(self, *rows: Row) -> None:
        """Take rows in, which `keep` prints as a table."""
        self._rows += rows

    def say(self, line: str) -> None:
        """Take a line in that stands below the table."""
        self._lines.append(line)

    def keep(self) -> None:
        """Print everything and write it down, as text and as JSON."""
        self._machine["load at the end"] = round(os.getloadavg()[0], 1)
        text = "\n".join([self._title, _HEADER, *map(_line_of, self._rows), *self._lines])
        print(f"\n{text}", flush=True)
        RESULTS.mkdir(exist_ok=True)
        stem = RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M}-{self._name}"
        facts = "\n".join(f"{key}: {value}" for key, value in self._machine.items())
        stem.with_suffix(".txt").write_text(f"{facts}\n\n{text}\n")
        document = {
            "machine": self._machine,
            "title": self._title,
            "rows": [
                {
                    "name": row.name,
                    "size_bytes": row.size_bytes,
                    "target": row.target,
                    "ratio": ratio(row.costs, row.base) if row.base else None,
                    "cpu_ratio": cpu_ratio(row.costs, row.base) if row.base else None,
                    "costs": [asdict(cost) for cost in row.costs],
                }
                for row in self._rows
            ],
            "lines": self._lines,
        }
        stem.with_suffix(".json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        print(f"kept in {stem}.txt and .json", flush=True)


def ratio(costs: Sequence[Cost], base: Sequence[Cost]) -> float:
    """Return the median of the ratios of the seconds, round by round."""
    return statistics.median(one.seconds / other.seconds for one, other in zip(costs, base, strict=True))


def cpu_ratio(costs: Sequence[Cost], base: Sequence[Cost]) -> float | None:
    """Return the median of the ratios of the CPU time of both sides, round by round; None where it is not counted."""
    if not all(cost.cpu_seconds for cost in base):
        return None
    return statistics.median(one.cpu_seconds / other.cpu_seconds for one, other in zip(costs, base, strict=True))


_HEADER = (
    f"{'':<34}{'seconds':>9}{'min..max':>15}{'GiB/s':>7}{'ratio':>7}{'CPU-s/GiB':>11}{'ratio':>7}"
    f"{'client':>8}{'server':>8}{'RSS client, server':>20}  target"
)


def _line_of(row: Row) -> str:
    gib = row.size_bytes / GIB
    seconds = [cost.seconds for cost in row.costs]
    median = statistics.median(seconds)
    spread = f"{min(seconds):.2f}..{max(seconds):.2f}"
    in_time = f"{ratio(row.costs, row.base):.2f}" if row.base else ""
    of_cpu = cpu_ratio(row.costs, row.base) if row.base else None
    in_cpu = "" if of_cpu is None else f"{of_cpu:.2f}"
    cpu = statistics.median(cost.cpu_seconds for cost in row.costs) / gib
    client = statistics.median(cost.client_cpu_seconds for cost in row.costs) / gib
    server = statistics.median(cost.server_cpu_seconds for cost in row.costs) / gib
    peaks = f"{max(cost.client_peak_mib for cost in row.costs):.0f}, "
    peaks += f"{max(cost.server_peak_mib for cost in row.costs):.0f} MiB"
    line = (
        f"{row.name:<34}{median:>9.2f}{spread:>15}{gib / median:>7.2f}{in_time:>7}{cpu:>11.2f}{in_cpu:>7}"
        f"{client:>8.2f}{server:>8.2f}{peaks:>20}  {row.target}"
    )
    return line.rstrip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
