"""The database engine of a service: SQLite (WAL) or PostgreSQL, one code path, migrated by Alembic.

Every writing transaction on SQLite is `BEGIN IMMEDIATE`: it waits for its turn at its start, where waiting is
safe, and never fails in its middle because another writer came first.
"""

import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

POOL_CONNECTIONS = 20
POOL_TIMEOUT_SECONDS = 10
SQLITE_BUSY_TIMEOUT_SECONDS = 10
_DISK_FULL = "53100"
"""PostgreSQL's code of it."""
_MIGRATION_LOCK = 0x736F6E67
"""Any number that nobody else locks in this database."""


class DatabaseUnavailableError(Exception):
    """The database can't be reached, is busy beyond its time-out, or has no room on its disk."""


class DatabaseTakenError(Exception):
    """Another process uses the SQLite file."""


class SchemaMismatchError(Exception):
    """The database's schema is not the one this version of the service knows."""


class Database:
    """Opens transactions, and keeps drivers' errors from getting any further."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self._lock_file: TextIO | None = None
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        # One process uses a SQLite file, and SQLite lets writers wait by sleeping: here they take turns at once.
        self._turn = threading.Lock()
        # Parameters of statements are payloads: an unexpected error must not carry them into the log.
        options: dict[str, Any] = {"pool_size": POOL_CONNECTIONS, "max_overflow": 0, "hide_parameters": True}
        options |= {"pool_timeout": POOL_TIMEOUT_SECONDS, "pool_pre_ping": not self.is_sqlite}
        self.engine: Engine = create_engine(self.url, **options)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """Open a writing transaction, committed at the end of the block, rolled back on an error.

        `durable` false lets SQLite commit without waiting for the disk: the commit survives the death of the
        process, and is undone as a whole by a power loss unless a durable commit followed it.
        """
        with (
            self._writers_turn(),
            _no_driver_errors(),
            self.engine.connect().execution_options(durable=durable) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _writers_turn(self) -> Iterator[None]:
        if not self.is_sqlite:
            yield
            return
        if not self._turn.acquire(timeout=SQLITE_BUSY_TIMEOUT_SECONDS):
            raise DatabaseUnavailableError("the database is busy; retry")
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a reading transaction: one consistent view."""
        options: dict[str, Any] = {"read_only": True}
        if not self.is_sqlite:
            options |= {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
        with (
            _no_driver_errors(),
            self.engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield connection

    def claim(self) -> None:
        """Make this process the only one on a SQLite file, until `close`. Raises DatabaseTakenError."""
        if not self.is_sqlite or not self.url.database:
            return
        self._lock_file = Path(f"{self.url.database}.lock").open("w")  # noqa: SIM115 - held open as long as the claim
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.close()
            raise DatabaseTakenError(
                f"{self.url.database} belongs to another running process: stop that one, or use PostgreSQL "
                "(database_url), which several processes can share"
            ) from None

    def ping(self) -> None:
        """Raise DatabaseUnavailableError unless the database answers."""
        with self.read() as connection:
            connection.exec_driver_sql("SELECT 1")

    def close(self) -> None:
        """Close all connections and give a claim up."""
        self.engine.dispose()
        if self._lock_file is not None:
            self._lock_file.close()

    def upgrade(self, migrations: str) -> None:
        """Bring the schema to the newest revision of the migrations package, for example `x.database:migrations`.

        Raises SchemaMismatchError where a newer version of the service made the schema.
        """
        config = _alembic(migrations)
        try:
            with _no_driver_errors(), self.engine.connect() as connection, connection.begin():
                if not self.is_sqlite:  # one process at a time: the others find the work done
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError:
            self.check(migrations)  # says which revision is there, where it is none of ours
            raise

    def check(self, migrations: str) -> None:
        """Raise SchemaMismatchError unless the schema is at the newest revision."""
        head = ScriptDirectory.from_config(_alembic(migrations)).get_current_head()
        with self.read() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        if current != head:
            raise SchemaMismatchError(
                f"the database {self.url.render_as_string()} has schema revision {current or 'none'}, this version "
                f"needs {head}: run the service's 'db upgrade' command, or a version that fits"
            )


def _alembic(migrations: str) -> Config:
    config = Config()
    config.set_main_option("script_location", migrations)
    config.set_main_option("path_separator", "os")
    return config


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - a driver's connection
    connection.isolation_level = None  # transactions are begun below, not by the driver
    for pragma in (
        f"busy_timeout = {SQLITE_BUSY_TIMEOUT_SECONDS * 1000}",
        "journal_mode = WAL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("read_only"):
        connection.exec_driver_sql("BEGIN")
        return
    level = "FULL" if options.get("durable", True) else "NORMAL"
    connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _no_driver_errors() -> Iterator[None]:
    """Turn what means 'not now' into DatabaseUnavailableError; constraint violations pass."""
    try:
        yield
    except (OperationalError, PoolTimeoutError) as error:
        if _is_disk_full(error):
            raise DatabaseUnavailableError("the database's disk is full: retry once there is room on it") from error
        raise DatabaseUnavailableError("the database can't be reached or is busy; retry") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailableError("the connection to the database was lost; retry") from error
        raise


def _is_disk_full(error: Exception) -> bool:
    cause = getattr(error, "orig", None)
    return (
        getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        or getattr(cause, "sqlstate", None) == _DISK_FULL
    )
