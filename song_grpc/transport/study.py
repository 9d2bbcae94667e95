"""StudyService."""

from datetime import UTC, datetime

import grpc
from song.v1 import study_pb2, study_service_pb2, study_service_pb2_grpc

from song_grpc.domain.errors import ParameterError
from song_grpc.domain.paging import PageRequest
from song_grpc.domain.study import Study, StudyVisibility
from song_grpc.transport.caller import Callers
from song_grpc.transport.times import timestamp
from song_grpc.use_cases import studies
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
        found, token = studies.list_page(self._environment, self._callers.principal_of(context), page)
        return study_service_pb2.ListStudiesResponse(studies=map(_to_message, found), next_page_token=token)


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
