"""A running Song with its stubs, a Score of the tests' own, and payloads."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status
from score.v1 import object_service_pb2, object_service_pb2_grpc, stored_object_pb2
from song.v1 import (
    analysis_pb2,
    analysis_service_pb2,
    analysis_service_pb2_grpc,
    analysis_type_service_pb2,
    analysis_type_service_pb2_grpc,
    entity_service_pb2_grpc,
    file_service_pb2_grpc,
    study_pb2,
    study_service_pb2,
    study_service_pb2_grpc,
)
from sqlalchemy import select

from runtime_grpc.database import Database
from song_grpc.__main__ import Song, start_song
from song_grpc.database import tables
from song_grpc.settings import SongSettings

SERVICE_TOKEN = "a token of the tests"
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a refused call said."""

    code: grpc.StatusCode
    reason: str
    domain: str
    metadata: dict[str, str]
    violations: list[tuple[str, str]]
    message: str
    details_bytes: int
    retry_seconds: float | None
    """None where it did not say when to retry."""


def refusal(call: Callable[[], object]) -> Refusal:
    """Make a call that is refused; return what it said."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    status = rpc_status.from_call(raised.value)  # type: ignore[arg-type] # the error of a call is a Call
    info, bad_request, retry = ErrorInfo(), BadRequest(), RetryInfo()
    for detail in status.details if status is not None else []:
        detail.Unpack(info)
        detail.Unpack(bad_request)
        detail.Unpack(retry)
    violations = [(found.field, found.description) for found in bad_request.field_violations]
    details_bytes = 0 if status is None else status.ByteSize()
    text = raised.value.details() or ""
    metadata = dict(info.metadata)
    told = raised.value.code(), info.reason, info.domain, metadata, violations, text, details_bytes
    retry_seconds = retry.retry_delay.ToMilliseconds() / 1000 if retry.HasField("retry_delay") else None
    return Refusal(*told, retry_seconds)


@dataclass(slots=True)
class FakeScore(object_service_pb2_grpc.ObjectServiceServicer):
    """A Score that holds what a test says."""

    stored: dict[str, stored_object_pb2.StoredObject] = field(default_factory=dict)
    before_answer: Callable[[], object] = lambda: None
    hides_ids: bool = False
    batches: list[int] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def BatchGetObjects(
        self, request: object_service_pb2.BatchGetObjectsRequest, context: grpc.ServicerContext
    ) -> object_service_pb2.BatchGetObjectsResponse:
        assert request.allow_unpublished
        self.tokens |= {str(value) for key, value in context.invocation_metadata() if key == "authorization"}
        self.batches.append(len(request.object_ids))
        self.before_answer()
        response = object_service_pb2.BatchGetObjectsResponse()
        for object_id in [] if self.hides_ids else request.object_ids:
            if object_id in self.stored:
                response.stored_objects.append(self.stored[object_id])
            else:
                response.missing_object_ids.append(object_id)
        return response

    def GetObject(
        self, request: object_service_pb2.GetObjectRequest, context: grpc.ServicerContext
    ) -> object_service_pb2.GetObjectResponse:
        raise NotImplementedError("Song asks for batches only")

    def hold(self, analysis: analysis_pb2.Analysis, **changes: Any) -> None:  # noqa: ANN401 - fields of the message
        """Hold every file of an analysis as registered, but for changes."""
        for file in analysis.files:
            values: dict[str, Any] = {
                "object_id": file.object_id,
                "size_bytes": file.size_bytes,
                "md5": file.md5,
                "verification": stored_object_pb2.VERIFICATION_VERIFIED,
            }
            self.stored[file.object_id] = stored_object_pb2.StoredObject(**values | changes)


@contextmanager
def serve_score(score: FakeScore) -> Iterator[str]:
    """Serve a fake Score; yield its address."""
    server = grpc.server(ThreadPoolExecutor(4))
    object_service_pb2_grpc.add_ObjectServiceServicer_to_server(score, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


class _Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor):
    """Sends a token with every call that brings none of its own."""

    def __init__(self, token: str) -> None:
        self._metadata = ("authorization", f"Bearer {token}")

    def _call(self, proceed: Any, details: Any, request: Any) -> Any:  # noqa: ANN401 - grpc's
        told = list(details.metadata or ())
        if all(key != "authorization" for key, _ in told):
            told.append(self._metadata)
        return proceed(details._replace(metadata=told), request)

    intercept_unary_unary: Any = _call
    intercept_unary_stream: Any = _call
    intercept_stream_stream: Any = _call


class World:
    """A running Song and everything to talk to it with."""

    def __init__(self, song: Song, url: str, score: FakeScore, token: str = "") -> None:
        self.song, self.url, self.score = song, url, score
        plain = grpc.insecure_channel(
            song.address, [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        )
        self.channel = grpc.intercept_channel(plain, _Bearer(token)) if token else plain
        self._callers: list[World] = []
        self.studies = study_service_pb2_grpc.StudyServiceStub(self.channel)
        self.types = analysis_type_service_pb2_grpc.AnalysisTypeServiceStub(self.channel)
        self.analyses = analysis_service_pb2_grpc.AnalysisServiceStub(self.channel)
        self.files = file_service_pb2_grpc.FileServiceStub(self.channel)
        self.entities = entity_service_pb2_grpc.EntityServiceStub(self.channel)
        self.database = Database(url)

    def calling_with(self, token: str) -> "World":
        """Return the same Song, called with a bearer token; closed with this."""
        caller = World(self.song, self.url, self.score, token)
        self._callers.append(caller)
        return caller

    def close(self) -> None:
        for caller in self._callers:
            caller.close()
        self.database.close()
        self.channel.close()

    def new_study(self) -> str:
        study_id = f"study-{next(_numbers)}"
        self.studies.CreateStudy(study_service_pb2.CreateStudyRequest(study=study_pb2.Study(study_id=study_id)))
        return study_id

    def new_type(self, schema: dict[str, Any], **fields: Any) -> str:  # noqa: ANN401 - fields of the message
        name = f"type-{next(_numbers)}"
        self.register(name, schema, **fields)
        return name

    def register(
        self,
        name: str,
        schema: dict[str, Any] | str,
        **fields: Any,  # noqa: ANN401 - fields of the message
    ) -> analysis_type_service_pb2.RegisterAnalysisTypeResponse:
        text = schema if isinstance(schema, str) else json.dumps(schema)
        request = analysis_type_service_pb2.RegisterAnalysisTypeRequest(name=name, schema_json=text, **fields)
        return self.types.RegisterAnalysisType(request)

    def submit(self, study_id: str, payload: dict[str, Any] | str, **fields: Any) -> str:  # noqa: ANN401 - fields of the message
        text = payload if isinstance(payload, str) else json.dumps(payload)
        request = analysis_service_pb2.SubmitAnalysisRequest(study_id=study_id, payload_json=text, **fields)
        return self.analyses.SubmitAnalysis(request).analysis_id

    def validate(
        self,
        study_id: str,
        payload: dict[str, Any] | str,
        **fields: Any,  # noqa: ANN401 - fields of the message
    ) -> analysis_service_pb2.ValidateAnalysisResponse:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        request = analysis_service_pb2.ValidateAnalysisRequest(study_id=study_id, payload_json=text, **fields)
        return self.analyses.ValidateAnalysis(request)

    def get(self, study_id: str, analysis_id: str) -> analysis_pb2.Analysis:
        request = analysis_service_pb2.GetAnalysisRequest(study_id=study_id, analysis_id=analysis_id)
        return self.analyses.GetAnalysis(request).analysis

    def list(self, study_id: str, text: str = "", **fields: Any) -> analysis_service_pb2.ListAnalysesResponse:  # noqa: ANN401 - fields of the message
        request = analysis_service_pb2.ListAnalysesRequest(study_id=study_id, filter=text, **fields)
        return self.analyses.ListAnalyses(request)

    def publish(
        self,
        study_id: str,
        analysis_id: str,
        **fields: Any,  # noqa: ANN401 - fields of the message
    ) -> analysis_service_pb2.PublishAnalysisResponse:
        request = analysis_service_pb2.PublishAnalysisRequest(study_id=study_id, analysis_id=analysis_id, **fields)
        return self.analyses.PublishAnalysis(request)

    def unpublish(
        self,
        study_id: str,
        analysis_id: str,
        **fields: Any,  # noqa: ANN401 - fields of the message
    ) -> analysis_service_pb2.UnpublishAnalysisResponse:
        request = analysis_service_pb2.UnpublishAnalysisRequest(study_id=study_id, analysis_id=analysis_id, **fields)
        return self.analyses.UnpublishAnalysis(request)

    def suppress(
        self,
        study_id: str,
        analysis_id: str,
        **fields: Any,  # noqa: ANN401 - fields of the message
    ) -> analysis_service_pb2.SuppressAnalysisResponse:
        request = analysis_service_pb2.SuppressAnalysisRequest(study_id=study_id, analysis_id=analysis_id, **fields)
        return self.analyses.SuppressAnalysis(request)

    def update(
        self,
        study_id: str,
        analysis_id: str,
        update: dict[str, Any] | str,
        etag: str = "*",
        **fields: Any,  # noqa: ANN401 - fields of the message
    ) -> analysis_service_pb2.UpdateAnalysisResponse:
        text = update if isinstance(update, str) else json.dumps(update)
        request = analysis_service_pb2.UpdateAnalysisRequest(
            study_id=study_id, analysis_id=analysis_id, update_json=text, etag=etag, **fields
        )
        return self.analyses.UpdateAnalysis(request)

    def patch(
        self,
        study_id: str,
        analysis_id: str,
        patch: dict[str, Any] | str,
        etag: str = "*",
        **fields: Any,  # noqa: ANN401 - fields of the message
    ) -> analysis_service_pb2.PatchAnalysisResponse:
        text = patch if isinstance(patch, str) else json.dumps(patch)
        request = analysis_service_pb2.PatchAnalysisRequest(
            study_id=study_id, analysis_id=analysis_id, patch_json=text, etag=etag, **fields
        )
        return self.analyses.PatchAnalysis(request)

    def history(
        self,
        study_id: str,
        analysis_id: str,
        **fields: Any,  # noqa: ANN401 - fields of the message
    ) -> analysis_service_pb2.ListAnalysisHistoryResponse:
        request = analysis_service_pb2.ListAnalysisHistoryRequest(study_id=study_id, analysis_id=analysis_id, **fields)
        return self.analyses.ListAnalysisHistory(request)

    def export(self, **fields: Any) -> Sequence[analysis_service_pb2.ExportAnalysesResponse]:  # noqa: ANN401 - fields of the message
        return tuple(self.analyses.ExportAnalyses(analysis_service_pb2.ExportAnalysesRequest(**fields)))

    def events(self, analysis_id: str) -> Sequence[Any]:
        """Return the outbox rows of an analysis, oldest first."""
        query = select(tables.outbox).where(tables.outbox.c.analysis_id == analysis_id)
        with self.database.read() as connection:
            return connection.execute(query.order_by(tables.outbox.c.number)).all()


def song_settings(folder: Path, url: str = "", **changes: Any) -> SongSettings:  # noqa: ANN401 - settings of Song
    """Return settings of a Song that listens on any free port; an empty URL means SQLite in the folder."""
    told: dict[str, Any] = {"port": 0, "data_dir": folder, "database_url": url, **changes}
    return SongSettings(**told)


@contextmanager
def running(folder: Path, url: str = "", **settings: Any) -> Iterator[World]:  # noqa: ANN401 - settings of Song
    """Run a Song of its own, with a fake Score."""
    score = FakeScore()  # type: ignore[abstract]  # Song asks for batches only
    with serve_score(score) as score_address:
        told = {"score_address": score_address, "service_token": SERVICE_TOKEN, "drain_seconds": 1, **settings}
        own = song_settings(folder, url, **told)
        song = start_song(own)
        world = World(song, own.sql_url, score)
        try:
            yield world
        finally:
            world.close()
            song.stop()


def sample(number: object = 1, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - members of the payload
    """Return a sample with its specimen and donor."""
    return {
        "submitterSampleId": f"sample-{number}",
        "sampleType": "Total DNA",
        "matchedNormalSubmitterSampleId": None,
        "specimen": {
            "submitterSpecimenId": f"specimen-{number}",
            "specimenTissueSource": "Skin",
            "tumourNormalDesignation": "Normal",
            "specimenType": "Normal",
        },
        "donor": {"submitterDonorId": f"donor-{number}", "gender": "Female"},
        **changes,
    }


def file(name: str | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - members of the payload
    """Return a file with an MD5 of its own."""
    name = name or f"file-{next(_numbers)}.bam"
    return {
        "fileName": name,
        "fileSize": 10,
        "fileType": "BAM",
        "fileMd5sum": md5(f"{name} {next(_numbers)}".encode(), usedforsecurity=False).hexdigest(),
        "fileAccess": "open",
        "dataType": "aligned reads",
        **changes,
    }


def payload(study_id: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - members of the payload
    """Return a payload that every check accepts."""
    return {
        "studyId": study_id,
        "analysisType": {"name": "sequencingRead"},
        "samples": [sample()],
        "files": [file()],
        "experiment": {"libraryStrategy": "WGS"},
        **changes,
    }


def in_parallel(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Make calls at the same moment; return results and errors in their order."""
    barrier = threading.Barrier(len(calls))

    def make(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - the call's
        barrier.wait()
        try:
            return call()
        except grpc.RpcError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(make, calls))
