"""Donors, specimens and samples."""

from __future__ import annotations  # grpc's classes are generic in its types only

from collections.abc import Iterable, Iterator

from google.protobuf.field_mask_pb2 import FieldMask
from song.v1.entity_pb2 import Donor, Sample, Specimen
from song.v1.entity_service_pb2 import (
    DeleteDonorRequest,
    DeleteSampleRequest,
    DeleteSpecimenRequest,
    GetDonorRequest,
    GetSampleRequest,
    GetSpecimenRequest,
    ListDonorsRequest,
    ListSamplesRequest,
    ListSpecimensRequest,
    UpdateDonorRequest,
    UpdateDonorResponse,
    UpdateSampleRequest,
    UpdateSampleResponse,
    UpdateSpecimenRequest,
    UpdateSpecimenResponse,
)
from song.v1.entity_service_pb2_grpc import EntityServiceStub

from song_score_client.song.calls import Calls


class EntityCalls(Calls):
    """EntityService. Corrections touch every analysis that refers to what is corrected."""

    def get_donor(self, study_id: str, donor_id: str) -> Donor:
        """Return one donor."""
        request = GetDonorRequest(study_id=study_id, donor_id=donor_id)
        return self.connection.call(self._entities.GetDonor, request).donor

    def list_donors(self, study_id: str, *, page_size: int = 0) -> Iterator[Donor]:
        """Yield the donors of a study by submitter id."""
        request = ListDonorsRequest(study_id=study_id, page_size=page_size)
        for page in self.connection.pages(self._entities.ListDonors, request):
            yield from page.donors

    def update_donor(
        self, study_id: str, donor: Donor, fields: Iterable[str], *, reason: str = ""
    ) -> UpdateDonorResponse:
        """Correct these fields of a donor. `donor.etag` is the one that was read, `*` overwrites any."""
        request = UpdateDonorRequest(study_id=study_id, donor=donor, update_mask=FieldMask(paths=fields), reason=reason)
        return self.connection.call(self._entities.UpdateDonor, request)

    def delete_donor(self, study_id: str, donor_id: str, *, etag: str = "") -> int:
        """Delete a donor that no analysis refers to; return how many entities went with it, itself included."""
        request = DeleteDonorRequest(study_id=study_id, donor_id=donor_id, etag=etag)
        return self.connection.call(self._entities.DeleteDonor, request).deleted_total

    def get_specimen(self, study_id: str, specimen_id: str) -> Specimen:
        """Return one specimen."""
        request = GetSpecimenRequest(study_id=study_id, specimen_id=specimen_id)
        return self.connection.call(self._entities.GetSpecimen, request).specimen

    def list_specimens(self, study_id: str, *, donor_id: str = "", page_size: int = 0) -> Iterator[Specimen]:
        """Yield the specimens of a study, or of one donor, by submitter id."""
        request = ListSpecimensRequest(study_id=study_id, donor_id=donor_id, page_size=page_size)
        for page in self.connection.pages(self._entities.ListSpecimens, request):
            yield from page.specimens

    def update_specimen(
        self, study_id: str, specimen: Specimen, fields: Iterable[str], *, reason: str = ""
    ) -> UpdateSpecimenResponse:
        """Correct these fields of a specimen. `specimen.etag` is the one that was read, `*` overwrites any."""
        request = UpdateSpecimenRequest(
            study_id=study_id, specimen=specimen, update_mask=FieldMask(paths=fields), reason=reason
        )
        return self.connection.call(self._entities.UpdateSpecimen, request)

    def delete_specimen(self, study_id: str, specimen_id: str, *, etag: str = "") -> int:
        """Delete a specimen that no analysis refers to; return how many entities went with it, itself included."""
        request = DeleteSpecimenRequest(study_id=study_id, specimen_id=specimen_id, etag=etag)
        return self.connection.call(self._entities.DeleteSpecimen, request).deleted_total

    def get_sample(self, study_id: str, sample_id: str) -> Sample:
        """Return one sample."""
        request = GetSampleRequest(study_id=study_id, sample_id=sample_id)
        return self.connection.call(self._entities.GetSample, request).sample

    def list_samples(self, study_id: str, *, specimen_id: str = "", page_size: int = 0) -> Iterator[Sample]:
        """Yield the samples of a study, or of one specimen, by submitter id."""
        request = ListSamplesRequest(study_id=study_id, specimen_id=specimen_id, page_size=page_size)
        for page in self.connection.pages(self._entities.ListSamples, request):
            yield from page.samples

    def update_sample(
        self, study_id: str, sample: Sample, fields: Iterable[str], *, reason: str = ""
    ) -> UpdateSampleResponse:
        """Correct these fields of a sample. `sample.etag` is the one that was read, `*` overwrites any."""
        request = UpdateSampleRequest(
            study_id=study_id, sample=sample, update_mask=FieldMask(paths=fields), reason=reason
        )
        return self.connection.call(self._entities.UpdateSample, request)

    def delete_sample(self, study_id: str, sample_id: str, *, etag: str = "") -> int:
        """Delete a sample that no analysis refers to; return how many entities went with it, itself included."""
        request = DeleteSampleRequest(study_id=study_id, sample_id=sample_id, etag=etag)
        return self.connection.call(self._entities.DeleteSample, request).deleted_total

    @property
    def _entities(self) -> EntityServiceStub:
        return EntityServiceStub(self.connection.channel)
