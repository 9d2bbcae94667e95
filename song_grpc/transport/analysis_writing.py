"""AnalysisService: what submits and changes."""

import grpc
from song.v1 import analysis_pb2, analysis_service_pb2, analysis_service_pb2_grpc, analysis_type_pb2

from song_grpc.transport.analysis_messages import fitting_violations
from song_grpc.transport.caller import Callers
from song_grpc.transport.file import STATE_VALUES
from song_grpc.use_cases import change_state, publish, submit, update
from song_grpc.use_cases.change_state import StateRequest
from song_grpc.use_cases.environment import Environment
from song_grpc.use_cases.submit import Submitted
from song_grpc.use_cases.update import Change


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

    def UpdateAnalysis(
        self, request: analysis_service_pb2.UpdateAnalysisRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.UpdateAnalysisResponse:
        """Replace the dynamic data of an analysis."""
        principal = self._callers.principal_of(context)
        change = Change(
            *(request.study_id, request.analysis_id, request.update_json, request.etag, request.reason),
            context.is_active,
        )
        updated = update.update(self._environment, principal, change)
        analysis = updated.analysis
        return analysis_service_pb2.UpdateAnalysisResponse(
            etag=analysis.etag,
            changed=updated.changed,
            analysis_type=analysis_type_pb2.AnalysisTypeReference(
                name=analysis.type_name, version=analysis.type_version
            ),
        )

    def PatchAnalysis(
        self, request: analysis_service_pb2.PatchAnalysisRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.PatchAnalysisResponse:
        """Patch the dynamic data of an analysis."""
        principal = self._callers.principal_of(context)
        change = Change(
            *(request.study_id, request.analysis_id, request.patch_json, request.etag, request.reason),
            context.is_active,
        )
        updated = update.patch(self._environment, principal, change)
        return analysis_service_pb2.PatchAnalysisResponse(etag=updated.analysis.etag, changed=updated.changed)

    def PublishAnalysis(
        self, request: analysis_service_pb2.PublishAnalysisRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.PublishAnalysisResponse:
        """Publish an analysis, or only check whether that could be."""
        principal = self._callers.principal_of(context)
        wanted = _state_request(request)
        if request.validate_only:
            state = publish.check(self._environment, principal, wanted)
            return analysis_service_pb2.PublishAnalysisResponse(state=STATE_VALUES[state], changed=False)
        changed = publish.publish(self._environment, principal, wanted)
        state_value = analysis_pb2.ANALYSIS_STATE_PUBLISHED
        return analysis_service_pb2.PublishAnalysisResponse(state=state_value, changed=changed)

    def UnpublishAnalysis(
        self, request: analysis_service_pb2.UnpublishAnalysisRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.UnpublishAnalysisResponse:
        """Take an analysis back."""
        principal = self._callers.principal_of(context)
        changed = change_state.unpublish(self._environment, principal, _state_request(request))
        state = analysis_pb2.ANALYSIS_STATE_UNPUBLISHED
        return analysis_service_pb2.UnpublishAnalysisResponse(state=state, changed=changed)

    def SuppressAnalysis(
        self, request: analysis_service_pb2.SuppressAnalysisRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.SuppressAnalysisResponse:
        """Withdraw an analysis for good."""
        principal = self._callers.principal_of(context)
        changed = change_state.suppress(self._environment, principal, _state_request(request))
        state = analysis_pb2.ANALYSIS_STATE_SUPPRESSED
        return analysis_service_pb2.SuppressAnalysisResponse(state=state, changed=changed)


def _state_request(
    request: analysis_service_pb2.PublishAnalysisRequest
    | analysis_service_pb2.UnpublishAnalysisRequest
    | analysis_service_pb2.SuppressAnalysisRequest,
) -> StateRequest:
    return StateRequest(request.study_id, request.analysis_id, request.etag, request.reason)
