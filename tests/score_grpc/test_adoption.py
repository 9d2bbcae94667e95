"""Buckets that an Overture Score has filled: what is adopted from them, and what never is, whatever lies there."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import grpc
import pytest
from mypy_boto3_s3 import S3Client
from pydantic import ValidationError
from score.v1.download_service_pb2 import GetChunkManifestRequest
from score.v1.object_service_pb2 import BatchGetObjectsRequest, GetObjectRequest, VerifyObjectRequest
from score.v1.stored_object_pb2 import VERIFICATION_UNVERIFIED, VERIFICATION_VERIFIED, StoredObject
from score.v1.upload_service_pb2 import StartUploadRequest
from song_score_client.errors import ObjectExistsError, ObjectNotFoundError, StoreUnavailableError
from xxhash import xxh3_128_hexdigest

from score_grpc.domain.overture import md5_of_header, read_specification
from score_grpc.settings import ScoreSettings
from tests.servers.postgresql import new_database
from tests.servers.raw_score import MIB, bytes_of
from tests.servers.registry_song import TOKEN
from tests.servers.score_world import World, random_bytes
from tests.servers.seaweedfs import ACCESS_KEY_ID, SECRET_ACCESS_KEY, SeaweedFS

PART = 20 * MIB
SIZE = PART + MIB + 17
POOL = 3


def part_of(number: int, size: int, offset: int, md5: str | None) -> dict[str, object]:
    """A part as Overture writes it, with its dead URL."""
    url = f"https://store.example.org/oicr.icgc/data/x?partNumber={number}&Signature=dead"
    told = {} if md5 is None else {"sourceMd5": md5}
    return {"partNumber": number, "partSize": size, "offset": offset, "url": url, "md5": None, **told}


def specification(object_id: str, data: bytes, **changes: object) -> dict[str, object]:
    """What Overture writes beside an object."""
    spans = [(offset, data[offset : offset + PART]) for offset in range(0, len(data), PART)]
    parts = [
        part_of(number, len(piece), offset, hashlib.md5(piece).hexdigest())
        for number, (offset, piece) in enumerate(spans, 1)
    ]
    known = {
        "objectKey": f"data/{object_id}",
        "objectId": object_id,
        "uploadId": "2~dead",
        "parts": parts,
        "objectSize": len(data),
        "objectMd5": hashlib.md5(data).hexdigest(),
        "somethingNew": [1, 2],
    }
    return known | changes


@dataclass
class FormerScore:
    """Buckets as Overture leaves them."""

    client: S3Client
    bucket: str
    state_bucket: str
    settings: dict[str, object] = field(default_factory=dict)

    def put(self, object_id: str, data: bytes, *, bucket: str = "", metadata: Mapping[str, str] | None = None) -> None:
        key = f"data/{object_id}"
        self.client.put_object(Bucket=bucket or self.bucket, Key=key, Body=data, Metadata=dict(metadata or {}))

    def put_meta(self, object_id: str, content: object, *, bucket: str = "") -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.client.put_object(Bucket=bucket or self.state_bucket, Key=f"data/{object_id}.meta", Body=body)

    def put_whole(self, object_id: str, data: bytes) -> bytes:
        self.put(object_id, data)
        self.put_meta(object_id, specification(object_id, data))
        return data

    def keys(self) -> set[str]:
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {each["Key"] for each in found}


@pytest.fixture
def former(request: pytest.FixtureRequest, seaweedfs: SeaweedFS) -> Iterator[FormerScore]:
    client = seaweedfs.client()
    name, state = "former", "former-state"
    for base in (name, state):
        for bucket in (base, *(f"{base}.{index}" for index in range(POOL))):
            with suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=bucket)
            for left in client.list_objects_v2(Bucket=bucket).get("Contents", []):
                client.delete_object(Bucket=bucket, Key=left["Key"])
    settings: dict[str, object] = {
        "database_url": new_database(request),
        "store": "s3",
        "s3_bucket": name,
        "s3_endpoint": seaweedfs.endpoint,
        "s3_access_key": ACCESS_KEY_ID,
        "s3_secret_key": SECRET_ACCESS_KEY,
        "adopt": True,
        "adopt_state_bucket": state,
    }
    yield FormerScore(client, name, state, settings)
    client.close()


@pytest.fixture
def world(open_world: Callable[..., World], former: FormerScore) -> World:
    return open_world(**former.settings)


def found(world: World, object_id: str) -> StoredObject:
    return world.raw.objects.GetObject(GetObjectRequest(object_id=object_id, allow_unpublished=True)).stored_object


def test_an_object_is_adopted_when_it_is_asked_for_with_the_parts_that_overture_noted(
    world: World, former: FormerScore
) -> None:
    data = world.register("adopted-1", random_bytes(SIZE))
    former.put_whole("adopted-1", data)
    stored = found(world, "adopted-1")
    assert (stored.size_bytes, stored.md5) == (SIZE, hashlib.md5(data).hexdigest())
    assert (stored.generation, stored.verification) == (1, VERIFICATION_UNVERIFIED)
    assert (stored.study_id, stored.file_name) == ("ABC", "adopted-1.bam")
    assert (stored.part_size_bytes, stored.part_total) == (PART, 2)
    assert bytes_of(world.raw.read("adopted-1", (0, None), unpublished=True)) == data
    request = GetChunkManifestRequest(object_id="adopted-1", allow_unpublished=True)
    manifest = world.raw.downloads.GetChunkManifest(request)
    assert [part.md5 for part in manifest.parts] == [
        hashlib.md5(data[:PART]).hexdigest(),
        hashlib.md5(data[PART:]).hexdigest(),
    ]
    assert [part.xxh3_128 for part in manifest.parts] == ["", ""]
    former.client.delete_object(Bucket=former.state_bucket, Key="data/adopted-1.meta")
    assert found(world, "adopted-1") == stored  # it is in the ledger


def verified(world: World, object_id: str) -> StoredObject:
    world.raw.objects.VerifyObject(VerifyObjectRequest(object_id=object_id))
    deadline = time.monotonic() + 60
    while (stored := found(world, object_id)).HasField("verification_run"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return stored


def test_an_adopted_object_becomes_verified_once_it_was_read(world: World, former: FormerScore) -> None:
    data = former.put_whole("verified-1", world.register("verified-1", random_bytes(SIZE)))
    assert found(world, "verified-1").verification == VERIFICATION_UNVERIFIED
    assert verified(world, "verified-1").verification == VERIFICATION_VERIFIED
    request = GetChunkManifestRequest(object_id="verified-1", allow_unpublished=True)
    digests = [part.xxh3_128 for part in world.raw.downloads.GetChunkManifest(request).parts]
    assert digests == [xxh3_128_hexdigest(data[:PART]), xxh3_128_hexdigest(data[PART:])]


def test_verifying_an_adopted_object_names_the_part_that_overture_received_otherwise(
    world: World, former: FormerScore
) -> None:
    data = world.register("damaged-1", random_bytes(SIZE))
    former.put_meta("damaged-1", specification("damaged-1", data))
    former.put("damaged-1", data[:PART] + bytes(SIZE - PART))
    stored = verified(world, "damaged-1")
    assert stored.verification == VERIFICATION_UNVERIFIED
    assert list(stored.damaged_part_numbers) == [2]


def test_a_batch_is_adopted_too_and_what_is_not_there_is_missing(world: World, former: FormerScore) -> None:
    ids = [f"batch-{number}" for number in range(12)]
    for object_id in ids[:10]:
        former.put_whole(object_id, world.register(object_id, random_bytes(1000)))
    world.register(ids[10], b"registered, not stored")
    request = BatchGetObjectsRequest(object_ids=ids, allow_unpublished=True)
    for _ in range(2):
        answer = world.raw.objects.BatchGetObjects(request)
        assert [stored.object_id for stored in answer.stored_objects] == ids[:10]
        assert list(answer.missing_object_ids) == ids[10:]


def test_many_ask_at_once_and_one_object_comes_of_it(world: World, former: FormerScore) -> None:
    data = former.put_whole("raced-1", world.register("raced-1", random_bytes(SIZE)))

    def start_or_find(number: int) -> bytes:
        if number % 2:
            started = world.raw.uploads.StartUpload(StartUploadRequest(object_id="raced-1", replace=True))
            return started.upload.upload_id.encode()
        return found(world, "raced-1").md5.encode()

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(start_or_find, range(16)))
    # An adopted object may be replaced, for nobody has read it; all join the one upload.
    assert len(answers) == 2
    assert hashlib.md5(data).hexdigest().encode() in answers
    assert found(world, "raced-1").generation == 1


def test_bytes_sent_again_do_not_touch_those_that_were_adopted(world: World, former: FormerScore) -> None:
    data = former.put_whole("again-1", world.register("again-1", random_bytes(6 * MIB)))
    request = StartUploadRequest(object_id="again-1", part_size_hint_bytes=5 * MIB)
    with pytest.raises(grpc.RpcError) as refused:
        world.raw.uploads.StartUpload(request)
    assert isinstance(world.raw.error(refused.value), ObjectExistsError)
    request.replace = True
    upload = world.raw.uploads.StartUpload(request).upload
    world.send(upload, data)
    assert world.complete(upload).stored_object.generation == 2
    assert former.keys() == {"data/again-1", "data/again-1.2"}


def test_partitions_are_looked_at_first_and_then_the_base_bucket_for_each_key(
    open_world: Callable[..., World], former: FormerScore
) -> None:
    world = open_world(**former.settings, s3_bucket_pool=POOL, s3_bucket_digits=1)
    data = random_bytes(1000)
    for object_id, bucket, state in (
        ("1-both", f"{former.bucket}.1", f"{former.state_bucket}.1"),
        ("2-data", f"{former.bucket}.2", former.state_bucket),
        ("3-base", former.bucket, former.state_bucket),
        ("x-none", former.bucket, former.state_bucket),
    ):
        world.register(object_id, data)
        former.put(object_id, data, bucket=bucket)
        former.put_meta(object_id, specification(object_id, data), bucket=state)
        assert found(world, object_id).md5 == hashlib.md5(data).hexdigest()
        assert bytes_of(world.raw.read(object_id, (0, None), unpublished=True)) == data


def test_without_meta_only_bytes_of_the_registered_size_are_adopted(world: World, former: FormerScore) -> None:
    data = world.register("no-meta-1", random_bytes(1000))
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    former.put("no-meta-1", data, metadata={"md5chksum": md5})
    assert found(world, "no-meta-1").md5 == hashlib.md5(data).hexdigest()
    other = random_bytes(1000, seed=2)
    world.register("no-md5-1", data)  # nobody has said of these what they are: the registered one is to be verified
    former.put("no-md5-1", other)
    assert found(world, "no-md5-1").md5 == hashlib.md5(data).hexdigest()
    world.register("half-1", random_bytes(1000))
    former.put("half-1", data[:500])
    with pytest.raises(ObjectNotFoundError):
        read_all(world, "half-1")
    assert world.start("half-1").object_id == "half-1"


def read_all(world: World, object_id: str) -> bytes:
    return bytes_of(world.raw.read(object_id, (0, None), unpublished=True))


def test_what_was_uploaded_or_deleted_is_never_adopted(world: World, former: FormerScore) -> None:
    data = world.register("uploading-1", random_bytes(6 * MIB))
    world.start("uploading-1")
    former.put_whole("uploading-1", data)
    with pytest.raises(ObjectNotFoundError):
        read_all(world, "uploading-1")
    # Unknown to Song: nobody says whose it is.
    former.put_whole("stranger-1", data)
    with pytest.raises(ObjectNotFoundError):
        read_all(world, "stranger-1")


def test_a_store_that_is_away_is_no_missing_object(open_world: Callable[..., World], former: FormerScore) -> None:
    world = open_world(**former.settings | {"adopt_state_bucket": "not-there"})
    former.put("away-1", world.register("away-1", b"away"))
    with pytest.raises(StoreUnavailableError):
        read_all(world, "away-1")


GOOD = specification("hostile-1", bytes(SIZE))
PARTS = GOOD["parts"]
HOSTILE: dict[str, object] = {
    "not JSON": b"{",
    "no text": b"\xff\xfe\x00",
    "empty": b"",
    "a list": [1],
    "deep": b"[" * 200_000,
    "huge": b'{"objectSize": 1, "x": "' + b"x" * (11 * MIB) + b'"}',
    "a number too long": b'{"objectSize": ' + b"9" * 10_000 + b"}",
    "another id": GOOD | {"objectId": "another-1"},
    "another size": GOOD | {"objectSize": SIZE + 1},
    "size as text": GOOD | {"objectSize": str(SIZE)},
    "no parts": GOOD | {"parts": []},
    "parts as text": GOOD | {"parts": "parts"},
    "part as text": GOOD | {"parts": ["part"]},
    "sizes that do not add up": GOOD | {"parts": [part_of(1, PART, 0, None)]},
    "a negative size": GOOD | {"parts": [part_of(1, -1, 0, None), part_of(2, SIZE + 1, -1, None)]},
    "a size that is true": GOOD | {"parts": [part_of(1, True, 0, None), part_of(2, SIZE - 1, 1, None)]},
    "a gap": GOOD | {"parts": [part_of(1, PART, 0, None), part_of(2, SIZE - PART, PART + 1, None)]},
    "a number twice": GOOD | {"parts": [part_of(1, PART, 0, None), part_of(1, SIZE - PART, PART, None)]},
    "a longer last part": GOOD | {"parts": [part_of(1, MIB, 0, None), part_of(2, SIZE - MIB, MIB, None)]},
    "too many parts": GOOD | {"parts": [part_of(number + 1, 1, number, None) for number in range(10_001)]},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_meta_is_as_none(kind: str, world: World, former: FormerScore) -> None:
    data = world.register("hostile-1", bytes(SIZE))
    former.put("hostile-1", data)
    former.put_meta("hostile-1", HOSTILE[kind])
    stored = found(world, "hostile-1")
    assert (stored.size_bytes, stored.part_size_bytes, stored.part_total) == (SIZE, 16 * MIB, 2)
    assert read_all(world, "hostile-1") == data


@pytest.mark.parametrize("md5", ["<missing>", "d41d8", None, 7, "z" * 32])
def test_md5s_that_are_none_are_not_known(md5: object) -> None:
    text = json.dumps({"objectSize": 7, "objectMd5": md5, "parts": [{**part_of(1, 7, 0, None), "sourceMd5": md5}]})
    read = read_specification(text.encode(), "x-1", 7)
    assert (read.md5, list(read.part_md5s), read.plan.part_size_bytes) == ("", [""], 7)


def test_md5s_are_read_in_any_case() -> None:
    text = json.dumps({"objectSize": 7, "objectMd5": "AB" * 16, "parts": [part_of(1, 7, 0, "CD" * 16)]})
    read = read_specification(text.encode(), "x-1", 7)
    assert (read.md5, list(read.part_md5s)) == ("ab" * 16, ["cd" * 16])


def test_a_header_with_something_else_is_no_md5() -> None:
    assert md5_of_header(base64.b64encode(bytes(16)).decode()) == "0" * 32
    assert [md5_of_header(text) for text in ("", "not base64", "AAAA", "é")] == ["", "", "", ""]


def test_adopting_is_refused_where_there_is_no_s3() -> None:
    with pytest.raises(ValidationError, match="adopted in an s3 store"):
        ScoreSettings.model_validate({"store": "local", "adopt": True})


def run_adopt(world: World, former: FormerScore, **changes: object) -> "subprocess.CompletedProcess[str]":
    settings = former.settings | {"song_address": world.song.address, "service_token": TOKEN} | changes
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items() if name != "adopt"]
    command = [sys.executable, "-m", "score_grpc", "adopt", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))


def test_the_command_adopts_whole_buckets_again_and_again_and_lists_what_was_never_finished(
    open_world: Callable[..., World], former: FormerScore
) -> None:
    world = open_world(**former.settings | {"adopt": False})
    data = random_bytes(1000)
    for number in range(30):
        former.put_whole(f"scanned-{number}", world.register(f"scanned-{number}", data))
    former.put_whole("stranger-2", data)
    former.put("heliograph", b"sentinel")
    world.register("half-2", random_bytes(7))
    former.put("half-2", data)
    state = "upload/5d9f3a4e-0000-4000-8000-000000000000_2~abc"
    for key in (f"{state}/.meta", f'{state}/part-00000001|{{"partNumber":1,"md5":"x","etag":"y"}}'):
        former.client.put_object(Bucket=former.state_bucket, Key=key, Body=b"{}")
    with pytest.raises(ObjectNotFoundError):
        read_all(world, "scanned-7")

    first = run_adopt(world, former)
    assert first.returncode == 0, first.stderr
    line = f"{former.bucket}: 33 objects seen, 30 adopted, 0 known before, 2 not registered in Song, 1 not whole"
    place = f"not adopted, an unfinished upload: {former.state_bucket}/{state}/.meta"
    assert first.stdout.splitlines() == [line, place]
    assert read_all(world, "scanned-7") == data
    assert "30 known before" in run_adopt(world, former).stdout


def test_the_command_goes_through_all_pages_of_a_bucket(world: World, former: FormerScore) -> None:
    last = former.put_whole("zz-the-last", world.register("zz-the-last", b"after 1000 others"))

    def put(number: int) -> None:
        former.put(f"stranger-{number}", b"")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, range(1000)))
    lines = run_adopt(world, former).stdout.splitlines()
    found_all = (
        f"{former.bucket}: 1001 objects seen, 1 adopted, 0 known before, 1000 not registered in Song, 0 not whole"
    )
    assert lines[-1] == found_all
    assert len(lines) == 2
    assert read_all(world, "zz-the-last") == last


def test_the_command_says_why_it_stopped_and_goes_on_when_started_again(world: World, former: FormerScore) -> None:
    former.put_whole("stopped-1", world.register("stopped-1", b"bytes"))
    world.song.stop()
    stopped = run_adopt(world, former)
    assert stopped.returncode == 1
    assert "Song at" in stopped.stderr
    assert "start again to go on" in stopped.stderr
    world.song.start()
    assert "1 adopted" in run_adopt(world, former).stdout
    refused = run_adopt(world, former, store="local")
    assert (refused.returncode, "adopted in an s3 store" in refused.stderr) == (1, True)
