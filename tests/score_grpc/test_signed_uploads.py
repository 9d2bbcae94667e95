"""Uploads and downloads by signed URLs, with nothing but plain HTTP between client and store."""

import base64
import hashlib
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import grpc
import pytest
from score.v1 import upload_pb2
from score.v1.download_service_pb2 import (
    GetChunkManifestRequest,
    ObjectPart,
    RangeToSign,
    SignDownloadRequest,
    SignDownloadResponse,
)
from score.v1.error_reason_pb2 import ERROR_REASON_PARTS_MISSING
from score.v1.signed_request_pb2 import SignedRequest
from score.v1.upload_service_pb2 import (
    AbortUploadRequest,
    CompleteUploadRequest,
    GetUploadRequest,
    GetUploadResponse,
    PartToRecord,
    PartToSign,
    RecordedPart,
    RecordUploadPartsRequest,
    SignUploadPartsRequest,
    SignUploadPartsResponse,
)
from song_score_client.errors import ServiceError
from xxhash import xxh3_128_hexdigest

from score_grpc.domain import limits
from score_grpc.domain.access import Principal
from score_grpc.gateways.objects.port import Staging, StorePart
from score_grpc.transport.caller import Callers
from tests.score_grpc.test_verification import verify
from tests.servers import azurite, seaweedfs
from tests.servers.faulty_s3 import COPY, Fault, FaultyS3
from tests.servers.postgresql import new_database
from tests.servers.raw_score import MIB, bytes_of
from tests.servers.score_world import PART, World, random_bytes

DATA = random_bytes(2 * PART + MIB + 12_345)
OTHER = random_bytes(len(DATA), seed=2)
NUMBERS = (1, 2, 3)
TIMEOUT_SECONDS = 60

R = TypeVar("R")


@dataclass(frozen=True)
class Answer:
    """What a store said to plain HTTP."""

    status: int
    etag: str
    body: bytes


def send(request: SignedRequest, body: bytes | None = None, **headers: str) -> Answer:
    """Send a signed request as any HTTP client can."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    wanted = {header.name: header.value for header in request.headers} | more
    sent = urllib.request.Request(request.url, body, wanted, method=request.method)
    try:
        with urllib.request.urlopen(sent, timeout=TIMEOUT_SECONDS) as answer:
            return Answer(answer.status, answer.headers.get("ETag", ""), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, "", error.read())


def part_of(data: bytes, number: int) -> bytes:
    return data[(number - 1) * PART : number * PART]


def md5_of(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@dataclass
class SignedUpload:
    """One upload whose parts go by signed URLs."""

    world: World
    upload_id: str
    data: bytes = DATA

    def sign(
        self, *numbers: int, data: bytes | None = None, replace: bool = False, lifetime: int = 0
    ) -> SignUploadPartsResponse:
        parts = [
            PartToSign(part_number=number, md5=md5_of(part_of(data or self.data, number)), replace_part=replace)
            for number in numbers
        ]
        asked = SignUploadPartsRequest(upload_id=self.upload_id, parts=parts, lifetime_seconds=lifetime)
        return self._call(self.world.raw.uploads.SignUploadParts, asked)

    def put(self, *numbers: int, data: bytes | None = None, replace: bool = False) -> list[PartToRecord]:
        """Sign parts and PUT them; return what is to be recorded."""
        data = data or self.data
        signed = self.sign(*numbers, data=data, replace=replace).signed_parts
        assert [part.part_number for part in signed] == list(numbers)
        done = []
        for part in signed:
            body = part_of(data, part.part_number)
            answer = send(part.request, body)
            assert answer.status == 200, answer
            done.append(PartToRecord(part_number=part.part_number, md5=md5_of(body), store_etag=answer.etag))
        return done

    def record(self, parts: list[PartToRecord]) -> list[RecordedPart]:
        asked = RecordUploadPartsRequest(upload_id=self.upload_id, parts=parts)
        return list(self._call(self.world.raw.uploads.RecordUploadParts, asked).parts)

    def get(self, **wanted: object) -> GetUploadResponse:
        asked = GetUploadRequest(upload_id=self.upload_id, **wanted)  # type: ignore[arg-type]  # its fields
        return self._call(self.world.raw.uploads.GetUpload, asked)

    def complete(self) -> upload_pb2.Upload:
        return self.world.complete(self.get().upload).upload

    def stored_bytes(self, object_id: str = "object-1") -> bytes:
        return bytes_of(self.world.raw.read(object_id, (0, None), unpublished=True))

    def manifest(self) -> list[ObjectPart]:
        asked = GetChunkManifestRequest(object_id="object-1", allow_unpublished=True)
        return list(self.world.raw.downloads.GetChunkManifest(asked).parts)

    def _call(self, method: Callable[[Any], R], asked: object) -> R:
        try:
            return method(asked)
        except grpc.RpcError as error:
            raise self.world.raw.error(error) from error


OpenWorld = Callable[..., World]


@pytest.fixture
def s3_settings(seaweedfs: seaweedfs.SeaweedFS) -> dict[str, object]:
    return {
        "store": "s3",
        "s3_bucket": "objects",
        "s3_endpoint": seaweedfs.endpoint,
        "s3_access_key": "tests",
        "s3_secret_key": "no-secret-at-all",
    }


@pytest.fixture(params=["s3", "own, local", "own, s3", "own, azure"])
def signing_world(request: pytest.FixtureRequest, open_world: OpenWorld) -> World:
    """A Score that hands out signed URLs: its store's, or its own."""
    if request.param == "s3":
        return open_world(**request.getfixturevalue("s3_settings"))
    own: dict[str, object] = {"http_port": 0}
    if request.param == "own, s3":
        own |= request.getfixturevalue("s3_settings") | {"signed_urls": "score"}
    if request.param == "own, azure":
        own |= azurite.settings(request.getfixturevalue("azurite"))
    return open_world(**own)


