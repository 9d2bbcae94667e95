"""Azurite, Azure's own emulator of Blob Storage, on loopback: installed by npm into a cache, started by the tests."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob import ContainerClient, ExponentialRetry

from tests.servers.processes import free_port

VERSION = "3.35.0"
"""The last one that Node 20 runs."""
ACCOUNT = "devstoreaccount1"
# The emulator's own key, the same for everybody: learn.microsoft.com/azure/storage/common/storage-use-azurite
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "objects"

_START_SECONDS = 60
_INSTALL_SECONDS = 240


class AzuriteMissingError(Exception):
    """Azurite can't be had here; the text says why."""


def azurite_command() -> list[str]:
    """Return how the emulator is started, installing it where it isn't yet. Raises AzuriteMissingError."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise AzuriteMissingError("needs Node and npm, with which Azurite is installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "song-score-tests"
    folder = cache / f"azurite-{VERSION}"
    script = folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    if not script.exists():
        # Renamed when whole: two sessions may install at once, and one may be interrupted.
        fresh = cache / f"azurite-{VERSION}.{os.getpid()}"
        fresh.mkdir(parents=True, exist_ok=True)
        install = [npm, "install", "--prefix", str(fresh), "--no-audit", "--no-fund", f"azurite@{VERSION}"]
        try:
            subprocess.run(install, check=True, capture_output=True, timeout=_INSTALL_SECONDS)
            fresh.rename(folder)
        except (subprocess.SubprocessError, OSError) as error:
            if not script.exists():
                raise AzuriteMissingError(f"npm can't install azurite {VERSION} here: {error}") from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return [node, str(script)]


class Azurite:
    """One emulator with one container, keeping its data in `folder`; start, kill and start again on the same port."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{self._port}/{ACCOUNT}"

    def start(self) -> None:
        """Return once the container is there; raises TimeoutError with the end of the emulator's log."""
        log_path = self._folder / "azurite.log"
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._command,
                    f"--blobPort={self._port}",
                    "--blobHost=127.0.0.1",
                    f"--location={self._folder}",
                    "--disableTelemetry",
                    "--silent",
                    # The SDK's version of the protocol may be newer than the emulator's.
                    "--skipApiVersionCheck",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"Azurite did not come up:\n{log_path.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End the emulator at once, as a crash would."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def client(self) -> ContainerClient:
        """Return a plain client of the container, the integrity oracle."""
        return ContainerClient(
            self.endpoint,
            CONTAINER,
            credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY},
            retry_policy=ExponentialRetry(initial_backoff=0, retry_total=0),
        )

    def _is_ready(self) -> bool:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self._port)):
                return False
        with self.client() as client:
            try:
                client.create_container()
            except ResourceExistsError:
                return True
            except AzureError:
                return False
        return True


def settings(server: Azurite) -> dict[str, object]:
    """Return a Score's settings of its store in the emulator."""
    return {
        "store": "azure",
        "azure_container": CONTAINER,
        "azure_account": ACCOUNT,
        "azure_key": ACCOUNT_KEY,
        "azure_endpoint": server.endpoint,
    }
