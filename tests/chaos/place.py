"""Where a scenario takes place: servers, clients, the lines between them, and what goes wrong with each."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.chaos.drawn import SLOW_SECONDS, draw_scenario
from tests.chaos.figures import Figures
from tests.chaos.proxy import Direction, Fault, FaultProxy
from tests.chaos.servers import Clients, Servers, Surroundings
from tests.servers.raw_score import MIB

REASONS_ANY_FAULT_MAY_END_WITH = {
    "",
    "STORE_UNAVAILABLE",
    "STORE_FULL",
    "LEDGER_UNAVAILABLE",
    "DRAINING",
    "CHUNK_CORRUPT",
}
ACCESS_ERRORS = 1
"""How many clients of a run may end with a refused URL: on a busy machine a new one may be too old when it is used."""
_NETWORK = ("cut", "cut", "stall", "slow")
_KILLS = ("kill client", "kill server")
_FULL_SPEED = 1e12


class Place:
    """Everything around the clients of one run. Drawn from a seed; a context manager, which starts and ends it."""

    def __init__(self, seed: int, around: Surroundings, folder: Path, figures: Figures) -> None:
        self.draw = random.Random(seed)
        self.drawn = draw_scenario(self.draw)
        self.around, self.folder, self.figures = around, folder, figures
        # Several runs share a bucket. At most 36 characters, with a number behind it.
        self.name = f"chaos-{seed}-{random.randrange(10**6)}"
        self.flipped = False
        """Whether a byte was changed: then acknowledged bytes may have been lost on the way, and come again."""
        self.store_hurt = False
        self.store_faults = 0
        self.client_faults = 0
        self._access_errors = 0
        self.clients = Clients(figures)
        self.servers = Servers(self.drawn, around, folder, figures)
        self.line = FaultProxy(self._happen_to_client)
        """Between clients, and Score and the store."""
        self._store_line = FaultProxy(self._happen_to_store)
        self.address = f"127.0.0.1:{self.line.open_door(*self.servers.grpc_ports)}"
        self.http_url = f"http://127.0.0.1:{self.line.open_door(*self.servers.http_ports)}"

    def __enter__(self) -> Self:
        ports = [line.open_door(self.around.s3_port) for line in (self._store_line, self.line)]
        store_url, public_store_url = [f"http://127.0.0.1:{port}" for port in ports]
        self.servers.start(self.http_url, store_url, public_store_url)
        return self

    def __exit__(self, *_: object) -> None:
        self.clients.close()
        self.line.close()
        self._store_line.close()
        self.servers.close()

    def client_rate(self, size_bytes: int) -> float:
        """Return how many bytes per second a client may move."""
        return max(size_bytes / SLOW_SECONDS, MIB) if self.drawn.url_seconds else _FULL_SPEED

    def plan(self, direction: Direction, size_bytes: int) -> None:
        """Draw what is to go wrong while so many bytes go that way."""
        draw, size_bytes, flips = self.draw, max(size_bytes, 4096), ["flip", "flip"] if self.drawn.flips else []
        kinds = [*_NETWORK, *_KILLS, *flips, *(["database"] if self.drawn.is_on_postgresql else [])]
        kinds += ["full"] if direction == "up" else []
        kinds += ["refuse"] if self.drawn.way == "signed" else []
        later = round(size_bytes * 1.1)
        faults = [self._fault(draw.choice(kinds), direction, later) for _ in range(draw.randrange(5))]
        if self.drawn.replicas > 1:
            faults.append(self._fault("kill server", direction, size_bytes // 2))
        elif self.drawn.shape != "one file":
            faults.append(self._fault("kill client", direction, size_bytes // 2))
        self.line.plan(faults)
        # Bytes go up to the store as parts, and down when the whole is read back and when it is downloaded.
        wanted = [draw.choice(["cut", "stall", "refuse", "refuse", *flips]) for _ in range(draw.randrange(3))]
        directions: tuple[Direction, Direction] = ("up", "down")
        self._store_line.plan([self._fault(kind, draw.choice(directions), later) for kind in wanted])

    def heal(self) -> None:
        """Let nothing more go wrong."""
        self.line.heal()
        self._store_line.heal()

    def check_error(self, reason: str, kind: str, message: str) -> None:
        """Count an error that a client ended with; it must be one that any fault may lead to."""
        self.figures.client_errors[reason or kind] += 1
        self._access_errors += kind == "AccessError"
        assert message
        if not self.flipped:
            assert reason in REASONS_ANY_FAULT_MAY_END_WITH, (reason, message)
            assert self._access_errors <= ACCESS_ERRORS, "clients take URLs again that were refused"

    def count_moved(self, direction: Direction, size_bytes: int) -> None:
        """Add what was moved since the last plan to the figures; `size_bytes` had to be."""
        self.figures.refused_urls += self.line.refused_urls
        if direction == "up":
            self.figures.sent_bytes += self.line.count("up")
            self.figures.uploaded_bytes += size_bytes
        else:
            self.figures.received_bytes += self.line.count("down")
            self.figures.downloaded_bytes += size_bytes

    def _fault(self, kind: str, direction: Direction, before_byte: int) -> Fault:
        draw = self.draw
        amount = {
            "stall": draw.uniform(0.1, 1.5),
            "slow": draw.uniform(5, 40) * MIB,
            "refuse": draw.randrange(1, 7),
            "flip": draw.randrange(8),
            "full": draw.uniform(0.1, 1.0),
            "database": draw.uniform(0.2, 3.0),
        }
        return Fault(kind, direction, draw.randrange(before_byte), amount.get(kind, 0.0))

    def _happen_to_store(self, fault: Fault) -> None:
        self.store_faults += 1
        self.store_hurt = self.store_hurt or fault.kind in {"cut", "refuse", "flip"}
        self._happen(fault)

    def _happen_to_client(self, fault: Fault) -> None:
        self.client_faults += 1
        self._happen(fault)

    def _happen(self, fault: Fault) -> None:
        """Do what a proxy can't; called by a proxy in a thread of its own."""
        self.figures.faults[fault.kind] += 1
        match fault.kind:
            case "kill client":
                self.clients.kill()
            case "kill server":
                self.servers.kill_one()
            case "flip":
                self.flipped = True
            case "full":
                self.servers.full_flag.touch()
                time.sleep(fault.amount)
                self.servers.full_flag.unlink(missing_ok=True)
            case "database":
                processes = self.around.postgresql_processes()
                _signal_all(processes, signal.SIGSTOP)
                time.sleep(fault.amount)
                _signal_all(processes, signal.SIGCONT)


def _signal_all(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)