@pytest.fixture
def s3_world(open_world: OpenWorld, s3_settings: dict[str, object]) -> World:
    """A Score whose S3 signs."""
    return open_world(**s3_settings)


def begun(world: World, data: bytes = DATA) -> SignedUpload:
    """Start an upload of `object-1`, registered with these bytes."""
    world.register("object-1", data)
    return SignedUpload(world, world.start("object-1").upload_id, data)


def persisted(upload: SignedUpload) -> list[int]:
    return [part.part_number for part in upload.get().parts]


def test_an_upload_goes_by_plain_http_and_is_verified(signing_world: World) -> None:
    upload = begun(signing_world)
    paths = [upload_pb2.TRANSFER_PATH_STREAM, upload_pb2.TRANSFER_PATH_SIGNED]
    assert list(upload.get().upload.transfer_paths) == paths
    recorded = upload.record(upload.put(*NUMBERS))
    assert [(part.part_number, part.part.md5) for part in recorded] == [
        (number, md5_of(part_of(DATA, number))) for number in NUMBERS
    ]
    assert upload.get().upload.persisted_size_bytes == len(DATA)
    completed = upload.complete()
    assert completed.state == upload_pb2.UPLOAD_STATE_COMPLETED
    assert not completed.transfer_paths
    assert upload.stored_bytes() == DATA
    assert [part.xxh3_128 for part in upload.manifest()] == [xxh3_128_hexdigest(part_of(DATA, n)) for n in NUMBERS]
    assert not any(part.md5 for part in upload.manifest())


def test_on_postgresql_signed_parts_are_recorded_replaced_and_filled_in(
    open_world: OpenWorld, s3_settings: dict[str, object], request: pytest.FixtureRequest
) -> None:
    upload = begun(open_world(**s3_settings, database_url=new_database(request)))
    upload.record(upload.put(*NUMBERS, data=part_of(DATA, 1) + OTHER[PART:]))
    assert upload.complete().last_failure.reason == "OBJECT_DIGEST_MISMATCH"
    assert all(part.xxh3_128 and part.md5 for part in upload.get().parts)
    replaced = upload.put(2, 3, replace=True)
    assert persisted(upload) == [1]
    assert upload.record(replaced) == upload.record(replaced)
    assert upload.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED
    assert [part.xxh3_128 for part in upload.manifest()] == [xxh3_128_hexdigest(part_of(DATA, n)) for n in NUMBERS]


