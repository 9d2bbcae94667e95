"""Who may call which method, in which state of the analysis: every method of the contract against tables by hand."""

import hashlib
from collections.abc import Callable, Iterator
from itertools import count

import grpc
import pytest
from score.v1 import download_service_pb2, object_service_pb2, upload_service_pb2
from score.v1.download_service_pb2 import (
    GetChunkManifestRequest,
    OpenObject,
    ReadObjectRequest,
    ReadObjectsRequest,
    SignDownloadRequest,
)
from score.v1.error_reason_pb2 import ErrorReason
from score.v1.object_service_pb2 import (
    BatchGetObjectsRequest,
    DeleteObjectRequest,
    GetObjectRequest,
    ListObjectsRequest,
    VerifyObjectRequest,
)
from score.v1.upload_service_pb2 import (
    AbortUploadRequest,
    CompleteUploadRequest,
    FinishSmallObject,
    GetUploadRequest,
    ListUploadsRequest,
    OpenSmallObject,
    OpenUpload,
    PartToRecord,
    PartToSign,
    RecordUploadPartsRequest,
    SignUploadPartsRequest,
    SmallObjectChunk,
    StartUploadRequest,
    WriteObjectsRequest,
    WriteUploadRequest,
)

from score_grpc.domain.access import Principal
from score_grpc.domain.uploads import Upload
from score_grpc.transport.caller import Callers
from score_grpc.use_cases.start import start_upload
from tests.servers.score_world import World

PRINCIPALS = {
    "nobody": Principal("nobody"),
    "reader": Principal("reader", frozenset({"PROGRAMDATA-ABC.READ"})),
    "writer": Principal("writer", frozenset({"PROGRAMDATA-ABC.WRITE"})),
    "stranger": Principal("stranger", frozenset({"PROGRAMDATA-XYZ.WRITE", "PROGRAMDATA-abc.WRITE"})),
    "system reader": Principal("system reader", frozenset({"score.READ"})),
    "system writer": Principal("system writer", frozenset({"score.WRITE"})),
    "development": Principal("development", writes_every_study=True),
}
STATES = ("UNPUBLISHED", "PUBLISHED", "SUPPRESSED")

# Per principal: what comes of it in each state, of open files and of controlled ones.
READ = {
    "nobody": ("state ok    state", "scope scope scope"),
    "stranger": ("state ok    state", "scope scope scope"),
    "reader": ("state ok    state", "state ok    state"),
    "writer": ("state ok    state", "state ok    state"),
    "system reader": ("ok    ok    ok", "ok    ok    ok"),
    "system writer": ("ok    ok    ok", "ok    ok    ok"),
    "development": ("state ok    state", "state ok    state"),
}
READ_UNPUBLISHED = {
    "nobody": ("scope ok    state", "scope scope scope"),
    "stranger": ("scope ok    state", "scope scope scope"),
    "reader": ("scope ok    state", "scope ok    state"),
    "writer": ("ok    ok    state", "ok    ok    state"),
    "system reader": ("ok    ok    ok", "ok    ok    ok"),
    "system writer": ("ok    ok    ok", "ok    ok    ok"),
    "development": ("ok    ok    state", "ok    ok    state"),
}
NO_SCOPE = ("scope scope scope", "scope scope scope")
ANY_STATE = ("ok    ok    ok", "ok    ok    ok")
UNPUBLISHED_ONLY = ("ok    state state", "ok    state state")
SEND = {
    "nobody": NO_SCOPE,
    "stranger": NO_SCOPE,
    "reader": NO_SCOPE,
    "writer": UNPUBLISHED_ONLY,
    "system reader": NO_SCOPE,
    "system writer": UNPUBLISHED_ONLY,
    "development": UNPUBLISHED_ONLY,
}
MANAGE = {
    "nobody": NO_SCOPE,
    "stranger": NO_SCOPE,
    "reader": NO_SCOPE,
    "writer": ANY_STATE,
    "system reader": NO_SCOPE,
    "system writer": ANY_STATE,
    "development": ANY_STATE,
}
INSPECT = {
    "nobody": NO_SCOPE,
    "stranger": NO_SCOPE,
    "reader": NO_SCOPE,
    "writer": ANY_STATE,
    "system reader": ANY_STATE,
    "system writer": ANY_STATE,
    "development": ANY_STATE,
}
DELETE = {
    "nobody": NO_SCOPE,
    "stranger": NO_SCOPE,
    "reader": NO_SCOPE,
    "writer": NO_SCOPE,
    "system reader": NO_SCOPE,
    "system writer": ("ok    state ok", "ok    state ok"),
    "development": NO_SCOPE,
}
Table = dict[str, tuple[str, str]]

