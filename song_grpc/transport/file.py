"""FileService."""

import grpc
from song.v1 import analysis_pb2, file_pb2, file_service_pb2, file_service_pb2_grpc

from song_grpc.domain.analysis import AnalysisState, File, FileAccess
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.file_updates import FileUpdateType, FileValues
from song_grpc.domain.paging import PageRequest
from song_grpc.domain.registered_object import ObjectConditions, RegisteredObject
from song_grpc.transport.caller import Callers
from song_grpc.use_cases import analyses, files, objects
from song_grpc.use_cases.environment import Environment
from song_grpc.use_cases.files import UnwantedFiles, WantedFile

_ACCESS_VALUES = {
    FileAccess.OPEN: file_pb2.FILE_ACCESS_OPEN,
    FileAccess.CONTROLLED: file_pb2.FILE_ACCESS_CONTROLLED,
}
_ACCESS_OF: dict[int, FileAccess] = {value: access for access, value in _ACCESS_VALUES.items()}
_ACCESS_NAMES = {value: access.value for access, value in _ACCESS_VALUES.items()}
_UPDATE_TYPES = {
    FileUpdateType.NO_UPDATE: file_service_pb2.FILE_UPDATE_TYPE_NO_UPDATE,
    FileUpdateType.METADATA_UPDATE: file_service_pb2.FILE_UPDATE_TYPE_METADATA_UPDATE,
    FileUpdateType.CONTENT_UPDATE: file_service_pb2.FILE_UPDATE_TYPE_CONTENT_UPDATE,
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

    def GetFile(
        self, request: file_service_pb2.GetFileRequest, context: grpc.ServicerContext
    ) -> file_service_pb2.GetFileResponse:
        """Return a file."""
        found = files.get(self._environment, self._callers.principal_of(context), request.study_id, request.object_id)
        return file_service_pb2.GetFileResponse(file=file_message(found))

    def UpdateFile(
        self, request: file_service_pb2.UpdateFileRequest, context: grpc.ServicerContext
    ) -> file_service_pb2.UpdateFileResponse:
        """Change the description of a file."""
        message = request.file
        values = FileValues(
            message.size_bytes, message.md5, _ACCESS_NAMES.get(message.access, ""), message.data_type, message.info_json
        )
        paths = list(request.update_mask.paths)
        wanted = WantedFile(message.study_id, message.object_id, message.etag, values, paths)
        updated = files.update(self._environment, self._callers.principal_of(context), wanted, request.reason)
        return file_service_pb2.UpdateFileResponse(
            update_type=_UPDATE_TYPES[updated.update_type],
            original_file=file_message(updated.before),
            file=file_message(updated.after),
            analysis_state=STATE_VALUES[updated.state],
        )

    def DeleteFiles(
        self, request: file_service_pb2.DeleteFilesRequest, context: grpc.ServicerContext
    ) -> file_service_pb2.DeleteFilesResponse:
        """Delete files of an UNPUBLISHED analysis."""
        unwanted = UnwantedFiles(request.study_id, request.analysis_id, list(request.object_ids), request.etag)
        etag = files.delete(self._environment, self._callers.principal_of(context), unwanted, request.reason)
        return file_service_pb2.DeleteFilesResponse(etag=etag)

    def ResolveObjects(
        self, request: file_service_pb2.ResolveObjectsRequest, context: grpc.ServicerContext
    ) -> file_service_pb2.ResolveObjectsResponse:
        """Say what is registered for object ids."""
        principal = self._callers.principal_of(context)
        found, missing = objects.resolve(self._environment, principal, list(request.object_ids))
        messages = map(_object_message, found)
        return file_service_pb2.ResolveObjectsResponse(objects=messages, missing_object_ids=missing)

    def ListObjects(
        self, request: file_service_pb2.ListObjectsRequest, context: grpc.ServicerContext
    ) -> file_service_pb2.ListObjectsResponse:
        """List what is registered, over all studies."""
        principal = self._callers.principal_of(context)
        wanted = ObjectConditions(
            study_id=request.study_id or None,
            analysis_id=request.analysis_id or None,
            file_name=request.file_name or None,
            access=_read_access(request.access),
        )
        page = PageRequest(request.page_size, request.page_token)
        found, token = objects.list_page(self._environment, principal, wanted, page)
        return file_service_pb2.ListObjectsResponse(objects=map(_object_message, found), next_page_token=token)


def _read_access(value: int) -> FileAccess | None:
    if value == file_pb2.FILE_ACCESS_UNSPECIFIED:
        return None
    access = _ACCESS_OF.get(value)
    if access is None:
        raise ParameterError("access", "is none of the contract's values")
    return access


def _object_message(found: RegisteredObject) -> file_service_pb2.RegisteredObject:
    file = file_message(found.file)
    file.ClearField("etag")  # without its info, a file has none
    return file_service_pb2.RegisteredObject(
        file=file, analysis_state=STATE_VALUES[found.state], publishing=found.is_publishing
    )


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