@pytest.mark.parametrize("body", [b"!" + part_of(DATA, 1)[1:], part_of(DATA, 1) + b"!", part_of(DATA, 1)[:-1]])
def test_a_body_that_is_not_the_signed_one_is_refused_and_changes_nothing(signing_world: World, body: bytes) -> None:
    upload = begun(signing_world)
    (signed,) = upload.sign(1).signed_parts
    assert 400 <= send(signed.request, body).status < 500
    assert not persisted(upload)
    assert not upload.get(with_unrecorded_parts=True).unrecorded_parts
    (refused,) = upload.record([PartToRecord(part_number=1, md5=md5_of(body), store_etag=md5_of(body))])
    assert refused.refusal.reason == ERROR_REASON_PARTS_MISSING
    assert refused.refusal.metadata["part_numbers"] == "1"
    assert send(signed.request, part_of(DATA, 1)).status == 200


def test_an_expired_url_is_refused_and_the_part_is_signed_again(signing_world: World) -> None:
    upload = begun(signing_world)
    (signed,) = upload.sign(3, lifetime=1).signed_parts
    ends = signed.request.expire_time.ToDatetime(UTC)
    assert 0 <= (ends - datetime.now(UTC)).total_seconds() + 2 < 4
    while datetime.now(UTC).timestamp() < ends.timestamp() + 1.5:
        time.sleep(0.1)
    assert send(signed.request, part_of(DATA, 3)).status == 403
    assert not persisted(upload)
    upload.record(upload.put(3))
    assert persisted(upload) == [3]


def test_what_is_persisted_is_not_signed_unless_it_is_to_be_replaced(signing_world: World) -> None:
    upload = begun(signing_world)
    upload.record(upload.put(1, 2, data=OTHER))
    answer = upload.sign(*NUMBERS)
    assert [part.part_number for part in answer.signed_parts] == [3]
    assert [part.part_number for part in answer.persisted_parts] == [1, 2]
    assert [part.part_number for part in upload.sign(2, replace=True).signed_parts] == [2]
    assert persisted(upload) == [1]
    upload.record(upload.put(1, replace=True) + upload.put(2, 3))
    assert upload.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED
    assert upload.stored_bytes() == DATA


def test_a_crash_between_put_and_record_loses_nothing(s3_world: World) -> None:
    upload = begun(s3_world)
    upload.record(upload.put(2))
    upload.put(1, 3)
    assert not upload.get().unrecorded_parts
    assert persisted(upload) == [2]
    # Another client, which has nothing but the file and the object's id.
    found = SignedUpload(s3_world, s3_world.start("object-1").upload_id)
    unrecorded = found.get(with_unrecorded_parts=True).unrecorded_parts
    assert [(part.part_number, part.size_bytes) for part in unrecorded] == [
        (number, len(part_of(DATA, number))) for number in (1, 3)
    ]
    found.record(
        [
            PartToRecord(
                part_number=part.part_number,
                md5=md5_of(part_of(DATA, part.part_number)),
                store_etag=part.store_etag,
            )
            for part in unrecorded
        ]
    )
    assert persisted(found) == [1, 2, 3]
    assert found.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED


