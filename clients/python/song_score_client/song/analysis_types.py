"""Analysis types."""

from __future__ import annotations  # grpc's classes are generic in its types only

from collections.abc import Iterable, Iterator
from uuid import uuid4

from song.v1.analysis_type_pb2 import AnalysisType, AnalysisTypeOptions, EntityModel
from song.v1.analysis_type_service_pb2 import (
    CompareAnalysisTypeVersionsRequest,
    CompareAnalysisTypeVersionsResponse,
    GetAnalysisTypeRequest,
    GetRegistrationSchemaRequest,
    ListAnalysisTypesRequest,
    RegisterAnalysisTypeRequest,
    RegisterAnalysisTypeResponse,
)
from song.v1.analysis_type_service_pb2_grpc import AnalysisTypeServiceStub

from song_score_client.song.calls import Calls


class AnalysisTypeCalls(Calls):
    """AnalysisTypeService."""

    def register_analysis_type(
        self,
        name: str,
        schema_json: str,
        *,
        options: AnalysisTypeOptions | None = None,
        force: bool = False,
        validate_only: bool = False,
        request_id: str | None = None,
    ) -> RegisterAnalysisTypeResponse:
        """Register the schema as the next version; an unchanged one registers nothing (`created` is false)."""
        request = RegisterAnalysisTypeRequest(
            name=name,
            schema_json=schema_json,
            options=options,
            force=force,
            validate_only=validate_only,
            request_id=request_id or str(uuid4()),
        )
        return self.connection.call(self._types.RegisterAnalysisType, request)

    def get_analysis_type(self, name: str, version: int = 0, *, unrendered: bool = False) -> AnalysisType:
        """Return a version of a type, 0 means the latest; rendered: with the base schema around it."""
        request = GetAnalysisTypeRequest(name=name, version=version, unrendered=unrendered)
        return self.connection.call(self._types.GetAnalysisType, request).analysis_type

    def list_analysis_types(
        self,
        names: Iterable[str] = (),
        versions: Iterable[int] = (),
        *,
        hide_schema: bool = False,
        order_by: str = "",
        page_size: int = 0,
    ) -> Iterator[AnalysisType]:
        """Yield versions of types, by name, then newest first unless told otherwise; without names or versions all."""
        request = ListAnalysisTypesRequest(
            names=names, versions=versions, hide_schema=hide_schema, order_by=order_by, page_size=page_size
        )
        for page in self.connection.pages(self._types.ListAnalysisTypes, request):
            yield from page.analysis_types

    def get_registration_schema(
        self, entity_model: EntityModel.ValueType = EntityModel.ENTITY_MODEL_UNSPECIFIED
    ) -> str:
        """Return the JSON Schema, as JSON text, that schemas to be registered must keep."""
        request = GetRegistrationSchemaRequest(entity_model=entity_model)
        return self.connection.call(self._types.GetRegistrationSchema, request).schema_json

    def compare_analysis_type_versions(
        self, name: str, from_version: int = 0, to_version: int = 0, *, study_id: str = "", max_analyses: int = 0
    ) -> Iterator[CompareAnalysisTypeVersionsResponse]:
        """Yield what differs, then each analysis of the first version that the second would refuse, then a summary."""
        request = CompareAnalysisTypeVersionsRequest(
            name=name, from_version=from_version, to_version=to_version, study_id=study_id, max_analyses=max_analyses
        )
        yield from self.connection.stream(self._types.CompareAnalysisTypeVersions, request)

    @property
    def _types(self) -> AnalysisTypeServiceStub:
        return AnalysisTypeServiceStub(self.connection.channel)
