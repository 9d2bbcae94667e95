"""FileService."""

import grpc
from song.v1 import analysis_pb2, file_pb2, file_service_pb2, file_service_pb2_grpc

from song_grpc.domain.analysis import AnalysisState, File, FileAccess
from song_grpc.domain.paging import PageRequest
from song_grpc.transport.caller import Callers
from song_grpc.use_cases import analyses
from song_grpc.use_cases.environment import Environment

_ACCESS_VALUES = {
    FileAccess.OPEN: file_pb2.FILE_ACCESS_OPEN,
    FileAccess.CONTROLLED: file_pb2.FILE_ACCESS_CONTROLLED,
}
STATE_VALUES = {
    AnalysisState.UNPUBLISHED: analysis_pb2.ANALYSIS_STATE_UNPUBLISHED,
    AnalysisState.PUBLISHED: analysis_pb2.ANALYSIS_STATE_PUBLISHED,
    AnalysisState.SUPPRESSED: analysis_pb2.ANALYSIS_STATE_SUPPRESSED,
}


class FileServicer(file_service_pb2_grpc.FileServiceServicer):
    """What gRPC calls."""

    def __init__(self, environment: Environment, callers: Callers) -> None:
        self._environment, self._callers = environment, callers

    def ListFiles(
        self, request: file_service_pb2.ListFilesRequest, context: grpc.ServicerContext
    ) -> file_service_pb2.ListFilesResponse:
        """List the files of an analysis."""
        principal = self._callers.principal_of(context)
        page = PageRequest(request.page_size, request.page_token)
        found, token = analyses.list_files(self._environment, principal, request.study_id, request.analysis_id, page)
        return file_service_pb2.ListFilesResponse(files=map(file_message, found), next_page_token=token)

    def ResolveObjects(
        self, request: file_service_pb2.ResolveObjectsRequest, context: grpc.ServicerContext
    ) -> file_service_pb2.ResolveObjectsResponse:
        """Say what is registered for object ids."""
        principal = self._callers.principal_of(context)
        found, missing = analyses.resolve_objects(self._environment, principal, list(request.object_ids))
        objects = [
            file_service_pb2.RegisteredObject(file=file_message(file), analysis_state=STATE_VALUES[state])
            for file, state in found
        ]
        return file_service_pb2.ResolveObjectsResponse(objects=objects, missing_object_ids=missing)


def file_message(file: File) -> file_pb2.File:
    """Return a file as message."""
    return file_pb2.File(
        object_id=file.object_id,
        study_id=file.study_id,
        analysis_id=file.analysis_id,
        file_name=file.file_name,
        size_bytes=file.size_bytes,
        file_type=file.file_type,
        md5=file.md5,
        access=_ACCESS_VALUES[file.access],
        data_type=file.data_type,
        info_json=file.info_json,
        etag=file.etag,
    )