def test_what_is_asked_of_the_store_does_not_grow_with_the_parts_there_are(
    s3_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = s3_world.score.environment.store
    list_parts, read = store.list_parts, store.read
    asked: list[str] = []

    def list_seen(staging: Staging, after: int = 0) -> Iterator[StorePart]:
        asked.append("list")
        for part in list_parts(staging, after):
            asked.append(f"listed {part.part_number}")
            yield part

    def read_seen(key: str, version: str, offset: int, size_bytes: int) -> Iterator[memoryview]:
        asked.append(f"read {offset} {size_bytes}")
        return read(key, version, offset, size_bytes)

    monkeypatch.setattr(store, "list_parts", list_seen)
    monkeypatch.setattr(store, "read", read_seen)
    upload = begun(s3_world)
    first, second, third = upload.put(1), upload.put(2), upload.put(3)
    assert "list" in asked
    assert not [answer for answer in asked if answer != "list"]
    upload.record(first + second + third)
    assert upload.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED
    assert [answer for answer in asked if answer.startswith("read")] == [f"read 0 {len(DATA)}"]


def test_unrecorded_parts_come_with_the_page_of_their_numbers(s3_world: World) -> None:
    upload = begun(s3_world)
    upload.record(upload.put(2))
    upload.put(1, 3)
    upload.world.send(upload.get().upload, DATA, 3, replace=True)
    upload.put(1)
    first = upload.get(with_unrecorded_parts=True, page_size=1)
    assert [part.part_number for part in first.parts] == [2]
    assert {part.part_number for part in first.unrecorded_parts} == {1}
    second = upload.get(with_unrecorded_parts=True, page_size=1, page_token=first.next_page_token)
    assert [part.part_number for part in second.parts] == [3]
    assert not second.unrecorded_parts


def test_a_foreign_etag_is_refused_and_the_others_are_recorded(signing_world: World) -> None:
    upload = begun(signing_world)
    parts = upload.put(1, 2)
    foreign = PartToRecord(part_number=3, md5=md5_of(part_of(DATA, 3)), store_etag='"no-such-etag"')
    answers = upload.record([foreign, *parts])
    assert [answer.WhichOneof("result") for answer in answers] == ["refusal", "part", "part"]
    assert answers[0].refusal.reason == ERROR_REASON_PARTS_MISSING
    assert persisted(upload) == [1, 2]


def test_recording_twice_changes_nothing(signing_world: World) -> None:
    upload = begun(signing_world)
    parts = upload.put(*NUMBERS)
    assert upload.record(parts) == upload.record(parts)
    assert upload.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED
    with pytest.raises(ServiceError) as raised:
        upload.record(parts)
    assert raised.value.reason == "UPLOAD_NOT_OPEN"


def test_two_signers_of_one_upload_make_one_object(signing_world: World) -> None:
    first = begun(signing_world)
    second = SignedUpload(signing_world, first.upload_id)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda upload: upload.sign(*NUMBERS), (first, second)))
        puts = [(part.request, part.part_number) for signed in both for part in signed.signed_parts]
        answers = list(pool.map(lambda put: (put[1], send(put[0], part_of(DATA, put[1]))), puts))
    done = [
        PartToRecord(part_number=number, md5=md5_of(part_of(DATA, number)), store_etag=answer.etag)
        for number, answer in answers
        if answer.status == 200
    ]
    first.record(done[:3])
    second.record(done[3:])
    assert persisted(first) == [1, 2, 3]
    assert first.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED
    assert first.stored_bytes() == DATA


def test_an_upload_begun_by_streams_is_finished_by_signed_urls(signing_world: World) -> None:
    upload = begun(signing_world)
    signing_world.send(upload.get().upload, DATA, 1, 3)
    upload.record(upload.put(2))
    assert [bool(part.xxh3_128) for part in upload.get().parts][::2] == [True, True]
    assert upload.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED
    assert upload.stored_bytes() == DATA
    assert [part.xxh3_128 for part in upload.manifest()] == [xxh3_128_hexdigest(part_of(DATA, n)) for n in NUMBERS]


def test_an_upload_begun_by_signed_urls_is_finished_by_a_stream(signing_world: World) -> None:
    upload = begun(signing_world)
    upload.record(upload.put(1, 2))
    # The stream does not send what is persisted again.
    signing_world.send(upload.get().upload, DATA)
    assert [part.md5 for part in upload.get().parts][:2] == [md5_of(part_of(DATA, number)) for number in (1, 2)]
    assert upload.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED
    assert upload.stored_bytes() == DATA


