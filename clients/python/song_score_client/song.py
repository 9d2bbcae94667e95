"""Song: every method of song.v1, blocking."""

from __future__ import annotations  # grpc's classes are generic in its types only

from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Self
from uuid import uuid4

from song.v1.analysis_pb2 import Analysis
from song.v1.analysis_service_pb2 import (
    GetAnalysisRequest,
    ListAnalysesRequest,
    PublishAnalysisRequest,
    PublishAnalysisResponse,
    SubmitAnalysisRequest,
    SuppressAnalysisRequest,
    SuppressAnalysisResponse,
    UnpublishAnalysisRequest,
    UnpublishAnalysisResponse,
    ValidateAnalysisRequest,
    ValidateAnalysisResponse,
)
from song.v1.analysis_service_pb2_grpc import AnalysisServiceStub
from song.v1.analysis_type_pb2 import AnalysisType, AnalysisTypeOptions
from song.v1.analysis_type_service_pb2 import (
    GetAnalysisTypeRequest,
    ListAnalysisTypesRequest,
    RegisterAnalysisTypeRequest,
    RegisterAnalysisTypeResponse,
)
from song.v1.analysis_type_service_pb2_grpc import AnalysisTypeServiceStub
from song.v1.file_pb2 import File
from song.v1.file_service_pb2 import ListFilesRequest, ResolveObjectsRequest, ResolveObjectsResponse
from song.v1.file_service_pb2_grpc import FileServiceStub
from song.v1.study_pb2 import Study
from song.v1.study_service_pb2 import CreateStudyRequest, GetStudyRequest, ListStudiesRequest
from song.v1.study_service_pb2_grpc import StudyServiceStub

from song_score_client.connection import Connection

PUBLISH_DEADLINE_SECONDS = 60.0
MAX_BATCH = 1000


