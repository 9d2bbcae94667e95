"""Running Songs on every database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime_grpc.logs import configure_logs
from tests.servers.postgresql import new_database
from tests.song_grpc.world import World, running

configure_logs("error")


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database: the URL, empty for SQLite in Song's own folder."""
    return new_database(request) if request.param == "postgresql" else ""


@pytest.fixture(params=["sqlite", "postgresql"])
def own_database_url(request: pytest.FixtureRequest) -> str:
    """An empty database for one test alone."""
    return new_database(request) if request.param == "postgresql" else ""


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
