"""A pool of buckets: where objects go, and that nothing is lost when the pool changes."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from mypy_boto3_s3 import S3Client
from pydantic import ValidationError

from runtime_grpc.command_line import StartRefusedError
from score_grpc.domain.layout import Layout, split_key
from score_grpc.settings import ScoreSettings
from tests.servers.postgresql import new_database
from tests.servers.raw_score import bytes_of
from tests.servers.score_world import PART, World, random_bytes
from tests.servers.seaweedfs import ACCESS_KEY_ID, SECRET_ACCESS_KEY, SeaweedFS

BASE = "partitioned"
POOL = 4
SIZE = PART + 17


@pytest.mark.parametrize(
    ("object_id", "digits", "bucket"),
    [
        ("00aa", 2, "b.0"),
        ("ff000000-1", 2, "b.3"),
        ("FF000000-1", 2, "b.3"),
        ("1b4e28ba-2fa1", 2, "b.6"),
        ("1b4e28ba-2fa1", 1, "b.1"),
        ("ffffffff-2fa1", 8, "b.3"),
        ("xy4e28ba", 2, ""),
        ("a-4e28ba", 2, ""),
        ("_b4e28ba", 2, ""),
        ("abc", 8, ""),
        ("a_c", 2, ""),
    ],
)
def test_the_first_digits_of_an_id_choose_its_bucket(object_id: str, digits: int, bucket: str) -> None:
    layout = Layout("data", "b", 7, digits)
    assert layout.partition(object_id) == bucket
    assert split_key(layout.key(object_id)) == (bucket, f"data/{object_id}")
    assert split_key(layout.key(object_id, 3)) == (bucket, f"data/{object_id}.3")


def test_without_a_pool_a_key_names_no_bucket_and_without_a_folder_no_folder() -> None:
    assert Layout("data", "b").key("1b4e28ba") == "data/1b4e28ba"
    assert Layout("", "b").key("1b4e28ba", 2) == "1b4e28ba.2"
    assert split_key("data/1b4e28ba") == ("", "data/1b4e28ba")


@pytest.fixture
def bucket(seaweedfs: SeaweedFS) -> Iterator[S3Client]:
    """A client of the store, with the pool's buckets in it."""
    client = seaweedfs.client()
    for name in (BASE, *(f"{BASE}.{index}" for index in range(POOL))):
        with suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=name)
    yield client
    client.close()


@pytest.fixture
def settings(request: pytest.FixtureRequest, seaweedfs: SeaweedFS, bucket: S3Client) -> dict[str, object]:
    assert bucket.meta.endpoint_url == seaweedfs.endpoint
    return {
        "database_url": new_database(request),
        "store": "s3",
        "s3_bucket": BASE,
        "s3_endpoint": seaweedfs.endpoint,
        "s3_access_key": ACCESS_KEY_ID,
        "s3_secret_key": SECRET_ACCESS_KEY,
    }


def plain_bytes(client: S3Client, bucket: str, key: str) -> bytes:
    with client.get_object(Bucket=bucket, Key=key)["Body"] as body:
        return body.read()


def read(world: World, object_id: str) -> bytes:
    return bytes_of(world.raw.read(object_id, (0, None), unpublished=True))


def test_objects_are_spread_and_what_lies_in_a_bucket_is_found_when_the_pool_changes(
    open_world: Callable[..., World], settings: dict[str, object], bucket: S3Client
) -> None:
    data = random_bytes(SIZE)
    before = open_world(**settings)
    before.store("05-before", data)
    before.score.stop()

    spread = open_world(**settings, s3_bucket_pool=POOL)
    spread.store("05-spread", data)
    spread.store("x5-spread", data)
    begun = spread.register("06-begun", random_bytes(2 * PART, seed=2))
    upload = spread.start("06-begun")
    spread.send(upload, begun, 1)
    spread.score.stop()
    assert plain_bytes(bucket, f"{BASE}.1", "data/05-spread") == data
    assert plain_bytes(bucket, BASE, "data/x5-spread") == data

    for pool in (0, 3):
        changed = open_world(**settings, s3_bucket_pool=pool)
        for object_id in ("05-before", "05-spread", "x5-spread"):
            assert read(changed, object_id) == data
        if pool == 3:
            changed.send(upload, begun, 2)
            assert changed.complete(upload).stored_object.md5 == hashlib.md5(begun).hexdigest()
            changed.store("05-changed", data)
        changed.score.stop()
    assert plain_bytes(bucket, f"{BASE}.2", "data/06-begun") == begun  # where it began: 6 % 4
    assert plain_bytes(bucket, f"{BASE}.2", "data/05-changed") == data  # 5 % 3


def test_what_nobody_comes_back_to_is_collected_in_every_bucket(
    open_world: Callable[..., World], settings: dict[str, object], bucket: S3Client
) -> None:
    world = open_world(**settings, s3_bucket_pool=POOL)
    for object_id in ("07-expired", "y7-expired"):
        world.register(object_id, random_bytes(SIZE))
        world.start(object_id)
    world.score.environment.store.begin(f"{BASE}.3:data/07-expired")  # as a process that died leaves one

    def stagings(name: str) -> list[str]:
        uploads = bucket.list_multipart_uploads(Bucket=name, Prefix="data/").get("Uploads", [])
        return [upload["Key"] for upload in uploads if upload["Key"].endswith("7-expired")]

    assert (stagings(f"{BASE}.3"), stagings(BASE)) == (["data/07-expired"] * 2, ["data/y7-expired"])
    collector = world.score.collector
    later = datetime.now(UTC) + timedelta(days=8)
    assert collector.collect_orphans(later) == 1
    assert collector.collect_expired(later) == 2
    assert (stagings(f"{BASE}.3"), stagings(BASE)) == ([], [])


def test_a_pool_whose_buckets_are_not_all_there_is_refused_at_the_start(
    open_world: Callable[..., World], settings: dict[str, object]
) -> None:
    with pytest.raises(StartRefusedError, match=rf"s3_bucket_pool {POOL + 1}.*{BASE}\.{POOL}.*creates no bucket"):
        open_world(**settings, s3_bucket_pool=POOL + 1)


def test_keys_begin_as_the_bucket_wants_it(
    open_world: Callable[..., World], settings: dict[str, object], bucket: S3Client
) -> None:
    data = random_bytes(SIZE)
    world = open_world(**settings, object_folder="", s3_bucket_pool=POOL)
    world.store("08-bare", data)
    assert plain_bytes(bucket, f"{BASE}.0", "08-bare") == data
    assert read(world, "08-bare") == data


@pytest.mark.parametrize("folder", ["upload", "upload/x", "/data", "data/", "a//b", "a:b"])
def test_a_folder_that_can_not_be_is_refused(folder: str) -> None:
    with pytest.raises(ValidationError, match="object_folder"):
        ScoreSettings.model_validate({"store": "s3", "object_folder": folder})
