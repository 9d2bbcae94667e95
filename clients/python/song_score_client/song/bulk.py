"""Submitting many analyses on one stream."""

from __future__ import annotations  # grpc's classes are generic in its types only

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from threading import Lock
from uuid import uuid4

import grpc
from song.v1.analysis_service_pb2 import BulkSubmitAnalysesRequest, BulkSubmitAnalysesResponse
from song.v1.analysis_service_pb2_grpc import AnalysisServiceStub

from song_score_client.errors import ServiceError, from_item_error, from_rpc_error
from song_score_client.song.calls import Calls


@dataclass(frozen=True, slots=True)
class BulkPayload:
    """One payload to submit."""

    study_id: str
    payload_json: str
    allow_duplicates: bool = False
    request_id: str = ""
    """Made where it is empty, so that nothing is submitted twice."""
    tag: object = None
    """Whatever the caller wants to find again beside the result; not sent."""


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of one payload."""

    payload: BulkPayload
    analysis_id: str
    """Empty where it was refused."""
    error: ServiceError | None


class BulkCalls(Calls):
    """BulkSubmitAnalyses."""

    def submit_many(self, payloads: Iterable[BulkPayload]) -> Iterator[BulkResult]:
        """Submit payloads, read ahead from the iterable by another thread; yield their results in order.

        Where the stream breaks for a passing cause, what had no answer is sent again. Raises ServiceError where that
        is no use, and whatever the iterable raises, after the results of what was sent.
        """
        sender = _Sender(payloads)
        failures = 0
        while True:
            call = AnalysisServiceStub(self.connection.channel).BulkSubmitAnalyses(
                sender.requests(), metadata=self.connection.metadata
            )
            try:
                for response in call:
                    failures = 0
                    yield _result(sender.answered(), response)
            except grpc.RpcError as raised:
                failures += 1
                self.connection.wait_to_repeat(
                    from_rpc_error(raised, self.connection.service, self.connection.address), failures
                )
                continue
            finally:
                call.cancel()
            if sender.failure is not None:
                raise sender.failure
            return


class _Sender:
    """Gives each stream what has no answer yet, then what is new."""

    def __init__(self, payloads: Iterable[BulkPayload]) -> None:
        self._rest = iter(payloads)
        self._lock, self._source_lock = Lock(), Lock()
        self._unanswered: deque[BulkPayload] = deque()
        self._answered_total = 0
        self._stream = 0
        self.failure: Exception | None = None
        """What the iterable raised."""

    def requests(self) -> Iterator[BulkSubmitAnalysesRequest]:
        """Begin a stream: return what it sends. A stream before it sends no more."""
        with self._lock:
            self._stream += 1
            return self._requests(self._stream, self._answered_total)

    def answered(self) -> BulkPayload:
        """Return the oldest payload without answer, which has one now."""
        with self._lock:
            self._answered_total += 1
            return self._unanswered.popleft()

    def _requests(self, stream: int, number: int) -> Iterator[BulkSubmitAnalysesRequest]:
        while (payload := self._payload(stream, number)) is not None:
            yield _request(payload)
            number += 1

    def _payload(self, stream: int, number: int) -> BulkPayload | None:
        """Return payload `number` from 0; None at the end, and to a stream that is not the last one begun."""
        with self._source_lock:  # reading may take long; answers are taken meanwhile
            with self._lock:
                if stream != self._stream:
                    return None
                waiting = number - self._answered_total
                if waiting < len(self._unanswered):
                    return self._unanswered[waiting]
            if self.failure is not None:
                return None
            try:
                payload = next(self._rest, None)
            except Exception as error:  # noqa: BLE001 - raised again where the caller sees it
                self.failure = error
                return None
            if payload is None:
                return None
            if not payload.request_id:
                payload = replace(payload, request_id=str(uuid4()))
            with self._lock:
                # Kept also where the stream was given up meanwhile: the next one sends it.
                self._unanswered.append(payload)
                return payload if stream == self._stream else None


def _request(payload: BulkPayload) -> BulkSubmitAnalysesRequest:
    return BulkSubmitAnalysesRequest(
        study_id=payload.study_id,
        payload_json=payload.payload_json,
        allow_duplicates=payload.allow_duplicates,
        request_id=payload.request_id,
    )


def _result(payload: BulkPayload, response: BulkSubmitAnalysesResponse) -> BulkResult:
    error = from_item_error(response.error) if response.HasField("error") else None
    return BulkResult(payload, response.analysis_id, error)
