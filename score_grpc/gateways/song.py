"""The registry port over Song's own gRPC contract."""

from collections.abc import Mapping, Sequence

import grpc
from song.v1.analysis_pb2 import AnalysisState as SongState
from song.v1.file_pb2 import FileAccess
from song.v1.file_service_pb2 import RegisteredObject, ResolveObjectsRequest
from song.v1.file_service_pb2_grpc import FileServiceStub

from runtime_grpc.channel import open_channel, service_credentials
from score_grpc.domain import limits
from score_grpc.domain.errors import SongUnavailableError
from score_grpc.domain.registrations import AnalysisState, Registration

IDS_PER_CALL = 1000
"""As the contract allows."""

_STATES = {
    SongState.ANALYSIS_STATE_UNPUBLISHED: AnalysisState.UNPUBLISHED,
    SongState.ANALYSIS_STATE_PUBLISHED: AnalysisState.PUBLISHED,
    SongState.ANALYSIS_STATE_SUPPRESSED: AnalysisState.SUPPRESSED,
}


class SongRegistry:
    """Asks Song, with Score's own credential."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._channel = open_channel(address)
        self._files = FileServiceStub(self._channel)
        self._credentials = service_credentials(token)

    def resolve(self, object_ids: Sequence[str]) -> Mapping[str, Registration]:
        """As Registry.resolve."""
        found: dict[str, Registration] = {}
        for start in range(0, len(object_ids), IDS_PER_CALL):
            request = ResolveObjectsRequest(object_ids=object_ids[start : start + IDS_PER_CALL])
            try:
                response = self._files.ResolveObjects(
                    request, timeout=limits.SONG_DEADLINE_SECONDS, metadata=self._credentials
                )
            except grpc.RpcError as error:
                code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
                if code is grpc.StatusCode.UNAUTHENTICATED:
                    remedy = "it refuses Score's service token: give both services the same service_token"
                else:
                    remedy = "retry once it is reachable"
                raise SongUnavailableError(
                    f"Song at {self._address} can't say what is registered ({code.name}): {remedy}", code=code.name
                ) from error
            found |= {registered.file.object_id: _registration_from(registered) for registered in response.objects}
        return found

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def _registration_from(registered: RegisteredObject) -> Registration:
    file = registered.file
    state = _STATES.get(registered.analysis_state)
    if state is None:
        raise SongUnavailableError(f"Song knows a state of analysis {file.analysis_id} that this Score doesn't")
    return Registration(
        object_id=file.object_id,
        study_id=file.study_id,
        analysis_id=file.analysis_id,
        analysis_state=state,
        file_name=file.file_name,
        size_bytes=file.size_bytes,
        md5=file.md5.lower(),
        is_open=file.access == FileAccess.FILE_ACCESS_OPEN,
        is_publishing=registered.publishing,
    )
