"""Publishing against replacing and deleting, Song and Score both real: what is PUBLISHED is what Score holds."""

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from score.v1.object_service_pb2 import BatchGetObjectsRequest, DeleteObjectRequest
from score.v1.stored_object_pb2 import VERIFICATION_VERIFIED, StoredObject
from score.v1.upload_pb2 import UPLOAD_STATE_COMPLETING
from score.v1.upload_service_pb2 import CompleteUploadRequest, GetUploadRequest, StartUploadRequest
from song.v1.analysis_pb2 import ANALYSIS_STATE_PUBLISHED, Analysis
from song.v1.analysis_service_pb2 import (
    GetAnalysisRequest,
    PublishAnalysisRequest,
    SubmitAnalysisRequest,
    UnpublishAnalysisRequest,
)
from song.v1.analysis_service_pb2_grpc import AnalysisServiceStub
from song.v1.file_pb2 import File
from song.v1.file_service_pb2 import UpdateFileRequest
from song.v1.file_service_pb2_grpc import FileServiceStub
from song.v1.study_pb2 import Study
from song.v1.study_service_pb2 import CreateStudyRequest
from song.v1.study_service_pb2_grpc import StudyServiceStub
from song_score_client.errors import from_rpc_error

from score_grpc.__main__ import start_score
from score_grpc.domain.registrations import Registration
from score_grpc.settings import ScoreSettings
from song_grpc.__main__ import start_song
from song_grpc.domain import publishing
from song_grpc.settings import SongSettings
from tests.servers.raw_score import RawScore, chunks_of
from tests.song_grpc.world import file, payload

TOKEN = "the token of both"
SERVICE = (("authorization", f"Bearer {TOKEN}"),)
BYTES = [b"the first bytes", b"the other bytes"]
DIGESTS = [hashlib.md5(data).hexdigest() for data in BYTES]
ROUNDS = 30
MAY_REFUSE_PUBLISH = {"CHANGING_STORAGE_OBJECTS", "MISSING_STORAGE_OBJECTS", "MISMATCHING_STORAGE_OBJECT_CHECKSUMS"}
MAY_REFUSE_DELETE = {"CHANGING", "DELETE_REFUSED"}
MAY_REFUSE_REPLACEMENT = {"CHANGING", "ANALYSIS_NOT_UNPUBLISHED"}