REASONS = {
    "SCOPE_MISSING": "scope",
    "ANALYSIS_NOT_PUBLISHED": "state",
    "ANALYSIS_NOT_UNPUBLISHED": "state",
    "DELETE_REFUSED": "state",
    # What comes only after the decision.
    "PARTS_MISSING": "ok",
    "OBJECT_DIGEST_MISMATCH": "ok",
}


class Scene:
    """A Score with a stored object and a live upload, and the caller of the moment."""

    def __init__(self, world: World, *, is_open: bool) -> None:
        self.world, self.raw, self._is_open = world, world.raw, is_open
        self.stored, self.uploaded = f"stored-{is_open}", f"live-{is_open}"
        self._numbers = count()
        world.store(self.stored, b"bytes", is_open=is_open)
        world.register(self.uploaded, b"other", is_open=is_open)

    def state(self, state: str) -> None:
        """Bring both analyses into a state, of which Score has heard nothing yet."""
        for object_id in (self.stored, self.uploaded):
            self.world.song.set_state(object_id, state)
        self.world.score.environment.registry._answers.clear()

    def upload(self) -> Upload:
        """Return the live upload, begun anew where it was ended."""
        self.world.song.set_state(self.uploaded, "UNPUBLISHED")
        found = start_upload(
            self.world.score.environment, PRINCIPALS["system writer"], self.uploaded, None, "", part_size_hint_bytes=0
        )
        assert isinstance(found, Upload)
        return found


Call = Callable[[Scene, str], str | None]


def read_object(scene: Scene, _: str, *, unpublished: bool = False) -> None:
    request = ReadObjectRequest(open=OpenObject(object_id=scene.stored, allow_unpublished=unpublished))
    list(scene.raw.downloads.ReadObject(iter([request])))


def read_objects(scene: Scene, _: str, *, unpublished: bool = False) -> str | None:
    request = ReadObjectsRequest(object_ids=[scene.stored], allow_unpublished=unpublished)
    answer = next(iter(scene.raw.downloads.ReadObjects(request)))
    return item_result(answer.refusal.reason) if answer.WhichOneof("message") == "refusal" else None


def sign_download(scene: Scene, _: str, *, unpublished: bool = False) -> None:
    request = SignDownloadRequest(object_id=scene.stored, allow_unpublished=unpublished)
    scene.raw.downloads.SignDownload(request)


def get_chunk_manifest(scene: Scene, _: str, *, unpublished: bool = False) -> None:
    request = GetChunkManifestRequest(object_id=scene.stored, allow_unpublished=unpublished)
    scene.raw.downloads.GetChunkManifest(request)


def get_object(scene: Scene, _: str, *, unpublished: bool = False) -> None:
    scene.raw.objects.GetObject(GetObjectRequest(object_id=scene.stored, allow_unpublished=unpublished))


def batch_get_objects(scene: Scene, _: str, *, unpublished: bool = False) -> str | None:
    request = BatchGetObjectsRequest(object_ids=[scene.stored], allow_unpublished=unpublished)
    answer = scene.raw.objects.BatchGetObjects(request)
    assert len(answer.stored_objects) + len(answer.missing_object_ids) == 1
    return None if answer.stored_objects else "hidden"


def list_objects(scene: Scene, _: str, *, unpublished: bool = False) -> str | None:
    request = ListObjectsRequest(
        study_id="ABC", analysis_id=f"analysis-of-{scene.stored}", allow_unpublished=unpublished
    )
    return None if scene.raw.objects.ListObjects(request).stored_objects else "hidden"


def start(scene: Scene, _: str) -> None:
    scene.raw.uploads.StartUpload(StartUploadRequest(object_id=scene.uploaded))


def write_upload(scene: Scene, upload_id: str) -> None:
    list(scene.raw.uploads.WriteUpload(iter([WriteUploadRequest(open=OpenUpload(upload_id=upload_id))])))


def sign_upload_parts(scene: Scene, upload_id: str) -> None:
    part = PartToSign(part_number=1, md5=hashlib.md5(b"other").hexdigest())
    scene.raw.uploads.SignUploadParts(SignUploadPartsRequest(upload_id=upload_id, parts=[part]))


def write_objects(scene: Scene, _: str) -> str | None:
    def requests() -> Iterator[WriteObjectsRequest]:
        yield WriteObjectsRequest(open=OpenSmallObject(object_id=scene.uploaded, size_bytes=5))
        yield WriteObjectsRequest(chunk=SmallObjectChunk(data=b"wrong"))
        yield WriteObjectsRequest(finish=FinishSmallObject())

    (answer,) = scene.raw.uploads.WriteObjects(requests())
    return item_result(answer.refusal.reason)


def record_upload_parts(scene: Scene, upload_id: str) -> None:
    part = PartToRecord(part_number=1, md5="0" * 32, store_etag="none")
    scene.raw.uploads.RecordUploadParts(RecordUploadPartsRequest(upload_id=upload_id, parts=[part]))


