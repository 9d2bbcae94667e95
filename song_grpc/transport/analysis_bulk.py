"""AnalysisService: what submits many at once."""

from __future__ import annotations  # grpc's classes are generic in its types only

import time
from collections.abc import Iterator

import grpc
from song.v1 import analysis_service_pb2, analysis_service_pb2_grpc

from runtime_grpc.admission import DrainingError
from song_grpc.domain import limits
from song_grpc.domain.access import Principal
from song_grpc.transport.caller import Callers
from song_grpc.transport.item_errors import item_error
from song_grpc.use_cases.bulk_submit import BulkCheckers, BulkItem, BulkStream
from song_grpc.use_cases.environment import Environment
from song_grpc.use_cases.submission_writer import Outcome
from song_grpc.use_cases.submit import Submitted

_METHOD = "/song.v1.AnalysisService/BulkSubmitAnalyses"


class AnalysisBulk(analysis_service_pb2_grpc.AnalysisServiceServicer):
    """What submits many at once."""

    def __init__(self, environment: Environment, callers: Callers) -> None:
        self._environment, self._callers, self._checkers = environment, callers, BulkCheckers()

    def BulkSubmitAnalyses(
        self, request_iterator: Iterator[analysis_service_pb2.BulkSubmitAnalysesRequest], context: grpc.ServicerContext
    ) -> Iterator[analysis_service_pb2.BulkSubmitAnalysesResponse]:
        """Submit many analyses."""
        items = self._items(request_iterator, context, self._callers.principal_of(context))
        stream = BulkStream(self._environment, self._checkers)
        for number, outcome in enumerate(stream.outcomes(items, context.is_active), 1):
            yield _response(number, outcome)
        if stream.is_cut:
            raise DrainingError("this server is shutting down: send again what had no response, at another one")

    def _items(
        self,
        requests: Iterator[analysis_service_pb2.BulkSubmitAnalysesRequest],
        context: grpc.ServicerContext,
        principal: Principal,
    ) -> Iterator[BulkItem]:
        asked = time.monotonic()
        for request in requests:
            if time.monotonic() - asked >= limits.BULK_RIGHTS_SECONDS:
                principal, asked = self._callers.principal_of(context), time.monotonic()
            submitted = Submitted(request.study_id, request.payload_json, request.allow_duplicates, context.is_active)
            yield BulkItem(principal, submitted, request.request_id)


def _response(number: int, outcome: Outcome) -> analysis_service_pb2.BulkSubmitAnalysesResponse:
    if isinstance(outcome, Exception):
        return analysis_service_pb2.BulkSubmitAnalysesResponse(number=number, error=item_error(outcome, _METHOD))
    return analysis_service_pb2.BulkSubmitAnalysesResponse(number=number, analysis_id=outcome)
