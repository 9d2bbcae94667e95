"""Every reason of the contract, provoked through a real server, with the code that the contract gives it."""

import json
import re
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from score.v1.download_service_pb2 import GetChunkManifestRequest, OpenObject, ReadObjectRequest, ReadRange
from score.v1.error_reason_pb2 import ErrorReason
from score.v1.object_service_pb2 import BatchGetObjectsRequest, DeleteObjectRequest, GetObjectRequest
from score.v1.upload_service_pb2 import (
    AbortUploadRequest,
    CompleteUploadRequest,
    GetUploadRequest,
    OpenUpload,
    PartToSign,
    SignUploadPartsRequest,
    StartUploadRequest,
    UploadChunk,
    WriteUploadRequest,
)
from song_score_client.errors import ServiceError, SignatureInvalidError, from_rpc_error

import runtime_grpc.database
from score_grpc.domain import errors
from score_grpc.domain.access import Principal
from score_grpc.transport.caller import Callers
from score_grpc.transport.errors import ERRORS
from score_grpc.use_cases import completion
from tests.score_grpc.test_upload import wait_until_streaming
from tests.servers.raw_score import CHUNK, MIB, chunks_of
from tests.servers.registry_song import TOKEN
from tests.servers.score_world import PART, World, random_bytes

DATA = random_bytes(PART + MIB)
PROTO = Path(__file__).parents[2] / "protos/score/v1/error_reason.proto"
RETRIED = {
    "SONG_UNAVAILABLE",
    "STORE_UNAVAILABLE",
    "DRAINING",
    "LEDGER_UNAVAILABLE",
    "TOO_MANY_STREAMS",
    "CHUNK_CORRUPT",
    "CHANGING",
}
OpenWorld = Callable[..., World]
Provocation = Callable[[OpenWorld, pytest.MonkeyPatch], object]
PROVOCATIONS: dict[str, Provocation] = {}


def provokes(reason: str) -> Callable[[Provocation], Provocation]:
    """Mark what provokes a reason: it raises grpc.RpcError or ServiceError."""

    def mark(provocation: Provocation) -> Provocation:
        PROVOCATIONS[reason] = provocation
        return provocation

    return mark


def started(open_world: OpenWorld, **settings: object) -> tuple[World, str]:
    """Return a world with an upload of DATA under `object-1`."""
    world = open_world(**settings)
    world.register("object-1", DATA)
    return world, world.start("object-1").upload_id


def stored(open_world: OpenWorld) -> World:
    """Return a world that holds DATA, published, under `object-1`."""
    world = open_world()
    world.store("object-1", DATA)
    world.song.set_state("object-1", "PUBLISHED")
    return world


