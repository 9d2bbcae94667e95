"""AnalysisService: what reads."""

import grpc
from song.v1 import analysis_service_pb2, analysis_service_pb2_grpc

from song_grpc.domain.paging import PageRequest
from song_grpc.transport.analysis_messages import analysis_message
from song_grpc.transport.caller import Callers
from song_grpc.use_cases import analyses
from song_grpc.use_cases.environment import Environment


class AnalysisReading(analysis_service_pb2_grpc.AnalysisServiceServicer):
    """What reads."""

    def __init__(self, environment: Environment, callers: Callers) -> None:
        self._environment, self._callers = environment, callers

    def GetAnalysis(
        self, request: analysis_service_pb2.GetAnalysisRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.GetAnalysisResponse:
        """Return an analysis."""
        principal = self._callers.principal_of(context)
        found = analyses.get(self._environment, principal, request.study_id, request.analysis_id)
        return analysis_service_pb2.GetAnalysisResponse(analysis=analysis_message(found))

    def ListAnalyses(
        self, request: analysis_service_pb2.ListAnalysesRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.ListAnalysesResponse:
        """List the analyses of a study."""
        principal = self._callers.principal_of(context)
        page = PageRequest(request.page_size, request.page_token)
        found, token = analyses.list_page(self._environment, principal, request.study_id, request.filter, page)
        return analysis_service_pb2.ListAnalysesResponse(analyses=map(analysis_message, found), next_page_token=token)
