"""AnalysisService: history and export."""

from collections.abc import Iterator

import grpc
from song.v1 import analysis_service_pb2, analysis_service_pb2_grpc

from song_grpc.domain.errors import AnalysisNotFoundError
from song_grpc.domain.history import HistoryAction, HistoryEntry
from song_grpc.domain.paging import PageRequest
from song_grpc.transport.caller import Callers
from song_grpc.transport.file import STATE_VALUES
from song_grpc.transport.item_errors import item_error
from song_grpc.transport.times import timestamp
from song_grpc.use_cases import export, history
from song_grpc.use_cases.environment import Environment
from song_grpc.use_cases.export import Export, Exported

_EXPORT = "/song.v1.AnalysisService/ExportAnalyses"
_ACTION_VALUES = {
    action: analysis_service_pb2.HistoryAction.Value(f"HISTORY_ACTION_{action.value}") for action in HistoryAction
}


class AnalysisRecords(analysis_service_pb2_grpc.AnalysisServiceServicer):
    """What tells what happened, and gives payloads back."""

    def __init__(self, environment: Environment, callers: Callers) -> None:
        self._environment, self._callers = environment, callers

    def ListAnalysisHistory(
        self, request: analysis_service_pb2.ListAnalysisHistoryRequest, context: grpc.ServicerContext
    ) -> analysis_service_pb2.ListAnalysisHistoryResponse:
        """List what happened to an analysis."""
        principal = self._callers.principal_of(context)
        page = PageRequest(request.page_size, request.page_token)
        entries, token = history.list_page(self._environment, principal, request.study_id, request.analysis_id, page)
        return analysis_service_pb2.ListAnalysisHistoryResponse(
            entries=map(_entry_message, entries), next_page_token=token
        )

    def ExportAnalyses(
        self, request: analysis_service_pb2.ExportAnalysesRequest, context: grpc.ServicerContext
    ) -> Iterator[analysis_service_pb2.ExportAnalysesResponse]:
        """Stream payloads."""
        principal = self._callers.principal_of(context)
        wanted = Export(
            request.study_id, list(request.analysis_ids), request.omit_type_version, request.after_analysis_id
        )
        for exported in export.export_analyses(self._environment, principal, wanted):
            if not context.is_active():
                return
            yield _export_message(exported)


def _entry_message(entry: HistoryEntry) -> analysis_service_pb2.HistoryEntry:
    return analysis_service_pb2.HistoryEntry(
        action=_ACTION_VALUES[entry.action],
        time=timestamp(entry.cause.time),
        actor=entry.cause.actor,
        reason=entry.cause.reason,
        state=STATE_VALUES[entry.state],
        subjects=entry.subjects,
    )


def _export_message(exported: Exported | AnalysisNotFoundError) -> analysis_service_pb2.ExportAnalysesResponse:
    if isinstance(exported, AnalysisNotFoundError):
        return analysis_service_pb2.ExportAnalysesResponse(
            analysis_id=exported.analysis_id, error=item_error(exported, _EXPORT)
        )
    return analysis_service_pb2.ExportAnalysesResponse(
        analysis_id=exported.analysis_id, study_id=exported.study_id, payload_json=exported.payload_json
    )
