"""The HTTP/1.1 side of a service, beside its gRPC server: the Connect door, and what else the service serves there."""

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from runtime_grpc.connect_door import ConnectDoor
from runtime_grpc.errors import ErrorTable
from runtime_grpc.http_bodies import CHUNKED_BODY_BYTES
from runtime_grpc.http_server import HttpOptions, HttpServer
from runtime_grpc.server import RunningServer, Service
from runtime_grpc.settings import ServiceSettings

HTTP_WORKERS = 16
"""Calls over HTTP/1.1 at once."""


class HttpSide:
    """Listens from `listening`, serves from `serve` to `stop`."""

    def __init__(self, server: HttpServer, max_message_bytes: int) -> None:
        self._server, self._max_message_bytes = server, max_message_bytes
        self.address = server.address

    @classmethod
    def listening(cls, settings: ServiceSettings, workers: int, max_message_bytes: int) -> Self | None:
        """Listen where the settings say; None where they name no port. Raises OSError."""
        if settings.http_port is None:
            return None
        options = HttpOptions(
            host=settings.host,
            port=settings.http_port,
            workers=workers,
            max_chunked_bytes=min(CHUNKED_BODY_BYTES, max_message_bytes),
            drain_seconds=settings.drain_seconds,
            shares_port=settings.workers > 1,
        )
        return cls(HttpServer(options), max_message_bytes)

    def serve(
        self, services: Sequence[Service], errors: ErrorTable, others: Mapping[str, WSGIApplication] | None = None
    ) -> None:
        """Serve the unary methods of the services, and `others` under the paths that they are given by."""
        door = ConnectDoor(services, errors, self._max_message_bytes, HTTP_WORKERS)
        applications: dict[str, WSGIApplication] = {f"/{service.name}": door for service in services}
        applications |= others or {}

        def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[Any]:
            path = environ["PATH_INFO"]
            for prefix, application in applications.items():
                if path.startswith(f"{prefix}/"):
                    return application(environ, start_response)
            start_response("404 Not Found", [("Content-Type", "application/json")])
            return [json.dumps({"code": "unimplemented", "message": "there is nothing under this path"}).encode()]

        self._server.start(answer)

    def stop(self) -> None:
        """Drain and stop."""
        self._server.stop()


def stop_together(server: RunningServer, http: HttpSide | None) -> None:
    """Drain and stop both at the same time."""
    stopping = [threading.Thread(target=side.stop) for side in (server, http) if side is not None]
    for thread in stopping:
        thread.start()
    for thread in stopping:
        thread.join()
