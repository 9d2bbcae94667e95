"""AnalysisTypeService."""

import grpc
from song.v1 import analysis_type_pb2, analysis_type_service_pb2, analysis_type_service_pb2_grpc

from song_grpc.domain.analysis_type import (
    AnalysisType,
    EntityModel,
    ExternalValidation,
    RequestedOptions,
    TypeFilter,
)
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.paging import PageRequest
from song_grpc.transport.caller import Callers
from song_grpc.transport.times import timestamp
from song_grpc.use_cases import analysis_types
from song_grpc.use_cases.analysis_types import Registration
from song_grpc.use_cases.environment import Environment

_MODELS = {
    analysis_type_pb2.ENTITY_MODEL_UNSPECIFIED: None,
    analysis_type_pb2.ENTITY_MODEL_DONOR_SPECIMEN_SAMPLE: EntityModel.DONOR_SPECIMEN_SAMPLE,
    analysis_type_pb2.ENTITY_MODEL_NONE: EntityModel.NONE,
}
_MODEL_VALUES = {model: value for value, model in _MODELS.items() if model is not None}


class AnalysisTypeServicer(analysis_type_service_pb2_grpc.AnalysisTypeServiceServicer):
    """What gRPC calls."""

    def __init__(self, environment: Environment, callers: Callers) -> None:
        self._environment, self._callers = environment, callers

    def RegisterAnalysisType(
        self, request: analysis_type_service_pb2.RegisterAnalysisTypeRequest, context: grpc.ServicerContext
    ) -> analysis_type_service_pb2.RegisterAnalysisTypeResponse:
        """Register a version."""
        principal = self._callers.principal_of(context)
        wanted = Registration(request.name, request.schema_json, _to_domain(request.options), request.force)
        latest, created = analysis_types.register(self._environment, principal, wanted, request.request_id)
        return analysis_type_service_pb2.RegisterAnalysisTypeResponse(
            analysis_type=_to_message(latest), created=created
        )

    def GetAnalysisType(
        self, request: analysis_type_service_pb2.GetAnalysisTypeRequest, context: grpc.ServicerContext
    ) -> analysis_type_service_pb2.GetAnalysisTypeResponse:
        """Return a version."""
        principal = self._callers.principal_of(context)
        found = analysis_types.get(
            self._environment, principal, request.name, request.version, unrendered=request.unrendered
        )
        return analysis_type_service_pb2.GetAnalysisTypeResponse(analysis_type=_to_message(found))

    def ListAnalysisTypes(
        self, request: analysis_type_service_pb2.ListAnalysisTypesRequest, context: grpc.ServicerContext
    ) -> analysis_type_service_pb2.ListAnalysisTypesResponse:
        """List versions."""
        principal = self._callers.principal_of(context)
        which = TypeFilter(list(request.names), list(request.versions))
        page = PageRequest(request.page_size, request.page_token)
        found, token = analysis_types.list_page(
            self._environment, principal, which, page, hide_schema=request.hide_schema
        )
        return analysis_type_service_pb2.ListAnalysisTypesResponse(
            analysis_types=map(_to_message, found), next_page_token=token
        )


def _to_domain(options: analysis_type_pb2.AnalysisTypeOptions) -> RequestedOptions:
    if options.entity_model not in _MODELS:
        raise ParameterError("options.entity_model", "is none of the contract's values")
    file_types = tuple(options.file_types.names) if options.HasField("file_types") else None
    external = (
        tuple(ExternalValidation(one.url, one.json_path) for one in options.external_validations.items)
        if options.HasField("external_validations")
        else None
    )
    return RequestedOptions(_MODELS[options.entity_model], file_types, external)


def _to_message(analysis_type: AnalysisType) -> analysis_type_pb2.AnalysisType:
    return analysis_type_pb2.AnalysisType(
        name=analysis_type.name,
        version=analysis_type.version,
        create_time=timestamp(analysis_type.create_time),
        options=analysis_type_pb2.AnalysisTypeOptions(
            entity_model=_MODEL_VALUES[analysis_type.options.entity_model],
            file_types=analysis_type_pb2.FileTypes(names=analysis_type.options.file_types),
            external_validations=analysis_type_pb2.ExternalValidations(
                items=[
                    analysis_type_pb2.ExternalValidation(url=one.url, json_path=one.json_path)
                    for one in analysis_type.options.external_validations
                ]
            ),
        ),
        schema_json=analysis_type.schema_json,
    )