def test_after_a_mismatch_only_what_differs_is_sent_again(signing_world: World) -> None:
    upload = begun(signing_world)
    wrong = part_of(DATA, 1) + part_of(OTHER, 2) + part_of(DATA, 3)
    upload.record(upload.put(*NUMBERS, data=wrong))
    failed = upload.complete()
    assert failed.state == upload_pb2.UPLOAD_STATE_OPEN
    assert failed.last_failure.reason == "OBJECT_DIGEST_MISMATCH"
    assert failed.last_failure.computed_md5 == md5_of(wrong)
    seen = {part.part_number: part.xxh3_128 for part in upload.get().parts}
    differing = [number for number in NUMBERS if seen[number] != xxh3_128_hexdigest(part_of(DATA, number))]
    assert differing == [2]
    upload.record(upload.put(2, replace=True))
    assert upload.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED
    assert upload.stored_bytes() == DATA


def test_a_part_that_is_not_what_it_was_signed_for_is_asked_for_again(s3_world: World) -> None:
    upload = begun(s3_world)
    upload.record(upload.put(1, 3))
    (lie,) = upload.put(2, data=OTHER)
    lie.md5 = md5_of(part_of(DATA, 2))
    assert upload.record([lie])[0].HasField("part")
    failed = upload.complete()
    assert failed.last_failure.reason == "PARTS_MISSING"
    assert [(part.part_number, bool(part.xxh3_128), bool(part.md5)) for part in upload.get().parts] == [
        (1, True, True),
        (3, True, True),
    ]
    upload.record(upload.put(2))
    assert upload.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED
    assert upload.stored_bytes() == DATA


def test_where_the_store_copies_no_parts_all_are_asked_for_again(
    open_world: OpenWorld, s3_settings: dict[str, object], seaweedfs: seaweedfs.SeaweedFS
) -> None:
    with FaultyS3(seaweedfs) as faulty:
        world = open_world(**(s3_settings | {"s3_endpoint": faulty.endpoint}))
        upload = begun(world)
        upload.record(upload.put(*NUMBERS, data=OTHER))
        faulty.fail(Fault(matching=COPY, status=501, error_code="NotImplemented"))
        failed = upload.complete()
        assert failed.last_failure.reason == "PARTS_MISSING"
        assert "can't take" in failed.last_failure.message
        assert not persisted(upload)
        faulty.heal()
        upload.record(upload.put(*NUMBERS))
        assert upload.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED
        assert upload.stored_bytes() == DATA


