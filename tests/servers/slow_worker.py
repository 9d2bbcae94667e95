"""A service of two workers that listen only once they have been told to stop: `python -m tests.servers.slow_worker`."""

import signal
import sys
import threading
from collections.abc import Callable

from runtime_grpc.settings import ServiceSettings
from runtime_grpc.workers import supervise

_SETTINGS = ServiceSettings.model_validate({"workers": 2, "database_url": "postgresql+psycopg://u:p@localhost/unused"})


def serve(_settings: ServiceSettings, tell_ready: Callable[[], None]) -> int:
    """Say `starting`; on SIGTERM say that it listens, drain, and say `drained`."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    print("starting", flush=True)
    if not told.wait(60):
        return 1
    tell_ready()
    print("drained", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(supervise(serve, _SETTINGS))
