"""Studies."""

from __future__ import annotations  # grpc's classes are generic in its types only

from collections.abc import Iterable, Iterator
from uuid import uuid4

from google.protobuf.field_mask_pb2 import FieldMask
from song.v1.study_pb2 import Study
from song.v1.study_service_pb2 import (
    CreateStudyRequest,
    GetStudyRequest,
    GetStudyTreeRequest,
    GetStudyTreeResponse,
    ListStudiesRequest,
    UpdateStudyRequest,
)
from song.v1.study_service_pb2_grpc import StudyServiceStub

from song_score_client.song.calls import Calls


class StudyCalls(Calls):
    """StudyService."""

    def create_study(self, study: Study, *, request_id: str | None = None) -> Study:
        """Create a study and return it as stored."""
        request = CreateStudyRequest(study=study, request_id=request_id or str(uuid4()))
        return self.connection.call(self._studies.CreateStudy, request).study

    def get_study(self, study_id: str) -> Study:
        """Return one study."""
        return self.connection.call(self._studies.GetStudy, GetStudyRequest(study_id=study_id)).study

    def list_studies(self, *, ids_only: bool = False, page_size: int = 0) -> Iterator[Study]:
        """Yield all studies in the order of their ids."""
        request = ListStudiesRequest(page_size=page_size, ids_only=ids_only)
        for page in self.connection.pages(self._studies.ListStudies, request):
            yield from page.studies

    def update_study(self, study: Study, fields: Iterable[str]) -> Study:
        """Change these fields of a study and return it. `study.etag` is the one that was read, `*` overwrites any."""
        request = UpdateStudyRequest(study=study, update_mask=FieldMask(paths=fields))
        return self.connection.call(self._studies.UpdateStudy, request).study

    def get_study_tree(self, study_id: str, *, after_submitter_donor_id: str = "") -> Iterator[GetStudyTreeResponse]:
        """Yield every donor with its specimens and their samples, by submitter id.

        A donor with very many comes in several messages in a row, which `song.study_tree.whole_donors` puts together.
        Where the stream breaks, ServiceError is raised: go on after the last donor whose `goes_on` was false.
        """
        request = GetStudyTreeRequest(study_id=study_id, after_submitter_donor_id=after_submitter_donor_id)
        yield from self.connection.stream(self._studies.GetStudyTree, request)

    @property
    def _studies(self) -> StudyServiceStub:
        return StudyServiceStub(self.connection.channel)