@dataclass
class Both:
    """Song and Score, and one analysis with one file."""

    analyses: AnalysisServiceStub
    files: FileServiceStub
    raw: RawScore
    analysis_id: str = ""
    object_id: str = ""

    def analysis(self) -> Analysis:
        return self.analyses.GetAnalysis(GetAnalysisRequest(study_id="ABC", analysis_id=self.analysis_id)).analysis

    def stored(self) -> StoredObject | None:
        request = BatchGetObjectsRequest(object_ids=[self.object_id])
        return next(iter(self.raw.objects.BatchGetObjects(request, metadata=SERVICE).stored_objects), None)

    def publish(self) -> str:
        """Publish; return why not, or OK."""
        request = PublishAnalysisRequest(study_id="ABC", analysis_id=self.analysis_id)
        return self._reason(lambda: self.analyses.PublishAnalysis(request), "song")

    def unpublish(self) -> None:
        self.analyses.UnpublishAnalysis(UnpublishAnalysisRequest(study_id="ABC", analysis_id=self.analysis_id))

    def delete(self) -> str:
        request = DeleteObjectRequest(object_id=self.object_id, reason="a race")
        return self._reason(lambda: self.raw.objects.DeleteObject(request, metadata=SERVICE), "score")

    def register(self, which: int) -> None:
        """Register the one or the other bytes."""
        changed = File(study_id="ABC", object_id=self.object_id, etag="*", md5=DIGESTS[which])
        self.files.UpdateFile(UpdateFileRequest(file=changed, update_mask=FieldMask(paths=["md5"])))

    def send(self, which: int) -> str:
        """Start an upload of the one or the other bytes and send them; return its id, empty where they are stored."""
        request = StartUploadRequest(object_id=self.object_id, replace=True)
        started = self.raw.uploads.StartUpload(request)
        if started.HasField("stored_object"):
            return ""
        self.raw.write(started.upload.upload_id, chunks_of(1, BYTES[which], replace=True))
        return started.upload.upload_id

    def complete(self, upload_id: str) -> str:
        """Complete; return why not, or OK."""
        upload = self.raw.uploads.CompleteUpload(CompleteUploadRequest(upload_id=upload_id)).upload
        while upload.state == UPLOAD_STATE_COMPLETING:
            time.sleep(0.01)
            upload = self.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload_id)).upload
        return upload.last_failure.reason or "OK"

    def _reason(self, call: Callable[[], object], service: str) -> str:
        try:
            call()
        except grpc.RpcError as error:
            return from_rpc_error(error, service, "loopback").reason
        return "OK"


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    """Both services, each of whose questions to the other takes a while, of random length."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    delays = random.Random(seed)
    values = {"port": 0, "service_token": TOKEN, "data_dir": tmp_path, "drain_seconds": 0.2}
    song = start_song(SongSettings.model_validate(values))
    score = start_score(ScoreSettings.model_validate(values | {"song_address": song.address}))
    song.use_score(score.address)
    find = song._score.find
    resolve = score._song.resolve

    def find_slowly(object_ids: Sequence[str]) -> Mapping[str, publishing.StoredObject]:
        time.sleep(delays.random() / 40)
        found = find(object_ids)
        time.sleep(delays.random() / 12)  # the other side's whole change may fall in here
        return found

    def resolve_slowly(object_ids: Sequence[str]) -> Mapping[str, Registration]:
        time.sleep(delays.random() / 100)
        found = resolve(object_ids)
        time.sleep(delays.random() / 100)
        return found

    song._score.find = find_slowly  # type: ignore[method-assign]
    score._song.resolve = resolve_slowly  # type: ignore[method-assign]
    channel = grpc.insecure_channel(song.address)
    raw = RawScore(score.address)
    StudyServiceStub(channel).CreateStudy(CreateStudyRequest(study=Study(study_id="ABC")))
    pair = Both(AnalysisServiceStub(channel), FileServiceStub(channel), raw)
    text = json.dumps(payload("ABC", files=[file(fileSize=len(BYTES[0]), fileMd5sum=DIGESTS[0])]))
    submitted = pair.analyses.SubmitAnalysis(SubmitAnalysisRequest(study_id="ABC", payload_json=text))
    pair.analysis_id = submitted.analysis_id
    pair.object_id = pair.analysis().files[0].object_id
    yield pair
    channel.close()
    raw.channel.close()
    score.stop()
    song.stop()


def at_once(*calls: Callable[[], str]) -> list[str]:
    barrier = threading.Barrier(len(calls))
    results = [""] * len(calls)

    def make(at: int) -> None:
        barrier.wait()
        time.sleep(random.random() / 30)
        results[at] = calls[at]()

    threads = [threading.Thread(target=make, args=(at,)) for at in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def check(both: Both) -> bool:
    """Return whether the analysis is published; then Score holds what it registers."""
    analysis = both.analysis()
    if analysis.state != ANALYSIS_STATE_PUBLISHED:
        return False
    stored = both.stored()
    assert stored is not None, "a PUBLISHED analysis has lost its object"
    assert (stored.md5, stored.verification) == (analysis.files[0].md5, VERIFICATION_VERIFIED)
    return True


def test_no_published_analysis_loses_its_object(both: Both) -> None:
    seen = set()
    for _ in range(ROUNDS):
        if both.stored() is None:
            assert both.complete(both.send(0)) == "OK"
        published, deleted = at_once(both.publish, both.delete)
        seen.add((published, deleted))
        assert published == "OK" or published in MAY_REFUSE_PUBLISH, published
        assert deleted == "OK" or deleted in MAY_REFUSE_DELETE, deleted
        assert (published, deleted) != ("OK", "OK")
        if check(both):
            both.unpublish()
    assert len(seen) > 1, seen


def test_no_published_analysis_has_its_object_replaced(both: Both) -> None:
    """A replacement is of other registered bytes: the registration goes back and forth while all of it is under way."""
    assert both.complete(both.send(0)) == "OK"
    seen = set()
    for number in range(1, ROUNDS):
        which = number % 2
        both.register(which)
        upload_id = both.send(which)
        if not upload_id:
            continue
        published, completed = at_once(both.publish, partial(both.complete, upload_id))
        seen.add((published, completed))
        assert published == "OK" or published in MAY_REFUSE_PUBLISH, published
        assert completed == "OK" or completed in MAY_REFUSE_REPLACEMENT, completed
        if check(both):
            both.unpublish()
        if completed != "OK":
            assert both.complete(upload_id) == "OK"
        stored = both.stored()
        assert stored is not None
        assert stored.md5 == DIGESTS[which]
    assert seen


def test_a_registration_that_goes_back_meanwhile_is_never_published_with_other_bytes(both: Both) -> None:
    assert both.complete(both.send(0)) == "OK"
    for _ in range(ROUNDS):
        both.register(1)
        upload_id = both.send(1)
        at_once(both.publish, partial(both.complete, upload_id), lambda: _back(both))
        if check(both):
            both.unpublish()
        both.register(0)
        upload_id = both.send(0)
        if upload_id:
            assert both.complete(upload_id) == "OK"


def _back(both: Both) -> str:
    both.register(0)
    return both.publish()
