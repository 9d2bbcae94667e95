"""Files of analyses, and registered objects."""

from __future__ import annotations  # grpc's classes are generic in its types only

from collections.abc import Iterable, Iterator
from itertools import islice

from google.protobuf.field_mask_pb2 import FieldMask
from song.v1.file_pb2 import File
from song.v1.file_service_pb2 import (
    DeleteFilesRequest,
    GetFileRequest,
    ListFilesRequest,
    ListObjectsRequest,
    RegisteredObject,
    ResolveObjectsRequest,
    ResolveObjectsResponse,
    UpdateFileRequest,
    UpdateFileResponse,
)
from song.v1.file_service_pb2_grpc import FileServiceStub

from song_score_client.song.calls import Calls

MAX_BATCH = 1000


class FileCalls(Calls):
    """FileService."""

    def get_file(self, study_id: str, object_id: str) -> File:
        """Return one file."""
        return self.connection.call(self._files.GetFile, GetFileRequest(study_id=study_id, object_id=object_id)).file

    def list_files(self, study_id: str, analysis_id: str, *, page_size: int = 0) -> Iterator[File]:
        """Yield the files of an analysis, by file name."""
        request = ListFilesRequest(study_id=study_id, analysis_id=analysis_id, page_size=page_size)
        for page in self.connection.pages(self._files.ListFiles, request):
            yield from page.files

    def update_file(self, file: File, fields: Iterable[str], *, reason: str = "") -> UpdateFileResponse:
        """Change these fields of a file's description. `file.etag` is the one that was read, `*` overwrites any."""
        request = UpdateFileRequest(file=file, update_mask=FieldMask(paths=fields), reason=reason)
        return self.connection.call(self._files.UpdateFile, request)

    def delete_files(
        self, study_id: str, analysis_id: str, object_ids: Iterable[str], *, etag: str = "", reason: str = ""
    ) -> str:
        """Delete files of an UNPUBLISHED analysis, all or none; return the etag of the analysis now."""
        request = DeleteFilesRequest(
            study_id=study_id, analysis_id=analysis_id, object_ids=object_ids, etag=etag, reason=reason
        )
        return self.connection.call(self._files.DeleteFiles, request).etag

    def resolve_objects(self, object_ids: Iterable[str]) -> ResolveObjectsResponse:
        """Return what is registered for the ids, in the order asked. Any number: asks in batches of 1000."""
        everything = ResolveObjectsResponse()
        rest = iter(object_ids)
        while batch := list(islice(rest, MAX_BATCH)):
            request = ResolveObjectsRequest(object_ids=batch)
            everything.MergeFrom(self.connection.call(self._files.ResolveObjects, request))
        return everything

    def list_objects(self, request: ListObjectsRequest) -> Iterator[RegisteredObject]:
        """Yield registered objects that keep the request's conditions, in the order of their ids."""
        for page in self.connection.pages(self._files.ListObjects, request):
            yield from page.objects

    @property
    def _files(self) -> FileServiceStub:
        return FileServiceStub(self.connection.channel)