def complete_upload(scene: Scene, upload_id: str) -> None:
    scene.raw.uploads.CompleteUpload(CompleteUploadRequest(upload_id=upload_id))


def abort_upload(scene: Scene, upload_id: str) -> None:
    scene.raw.uploads.AbortUpload(AbortUploadRequest(upload_id=upload_id))


def get_upload(scene: Scene, upload_id: str) -> None:
    scene.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload_id))


def list_uploads(scene: Scene, _: str) -> None:
    answer = scene.raw.uploads.ListUploads(ListUploadsRequest(study_id="ABC", object_id=scene.uploaded))
    assert answer.uploads


def verify_object(scene: Scene, _: str) -> None:
    scene.raw.objects.VerifyObject(VerifyObjectRequest(object_id=scene.stored))


def delete_object(scene: Scene, _: str) -> None:
    """Delete, and put the object back."""
    request = DeleteObjectRequest(object_id=scene.stored, reason="a test")
    scene.raw.objects.DeleteObject(request)


METHODS: dict[str, tuple[Call, Table]] = {
    "ReadObject": (read_object, READ),
    "ReadObjects": (read_objects, READ),
    "SignDownload": (sign_download, READ),
    "GetChunkManifest": (get_chunk_manifest, READ),
    "GetObject": (get_object, READ),
    "BatchGetObjects": (batch_get_objects, READ),
    "ListObjects": (list_objects, READ),
    "StartUpload": (start, SEND),
    "WriteUpload": (write_upload, SEND),
    "SignUploadParts": (sign_upload_parts, SEND),
    "WriteObjects": (write_objects, SEND),
    "RecordUploadParts": (record_upload_parts, MANAGE),
    "CompleteUpload": (complete_upload, MANAGE),
    "AbortUpload": (abort_upload, MANAGE),
    "GetUpload": (get_upload, INSPECT),
    "ListUploads": (list_uploads, INSPECT),
    "VerifyObject": (verify_object, INSPECT),
    "DeleteObject": (delete_object, DELETE),
}
UNPUBLISHED_TOO = sorted(name for name, (_, table) in METHODS.items() if table is READ)
HIDING = {"BatchGetObjects", "ListObjects"}
"""They leave out what they would refuse."""


def item_result(reason: ErrorReason.ValueType) -> str:
    return result_of(ErrorReason.Name(reason).removeprefix("ERROR_REASON_"))


def result_of(reason: str) -> str:
    return REASONS.get(reason, reason)


def outcome(scene: Scene, call: Call, upload_id: str) -> str:
    """Return `ok`, `scope`, `state`, `hidden`, or the reason if it is another one."""
    try:
        return call(scene, upload_id) or "ok"
    except grpc.RpcError as error:
        return result_of(scene.raw.error(error).reason)


def check(open_world: Callable[..., World], patch: pytest.MonkeyPatch, method: str, call: Call, table: Table) -> None:
    """Compare what comes of a method, for all callers, in all states, of both kinds of files, with its table."""
    world = open_world(http_port=0)
    caller = [PRINCIPALS["system writer"]]
    patch.setattr(Callers, "of", lambda *_: caller[0])
    wrong: list[str] = []
    for is_open in (True, False):
        scene = Scene(world, is_open=is_open)
        for name, principal in PRINCIPALS.items():
            for state, told in zip(STATES, table[name][0 if is_open else 1].split(), strict=True):
                upload_id = scene.upload().upload_id
                scene.state(state)
                caller[0] = principal
                found = outcome(scene, call, upload_id)
                caller[0] = PRINCIPALS["system writer"]
                expected = "hidden" if method in HIDING and told != "ok" else told
                if found != expected:
                    wrong.append(f"{name}, open {is_open}, {state}: {found} instead of {expected}")
                if method == "DeleteObject" and found == "ok":
                    scene = Scene(world, is_open=is_open)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_lets_those_through_that_its_table_names(
    method: str, open_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    call, table = METHODS[method]
    check(open_world, monkeypatch, method, call, table)


@pytest.mark.parametrize("method", UNPUBLISHED_TOO)
def test_unpublished_files_are_read_by_those_who_may_write_and_ask_for_them(
    method: str, open_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    call, _ = METHODS[method]

    def asking(scene: Scene, upload_id: str) -> str | None:
        return call(scene, upload_id, unpublished=True)  # type: ignore[call-arg]  # those that read take it

    check(open_world, monkeypatch, method, asking, READ_UNPUBLISHED)


def test_every_method_of_the_contract_has_a_table() -> None:
    services = [
        *upload_service_pb2.DESCRIPTOR.services_by_name.values(),
        *download_service_pb2.DESCRIPTOR.services_by_name.values(),
        *object_service_pb2.DESCRIPTOR.services_by_name.values(),
    ]
    assert {method.name for service in services for method in service.methods} == set(METHODS)
    assert all(set(table) == set(PRINCIPALS) for _, table in METHODS.values())