def test_a_part_that_a_newer_stream_has_written_is_not_recorded_over(
    s3_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = begun(s3_world)
    parts = upload.put(1, data=OTHER)
    store = s3_world.score.environment.store
    listed = type(store).list_parts

    def overtaken(store: object, *asked: object) -> object:
        held = list(listed(store, *asked))  # type: ignore[arg-type]  # as they came
        monkeypatch.setattr(type(store), "list_parts", listed)
        s3_world.send(upload.get().upload, DATA, 1)
        return iter(held)

    monkeypatch.setattr(type(store), "list_parts", overtaken)
    (answer,) = upload.record(parts)
    assert answer.refusal.reason == ERROR_REASON_PARTS_MISSING
    assert [part.xxh3_128 for part in upload.get().parts] == [xxh3_128_hexdigest(part_of(DATA, 1))]


def test_a_damaged_object_of_a_published_analysis_is_mended_by_signed_urls(signing_world: World) -> None:
    signing_world.store("object-1", DATA)
    signing_world.song.set_state("object-1", "PUBLISHED")
    signing_world.score.environment.store.delete("data/object-1")
    assert list(verify(signing_world).damaged_part_numbers) == list(NUMBERS)
    upload = SignedUpload(signing_world, signing_world.start("object-1").upload_id)
    upload.record(upload.put(*NUMBERS))
    assert upload.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED
    assert signed_download(signing_world).stored_object.generation == 2
    assert upload.stored_bytes() == DATA


def test_a_url_is_worth_nothing_once_its_upload_is_aborted(signing_world: World) -> None:
    upload = begun(signing_world)
    (signed,) = upload.sign(1).signed_parts
    signing_world.raw.uploads.AbortUpload(AbortUploadRequest(upload_id=upload.upload_id))
    assert 400 <= send(signed.request, part_of(DATA, 1)).status < 500
    for call in (lambda: upload.sign(1), lambda: upload.record([recordable(1)])):
        with pytest.raises(ServiceError) as raised:
            call()
        assert raised.value.reason == "UPLOAD_ABORTED"
        assert raised.value.metadata["abort_reason"] == "CALLER"


def test_an_analysis_suppressed_meanwhile_gets_no_more_urls_and_no_object(signing_world: World) -> None:
    upload = begun(signing_world)
    parts = upload.put(*NUMBERS)
    signing_world.song.set_state("object-1", "SUPPRESSED")
    signing_world.score.environment.registry.resolve(["object-1"], fresh=True)  # as half a minute later
    with pytest.raises(ServiceError) as raised:
        upload.sign(1)
    assert raised.value.reason == "ANALYSIS_NOT_UNPUBLISHED"
    assert all(answer.HasField("part") for answer in upload.record(parts))
    signing_world.raw.uploads.CompleteUpload(CompleteUploadRequest(upload_id=upload.upload_id))
    ended = upload.get().upload
    while ended.state == upload_pb2.UPLOAD_STATE_COMPLETING:
        ended = upload.get().upload
    assert (ended.state, ended.abort_reason) == (
        upload_pb2.UPLOAD_STATE_ABORTED,
        upload_pb2.ABORT_REASON_SUPPRESSED,
    )


def test_a_staging_that_the_store_has_lost_is_begun_anew_by_who_signs_next(s3_world: World, seaweedfs: object) -> None:
    upload = begun(s3_world)
    (signed,) = upload.sign(1).signed_parts
    upload.record(upload.put(2))
    lose_stagings(seaweedfs)
    assert send(signed.request, part_of(DATA, 1)).status == 404
    assert not upload.get(with_unrecorded_parts=True).unrecorded_parts
    upload.record(upload.put(*NUMBERS))
    assert upload.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED
    assert upload.stored_bytes() == DATA


def test_a_staging_lost_before_its_parts_are_recorded_is_begun_anew(s3_world: World, seaweedfs: object) -> None:
    upload = begun(s3_world)
    parts = upload.put(*NUMBERS)
    lose_stagings(seaweedfs)
    assert {answer.refusal.reason for answer in upload.record(parts)} == {ERROR_REASON_PARTS_MISSING}
    upload.record(upload.put(*NUMBERS))
    assert upload.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED


def lose_stagings(server: object) -> None:
    """Abort every multipart upload behind the back of Score."""
    assert isinstance(server, seaweedfs.SeaweedFS)
    plain = server.client()
    for found in plain.list_multipart_uploads(Bucket=seaweedfs.BUCKET).get("Uploads", []):
        plain.abort_multipart_upload(Bucket=seaweedfs.BUCKET, Key=found["Key"], UploadId=found["UploadId"])
    plain.close()


def recordable(number: int) -> PartToRecord:
    return PartToRecord(part_number=number, md5="0" * 32, store_etag="x")


BAD_SIGNATURES = {
    "no part": ("parts", []),
    "more parts than 256": ("parts", [PartToSign(part_number=1, md5="0" * 32)] * 257),
    "a part twice": ("parts.part_number", [PartToSign(part_number=1, md5="0" * 32)] * 2),
    "part 0": ("parts.part_number", [PartToSign(part_number=0, md5="0" * 32)]),
    "a part beyond the last one": ("parts.part_number", [PartToSign(part_number=4, md5="0" * 32)]),
    "no MD5": ("parts.md5", [PartToSign(part_number=1)]),
    "an MD5 in base64": ("parts.md5", [PartToSign(part_number=1, md5=base64.b64encode(bytes(16)).decode())]),
}


@pytest.mark.parametrize("case", BAD_SIGNATURES)
def test_what_can_not_be_signed_is_refused_by_its_field(s3_world: World, case: str) -> None:
    field, parts = BAD_SIGNATURES[case]
    upload = begun(s3_world)
    with pytest.raises(grpc.RpcError) as raised:
        s3_world.raw.uploads.SignUploadParts(SignUploadPartsRequest(upload_id=upload.upload_id, parts=parts))
    error = s3_world.raw.error(raised.value)
    assert (error.reason, error.metadata["field"]) == ("FIELD_INVALID", field)


@pytest.mark.parametrize("lifetime", [-1, limits.SIGNED_PART_MAX_SECONDS + 1])
def test_a_lifetime_out_of_its_bounds_is_refused(s3_world: World, lifetime: int) -> None:
    upload = begun(s3_world)
    with pytest.raises(ServiceError) as raised:
        upload.sign(1, lifetime=lifetime)
    assert raised.value.metadata["field"] == "lifetime_seconds"


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("parts.part_number", PartToRecord(part_number=4, md5="0" * 32, store_etag="x")),
        ("parts.md5", PartToRecord(part_number=1, md5="0", store_etag="x")),
        ("parts.store_etag", PartToRecord(part_number=1, md5="0" * 32)),
        ("parts.store_etag", PartToRecord(part_number=1, md5="0" * 32, store_etag="x" * 1025)),
    ],
)
def test_what_can_not_be_recorded_is_refused_by_its_field(s3_world: World, field: str, part: PartToRecord) -> None:
    upload = begun(s3_world)
    with pytest.raises(ServiceError) as raised:
        upload.record([part])
    assert (raised.value.reason, raised.value.metadata["field"]) == ("FIELD_INVALID", field)
    with pytest.raises(ServiceError) as raised:
        upload.record([])
    assert raised.value.metadata["field"] == "parts"


