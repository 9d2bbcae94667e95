"""Analyses: reading them."""

from __future__ import annotations  # grpc's classes are generic in its types only

from collections.abc import Iterable, Iterator

from google.protobuf.field_mask_pb2 import FieldMask
from song.v1.analysis_pb2 import Analysis
from song.v1.analysis_service_pb2 import (
    ExportAnalysesRequest,
    ExportAnalysesResponse,
    GetAnalysisRequest,
    HistoryEntry,
    ListAnalysesRequest,
    ListAnalysisHistoryRequest,
    SearchAnalysesByIdRequest,
)
from song.v1.analysis_service_pb2_grpc import AnalysisServiceStub

from song_score_client.song.calls import Calls


class AnalysisCalls(Calls):
    """What reads of AnalysisService."""

    def get_analysis(self, study_id: str, analysis_id: str, *, fields: Iterable[str] = ()) -> Analysis:
        """Return one analysis, or only these fields of it."""
        request = GetAnalysisRequest(study_id=study_id, analysis_id=analysis_id, read_mask=_mask(fields))
        return self.connection.call(self._analyses.GetAnalysis, request).analysis

    def list_analyses(
        self,
        study_id: str,
        *,
        filter_expression: str = "",
        order_by: str = "",
        fields: Iterable[str] = (),
        page_size: int = 0,
    ) -> Iterator[Analysis]:
        """Yield the analyses of a study, oldest first; those PUBLISHED unless the filter says `state = …`."""
        request = ListAnalysesRequest(
            study_id=study_id,
            filter=filter_expression,
            order_by=order_by,
            read_mask=_mask(fields),
            page_size=page_size,
        )
        for page in self.connection.pages(self._analyses.ListAnalyses, request):
            yield from page.analyses

    def search_analyses_by_id(self, request: SearchAnalysesByIdRequest) -> Iterator[Analysis]:
        """Yield the analyses that the ids of the request lead to, oldest first, in all states the caller may see."""
        for page in self.connection.pages(self._analyses.SearchAnalysesById, request):
            yield from page.analyses

    def list_analysis_history(self, study_id: str, analysis_id: str, *, page_size: int = 0) -> Iterator[HistoryEntry]:
        """Yield what happened to an analysis, oldest first."""
        request = ListAnalysisHistoryRequest(study_id=study_id, analysis_id=analysis_id, page_size=page_size)
        for page in self.connection.pages(self._analyses.ListAnalysisHistory, request):
            yield from page.entries

    def export_study(self, study_id: str, *, omit_type_version: bool = False) -> Iterator[ExportAnalysesResponse]:
        """Yield the payload of every analysis of a study, oldest first; goes on where the stream broke."""
        request = ExportAnalysesRequest(study_id=study_id, omit_type_version=omit_type_version)

        def advance(answer: ExportAnalysesResponse) -> None:
            request.after_analysis_id = answer.analysis_id

        yield from self.connection.stream(self._analyses.ExportAnalyses, request, advance)

    def export_analyses(
        self, analysis_ids: Iterable[str], *, omit_type_version: bool = False
    ) -> Iterator[ExportAnalysesResponse]:
        """Yield the payloads of these analyses, at most 10 000, in the order asked; goes on where the stream broke."""
        request = ExportAnalysesRequest(analysis_ids=analysis_ids, omit_type_version=omit_type_version)

        def advance(_answer: ExportAnalysesResponse) -> None:
            del request.analysis_ids[0]

        yield from self.connection.stream(
            self._analyses.ExportAnalyses, request, advance, is_done=lambda: not request.analysis_ids
        )

    @property
    def _analyses(self) -> AnalysisServiceStub:
        return AnalysisServiceStub(self.connection.channel)


def _mask(fields: Iterable[str]) -> FieldMask | None:
    paths = list(fields)
    return FieldMask(paths=paths) if paths else None
