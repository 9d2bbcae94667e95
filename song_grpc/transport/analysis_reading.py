"""AnalysisService: what reads."""

import grpc
from song.v1 import analysis_service_pb2, analysis_service_pb2_grpc

from song_grpc.domain import read_masks
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.id_search import IdKind, IdMatch, IdSearch
from song_grpc.domain.paging import PageRequest
from song_grpc.transport.analysis_messages import analysis_message
from song_grpc.transport.caller import Callers
from song_grpc.use_cases import analyses
from song_grpc.use_cases.environment import Environment
from song_grpc.use_cases.search import search_page

_MATCHES: dict[int, IdMatch] = {
    analysis_service_pb2.ID_MATCH_UNSPECIFIED: IdMatch.EXACT,
    analysis_service_pb2.ID_MATCH_EXACT: IdMatch.EXACT,
    analysis_service_pb2.ID_MATCH_PREFIX: IdMatch.PREFIX,
    analysis_service_pb2.ID_MATCH_REGEX: IdMatch.REGEX,
}


class AnalysisReading(analysis_service_pb2_grpc.AnalysisServiceServicer):
    """What reads."""

    def __init__(self, environment: Environment, callers: Callers) -> None:
        self._environment, self._callers = environment, callers

    def GetAnalysis(
        self, request: analysis_service_pb2.GetAnalysisRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.GetAnalysisResponse:
        """Return an analysis."""
        principal = self._callers.principal_of(context)
        wanted = read_masks.parse(request.read_mask.paths)
        found, shown = analyses.get(self._environment, principal, request.study_id, request.analysis_id, wanted)
        return analysis_service_pb2.GetAnalysisResponse(analysis=analysis_message(found, shown))

    def ListAnalyses(
        self, request: analysis_service_pb2.ListAnalysesRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.ListAnalysesResponse:
        """List the analyses of a study."""
        principal = self._callers.principal_of(context)
        page = PageRequest(request.page_size, request.page_token)
        selection = (request.filter, request.order_by)
        wanted = read_masks.parse(request.read_mask.paths)
        found, shown, token = analyses.list_page(
            self._environment, principal, request.study_id, selection, page, wanted
        )
        messages = [analysis_message(analysis, shown) for analysis in found]
        return analysis_service_pb2.ListAnalysesResponse(analyses=messages, next_page_token=token)

    def SearchAnalysesById(
        self, request: analysis_service_pb2.SearchAnalysesByIdRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.SearchAnalysesByIdResponse:
        """Find analyses of a study by ids."""
        principal = self._callers.principal_of(context)
        page = PageRequest(request.page_size, request.page_token)
        texts = {kind: getattr(request, kind.value) for kind in IdKind}
        search = IdSearch(_read_match(request.match), {kind: text for kind, text in texts.items() if text})
        wanted = read_masks.parse(request.read_mask.paths)
        found, shown, token = search_page(self._environment, principal, request.study_id, search, page, wanted)
        messages = [analysis_message(analysis, shown) for analysis in found]
        return analysis_service_pb2.SearchAnalysesByIdResponse(analyses=messages, next_page_token=token)


def _read_match(value: int) -> IdMatch:
    match = _MATCHES.get(value)
    if match is None:
        raise ParameterError("match", "is none of the contract's values")
    return match
