"""Overture's buckets in S3: data in one, `.meta` in the same or another, each perhaps with a pool of partitions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from score_grpc.domain.errors import ScoreError, StoreUnavailableError
from score_grpc.domain.layout import Layout
from score_grpc.domain.overture import md5_of_header
from score_grpc.gateways.objects.former import FormerObject
from score_grpc.gateways.objects.s3_client import S3Access, S3Options

MD5_METADATA = "md5chksum"
"""Overture's name for the MD5 that an uploader has left in an object's own metadata."""


class S3FormerBuckets:
    """See `FormerBuckets`. Raises s3_client.CONFIGURATION_ERRORS where the options can't be."""

    def __init__(self, options: S3Options, layout: Layout, state_bucket: str, upload_folder: str) -> None:
        """`layout` says where data is; `state_bucket` (empty: where data is) has the same pool and folder."""
        self._access = S3Access(options)
        self._client = self._access.client
        self._data = layout
        self._state = replace(layout, bucket=state_bucket) if state_bucket else layout
        self._upload_folder = upload_folder

    def find(self, object_id: str) -> FormerObject | None:
        """See `FormerBuckets.find`."""
        name = self._data.name(object_id)
        for bucket in _places(self._data, object_id):
            with _store_errors(f"Looking for {name} in {bucket}"):
                try:
                    facts = self._client.head_object(Bucket=bucket, Key=name)
                except ClientError as error:
                    _demand_not_found(error)
                    continue
            by_header = facts["ResponseMetadata"]["HTTPHeaders"].get("content-md5", "")
            md5 = md5_of_header(by_header) or md5_of_header(facts["Metadata"].get(MD5_METADATA, ""))
            key = name if bucket == self._data.bucket else f"{bucket}:{name}"
            return FormerObject(key, facts["ContentLength"], facts["ETag"], md5)
        return None

    def specification(self, object_id: str, max_bytes: int) -> bytes | None:
        """See `FormerBuckets.specification`."""
        name = f"{self._state.name(object_id)}.meta"
        for bucket in _places(self._state, object_id):
            with _store_errors(f"Reading {name} in {bucket}"):
                try:
                    body = self._client.get_object(Bucket=bucket, Key=name)["Body"]
                except ClientError as error:
                    _demand_not_found(error)
                    continue
                with body:
                    content = body.read(max_bytes + 1)
            return content if len(content) <= max_bytes else None
        return None

    def names(self) -> Iterator[tuple[str, Sequence[str]]]:
        """See `FormerBuckets.names`."""
        prefix = self._data.prefix
        for bucket in (self._data.bucket, *self._data.partitions):
            with _store_errors(f"Looking through {bucket}"):
                for keys in self._keys(bucket, prefix):
                    yield bucket, [key.removeprefix(prefix) for key in keys]

    def unfinished(self) -> Iterator[str]:
        """See `FormerBuckets.unfinished`."""
        for bucket in (self._state.bucket, *self._state.partitions):
            with _store_errors(f"Looking through {bucket}"):
                for keys in self._keys(bucket, f"{self._upload_folder}/"):
                    yield from (f"{bucket}/{key}" for key in keys if key.endswith("/.meta"))

    def close(self) -> None:
        """See `FormerBuckets.close`."""
        self._access.close()

    def _keys(self, bucket: str, prefix: str) -> Iterator[Sequence[str]]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            yield [found["Key"] for found in page.get("Contents", [])]


def _places(layout: Layout, object_id: str) -> Sequence[str]:
    """Return the buckets where it may be, the likelier one first."""
    partition = layout.partition(object_id)
    return [partition, layout.bucket] if partition else [layout.bucket]


def _demand_not_found(error: ClientError) -> None:
    if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404 or _code_of(error) == "NoSuchBucket":  # noqa: PLR2004
        raise error


def _code_of(error: ClientError) -> str:
    return error.response["Error"].get("Code", "")


@contextmanager
def _store_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        remedy = "check that the bucket is there, and the rights to read and list"
        raise StoreUnavailableError(
            f"{doing}: the object store answered {status} {_code_of(error)}: {remedy}."
        ) from error
    except ScoreError:
        raise
    except (BotoCoreError, HTTPError, OSError) as error:
        raise StoreUnavailableError(f"{doing}: the object store does not answer ({type(error).__name__}).") from error
