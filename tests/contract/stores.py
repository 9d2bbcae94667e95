"""Each object store as the contract suite sees it: the store, and ways to look at it and to hurt it from outside."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar
from unittest import mock

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob._shared.policies import StorageRequestHook, StorageResponseHook

from score_grpc.domain.layout import split_key
from score_grpc.gateways.objects.azure import STAGING_FOLDER, AzureObjectStore, AzureOptions
from score_grpc.gateways.objects.local import LocalObjectStore
from score_grpc.gateways.objects.partitioned import PartitionedStore
from score_grpc.gateways.objects.port import ObjectStore
from score_grpc.gateways.objects.s3 import S3ObjectStore
from score_grpc.gateways.objects.s3_client import S3Options
from tests.servers import azurite
from tests.servers.azurite import Azurite
from tests.servers.faulty_s3 import FaultyS3
from tests.servers.rclone import Rclone
from tests.servers.seaweedfs import ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, SeaweedFS

S3Server = SeaweedFS | Rclone

P = ParamSpec("P")
R = TypeVar("R")


class Crash(BaseException):
    """The process dies here."""


class StoreUnderTest(Protocol):
    """What the suite needs of each store."""

    store: ObjectStore
    key_prefix: str
    """What the suite's keys begin with."""

    def restart(self) -> None:
        """Replace `store` as if its process had ended and another had started."""

    def plain_bytes(self, key: str) -> bytes | None:
        """Return what somebody without our code finds under the key."""

    def overwrite(self, key: str, content: bytes) -> None:
        """Put other bytes under the key, behind the store's back."""

    def staging_count(self, key: str) -> int:
        """Return how many stagings take space."""

    def crashing(self, step: int) -> AbstractContextManager[None]:
        """Crash at the step-th call to the outside."""

    def close(self) -> None:
        """Release everything."""


class LocalUnderTest:
    """A folder."""

    key_prefix = "data/"

    def __init__(self, root: Path) -> None:
        self._root = root
        self.store: ObjectStore = LocalObjectStore(root)

    def restart(self) -> None:
        self.store.close()
        self.store = LocalObjectStore(self._root)

    def plain_bytes(self, key: str) -> bytes | None:
        path = self._root / key
        return path.read_bytes() if path.exists() else None

    def overwrite(self, key: str, content: bytes) -> None:
        (self._root / key).write_bytes(content)

    def staging_count(self, key: str) -> int:
        return len(list((self._root / "upload").iterdir()))

    @contextmanager
    def crashing(self, step: int) -> Iterator[None]:
        countdown = _Countdown(step)
        with (
            mock.patch.object(os, "ftruncate", countdown.before(os.ftruncate)),
            mock.patch.object(os, "fsync", countdown.before(os.fsync)),
            mock.patch.object(Path, "rename", countdown.before(Path.rename)),
        ):
            yield

    def close(self) -> None:
        self.store.close()


class S3UnderTest:
    """A bucket of a real server, which the tests of one session share."""

    key_prefix = "data/"

    def __init__(self, server: S3Server) -> None:
        self._options = s3_options(server)
        self._plain = server.client()
        self.store: ObjectStore = self._open()

    def _open(self) -> ObjectStore:
        self._base = S3ObjectStore(self._options)
        return self._base

    def restart(self) -> None:
        self.store.close()
        self.store = self._open()

    def plain_bytes(self, key: str) -> bytes | None:
        bucket, name = split_key(key)
        try:
            with self._plain.get_object(Bucket=bucket or BUCKET, Key=name)["Body"] as body:
                return body.read()
        except self._plain.exceptions.NoSuchKey:
            return None

    def overwrite(self, key: str, content: bytes) -> None:
        bucket, name = split_key(key)
        self._plain.put_object(Bucket=bucket or BUCKET, Key=name, Body=content)

    def staging_count(self, key: str) -> int:
        bucket, name = split_key(key)
        uploads = self._plain.list_multipart_uploads(Bucket=bucket or BUCKET, Prefix=name).get("Uploads", [])
        return sum(upload["Key"] == name for upload in uploads)

    @contextmanager
    def crashing(self, step: int) -> Iterator[None]:
        countdown = _Countdown(step)
        events = self._base._client.meta.events
        # Both before a request is sent and after its answer has come.
        events.register("before-call.s3", countdown)
        events.register("after-call.s3", countdown)
        try:
            yield
        finally:
            events.unregister("before-call.s3", countdown)
            events.unregister("after-call.s3", countdown)

    def close(self) -> None:
        self.store.close()
        self._plain.close()