@provokes("OBJECT_NOT_REGISTERED")
def unknown_id(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    open_world().raw.uploads.StartUpload(StartUploadRequest(object_id="nobody-knows-it"))


@provokes("OBJECT_NOT_FOUND")
def not_uploaded(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world, _upload = started(open_world)
    world.raw.objects.GetObject(GetObjectRequest(object_id="object-1", allow_unpublished=True))


@provokes("UPLOAD_NOT_FOUND")
def unknown_upload(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    open_world().raw.uploads.GetUpload(GetUploadRequest(upload_id="no-such-upload"))


@provokes("UPLOAD_ABORTED")
def written_after_abort(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world, upload_id = started(open_world)
    world.raw.uploads.AbortUpload(AbortUploadRequest(upload_id=upload_id))
    world.raw.uploads.CompleteUpload(CompleteUploadRequest(upload_id=upload_id))


@provokes("OBJECT_EXISTS")
def other_bytes_stored(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world = stored(open_world)
    world.register("object-1", random_bytes(len(DATA), seed=2))
    world.start("object-1")


@provokes("UPLOAD_NOT_OPEN")
def written_after_completion(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world = open_world()
    upload = world.store("object-1", DATA)
    world.raw.write(upload.upload_id, chunks_of(1, DATA[:PART]))


@provokes("ANALYSIS_NOT_UNPUBLISHED")
def upload_to_published(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world = open_world()
    world.register("object-1", DATA, state="PUBLISHED")
    world.start("object-1")


@provokes("ANALYSIS_NOT_PUBLISHED")
def download_of_unpublished(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world = open_world()
    world.store("object-1", DATA)
    world.raw.read("object-1", (0, None))


@provokes("SIZE_NOT_REGISTERED")
def other_size(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world, _upload = started(open_world)
    world.raw.uploads.StartUpload(StartUploadRequest(object_id="object-1", size_bytes=1))


@provokes("MD5_NOT_REGISTERED")
def other_md5(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world, _upload = started(open_world)
    world.raw.uploads.StartUpload(StartUploadRequest(object_id="object-1", expected_md5="F" * 32))


@provokes("GENERATION_CHANGED")
def other_generation(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    stored(open_world).raw.read("object-1", generation=2)


@provokes("PARTS_MISSING")
def completed_too_early(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world, upload_id = started(open_world)
    world.raw.uploads.CompleteUpload(CompleteUploadRequest(upload_id=upload_id))


@provokes("PART_TAKEN_OVER")
def older_stream(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world, upload_id = started(open_world)
    chunks = list(chunks_of(1, DATA[:PART]))

    def older() -> Iterator[UploadChunk]:
        yield chunks[0]
        wait_until_streaming(world, upload_id)
        world.raw.write(upload_id, chunks[:1])
        yield chunks[1]

    world.raw.write(upload_id, older())


@provokes("CHUNK_OUT_OF_ORDER")
def gap(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world, upload_id = started(open_world)
    chunks = list(chunks_of(1, DATA[:PART]))
    world.raw.write(upload_id, [chunks[0], chunks[2]])


@provokes("RANGE_INVALID")
def beyond_the_end(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    stored(open_world).raw.read("object-1", (len(DATA) + 1, None))


@provokes("CHUNK_CORRUPT")
def three_bad_chunks(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world, upload_id = started(open_world)
    bad = UploadChunk(part_number=1, data=DATA[:CHUNK], xxh3_64=1)
    world.raw.write(upload_id, [bad, bad, bad])


@provokes("STORED_BYTES_CORRUPT")
def truncated_on_disk(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world = stored(open_world)
    (world.settings.data_dir / "objects/data/object-1").write_bytes(DATA[:100])
    world.raw.read("object-1", (0, None))


@provokes("TOKEN_INVALID")
def stranger(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    metadata = (("authorization", "Bearer not-the-token"),)
    open_world().raw.objects.GetObject(GetObjectRequest(object_id="object-1"), metadata=metadata)


@provokes("SCOPE_MISSING")
def reader_who_writes(open_world: OpenWorld, patch: pytest.MonkeyPatch) -> None:
    world = open_world()
    world.register("object-1", DATA)
    reader = Principal("a reader", frozenset({"PROGRAMDATA-ABC.READ"}))
    patch.setattr(Callers, "of", lambda *_: reader)  # without authentication nobody is a mere reader
    world.start("object-1")


@provokes("SONG_UNAVAILABLE")
def song_down(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world = open_world()
    world.song.stop()
    world.start("object-1")


@provokes("STORE_UNAVAILABLE")
def store_gone(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world, upload_id = started(open_world)
    shutil.rmtree(world.settings.data_dir / "objects/upload")
    world.raw.write(upload_id, chunks_of(1, DATA[:PART]))


@provokes("STORE_FULL")
def no_room(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world = open_world()
    world.song.register("object-1", 4 * 1024**4, "0" * 32)  # more than any disk under test has
    world.start("object-1")


@provokes("DRAINING")
def shutting_down(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world = stored(open_world)

    def requests() -> Iterator[ReadObjectRequest]:
        yield ReadObjectRequest(open=OpenObject(object_id="object-1"))
        world.score.environment.draining.set()
        yield ReadObjectRequest(range=ReadRange())

    list(world.raw.downloads.ReadObject(requests()))


@provokes("LEDGER_UNAVAILABLE")
def ledger_busy(open_world: OpenWorld, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runtime_grpc.database, "SQLITE_BUSY_TIMEOUT_SECONDS", 0)
    world, upload_id = started(open_world)
    with world.score._database.write():  # another transaction that does not end
        world.raw.write(upload_id, chunks_of(1, DATA[:PART]))


@provokes("TOO_MANY_STREAMS")
def one_stream_too_many(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world, upload_id = started(open_world, max_streams=1)
    release = threading.Event()

    def holder() -> Iterator[WriteUploadRequest]:
        yield WriteUploadRequest(open=OpenUpload(upload_id=upload_id))
        yield WriteUploadRequest(chunk=next(chunks_of(1, DATA[:PART])))
        release.wait(30)

    held = world.raw.uploads.WriteUpload(holder())
    try:
        wait_until_streaming(world, upload_id)
        world.raw.write(upload_id, [])
    finally:
        release.set()
        held.cancel()


@provokes("SIGNING_UNSUPPORTED")
def no_urls(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world, upload_id = started(open_world)
    part = PartToSign(part_number=1, md5="0" * 32)
    world.raw.uploads.SignUploadParts(SignUploadPartsRequest(upload_id=upload_id, parts=[part]))


@provokes("SIGNATURE_INVALID")
def altered_url(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world = open_world(http_port=0)
    world.register("object-1", DATA)
    part = PartToSign(part_number=1, md5="0" * 32)
    asked = SignUploadPartsRequest(upload_id=world.start("object-1").upload_id, parts=[part])
    (signed,) = world.raw.uploads.SignUploadParts(asked).signed_parts
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(urllib.request.Request(f"{signed.request.url}0", DATA[:PART], method="PUT"))
    with raised.value as answer:
        assert answer.code == 403
        refused = json.load(answer)
    raise SignatureInvalidError(
        refused["message"], service="score", reason=refused["reason"], code=grpc.StatusCode.PERMISSION_DENIED
    )


@provokes("PAGE_TOKEN_INVALID")
def foreign_page_token(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world = stored(open_world)
    world.raw.downloads.GetChunkManifest(GetChunkManifestRequest(object_id="object-1", page_token="x"))


@provokes("FIELD_INVALID")
def part_zero(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world, upload_id = started(open_world)
    world.raw.write(upload_id, [UploadChunk(part_number=0, data=b"x")])


@provokes("UPLOAD_CONFLICT")
def upload_of_another_size(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world, _upload = started(open_world)
    world.register("object-1", DATA[:-1])
    world.start("object-1")


def delete(world: World) -> None:
    request = DeleteObjectRequest(object_id="object-1", reason="a test")
    world.raw.objects.DeleteObject(request, metadata=(("authorization", f"Bearer {TOKEN}"),))


@provokes("DELETE_REFUSED")
def deletion_of_what_is_published(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    delete(stored(open_world))


@provokes("CHANGING")
def deletion_while_song_publishes(open_world: OpenWorld, _: pytest.MonkeyPatch) -> None:
    world = stored(open_world)
    world.song.set_state("object-1", "UNPUBLISHED")
    world.song.registered["object-1"].publishing = True
    delete(world)


@provokes("UNKNOWN_ERROR")
def a_defect(open_world: OpenWorld, patch: pytest.MonkeyPatch) -> None:
    world = open_world()
    patch.setattr(type(world.score.environment.store), "free_bytes", lambda _: 1 / 0)
    world.register("object-1", DATA)
    world.start("object-1")


def documented_codes() -> dict[str, str]:
    """Return the code that the contract's comment gives each reason."""
    pattern = r"// ([A-Z_]+)\. .*?\n(?:  //.*\n)*  ERROR_REASON_([A-Z0-9_]+) = \d+;"
    return {reason: code for code, reason in re.findall(pattern, PROTO.read_text())}


def decoded(error: grpc.RpcError) -> ServiceError:
    """Return the SDK's error for what a stub raised."""
    return from_rpc_error(error, "score", "the test's server")


@pytest.mark.parametrize("reason", PROVOCATIONS)
def test_the_reason_is_raised_with_its_code_and_says_what_to_do(
    reason: str, open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises((grpc.RpcError, ServiceError)) as raised:
        PROVOCATIONS[reason](open_world, monkeypatch)
    error = raised.value
    if isinstance(error, grpc.RpcError):
        error = decoded(error)
    assert isinstance(error, ServiceError)
    assert error.reason == reason, error
    assert error.service == "score"
    assert error.code.name == documented_codes()[reason]
    assert (error.retry_after_seconds is not None) == (reason in RETRIED)
    assert len(error.message) > 20
    assert "Traceback" not in error.message


def test_every_reason_is_provoked_and_documented() -> None:
    prefix = "ERROR_REASON_"
    reasons = {name.removeprefix(prefix) for name in ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - not a dict
    # The only reason that is never a status: it comes in `last_failure`, see test_upload.py.
    assert set(PROVOCATIONS) == reasons - {"OBJECT_DIGEST_MISMATCH"}
    assert set(documented_codes()) == reasons
    mapped = {entry.reason: entry.code.name for entry in [*ERRORS.entries.values(), ERRORS.unknown]}
    assert mapped == documented_codes()


def test_every_error_of_the_domain_is_mapped() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ScoreError)}
    assert kinds - {errors.ScoreError} <= set(ERRORS.entries)


def test_what_leads_a_completion_back_to_open_has_the_reason_of_its_error() -> None:
    assert {kind: ERRORS.entries[kind].reason for kind in completion.REASONS} == completion.REASONS


def test_a_batch_is_bounded(world: World) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        world.raw.objects.BatchGetObjects(BatchGetObjectsRequest(object_ids=["x"] * 501))
    assert decoded(raised.value).metadata["field"] == "object_ids"


@pytest.mark.parametrize("object_id", ["", "a", "../../etc/passwd", "a" * 37, "ä" * 5, "a/b/c", "-ab", "ab\n"])
def test_what_is_no_object_id_is_refused(world: World, object_id: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        world.raw.uploads.StartUpload(StartUploadRequest(object_id=object_id))
    assert decoded(raised.value).metadata["field"] == "object_id"
