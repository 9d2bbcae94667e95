"""Asks Score over gRPC, as its sister service."""

import threading
import time
from collections.abc import Mapping, Sequence

import grpc
from score.v1.object_service_pb2 import BatchGetObjectsRequest, BatchGetObjectsResponse
from score.v1.object_service_pb2_grpc import ObjectServiceStub
from score.v1.stored_object_pb2 import VERIFICATION_VERIFIED

from runtime_grpc.channel import CallMetadata, open_channel, service_credentials
from song_grpc.domain.errors import ScoreAnswerUnusableError, ScoreBusyError, ScoreTimedOutError, ScoreUnreachableError
from song_grpc.domain.limits import (
    SCORE_BATCH_OBJECTS,
    SCORE_DEADLINE_SECONDS,
    SCORE_SILENCE_SECONDS,
    SCORE_WAITERS,
)
from song_grpc.domain.publishing import StoredObject


class ScoreGateway:
    """What Score holds. The channel opens with the first question, so that Song starts while Score is down."""

    def __init__(self, address: str, service_token: str) -> None:
        self._address = address
        self._metadata: CallMetadata = service_credentials(service_token)
        self._lock = threading.Lock()
        self._last_move = 0.0
        """When a question was last asked or answered."""
        self._waiters = threading.BoundedSemaphore(SCORE_WAITERS)
        self._channel: grpc.Channel | None = None

    def move_to(self, address: str) -> None:
        """Ask at another address from now on."""
        with self._lock:
            self._close()
            self._address = address

    def close(self) -> None:
        """Close the channel."""
        with self._lock:
            self._close()

    def find(self, object_ids: Sequence[str]) -> Mapping[str, StoredObject]:
        """Return the objects that Score holds; see the port. Raises ScoreBusyError too."""
        # A Score that hangs would else take every thread of the server, one publish at a time; one that answers
        # is worth a moment's wait.
        silent_seconds = time.monotonic() - self._last_move
        if not self._waiters.acquire(timeout=max(SCORE_SILENCE_SECONDS - silent_seconds, 0)):
            raise ScoreBusyError(SCORE_WAITERS)
        self._last_move = time.monotonic()
        try:
            return self._find(object_ids)
        finally:
            self._last_move = time.monotonic()
            self._waiters.release()

    def _find(self, object_ids: Sequence[str]) -> Mapping[str, StoredObject]:
        deadline = time.monotonic() + SCORE_DEADLINE_SECONDS
        found: dict[str, StoredObject] = {}
        for start in range(0, len(object_ids), SCORE_BATCH_OBJECTS):
            batch = object_ids[start : start + SCORE_BATCH_OBJECTS]
            response = self._ask(batch, deadline - time.monotonic())
            stored = {item.object_id: item for item in response.stored_objects}
            if set(stored) | set(response.missing_object_ids) != set(batch):
                raise ScoreAnswerUnusableError("Score did not answer about the objects it was asked about")
            for object_id, item in stored.items():
                verified = item.verification == VERIFICATION_VERIFIED
                found[object_id] = StoredObject(object_id, item.size_bytes, item.md5, verified, item.is_changing)
        return found

    def _ask(self, object_ids: Sequence[str], timeout_seconds: float) -> BatchGetObjectsResponse:
        request = BatchGetObjectsRequest(object_ids=object_ids, allow_unpublished=True)
        try:
            return self._stub().BatchGetObjects(request, timeout=max(timeout_seconds, 0), metadata=self._metadata)
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.UNAVAILABLE:
                raise ScoreUnreachableError("Score can't be reached: nothing changed, retry once it runs") from error
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise ScoreTimedOutError("Score did not answer in time: nothing changed, retry") from error
            if code is grpc.StatusCode.UNAUTHENTICATED:
                raise ScoreAnswerUnusableError(
                    "Score refuses Song's service token: give both services the same service_token"
                ) from error
            name = code.name if code is not None else "no code"
            raise ScoreAnswerUnusableError(f"Score refused to say what it holds ({name}): nothing changed") from error

    def _stub(self) -> ObjectServiceStub:
        with self._lock:
            if self._channel is None:
                self._channel = open_channel(self._address)
            return ObjectServiceStub(self._channel)

    def _close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