def test_who_may_not_write_gets_no_urls(s3_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = begun(s3_world)
    reader = Principal("a reader", frozenset({"PROGRAMDATA-ABC.READ"}))
    monkeypatch.setattr(Callers, "of", lambda *_: reader)
    for call in (lambda: upload.sign(1), lambda: upload.record([recordable(1)])):
        with pytest.raises(ServiceError) as raised:
            call()
        assert raised.value.reason == "SCOPE_MISSING"


def test_an_upload_that_nobody_knows_is_not_found(s3_world: World) -> None:
    upload = SignedUpload(s3_world, "no-such-upload")
    for call in (lambda: upload.sign(1), lambda: upload.record([recordable(1)])):
        with pytest.raises(ServiceError) as raised:
            call()
        assert raised.value.reason == "UPLOAD_NOT_FOUND"


def test_while_song_is_down_nothing_is_signed(s3_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SONG_CACHE_SECONDS", 0.0)
    upload = begun(s3_world)
    s3_world.song.stop()
    with pytest.raises(ServiceError) as raised:
        upload.sign(1)
    assert raised.value.reason == "SONG_UNAVAILABLE"


def test_while_the_store_is_down_nothing_is_signed_or_recorded(
    open_world: OpenWorld, s3_settings: dict[str, object], seaweedfs: seaweedfs.SeaweedFS
) -> None:
    with FaultyS3(seaweedfs) as faulty:
        world = open_world(**(s3_settings | {"s3_endpoint": faulty.endpoint}))
        upload = begun(world)
        parts = upload.put(1)
        faulty.fail(Fault(matching="", status=503, error_code="SlowDown"))
        calls: list[Callable[[], object]] = [
            lambda: upload.sign(2),
            lambda: upload.record(parts),
            lambda: upload.get(with_unrecorded_parts=True),
        ]
        for call in calls:
            with pytest.raises(ServiceError) as raised:
                call()
            assert raised.value.reason == "STORE_UNAVAILABLE"
            assert raised.value.retry_after_seconds is not None
        faulty.heal()
        assert upload.record(parts)[0].HasField("part")


def signed_download(world: World, *ranges: tuple[int, int], **wanted: object) -> SignDownloadResponse:
    spans = [RangeToSign(offset=offset, size_bytes=size_bytes) for offset, size_bytes in ranges]
    fields: dict[str, Any] = {"object_id": "object-1", "allow_unpublished": True, **wanted}
    asked = SignDownloadRequest(ranges=spans, **fields)
    try:
        return world.raw.downloads.SignDownload(asked)
    except grpc.RpcError as error:
        raise world.raw.error(error) from error


def test_a_download_goes_by_plain_http(signing_world: World) -> None:
    signing_world.store("object-1", DATA)
    answer = signed_download(signing_world)
    (whole,) = answer.requests
    assert (whole.method, list(whole.headers)) == ("GET", [])
    assert (answer.stored_object.md5, answer.stored_object.generation) == (md5_of(DATA), 1)
    got = send(whole)
    assert (got.status, got.body) == (200, DATA)
    got = send(whole, Range="bytes=7-1000006")
    assert (got.status, got.body) == (206, DATA[7:1_000_007])
    beyond = send(whole, Range=f"bytes={len(DATA)}-")
    assert beyond.status == 416 or (beyond.status, beyond.body) == (206, b"")  # as the emulator of Azure has it


def test_ranges_are_signed_one_by_one(signing_world: World) -> None:
    signing_world.store("object-1", DATA)
    spans = [(0, 1), (PART - 1, 2), (len(DATA) - 5, 5), (0, len(DATA))]
    requests = signed_download(signing_world, *spans).requests
    assert len(requests) == len(spans)
    for (offset, size_bytes), request in zip(spans, requests, strict=True):
        got = send(request)
        assert (got.status, got.body) == (206, DATA[offset : offset + size_bytes])


def test_a_downloads_url_expires(signing_world: World) -> None:
    signing_world.store("object-1", DATA)
    (whole,) = signed_download(signing_world, lifetime_seconds=1).requests
    ends = whole.expire_time.ToDatetime(UTC)
    while datetime.now(UTC).timestamp() < ends.timestamp() + 1.5:
        time.sleep(0.1)
    assert send(whole).status == 403


@pytest.mark.parametrize(
    ("reason", "ranges", "wanted"),
    [
        ("RANGE_INVALID", [(len(DATA), 1)], {}),
        ("RANGE_INVALID", [(0, len(DATA) + 1)], {}),
        ("RANGE_INVALID", [(-1, 2)], {}),
        ("FIELD_INVALID", [(0, 0)], {}),
        ("FIELD_INVALID", [(0, 1)] * 257, {}),
        ("FIELD_INVALID", [], {"lifetime_seconds": 86_401}),
        ("FIELD_INVALID", [], {"lifetime_seconds": -1}),
        ("GENERATION_CHANGED", [], {"generation": 2}),
        ("ANALYSIS_NOT_PUBLISHED", [], {"allow_unpublished": False}),
        ("OBJECT_NOT_FOUND", [], {"object_id": "object-2"}),
    ],
)
def test_a_download_that_can_not_be_signed_has_its_reason(
    s3_world: World, reason: str, ranges: list[tuple[int, int]], wanted: dict[str, object]
) -> None:
    s3_world.store("object-1", DATA)
    with pytest.raises(ServiceError) as raised:
        signed_download(s3_world, *ranges, **wanted)
    assert raised.value.reason == reason


def test_a_server_without_urls_says_so(world: World) -> None:
    upload = begun(world)
    assert list(upload.get().upload.transfer_paths) == [upload_pb2.TRANSFER_PATH_STREAM]
    with pytest.raises(ServiceError) as raised:
        upload.sign(1)
    assert raised.value.reason == "SIGNING_UNSUPPORTED"
    (refused,) = upload.record([recordable(1)])
    assert refused.refusal.reason == ERROR_REASON_PARTS_MISSING
    world.send(upload.get().upload, DATA)
    assert upload.complete().state == upload_pb2.UPLOAD_STATE_COMPLETED
    with pytest.raises(ServiceError) as raised:
        signed_download(world)
    assert raised.value.reason == "SIGNING_UNSUPPORTED"
