"""AnalysisTypeService."""

import time
from collections.abc import Iterator

import grpc
from song.v1 import analysis_type_pb2, analysis_type_service_pb2, analysis_type_service_pb2_grpc

from runtime_grpc.admission import DrainingError
from song_grpc.domain.analysis_type import (
    AnalysisType,
    EntityModel,
    ExternalValidation,
    RequestedOptions,
    TypeFilter,
    TypeOptions,
)
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.limits import COMPARE_HEARTBEAT_SECONDS
from song_grpc.domain.paging import PageRequest
from song_grpc.domain.violations import SENT_WITH_ERROR
from song_grpc.transport.analysis_messages import violation_message
from song_grpc.transport.caller import Callers
from song_grpc.transport.times import timestamp
from song_grpc.use_cases import analysis_types, compare_types
from song_grpc.use_cases.analysis_types import Registration
from song_grpc.use_cases.compare_types import Checked, Compared, Comparison, Summary
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
        wanted = Registration(
            request.name, request.schema_json, _to_domain(request.options), request.force, request.validate_only
        )
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
        which = TypeFilter(list(request.names), list(request.versions), request.order_by)
        page = PageRequest(request.page_size, request.page_token)
        found, token = analysis_types.list_page(
            self._environment, principal, which, page, hide_schema=request.hide_schema
        )
        return analysis_type_service_pb2.ListAnalysisTypesResponse(
            analysis_types=map(_to_message, found), next_page_token=token
        )

    def GetRegistrationSchema(
        self, request: analysis_type_service_pb2.GetRegistrationSchemaRequest, context: grpc.ServicerContext
    ) -> analysis_type_service_pb2.GetRegistrationSchemaResponse:
        """Return the schema of schemas."""
        principal = self._callers.principal_of(context)
        schema_json = analysis_types.registration_schema(principal, _model(request.entity_model, "entity_model"))
        return analysis_type_service_pb2.GetRegistrationSchemaResponse(schema_json=schema_json)

    def CompareAnalysisTypeVersions(
        self, request: analysis_type_service_pb2.CompareAnalysisTypeVersionsRequest, context: grpc.ServicerContext
    ) -> Iterator[analysis_type_service_pb2.CompareAnalysisTypeVersionsResponse]:
        """Stream what differs, and the analyses that the second version would refuse."""
        principal = self._callers.principal_of(context)
        compared = Compared(
            name=request.name,
            from_version=request.from_version,
            to_version=request.to_version,
            study_id=request.study_id,
            max_analyses=request.max_analyses,
            is_wanted=context.is_active,
        )
        last_sent = time.monotonic()
        for found in compare_types.compare(self._environment, principal, compared):
            if self._environment.draining.is_set():
                raise DrainingError("this server is shutting down: compare at another one")
            if not context.is_active():
                return
            message = _compared_message(found)
            if message is not None or time.monotonic() - last_sent >= COMPARE_HEARTBEAT_SECONDS:
                yield message or analysis_type_service_pb2.CompareAnalysisTypeVersionsResponse()
                last_sent = time.monotonic()


def _model(value: "analysis_type_pb2.EntityModel.ValueType", field: str) -> EntityModel | None:
    if value not in _MODELS:
        raise ParameterError(field, "is none of the contract's values")
    return _MODELS[value]


def _to_domain(options: analysis_type_pb2.AnalysisTypeOptions) -> RequestedOptions:
    file_types = tuple(options.file_types.names) if options.HasField("file_types") else None
    external = (
        tuple(ExternalValidation(one.url, one.json_path) for one in options.external_validations.items)
        if options.HasField("external_validations")
        else None
    )
    return RequestedOptions(_model(options.entity_model, "options.entity_model"), file_types, external)


def _to_message(analysis_type: AnalysisType) -> analysis_type_pb2.AnalysisType:
    return analysis_type_pb2.AnalysisType(
        name=analysis_type.name,
        version=analysis_type.version,
        create_time=timestamp(analysis_type.create_time),
        options=_options_message(analysis_type.options),
        schema_json=analysis_type.schema_json,
    )


def _options_message(options: TypeOptions) -> analysis_type_pb2.AnalysisTypeOptions:
    external = [
        analysis_type_pb2.ExternalValidation(url=one.url, json_path=one.json_path)
        for one in options.external_validations
    ]
    return analysis_type_pb2.AnalysisTypeOptions(
        entity_model=_MODEL_VALUES[options.entity_model],
        file_types=analysis_type_pb2.FileTypes(names=options.file_types),
        external_validations=analysis_type_pb2.ExternalValidations(items=external),
    )


def _compared_message(
    found: Comparison | Checked | Summary | None,
) -> analysis_type_service_pb2.CompareAnalysisTypeVersionsResponse | None:
    """Return what is told of a step of the comparison; None where that is nothing."""
    response = analysis_type_service_pb2.CompareAnalysisTypeVersionsResponse
    match found:
        case Comparison():
            return response(comparison=_comparison_message(found))
        case Summary(checked, incompatible, truncated):
            summary = analysis_type_service_pb2.CompatibilitySummary(
                checked_total=checked, incompatible_total=incompatible, truncated=truncated
            )
            return response(summary=summary)
        case Checked() if found.violations.total:
            refused = analysis_type_service_pb2.IncompatibleAnalysis(
                analysis_id=found.analysis_id,
                study_id=found.study_id,
                violations=map(violation_message, found.violations.first[:SENT_WITH_ERROR]),
                violation_total=found.violations.total,
            )
            return response(incompatible=refused)
        case _:
            return None


def _comparison_message(found: Comparison) -> analysis_type_service_pb2.TypeComparison:
    return analysis_type_service_pb2.TypeComparison(
        from_version=found.before.version,
        to_version=found.after.version,
        differences=[
            analysis_type_service_pb2.SchemaDifference(
                pointer=one.pointer, from_json=one.before_json, to_json=one.after_json
            )
            for one in found.differences.first
        ],
        difference_total=found.differences.total,
        from_options=_options_message(found.before.options),
        to_options=_options_message(found.after.options),
    )
