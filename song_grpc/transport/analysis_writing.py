"""AnalysisService: what submits and changes."""

import grpc
from song.v1 import analysis_pb2, analysis_service_pb2, analysis_service_pb2_grpc

from song_grpc.transport.analysis_messages import fitting_violations
from song_grpc.transport.caller import Callers
from song_grpc.use_cases import change_state, publish, submit
from song_grpc.use_cases.environment import Environment
from song_grpc.use_cases.submit import Submitted


class AnalysisWriting(analysis_service_pb2_grpc.AnalysisServiceServicer):
    """What submits and changes."""

    def __init__(self, environment: Environment, callers: Callers) -> None:
        self._environment, self._callers = environment, callers

    def SubmitAnalysis(
        self, request: analysis_service_pb2.SubmitAnalysisRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.SubmitAnalysisResponse:
        """Submit an analysis."""
        principal = self._callers.principal_of(context)
        submitted = Submitted(request.study_id, request.payload_json, request.allow_duplicates, context.is_active)
        analysis_id = submit.submit(self._environment, principal, submitted, request.request_id)
        return analysis_service_pb2.SubmitAnalysisResponse(analysis_id=analysis_id)

    def ValidateAnalysis(
        self, request: analysis_service_pb2.ValidateAnalysisRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.ValidateAnalysisResponse:
        """Check a payload."""
        principal = self._callers.principal_of(context)
        submitted = Submitted(request.study_id, request.payload_json, request.allow_duplicates, context.is_active)
        found = submit.validate(self._environment, principal, submitted)
        return analysis_service_pb2.ValidateAnalysisResponse(
            violations=fitting_violations(found.first), violation_total=found.total
        )

    def PublishAnalysis(
        self, request: analysis_service_pb2.PublishAnalysisRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.PublishAnalysisResponse:
        """Publish an analysis."""
        principal = self._callers.principal_of(context)
        changed = publish.publish(self._environment, principal, request.study_id, request.analysis_id)
        state = analysis_pb2.ANALYSIS_STATE_PUBLISHED
        return analysis_service_pb2.PublishAnalysisResponse(state=state, changed=changed)

    def UnpublishAnalysis(
        self, request: analysis_service_pb2.UnpublishAnalysisRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.UnpublishAnalysisResponse:
        """Take an analysis back."""
        principal = self._callers.principal_of(context)
        changed = change_state.unpublish(self._environment, principal, request.study_id, request.analysis_id)
        state = analysis_pb2.ANALYSIS_STATE_UNPUBLISHED
        return analysis_service_pb2.UnpublishAnalysisResponse(state=state, changed=changed)

    def SuppressAnalysis(
        self, request: analysis_service_pb2.SuppressAnalysisRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.SuppressAnalysisResponse:
        """Withdraw an analysis for good."""
        principal = self._callers.principal_of(context)
        changed = change_state.suppress(self._environment, principal, request.study_id, request.analysis_id)
        state = analysis_pb2.ANALYSIS_STATE_SUPPRESSED
        return analysis_service_pb2.SuppressAnalysisResponse(state=state, changed=changed)
