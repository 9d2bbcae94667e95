"""A Song that knows just what a test registers, behind the real contract: Score's other half in Score's own tests."""

from concurrent.futures import ThreadPoolExecutor

import grpc
from song.v1.analysis_pb2 import AnalysisState
from song.v1.file_pb2 import FILE_ACCESS_CONTROLLED, FILE_ACCESS_OPEN, File
from song.v1.file_service_pb2 import (
    ListFilesRequest,
    ListFilesResponse,
    RegisteredObject,
    ResolveObjectsRequest,
    ResolveObjectsResponse,
)
from song.v1.file_service_pb2_grpc import FileServiceServicer, add_FileServiceServicer_to_server

TOKEN = "the-service-token"


class RegistrySong(FileServiceServicer):
    """Serves FileService.ResolveObjects on loopback."""

    def __init__(self) -> None:
        self.registered: dict[str, RegisteredObject] = {}
        self.calls = 0
        self._server: grpc.Server | None = None
        self.address = "127.0.0.1:0"
        self.start()

    def register(
        self,
        object_id: str,
        size_bytes: int,
        md5: str,
        *,
        state: str = "UNPUBLISHED",
        is_open: bool = True,
        study_id: str = "ABC",
        file_name: str | None = None,
    ) -> None:
        """Register a file, or change its registration."""
        file = File(
            object_id=object_id,
            study_id=study_id,
            analysis_id=f"analysis-of-{object_id}",
            file_name=file_name or f"{object_id}.bam",
            file_type="BAM",
            size_bytes=size_bytes,
            md5=md5,
            access=FILE_ACCESS_OPEN if is_open else FILE_ACCESS_CONTROLLED,
        )
        self.registered[object_id] = RegisteredObject(file=file)
        self.set_state(object_id, state)

    def set_state(self, object_id: str, state: str) -> None:
        """Change the state of the file's analysis."""
        self.registered[object_id].analysis_state = AnalysisState.Value(f"ANALYSIS_STATE_{state}")

    def ResolveObjects(self, request: ResolveObjectsRequest, context: grpc.ServicerContext) -> ResolveObjectsResponse:
        """Answer from what was registered."""
        self.calls += 1
        if ("authorization", f"Bearer {TOKEN}") not in tuple(context.invocation_metadata()):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Score must bring the service token")
        known = [self.registered[object_id] for object_id in request.object_ids if object_id in self.registered]
        missing = [object_id for object_id in request.object_ids if object_id not in self.registered]
        return ResolveObjectsResponse(objects=known, missing_object_ids=missing)

    def ListFiles(self, request: ListFilesRequest, context: grpc.ServicerContext) -> ListFilesResponse:
        """Score never asks."""
        raise NotImplementedError

    def start(self) -> None:
        """Serve, on the same port as before if there was one."""
        self._server = grpc.server(ThreadPoolExecutor(4))
        self.add_to(self._server)
        port = self._server.add_insecure_port(self.address)
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def add_to(self, server: grpc.Server) -> None:
        """Serve by this server."""
        add_FileServiceServicer_to_server(self, server)

    def stop(self) -> None:
        """Go down."""
        if self._server is not None:
            self._server.stop(None).wait()
