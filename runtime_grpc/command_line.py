"""The command line of a service: serve, `db upgrade`, `db check`, `config check`; a flag for every setting."""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Protocol, TypeVar

import structlog
from pydantic import ValidationError
from pydantic_settings import SettingsError

from runtime_grpc.database import Database, DatabaseTakenError, DatabaseUnavailableError, SchemaMismatchError
from runtime_grpc.logs import configure_logs
from runtime_grpc.settings import ServiceSettings
from runtime_grpc.workers import WorkersRefusedError, supervise

Settings = TypeVar("Settings", bound=ServiceSettings)

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2

_log = structlog.get_logger()


class Running(Protocol):
    """A service that serves."""

    @property
    def address(self) -> str:
        """Where it listens, `host:port`."""

    @property
    def http_address(self) -> str:
        """Where it listens for HTTP/1.1, `host:port`; empty where it doesn't, or `address` says it."""

    @property
    def metrics_address(self) -> str:
        """Where Prometheus reads, `host:port`; empty where it doesn't, or `address` says it."""

    def stop(self) -> None:
        """Drain and stop."""


class StartRefusedError(Exception):
    """The service can't start as it is told to; the text says why, and the way out."""


START_REFUSALS = (
    *(StartRefusedError, SchemaMismatchError, DatabaseTakenError, DatabaseUnavailableError, WorkersRefusedError),
    OSError,
)
"""What starting a service raises, with a text for the operator."""


def run_service(
    program: str,
    settings_type: type[Settings],
    start: Callable[[Settings], Running],
    migrations: str,
    commands: Mapping[str, Callable[[Settings], int]] = MappingProxyType({}),
) -> int:
    """Do what the command line says; return the exit code. `commands` are the service's own, by their word."""
    words, flags = _split(sys.argv[1:])
    try:
        read_settings: Callable[..., Settings] = settings_type
        settings = read_settings(
            _cli_parse_args=flags, _cli_prog_name=program, _cli_implicit_flags=True, _cli_kebab_case=True
        )
    except ValidationError as error:
        for problem in error.errors():
            name = ".".join(map(str, problem["loc"])) or "settings"
            print(f"{program}: {name}: {problem['msg']}", file=sys.stderr)
        return EXIT_USAGE
    except (SettingsError, OSError, ValueError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return EXIT_USAGE
    configure_logs(settings.log_level)
    status = EXIT_OK
    try:
        match words:
            case []:
                if settings.workers == 1:
                    serve_until_told(lambda: start(settings))
                else:
                    status = supervise(partial(serve_as_worker, start), settings)
            case ["db", "upgrade"]:
                database = Database(settings.sql_url)
                database.claim()  # not under a server that runs
                database.upgrade(migrations)
                database.close()
            case ["db", "check"]:
                Database(settings.sql_url).check(migrations)
            case ["config", "check"]:
                print(json.dumps(settings.masked(), indent=2))
            case [word] if word in commands:
                status = commands[word](settings)
            case _:
                known = ", ".join(f"'{word}'" for word in ("db upgrade", "db check", "config check", *commands))
                print(
                    f"{program}: {' '.join(words)!r} is no command: give none to serve, or one of {known}; "
                    "--help lists the settings",
                    file=sys.stderr,
                )
                return EXIT_USAGE
    except START_REFUSALS as error:
        print(f"{program}: {error}", file=sys.stderr)
        return EXIT_FAILED
    return status


def serve_as_worker(start: Callable[[Settings], Running], settings: Settings, tell_ready: Callable[[], None]) -> int:
    """Serve as one of several processes; return the exit code."""
    try:
        serve_until_told(lambda: start(settings), tell_ready)
    except START_REFUSALS as error:
        print(f"worker {os.getpid()}: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def serve_until_told(start: Callable[[], Running], tell_ready: Callable[[], None] | None = None) -> None:
    """Start, and serve until SIGTERM or SIGINT; then drain and stop. A second signal ends the process at once.

    `tell_ready` is called once it listens; who gives none gets a line of the log.
    """
    told = threading.Event()

    def tell(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, tell)
    running = start()
    if tell_ready is None:
        others = {"http_address": running.http_address, "metrics_address": running.metrics_address}
        _log.info("listening", address=running.address, **{name: other for name, other in others.items() if other})
    else:
        tell_ready()
    told.wait()
    _log.info("stopping")
    running.stop()


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the leading words, and the flags from the first one on."""
    first = next((at for at, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    return list(arguments[:first]), list(arguments[first:])
