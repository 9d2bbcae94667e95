"""Services as processes of their own, to be killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def free_port() -> int:
    """Return a port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServiceProcess:
    """A Python program that serves until it is killed, and logs where it listens."""

    def __init__(self, arguments: Sequence[str], log_path: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start it and wait until it listens. Raises AssertionError with its log if it does not."""
        self._log_path = log_path
        with log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments], stdout=log, stderr=log, env={**os.environ, **(environment or {})}
            )
        self.address = self._await_address(arguments)

    def _await_address(self, arguments: Sequence[str]) -> str:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self._log_path.read_text().splitlines():
                if '"listening"' in line:
                    return str(json.loads(line)["address"])
            time.sleep(0.02)
        raise AssertionError(f"{arguments} does not listen:\n{self._log_path.read_text()}")

    def is_running(self) -> bool:
        """Whether it lives."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it as a power cut of the process would: SIGKILL, no goodbye."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Ask it to stop, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def peak_mib(self) -> float:
        """Return the most memory it has had resident so far, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