class PartitionedUnderTest(S3UnderTest):
    """A pool of buckets beside that one; the suite's keys lie in one of them."""

    key_prefix = f"{BUCKET}.7:data/"

    def _open(self) -> ObjectStore:
        for index in range(8):
            with suppress(self._plain.exceptions.BucketAlreadyExists, self._plain.exceptions.BucketAlreadyOwnedByYou):
                self._plain.create_bucket(Bucket=f"{BUCKET}.{index}")
        super()._open()
        return PartitionedStore(self._base, self._base.in_bucket, [f"{BUCKET}.{index}" for index in range(8)])


def s3_options(server: S3Server | FaultyS3, **changes: Any) -> S3Options:  # noqa: ANN401 - any field of the options
    """Return how the store reaches a server of ours."""
    known: dict[str, Any] = {
        "bucket": BUCKET,
        "endpoint_url": server.endpoint,
        "uses_path_style": True,
        "access_key_id": ACCESS_KEY_ID,
        "secret_access_key": SECRET_ACCESS_KEY,
        "ca_file": server.ca_file,
    }
    return S3Options(**(known | changes))


class AzureUnderTest:
    """A container of the emulator, which the tests of one session share."""

    key_prefix = "data/"

    def __init__(self, server: Azurite) -> None:
        self._options = azure_options(server)
        self._plain = server.client()
        self.store: ObjectStore = AzureObjectStore(self._options)

    def restart(self) -> None:
        self.store.close()
        self.store = AzureObjectStore(self._options)

    def plain_bytes(self, key: str) -> bytes | None:
        try:
            return self._plain.download_blob(key).readall()
        except ResourceNotFoundError:
            return None

    def overwrite(self, key: str, content: bytes) -> None:
        self._plain.upload_blob(key, content, overwrite=True)

    def staging_count(self, key: str) -> int:
        markers = list(self._plain.list_blob_names(name_starts_with=f"{STAGING_FOLDER}/{key}/"))
        blobs = self._plain.list_blobs(name_starts_with=key, include="uncommittedblobs")
        # An uncommitted blob has no etag yet.
        unmarked = not markers and any(blob.name == key and not blob.etag for blob in blobs)
        return len(markers) + unmarked

    @contextmanager
    def crashing(self, step: int) -> Iterator[None]:
        countdown = _Countdown(step)

        # The pipeline's seam around every call of the SDK: before a request is sent, and after its answer has come.
        with (
            mock.patch.object(StorageRequestHook, "on_request", countdown.before(StorageRequestHook.on_request)),
            mock.patch.object(StorageResponseHook, "send", countdown.after(StorageResponseHook.send)),
        ):
            yield

    def close(self) -> None:
        self.store.close()
        self._plain.close()


def azure_options(server: Azurite, **changes: Any) -> AzureOptions:  # noqa: ANN401 - any field of the options
    """Return how the store reaches an emulator of ours."""
    known: dict[str, Any] = {
        "container": azurite.CONTAINER,
        "account": azurite.ACCOUNT,
        "account_key": azurite.ACCOUNT_KEY,
        "endpoint_url": server.endpoint,
    }
    return AzureOptions(**(known | changes))


class _Countdown:
    def __init__(self, steps: int) -> None:
        self._left = steps

    def __call__(self, **_event: object) -> None:
        self._left -= 1
        if self._left == 0:
            raise Crash

    def before(self, function: Callable[P, R]) -> Callable[P, R]:
        def counted(*args: P.args, **kwargs: P.kwargs) -> R:
            self()
            return function(*args, **kwargs)

        return counted

    def after(self, function: Callable[P, R]) -> Callable[P, R]:
        def counted(*args: P.args, **kwargs: P.kwargs) -> R:
            result = function(*args, **kwargs)
            self()
            return result

        return counted
