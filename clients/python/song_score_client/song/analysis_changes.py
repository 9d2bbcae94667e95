"""Analyses: submitting and changing them."""

from __future__ import annotations  # grpc's classes are generic in its types only

from uuid import uuid4

from song.v1.analysis_service_pb2 import (
    PatchAnalysisRequest,
    PatchAnalysisResponse,
    PublishAnalysisRequest,
    PublishAnalysisResponse,
    SubmitAnalysisRequest,
    SuppressAnalysisRequest,
    SuppressAnalysisResponse,
    UnpublishAnalysisRequest,
    UnpublishAnalysisResponse,
    UpdateAnalysisRequest,
    UpdateAnalysisResponse,
    ValidateAnalysisRequest,
    ValidateAnalysisResponse,
)
from song.v1.analysis_service_pb2_grpc import AnalysisServiceStub

from song_score_client.song.calls import Calls

PUBLISH_DEADLINE_SECONDS = 60.0


class AnalysisChangeCalls(Calls):
    """What submits and changes, of AnalysisService.

    A change that carries an etag and is repeated after a lost answer finds its own first try: EtagMismatchError
    then; read the analysis again.
    """

    def submit(
        self, study_id: str, payload_json: str, *, allow_duplicates: bool = False, request_id: str | None = None
    ) -> str:
        """Submit a payload and return the id of the new analysis."""
        request = SubmitAnalysisRequest(
            study_id=study_id,
            payload_json=payload_json,
            allow_duplicates=allow_duplicates,
            request_id=request_id or str(uuid4()),
        )
        return self.connection.call(self._changes.SubmitAnalysis, request).analysis_id

    def validate(self, study_id: str, payload_json: str, *, allow_duplicates: bool = False) -> ValidateAnalysisResponse:
        """Check a payload as `submit` would, and write nothing. Returns all schema violations (10 000 at most)."""
        request = ValidateAnalysisRequest(
            study_id=study_id, payload_json=payload_json, allow_duplicates=allow_duplicates
        )
        return self.connection.call(self._changes.ValidateAnalysis, request)

    def update_analysis(
        self, study_id: str, analysis_id: str, update_json: str, *, etag: str, reason: str = ""
    ) -> UpdateAnalysisResponse:
        """Replace the dynamic data; the object has `analysisType` too. `etag`: the one read, `*` overwrites any."""
        request = UpdateAnalysisRequest(
            study_id=study_id, analysis_id=analysis_id, update_json=update_json, etag=etag, reason=reason
        )
        return self.connection.call(self._changes.UpdateAnalysis, request)

    def patch_analysis(
        self, study_id: str, analysis_id: str, patch_json: str, *, etag: str, reason: str = ""
    ) -> PatchAnalysisResponse:
        """Merge a JSON Merge Patch (RFC 7396) into the dynamic data. `etag` as in `update_analysis`."""
        request = PatchAnalysisRequest(
            study_id=study_id, analysis_id=analysis_id, patch_json=patch_json, etag=etag, reason=reason
        )
        return self.connection.call(self._changes.PatchAnalysis, request)

    def publish(
        self, study_id: str, analysis_id: str, *, validate_only: bool = False, etag: str = "", reason: str = ""
    ) -> PublishAnalysisResponse:
        """Publish an analysis all of whose files Score holds; or only check that it could be."""
        request = PublishAnalysisRequest(
            study_id=study_id, analysis_id=analysis_id, validate_only=validate_only, etag=etag, reason=reason
        )
        method = self._changes.PublishAnalysis
        return self.connection.call(method, request, deadline_seconds=PUBLISH_DEADLINE_SECONDS)

    def unpublish(
        self, study_id: str, analysis_id: str, *, etag: str = "", reason: str = ""
    ) -> UnpublishAnalysisResponse:
        """Take a published analysis back to UNPUBLISHED."""
        request = UnpublishAnalysisRequest(study_id=study_id, analysis_id=analysis_id, etag=etag, reason=reason)
        return self.connection.call(self._changes.UnpublishAnalysis, request)

    def suppress(
        self, study_id: str, analysis_id: str, *, etag: str = "", reason: str = ""
    ) -> SuppressAnalysisResponse:
        """Withdraw an analysis for good."""
        request = SuppressAnalysisRequest(study_id=study_id, analysis_id=analysis_id, etag=etag, reason=reason)
        return self.connection.call(self._changes.SuppressAnalysis, request)

    @property
    def _changes(self) -> AnalysisServiceStub:
        return AnalysisServiceStub(self.connection.channel)
