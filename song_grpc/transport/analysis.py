"""AnalysisService."""

from collections.abc import Sequence

import grpc
from song.v1 import (
    analysis_pb2,
    analysis_service_pb2,
    analysis_service_pb2_grpc,
    analysis_type_pb2,
    entity_pb2,
)

from song_grpc.domain.analysis import Analysis, Donor, Sample, Specimen, StateChange
from song_grpc.domain.limits import MAX_PAGE_BYTES
from song_grpc.domain.paging import PageRequest
from song_grpc.domain.violations import Violation
from song_grpc.transport.caller import Callers
from song_grpc.transport.file import STATE_VALUES, file_message
from song_grpc.transport.times import timestamp
from song_grpc.use_cases import analyses, change_state, publish, submit
from song_grpc.use_cases.environment import Environment
from song_grpc.use_cases.submit import Submitted

_VIOLATION_OVERHEAD_BYTES = 24  # tags and lengths


class AnalysisServicer(analysis_service_pb2_grpc.AnalysisServiceServicer):
    """What gRPC calls."""

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
            violations=_fitting(found.first), violation_total=found.total
        )

    def GetAnalysis(
        self, request: analysis_service_pb2.GetAnalysisRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.GetAnalysisResponse:
        """Return an analysis."""
        principal = self._callers.principal_of(context)
        found = analyses.get(self._environment, principal, request.study_id, request.analysis_id)
        return analysis_service_pb2.GetAnalysisResponse(analysis=_to_message(found))

    def ListAnalyses(
        self, request: analysis_service_pb2.ListAnalysesRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.ListAnalysesResponse:
        """List the analyses of a study."""
        principal = self._callers.principal_of(context)
        page = PageRequest(request.page_size, request.page_token)
        found, token = analyses.list_page(self._environment, principal, request.study_id, request.filter, page)
        return analysis_service_pb2.ListAnalysesResponse(analyses=map(_to_message, found), next_page_token=token)

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


def _fitting(violations: Sequence[Violation]) -> list[analysis_pb2.SchemaViolation]:
    """Return the first violations that fit into a response."""
    messages: list[analysis_pb2.SchemaViolation] = []
    total = 0
    for violation in violations:
        message = analysis_pb2.SchemaViolation(
            pointer=violation.pointer,
            keyword=violation.keyword,
            message=violation.message,
            schema_pointer=violation.schema_pointer,
        )
        total += message.ByteSize() + _VIOLATION_OVERHEAD_BYTES
        if total > MAX_PAGE_BYTES:
            break
        messages.append(message)
    return messages


def _to_message(analysis: Analysis) -> analysis_pb2.Analysis:
    first, last = analysis.first_publish_time, analysis.publish_time
    return analysis_pb2.Analysis(
        analysis_id=analysis.analysis_id,
        study_id=analysis.study_id,
        state=STATE_VALUES[analysis.state],
        analysis_type=analysis_type_pb2.AnalysisTypeReference(name=analysis.type_name, version=analysis.type_version),
        samples=map(_sample_message, analysis.samples),
        files=map(file_message, analysis.files),
        data_json=analysis.data_json,
        create_time=timestamp(analysis.create_time),
        update_time=timestamp(analysis.update_time),
        first_publish_time=None if first is None else timestamp(first),
        publish_time=None if last is None else timestamp(last),
        state_changes=map(_change_message, analysis.state_changes),
    )


def _change_message(change: StateChange) -> analysis_pb2.StateChange:
    return analysis_pb2.StateChange(
        initial_state=STATE_VALUES[change.initial_state],
        updated_state=STATE_VALUES[change.updated_state],
        update_time=timestamp(change.time),
        actor=change.actor,
    )


def _sample_message(sample: Sample) -> entity_pb2.Sample:
    return entity_pb2.Sample(
        sample_id=sample.sample_id,
        specimen_id=sample.specimen_id,
        submitter_sample_id=sample.submitter_sample_id,
        sample_type=sample.sample_type,
        matched_normal_submitter_sample_id=sample.matched_normal_submitter_sample_id,
        info_json=sample.info_json,
        specimen=_specimen_message(sample.specimen),
        donor=_donor_message(sample.donor),
    )


def _specimen_message(specimen: Specimen) -> entity_pb2.Specimen:
    return entity_pb2.Specimen(
        specimen_id=specimen.specimen_id,
        donor_id=specimen.donor_id,
        submitter_specimen_id=specimen.submitter_specimen_id,
        tumour_normal_designation=specimen.tumour_normal_designation,
        specimen_tissue_source=specimen.specimen_tissue_source,
        specimen_type=specimen.specimen_type,
        info_json=specimen.info_json,
    )


def _donor_message(donor: Donor) -> entity_pb2.Donor:
    return entity_pb2.Donor(
        donor_id=donor.donor_id,
        submitter_donor_id=donor.submitter_donor_id,
        gender=donor.gender,
        info_json=donor.info_json,
    )
