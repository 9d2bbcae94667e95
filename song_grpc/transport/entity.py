"""EntityService."""

import grpc
from song.v1 import entity_service_pb2 as pb
from song.v1 import entity_service_pb2_grpc

from song_grpc.domain.corrections import DONOR, SAMPLE, SPECIMEN
from song_grpc.domain.paging import PageRequest
from song_grpc.transport.caller import Callers
from song_grpc.transport.entity_messages import (
    donor_message,
    donor_of,
    sample_message,
    sample_of,
    specimen_message,
    specimen_of,
)
from song_grpc.use_cases import entities
from song_grpc.use_cases.entities import Children, Correction, EntityRef
from song_grpc.use_cases.environment import Environment


class EntityServicer(entity_service_pb2_grpc.EntityServiceServicer):
    """What gRPC calls."""

    def __init__(self, environment: Environment, callers: Callers) -> None:
        self._environment, self._callers = environment, callers

    def GetDonor(self, request: pb.GetDonorRequest, context: grpc.ServicerContext) -> pb.GetDonorResponse:
        """Return a donor."""
        ref = EntityRef(DONOR, request.study_id, request.donor_id)
        found = entities.get(self._environment, self._callers.principal_of(context), ref)
        return pb.GetDonorResponse(donor=donor_message(found, with_etag=True))

    def ListDonors(self, request: pb.ListDonorsRequest, context: grpc.ServicerContext) -> pb.ListDonorsResponse:
        """List the donors of a study."""
        principal = self._callers.principal_of(context)
        page = PageRequest(request.page_size, request.page_token)
        found, token = entities.list_page(self._environment, principal, Children(DONOR, request.study_id), page)
        shown = [donor_message(donor, with_etag=True) for donor in found]
        return pb.ListDonorsResponse(donors=shown, next_page_token=token)

    def UpdateDonor(self, request: pb.UpdateDonorRequest, context: grpc.ServicerContext) -> pb.UpdateDonorResponse:
        """Correct a donor."""
        correction = Correction(
            EntityRef(DONOR, request.study_id, request.donor.donor_id),
            donor_of(request.donor, request.study_id),
            request.donor.etag,
            list(request.update_mask.paths),
            request.reason,
            context.is_active,
        )
        corrected, total = entities.correct(self._environment, self._callers.principal_of(context), correction)
        return pb.UpdateDonorResponse(donor=donor_message(corrected, with_etag=True), touched_analysis_total=total)

    def DeleteDonor(self, request: pb.DeleteDonorRequest, context: grpc.ServicerContext) -> pb.DeleteDonorResponse:
        """Delete a donor."""
        ref = EntityRef(DONOR, request.study_id, request.donor_id)
        total = entities.delete(self._environment, self._callers.principal_of(context), ref, request.etag)
        return pb.DeleteDonorResponse(deleted_total=total)

    def GetSpecimen(self, request: pb.GetSpecimenRequest, context: grpc.ServicerContext) -> pb.GetSpecimenResponse:
        """Return a specimen."""
        ref = EntityRef(SPECIMEN, request.study_id, request.specimen_id)
        found = entities.get(self._environment, self._callers.principal_of(context), ref)
        return pb.GetSpecimenResponse(specimen=specimen_message(found, with_etag=True))

    def ListSpecimens(
        self, request: pb.ListSpecimensRequest, context: grpc.ServicerContext
    ) -> pb.ListSpecimensResponse:
        """List the specimens of a study, or of a donor."""
        principal = self._callers.principal_of(context)
        page = PageRequest(request.page_size, request.page_token)
        of = Children(SPECIMEN, request.study_id, request.donor_id)
        found, token = entities.list_page(self._environment, principal, of, page)
        shown = [specimen_message(specimen, with_etag=True) for specimen in found]
        return pb.ListSpecimensResponse(specimens=shown, next_page_token=token)

    def UpdateSpecimen(
        self, request: pb.UpdateSpecimenRequest, context: grpc.ServicerContext
    ) -> pb.UpdateSpecimenResponse:
        """Correct a specimen."""
        correction = Correction(
            EntityRef(SPECIMEN, request.study_id, request.specimen.specimen_id),
            specimen_of(request.specimen),
            request.specimen.etag,
            list(request.update_mask.paths),
            request.reason,
            context.is_active,
        )
        corrected, total = entities.correct(self._environment, self._callers.principal_of(context), correction)
        shown = specimen_message(corrected, with_etag=True)
        return pb.UpdateSpecimenResponse(specimen=shown, touched_analysis_total=total)

    def DeleteSpecimen(
        self, request: pb.DeleteSpecimenRequest, context: grpc.ServicerContext
    ) -> pb.DeleteSpecimenResponse:
        """Delete a specimen."""
        ref = EntityRef(SPECIMEN, request.study_id, request.specimen_id)
        total = entities.delete(self._environment, self._callers.principal_of(context), ref, request.etag)
        return pb.DeleteSpecimenResponse(deleted_total=total)

    def GetSample(self, request: pb.GetSampleRequest, context: grpc.ServicerContext) -> pb.GetSampleResponse:
        """Return a sample."""
        ref = EntityRef(SAMPLE, request.study_id, request.sample_id)
        found = entities.get(self._environment, self._callers.principal_of(context), ref)
        return pb.GetSampleResponse(sample=sample_message(found, with_etag=True))

    def ListSamples(self, request: pb.ListSamplesRequest, context: grpc.ServicerContext) -> pb.ListSamplesResponse:
        """List the samples of a study, or of a specimen."""
        principal = self._callers.principal_of(context)
        page = PageRequest(request.page_size, request.page_token)
        of = Children(SAMPLE, request.study_id, request.specimen_id)
        found, token = entities.list_page(self._environment, principal, of, page)
        shown = [sample_message(sample, with_etag=True) for sample in found]
        return pb.ListSamplesResponse(samples=shown, next_page_token=token)

    def UpdateSample(self, request: pb.UpdateSampleRequest, context: grpc.ServicerContext) -> pb.UpdateSampleResponse:
        """Correct a sample."""
        correction = Correction(
            EntityRef(SAMPLE, request.study_id, request.sample.sample_id),
            sample_of(request.sample, request.study_id),
            request.sample.etag,
            list(request.update_mask.paths),
            request.reason,
            context.is_active,
        )
        corrected, total = entities.correct(self._environment, self._callers.principal_of(context), correction)
        return pb.UpdateSampleResponse(sample=sample_message(corrected, with_etag=True), touched_analysis_total=total)

    def DeleteSample(self, request: pb.DeleteSampleRequest, context: grpc.ServicerContext) -> pb.DeleteSampleResponse:
        """Delete a sample."""
        ref = EntityRef(SAMPLE, request.study_id, request.sample_id)
        total = entities.delete(self._environment, self._callers.principal_of(context), ref, request.etag)
        return pb.DeleteSampleResponse(deleted_total=total)
