"""StudyService."""

from collections.abc import Iterator
from datetime import UTC, datetime

import grpc
from song.v1 import entity_pb2, study_pb2, study_service_pb2, study_service_pb2_grpc

from song_grpc.domain.errors import ParameterError
from song_grpc.domain.paging import PageRequest
from song_grpc.domain.study import Study, StudyVisibility
from song_grpc.domain.study_tree import Branch, Piece
from song_grpc.transport.caller import Callers
from song_grpc.transport.entity_messages import donor_message, sample_message, specimen_message
from song_grpc.transport.times import timestamp
from song_grpc.use_cases import studies, study_tree
from song_grpc.use_cases.environment import Environment

_VISIBILITIES = {
    study_pb2.STUDY_VISIBILITY_UNSPECIFIED: StudyVisibility.OPEN,
    study_pb2.STUDY_VISIBILITY_OPEN: StudyVisibility.OPEN,
    study_pb2.STUDY_VISIBILITY_CONTROLLED: StudyVisibility.CONTROLLED,
}
_VISIBILITY_VALUES = {
    StudyVisibility.OPEN: study_pb2.STUDY_VISIBILITY_OPEN,
    StudyVisibility.CONTROLLED: study_pb2.STUDY_VISIBILITY_CONTROLLED,
}
_UNSET_TIME = datetime.fromtimestamp(0, UTC)


class StudyServicer(study_service_pb2_grpc.StudyServiceServicer):
    """What gRPC calls."""

    def __init__(self, environment: Environment, callers: Callers) -> None:
        self._environment, self._callers = environment, callers

    def CreateStudy(
        self, request: study_service_pb2.CreateStudyRequest, context: grpc.ServicerContext
    ) -> study_service_pb2.CreateStudyResponse:
        """Create a study."""
        principal = self._callers.principal_of(context)
        if not request.HasField("study"):
            raise ParameterError("study", "is required")
        created = studies.create(self._environment, principal, _to_domain(request.study), request.request_id)
        return study_service_pb2.CreateStudyResponse(study=_to_message(created))

    def GetStudy(
        self, request: study_service_pb2.GetStudyRequest, context: grpc.ServicerContext
    ) -> study_service_pb2.GetStudyResponse:
        """Return a study."""
        found = studies.get(self._environment, self._callers.principal_of(context), request.study_id)
        return study_service_pb2.GetStudyResponse(study=_to_message(found))

    def ListStudies(
        self, request: study_service_pb2.ListStudiesRequest, context: grpc.ServicerContext
    ) -> study_service_pb2.ListStudiesResponse:
        """List studies."""
        page = PageRequest(request.page_size, request.page_token)
        principal = self._callers.principal_of(context)
        if request.ids_only:
            study_ids, token = studies.list_ids(self._environment, principal, page)
            shown = [study_pb2.Study(study_id=study_id) for study_id in study_ids]
        else:
            found, token = studies.list_page(self._environment, principal, page)
            shown = [_to_message(study) for study in found]
        return study_service_pb2.ListStudiesResponse(studies=shown, next_page_token=token)

    def UpdateStudy(
        self, request: study_service_pb2.UpdateStudyRequest, context: grpc.ServicerContext
    ) -> study_service_pb2.UpdateStudyResponse:
        """Change a study."""
        message, paths = request.study, list(request.update_mask.paths)
        if "visibility" in paths and message.visibility == study_pb2.STUDY_VISIBILITY_UNSPECIFIED:
            # Taken for OPEN, a forgotten value would open a study.
            raise ParameterError("study.visibility", "give OPEN or CONTROLLED")
        principal = self._callers.principal_of(context)
        updated = studies.update(self._environment, principal, _to_domain(message), message.etag, paths)
        return study_service_pb2.UpdateStudyResponse(study=_to_message(updated))

    def GetStudyTree(
        self, request: study_service_pb2.GetStudyTreeRequest, context: grpc.ServicerContext
    ) -> Iterator[study_service_pb2.GetStudyTreeResponse]:
        """Stream the donors of a study with their specimens and samples."""
        principal = self._callers.principal_of(context)
        for piece in study_tree.walk(self._environment, principal, request.study_id, request.after_submitter_donor_id):
            if not context.is_active():
                return
            yield _tree_message(piece)


def _tree_message(piece: Piece) -> study_service_pb2.GetStudyTreeResponse:
    """Return a piece of the tree; of what the message before has already, it names the ids only."""
    donor = piece.donor
    named = entity_pb2.Donor(donor_id=donor.donor_id, submitter_donor_id=donor.submitter_donor_id)
    return study_service_pb2.GetStudyTreeResponse(
        donor=named if piece.goes_on else donor_message(donor, with_etag=True),
        specimens=map(_branch_message, piece.branches),
        goes_on=not piece.is_last,
    )


def _branch_message(branch: Branch) -> study_service_pb2.SpecimenTree:
    specimen = branch.specimen
    named = entity_pb2.Specimen(specimen_id=specimen.specimen_id, submitter_specimen_id=specimen.submitter_specimen_id)
    return study_service_pb2.SpecimenTree(
        specimen=named if branch.goes_on else specimen_message(specimen, with_etag=True),
        samples=[sample_message(sample, with_parts=False, with_etag=True) for sample in branch.samples],
    )


def _to_domain(message: study_pb2.Study) -> Study:
    return Study(
        study_id=message.study_id,
        name=message.name,
        organization=message.organization,
        description=message.description,
        info_json=message.info_json,
        create_time=_UNSET_TIME,
        visibility=_visibility(message),
    )


def _visibility(message: study_pb2.Study) -> StudyVisibility:
    if message.visibility not in _VISIBILITIES:
        raise ParameterError("study.visibility", "is none of the contract's values")
    return _VISIBILITIES[message.visibility]


def _to_message(study: Study) -> study_pb2.Study:
    return study_pb2.Study(
        study_id=study.study_id,
        name=study.name,
        organization=study.organization,
        description=study.description,
        info_json=study.info_json,
        create_time=timestamp(study.create_time),
        visibility=_VISIBILITY_VALUES[study.visibility],
        etag=study.etag,
    )
