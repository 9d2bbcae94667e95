"""Several worker processes on one port, for machines whose cores wait: spawned, watched, replaced, drained.

    supervisor            holds the port, listens on nothing, starts the workers and replaces those that die
      ├── worker          the whole service, as one process would be; the kernel spreads connections over the workers
      └── worker

A worker is spawned, never forked, before it has anything of gRPC. A supervisor that dies takes its workers with it.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TypeVar

import structlog

from runtime_grpc.logs import configure_logs
from runtime_grpc.settings import ServiceSettings

STEADY_SECONDS = 60.0
"""A worker that lived so long has not failed at its start: the next one comes after the shortest pause again."""
FIRST_PAUSE_SECONDS = 0.5
"""Before a dead worker is replaced; doubled while the next ones die early too."""
LONGEST_PAUSE_SECONDS = 30.0
STOP_MARGIN_SECONDS = 30.0
"""What workers get to stop beyond the drain, before they are killed."""

_SPAWN = get_context("spawn")

Settings = TypeVar("Settings", bound=ServiceSettings)

_log = structlog.get_logger()


class WorkersRefusedError(Exception):
    """A worker could not start in the first place; its own log says why."""


@dataclass(slots=True)
class _Place:
    """A place for one worker, and who is in it."""

    process: SpawnProcess | None = None
    ready: Connection | None = None
    """Says once that the worker listens; ends without a word where it never does."""
    is_listening: bool = False
    started: float = 0.0
    failures: int = 0
    """Deaths in a row, each soon after the start."""
    due: float = 0.0
    """When an empty place may be filled again."""


def supervise(serve: Callable[[Settings, Callable[[], None]], int], settings: Settings) -> int:
    """Run `settings.workers` processes of `serve` until SIGTERM or SIGINT, then drain them; return the exit code.

    `serve` takes the settings, with the port that all share, and what to call once it listens; it runs until it is
    told by a signal and returns its exit code. It must be importable, as the settings must be picklable.

    Raises OSError where the port is taken, and WorkersRefusedError where a worker ends before all have listened once.
    """
    teller, told = os.pipe()
    os.set_blocking(told, False)

    def tell(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        os.write(told, b".")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, tell)
    with _reserved(settings.host, settings.port) as port:
        shared = settings.model_copy(update={"port": port.getsockname()[1]})
        places = [_Place() for _ in range(settings.workers)]
        try:
            _keep_running(serve, shared, places, teller)
        except BaseException:
            _stop(places, settings.drain_seconds)
            raise
        return _stop(places, settings.drain_seconds)


def _keep_running(
    serve: Callable[[Settings, Callable[[], None]], int], settings: Settings, places: Sequence[_Place], teller: int
) -> None:
    """Keep every place filled until told."""
    is_complete = False
    while True:
        now = time.monotonic()
        for place in places:
            if place.process is None and place.due <= now:
                _fill(place, serve, settings)
        due = [place.due - now for place in places if place.process is None]
        sentinels = [place.process.sentinel for place in places if place.process is not None]
        pipes = [place.ready for place in places if place.ready is not None]
        events = wait([teller, *sentinels, *pipes], min(due, default=None))
        if teller in events:
            return
        for place in places:
            if place.ready is not None and place.ready in events:
                _hear(place)
            if place.process is not None and place.process.sentinel in events:
                if not is_complete:
                    raise WorkersRefusedError("a worker ended before all were ready: see what it said above")
                _bury(place)
        if not is_complete and all(place.is_listening for place in places):
            is_complete = True
            http = {} if settings.http_port is None else {"http_port": settings.http_port}
            _log.info("listening", address=settings.address, workers=len(places), **http)


def _hear(place: _Place) -> None:
    """Take the worker's word, the only one that its pipe brings."""
    if place.ready is not None:
        with suppress(EOFError, OSError):
            place.is_listening = place.ready.poll() and place.ready.recv()
        place.ready.close()
        place.ready = None


def _fill(place: _Place, serve: Callable[[Settings, Callable[[], None]], int], settings: Settings) -> None:
    ready, tell_ready = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_work, args=(serve, settings, tell_ready))
    process.start()
    tell_ready.close()
    place.process, place.ready, place.started = process, ready, time.monotonic()
    _log.info("worker started", worker=process.pid)


def _bury(place: _Place) -> None:
    """Empty the place of a worker that ended unasked, for the next one to come after a pause."""
    process, now = place.process, time.monotonic()
    if process is None:
        return
    process.join()
    _hear(place)
    place.failures = 1 if now - place.started >= STEADY_SECONDS else place.failures + 1
    pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(place.failures - 1, 16), LONGEST_PAUSE_SECONDS)
    _log.error("worker died", worker=process.pid, exit_code=process.exitcode, replaced_in_seconds=pause)
    process.close()
    place.process, place.is_listening, place.due = None, False, now + pause


def _stop(places: Sequence[_Place], drain_seconds: float) -> int:
    """Drain all at once; return 0 if each ended well, else 1."""
    for place in places:
        if place.ready is not None and place.ready.poll():
            _hear(place)
    # Who does not listen yet has nothing to drain: the signal may end it before it has a handler.
    ends = {place.process: {0} if place.is_listening else {0, -signal.SIGTERM} for place in places if place.process}
    for process in ends:
        process.terminate()
    deadline = time.monotonic() + drain_seconds + STOP_MARGIN_SECONDS
    for process in ends:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.exitcode is None:
            _log.error("worker killed, it did not stop", worker=process.pid)
            process.kill()
            process.join()
    return 0 if all(process.exitcode in good for process, good in ends.items()) else 1


def _reserved(host: str, port: int) -> socket.socket:
    """Return a socket that holds a port, 0 for any, for those who share it. Raises OSError where others have it."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    try:
        # Sharing is by account, not by program: another server's workers would let ours in, so nobody may be there.
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        reserved = socket.socket(family)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except OSError as error:
        raise OSError(
            f"can't listen on {host}:{port}: the port is taken (choose another, 0 takes any free one), or the host is "
            "not this machine's"
        ) from error
    return reserved


def _work(serve: Callable[[Settings, Callable[[], None]], int], settings: Settings, ready: Connection) -> None:
    """Be a worker: the first thing that runs in its process."""
    configure_logs(settings.log_level)
    threading.Thread(target=_end_with_supervisor, name="supervisor", daemon=True).start()

    def tell_ready() -> None:
        with suppress(OSError):  # the supervisor is gone: this worker is being told to stop
            ready.send(True)
        ready.close()

    sys.exit(serve(settings, tell_ready))


def _end_with_supervisor() -> None:
    """Stop as told once the supervisor is gone: nobody would replace or stop this worker any more."""
    supervisor = parent_process()
    if supervisor is not None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)
