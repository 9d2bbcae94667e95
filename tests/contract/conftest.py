"""The parameter of the contract suites: a new adapter is one more line here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.stores import AzureUnderTest, LocalUnderTest, S3UnderTest, StoreUnderTest
from tests.servers.azurite import Azurite
from tests.servers.rclone import Rclone
from tests.servers.seaweedfs import SeaweedFS


@pytest.fixture(params=["local", "s3", "s3, rclone", "azure"])
def under_test(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreUnderTest]:
    """Each store in turn."""
    found: StoreUnderTest
    if request.param == "s3":
        seaweedfs: SeaweedFS = request.getfixturevalue("seaweedfs")
        found = S3UnderTest(seaweedfs)
    elif request.param == "s3, rclone":
        rclone: Rclone = request.getfixturevalue("rclone")
        found = S3UnderTest(rclone)
    elif request.param == "azure":
        azurite: Azurite = request.getfixturevalue("azurite")
        found = AzureUnderTest(azurite)
    else:
        found = LocalUnderTest(tmp_path / "store")
    yield found
    found.close()
