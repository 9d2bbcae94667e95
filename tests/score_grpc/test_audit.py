"""The audit: who asked for what, with what result, and never a secret."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version as installed_version
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from score.v1.download_service_pb2 import (
    OpenObject,
    RangeToSign,
    ReadObjectRequest,
    ReadObjectsRequest,
    ReadRange,
    SignDownloadRequest,
)
from score.v1.object_service_pb2 import DeleteObjectRequest, GetObjectRequest, VerifyObjectRequest
from score.v1.upload_service_pb2 import (
    AbortUploadRequest,
    AnnounceObjects,
    FinishSmallObject,
    GetUploadRequest,
    OpenSmallObject,
    SmallObjectChunk,
    StartUploadRequest,
    WriteObjectsRequest,
)
from song_score_client.score import ScoreClient

from runtime_grpc.authentication import Authenticator
from score_grpc.database.audit import AuditLog
from score_grpc.domain import limits
from score_grpc.domain.access import Principal
from score_grpc.domain.audit import AuditEntry
from score_grpc.transport.audited import Audited
from score_grpc.transport.caller import Callers
from score_grpc.use_cases.audit import Audit
from tests.servers.registry_song import TOKEN
from tests.servers.score_world import PART, World, random_bytes

SERVICE = (("authorization", f"Bearer {TOKEN}"),)
DATA = random_bytes(PART + 100)
NAME = "object-1"
READER = Principal("a reader", frozenset({"PROGRAMDATA-ABC.READ"}))


def kept(world: World, total: int) -> list[Any]:
    """Return the rows of the audit, oldest first, once there are so many; the facts of each as `facts`."""
    pause = threading.Event()
    for _ in range(600):
        with world.score._database.read() as connection:
            rows = connection.exec_driver_sql("SELECT * FROM audit ORDER BY time").mappings().all()
        if len(rows) >= total:
            break
        pause.wait(0.05)
    found = [dict(row) | {"facts": json.loads(row["facts_json"])} for row in rows]
    assert len(found) == total, [(row["action"], row["result"]) for row in found]
    return found


def story(rows: list[Any]) -> list[tuple[str, str, str, str]]:
    return [(row["action"], row["object_id"], row["study_id"], row["result"]) for row in rows]


def refused(call: Callable[[], object]) -> None:
    with pytest.raises(grpc.RpcError):
        call()


def test_the_life_of_an_object_is_told(world: World) -> None:
    upload = world.store(NAME, DATA)
    world.raw.read(NAME, (0, 10), (100, None), unpublished=True)
    world.raw.objects.VerifyObject(VerifyObjectRequest(object_id=NAME))
    world.raw.objects.DeleteObject(DeleteObjectRequest(object_id=NAME, reason="no longer wanted"), metadata=SERVICE)
    rows = kept(world, 6)
    expected = ["start", "complete", "read", "read-end", "verify", "delete"]
    assert story(rows) == [(action, NAME, "ABC", "OK") for action in expected]
    start, complete, read, end, _verify, delete = (row["facts"] for row in rows)
    assert start["upload_id"] == complete["upload_id"] == upload.upload_id
    assert read["generation"] == end["generation"] == "1"
    assert (end["ranges"], end["range_total"], end["sent_bytes"]) == ("0+10,100+", "2", str(10 + len(DATA) - 100))
    assert (delete["reason"], delete["md5"]) == ("no longer wanted", world.song.registered[NAME].file.md5)
    assert [row["principal"] for row in rows] == ["development"] * 5 + ["service"]
    assert all(row["facts"]["address"].startswith("ipv4:127.0.0.1:") for row in rows)
    assert all(row["facts"]["client"].startswith("grpc-python/") for row in rows)


def test_a_completion_that_finds_other_bytes_is_told_with_the_reason(world: World) -> None:
    world.register(NAME, DATA)
    upload = world.start(NAME)
    world.send(upload, bytes(len(DATA)))
    world.complete(upload)
    assert story(kept(world, 2))[1] == ("complete", NAME, "ABC", "OBJECT_DIGEST_MISMATCH")


def test_what_only_looks_leaves_nothing(world: World) -> None:
    world.store(NAME, DATA)
    world.raw.objects.GetObject(GetObjectRequest(object_id=NAME, allow_unpublished=True))
    refused(lambda: world.raw.objects.GetObject(GetObjectRequest(object_id="object-2")))
    upload_id = kept(world, 2)[0]["facts"]["upload_id"]
    world.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload_id))
    world.raw.uploads.StartUpload(StartUploadRequest(object_id=NAME))
    assert [row["action"] for row in kept(world, 3)] == ["start", "complete", "start"]


def test_denials_are_told_of_every_method(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_id = world.store(NAME, DATA).upload_id
    kept(world, 2)
    monkeypatch.setattr(Callers, "of", lambda *_: READER)
    refused(lambda: world.raw.uploads.StartUpload(StartUploadRequest(object_id=NAME)))
    refused(lambda: world.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload_id)))
    refused(lambda: world.raw.objects.GetObject(GetObjectRequest(object_id=NAME)))
    refused(lambda: world.raw.objects.DeleteObject(DeleteObjectRequest(object_id=NAME, reason="x")))
    refused(lambda: list(world.raw.downloads.ReadObject(iter([ReadObjectRequest(open=OpenObject(object_id=NAME))]))))
    with pytest.raises(Exception, match="scope"):
        world.raw.write(upload_id, [])
    rows = kept(world, 8)[2:]
    assert [(row["action"], row["result"]) for row in rows] == [
        ("start", "SCOPE_MISSING"),
        ("GetUpload", "SCOPE_MISSING"),
        ("GetObject", "ANALYSIS_NOT_PUBLISHED"),
        ("delete", "SCOPE_MISSING"),
        ("read", "ANALYSIS_NOT_PUBLISHED"),
        ("WriteUpload", "SCOPE_MISSING"),
    ]
    assert {row["principal"] for row in rows} == {"a reader"}
    assert {row["study_id"] for row in rows[:5]} == {"ABC"}
    assert [row["object_id"] for row in rows[:5]] == [NAME] * 5


def test_a_foreign_token_is_told_without_the_token_of_what_only_looks_too(world: World) -> None:
    secret = "a secret that must not be kept"
    foreign = (("authorization", f"Bearer {secret}"),)
    refused(lambda: world.raw.uploads.StartUpload(StartUploadRequest(object_id=NAME), metadata=foreign))
    refused(lambda: world.raw.objects.GetObject(GetObjectRequest(object_id=NAME), metadata=foreign))
    rows = kept(world, 2)
    assert [(row["principal"], row["action"], row["result"]) for row in rows] == [
        ("unknown", "start", "TOKEN_INVALID"),
        ("unknown", "GetObject", "TOKEN_INVALID"),
    ]
    assert secret not in str(rows)


def test_signed_urls_are_told_without_the_urls(open_world: Callable[..., World]) -> None:
    world = open_world(http_port=0)
    world.store(NAME, DATA)
    request = SignDownloadRequest(object_id=NAME, allow_unpublished=True, ranges=[RangeToSign(offset=5, size_bytes=7)])
    signed = world.raw.downloads.SignDownload(request)
    row = kept(world, 3)[2]
    assert (row["action"], row["object_id"], row["result"]) == ("sign", NAME, "OK")
    assert (row["facts"]["ranges"], row["facts"]["range_total"]) == ("5+7", "1")
    assert "Signature" not in str(row)
    assert "Signature" in str(signed)


def test_the_sdk_says_its_name_and_version_by_grpc_and_by_http(open_world: Callable[..., World]) -> None:
    world = open_world(http_port=0)
    world.register(NAME, DATA)
    for address in (world.score.address, f"http://{world.score.http_address}"):
        with ScoreClient.open(address) as client:
            client.start_upload(NAME)
    by_grpc, by_http = (row["facts"]["client"] for row in kept(world, 2))
    name = f"song-score/{installed_version('song-score')}"
    assert by_grpc.startswith(f"{name} grpc-python/")
    assert by_http == name


def test_small_objects_are_told_one_by_one(world: World) -> None:
    names = ["small-1", "small-2", "small-3"]
    for name in names[:2]:
        world.register(name, name.encode())

    def requests() -> Iterator[WriteObjectsRequest]:
        yield WriteObjectsRequest(announce=AnnounceObjects(object_ids=names))
        for name in names:
            yield WriteObjectsRequest(open=OpenSmallObject(object_id=name, size_bytes=len(name)))
            yield WriteObjectsRequest(chunk=SmallObjectChunk(data=name.encode()))
            yield WriteObjectsRequest(finish=FinishSmallObject())

    list(world.raw.uploads.WriteObjects(requests()))
    asked = ReadObjectsRequest(object_ids=names, allow_unpublished=True)
    list(world.raw.downloads.ReadObjects(asked))
    rows = kept(world, 6)
    assert all(row["facts"]["address"].startswith("ipv4:127.0.0.1:") for row in rows)
    assert all(row["facts"]["client"].startswith("grpc-python/") for row in rows)
    assert {row["facts"]["generation"] for row in rows[:3] if row["result"] == "OK"} == {"1"}
    assert sorted(story(rows[:3])) == [
        ("complete", "small-1", "ABC", "OK"),
        ("complete", "small-2", "ABC", "OK"),
        ("write", "small-3", "", "OBJECT_NOT_REGISTERED"),
    ]
    assert sorted(story(rows[3:])) == [
        ("read", "small-1", "ABC", "OK"),
        ("read", "small-2", "ABC", "OK"),
        ("read", "small-3", "", "OBJECT_NOT_FOUND"),
    ]


def test_a_method_that_the_audit_does_not_know_keeps_the_server_from_starting(world: World) -> None:
    environment, callers, audit = world.score.environment, Callers(Authenticator("")), world.score._audit
    for name in ("UploadService", "DownloadService", "ObjectService"):
        Audited(f"score.v1.{name}", object(), environment, callers, audit)
    file = FileDescriptorProto(name="tests/later.proto", package="tests.later", dependency=["score/v1/upload.proto"])
    for number, (client_streaming, server_streaming) in enumerate([(False, False), (True, False), (False, True)]):
        method = file.service.add(name=f"Service{number}").method.add(name="CompleteUpload" if number else "Forgotten")
        method.input_type = method.output_type = ".score.v1.Upload"
        method.client_streaming, method.server_streaming = client_streaming, server_streaming
    descriptor_pool.Default().Add(file)
    for name in ("Service0.Forgotten", "Service1.CompleteUpload", "Service2.CompleteUpload"):
        with pytest.raises(LookupError, match=f"{name}: say in .*audited"):
            Audited(f"tests.later.{name.partition('.')[0]}", object(), environment, callers, audit)


def test_a_read_that_breaks_off_says_so(world: World) -> None:
    world.store(NAME, DATA)
    hold = threading.Event()

    def requests() -> Iterator[ReadObjectRequest]:
        yield ReadObjectRequest(open=OpenObject(object_id=NAME, allow_unpublished=True))
        yield ReadObjectRequest(range=ReadRange())
        hold.wait(60)

    answers = world.raw.downloads.ReadObject(requests())
    next(answers)
    answers.cancel()
    hold.set()
    end = kept(world, 4)[3]
    assert end["action"] == "read-end"
    assert end["result"] != "OK" or end["facts"]["range_total"] == "0"


def test_an_upload_that_was_given_up_is_told(world: World) -> None:
    world.register(NAME, DATA)
    upload_id = world.start(NAME).upload_id
    world.raw.uploads.AbortUpload(AbortUploadRequest(upload_id=upload_id))
    assert story(kept(world, 2)) == [("start", NAME, "ABC", "OK"), ("abort", NAME, "ABC", "OK")]


def entry(number: int, age: timedelta = timedelta()) -> AuditEntry:
    return AuditEntry(datetime.now(UTC) - age, "somebody", "read", f"object-{number}", "ABC", "OK")


def test_entries_that_are_too_old_are_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(world.score._database)
    log.add([entry(number, timedelta(days=401)) for number in range(5)] + [entry(9, timedelta(days=399))])
    monkeypatch.setattr(limits, "AUDIT_BATCH", 2)
    audit = Audit(log, timedelta(days=400))
    audit.start()
    rows = kept_less(world)
    audit.close()
    assert [row["object_id"] for row in rows] == ["object-9"]


def kept_less(world: World) -> list[Any]:
    pause = threading.Event()
    for _ in range(600):
        with world.score._database.read() as connection:
            rows = connection.exec_driver_sql("SELECT * FROM audit").mappings().all()
        if len(rows) == 1:
            return list(rows)
        pause.wait(0.05)
    raise AssertionError("nothing is pruned")


def test_entries_are_kept_when_the_database_comes_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    log, failed = AuditLog(world.score._database), threading.Event()
    add = log.add

    def fail(_entries: object) -> None:
        failed.set()
        raise ConnectionError("away")

    monkeypatch.setattr(log, "add", fail)
    audit = Audit(log, timedelta(days=1))
    audit.start()
    audit.note(entry(1))
    assert failed.wait(60)
    audit.note(entry(2))
    monkeypatch.setattr(log, "add", add)
    assert [row["object_id"] for row in kept(world, 2)] == ["object-1", "object-2"]
    audit.close()


def test_what_no_database_takes_goes_to_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    monkeypatch.setattr(limits, "AUDIT_QUEUE_ENTRIES", 1)
    monkeypatch.setattr(limits, "AUDIT_WAIT_SECONDS", 0.01)
    audit = Audit(AuditLog(world.score._database), timedelta(days=1))  # nobody writes
    audit.note(entry(1))
    audit.note(entry(2))
    assert "audit entry not kept" in logged.getvalue()
    assert "object-2" in logged.getvalue()


def test_what_callers_make_up_fits_the_table(world: World) -> None:
    log = AuditLog(world.score._database)
    odd = "\0\ud800" + "x" * 1000
    log.add([AuditEntry(datetime.now(UTC), odd, "read", odd, odd, "OK", {"reason": odd})])
    (row,) = kept(world, 1)
    assert (len(row["principal"]), len(row["object_id"])) == (255, 36)
    assert len(row["facts"]["reason"]) == limits.AUDIT_FACT_MAX_CHARS