class SongClient:
    """Song, blocking. Every method is repeated while the failure is transient, and raises ServiceError.

    Results are the contract's own messages: frozen copies of them would only repeat their documentation, that
    of `song.v1`, and turn away fields that a newer server adds. What creates something carries a request id, made
    here unless given, so that a repetition after a lost answer finds what the first try made.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @classmethod
    def open(cls, address: str, token: str | None = None) -> SongClient:
        """Make a client of the Song at `host:port`; it connects on the first call."""
        return cls(Connection("song", address, token))

    def is_serving(self) -> bool:
        """Whether Song answers, and says that it can work. Asks once, within 5 s."""
        return self.connection.is_serving("song.v1.StudyService")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; calls under way fail."""
        self.connection.close()

    def create_study(self, study: Study, *, request_id: str | None = None) -> Study:
        """Create a study and return it as stored."""
        request = CreateStudyRequest(study=study, request_id=request_id or str(uuid4()))
        return self.connection.call(self._studies.CreateStudy, request).study

    def get_study(self, study_id: str) -> Study:
        """Return one study."""
        return self.connection.call(self._studies.GetStudy, GetStudyRequest(study_id=study_id)).study

    def list_studies(self, *, page_size: int = 0) -> Iterator[Study]:
        """Yield all studies in the order of their ids."""
        for page in self.connection.pages(self._studies.ListStudies, ListStudiesRequest(page_size=page_size)):
            yield from page.studies

    def register_analysis_type(
        self,
        name: str,
        schema_json: str,
        *,
        options: AnalysisTypeOptions | None = None,
        force: bool = False,
        request_id: str | None = None,
    ) -> RegisterAnalysisTypeResponse:
        """Register the schema as the next version; an unchanged one registers nothing (`created` is false)."""
        request = RegisterAnalysisTypeRequest(
            name=name, schema_json=schema_json, options=options, force=force, request_id=request_id or str(uuid4())
        )
        return self.connection.call(self._types.RegisterAnalysisType, request)

    def get_analysis_type(self, name: str, version: int = 0, *, unrendered: bool = False) -> AnalysisType:
        """Return a version of a type, 0 means the latest; rendered: with the base schema around it."""
        request = GetAnalysisTypeRequest(name=name, version=version, unrendered=unrendered)
        return self.connection.call(self._types.GetAnalysisType, request).analysis_type

    def list_analysis_types(
        self,
        names: Iterable[str] = (),
        versions: Iterable[int] = (),
        *,
        hide_schema: bool = False,
        page_size: int = 0,
    ) -> Iterator[AnalysisType]:
        """Yield versions of types, by name, then newest first; without names or versions all."""
        request = ListAnalysisTypesRequest(names=names, versions=versions, hide_schema=hide_schema, page_size=page_size)
        for page in self.connection.pages(self._types.ListAnalysisTypes, request):
            yield from page.analysis_types

    def submit(
        self, study_id: str, payload_json: str, *, allow_duplicates: bool = False, request_id: str | None = None
    ) -> str:
        """Submit a payload and return the id of the new analysis."""
        request = SubmitAnalysisRequest(
            study_id=study_id,
            payload_json=payload_json,
            allow_duplicates=allow_duplicates,
            request_id=request_id or str(uuid4()),
        )
        return self.connection.call(self._analyses.SubmitAnalysis, request).analysis_id

    def validate(self, study_id: str, payload_json: str, *, allow_duplicates: bool = False) -> ValidateAnalysisResponse:
        """Check a payload as `submit` would, and write nothing. Returns all schema violations (10 000 at most)."""
        request = ValidateAnalysisRequest(
            study_id=study_id, payload_json=payload_json, allow_duplicates=allow_duplicates
        )
        return self.connection.call(self._analyses.ValidateAnalysis, request)

    def get_analysis(self, study_id: str, analysis_id: str) -> Analysis:
        """Return one analysis."""
        request = GetAnalysisRequest(study_id=study_id, analysis_id=analysis_id)
        return self.connection.call(self._analyses.GetAnalysis, request).analysis

    def list_analyses(self, study_id: str, *, filter_expression: str = "", page_size: int = 0) -> Iterator[Analysis]:
        """Yield the analyses of a study, oldest first; those PUBLISHED unless the filter says `state = …`."""
        request = ListAnalysesRequest(study_id=study_id, filter=filter_expression, page_size=page_size)
        for page in self.connection.pages(self._analyses.ListAnalyses, request):
            yield from page.analyses

    def publish(self, study_id: str, analysis_id: str) -> PublishAnalysisResponse:
        """Publish an analysis all of whose files Score holds."""
        request = PublishAnalysisRequest(study_id=study_id, analysis_id=analysis_id)
        method = self._analyses.PublishAnalysis
        return self.connection.call(method, request, deadline_seconds=PUBLISH_DEADLINE_SECONDS)

    def unpublish(self, study_id: str, analysis_id: str) -> UnpublishAnalysisResponse:
        """Take a published analysis back to UNPUBLISHED."""
        request = UnpublishAnalysisRequest(study_id=study_id, analysis_id=analysis_id)
        return self.connection.call(self._analyses.UnpublishAnalysis, request)

    def suppress(self, study_id: str, analysis_id: str) -> SuppressAnalysisResponse:
        """Withdraw an analysis for good."""
        request = SuppressAnalysisRequest(study_id=study_id, analysis_id=analysis_id)
        return self.connection.call(self._analyses.SuppressAnalysis, request)

    def list_files(self, study_id: str, analysis_id: str, *, page_size: int = 0) -> Iterator[File]:
        """Yield the files of an analysis, by file name."""
        request = ListFilesRequest(study_id=study_id, analysis_id=analysis_id, page_size=page_size)
        for page in self.connection.pages(self._files.ListFiles, request):
            yield from page.files

    def resolve_objects(self, object_ids: Iterable[str]) -> ResolveObjectsResponse:
        """Return what is registered for the ids, in the order asked. Any number: asks in batches of 1000."""
        everything = ResolveObjectsResponse()
        rest = iter(object_ids)
        while batch := list(islice(rest, MAX_BATCH)):
            request = ResolveObjectsRequest(object_ids=batch)
            everything.MergeFrom(self.connection.call(self._files.ResolveObjects, request))
        return everything

    @property
    def _studies(self) -> StudyServiceStub:
        return StudyServiceStub(self.connection.channel)

    @property
    def _types(self) -> AnalysisTypeServiceStub:
        return AnalysisTypeServiceStub(self.connection.channel)

    @property
    def _analyses(self) -> AnalysisServiceStub:
        return AnalysisServiceStub(self.connection.channel)

    @property
    def _files(self) -> FileServiceStub:
        return FileServiceStub(self.connection.channel)
