"""What an update or a patch of an analysis may say, and what becomes of the analysis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from song_grpc.domain import base_schema, json_text
from song_grpc.domain.analysis import Analysis, AnalysisState
from song_grpc.domain.analysis_type import AnalysisType, EntityModel
from song_grpc.domain.errors import AnalysisUpdateIllegalError, ParameterError
from song_grpc.domain.limits import MAX_MESSAGE_BYTES
from song_grpc.domain.merge_patch import merge
from song_grpc.domain.schema_keywords import comparable
from song_grpc.domain.violations import Violation, violation


@dataclass(frozen=True, slots=True)
class Wanted:
    """The dynamic data that an analysis is to have, before they are known to keep the schema."""

    data: json_text.JsonObject
    violations: Sequence[Violation]
    """Members that are not dynamic data and can't be changed this way."""


def check_may_update(analysis: Analysis) -> None:
    """Raise AnalysisUpdateIllegalError for an analysis that is SUPPRESSED."""
    if analysis.state is AnalysisState.SUPPRESSED:
        raise AnalysisUpdateIllegalError(
            f"analysis '{analysis.analysis_id}' is SUPPRESSED for good: nothing of it can be changed",
            analysis_id=analysis.analysis_id,
            state=analysis.state.value,
        )


def check_model(analysis: Analysis, current: EntityModel, wanted: AnalysisType) -> None:
    """Raise AnalysisUpdateIllegalError where the analysis would move to another entity model."""
    model = wanted.options.entity_model
    if model is not current:
        raise AnalysisUpdateIllegalError(
            f"analysis '{analysis.analysis_id}' has the entity model {current.value}, version {wanted.version} of "
            f"'{wanted.name}' has {model.value}: submit it anew instead",
            analysis_id=analysis.analysis_id,
            entity_model=current.value,
            wanted_entity_model=model.value,
        )


def replaced(update: Mapping[str, Any], model: EntityModel) -> Wanted:
    """Return the data that replace all dynamic data; `update` has the type beside them."""
    reserved = base_schema.reserved_properties(model)
    refused = [_refused(name) for name in update if name in reserved and name != "analysisType"]
    return Wanted({name: value for name, value in update.items() if name not in reserved}, refused)


def patched(analysis: Analysis, patch: Mapping[str, Any], model: EntityModel) -> Wanted:
    """Return the data with a merge patch applied, which may name the type that the analysis has."""
    reserved = base_schema.reserved_properties(model)
    refused: list[Violation] = []
    if "analysisType" in patch:
        current = {"name": analysis.type_name, "version": analysis.type_version}
        if comparable(merge(current, patch["analysisType"])) != comparable(current):
            text = "a patch keeps the type and its version: move the analysis with UpdateAnalysis"
            refused.append(violation(("analysisType",), "const", text, ()))
    refused += [_refused(name) for name in patch if name in reserved and name != "analysisType"]
    dynamic = {name: value for name, value in patch.items() if name not in reserved}
    return Wanted(merge(json_text.read_stored(analysis.data_json), dynamic), refused)


def is_same(analysis: Analysis, analysis_type: AnalysisType, data: json_text.JsonObject) -> bool:
    """Say whether the analysis has this type and these data: every digit of a number counts, no order of members."""
    if (analysis.type_name, analysis.type_version) != (analysis_type.name, analysis_type.version):
        return False
    return json_text.write_sorted(json_text.read_stored(analysis.data_json)) == json_text.write_sorted(data)


def apply(analysis: Analysis, analysis_type: AnalysisType, data: json_text.JsonObject, field: str) -> Analysis:
    """Return the analysis with this type and these data.

    Raises ParameterError, which names the request's field, where it would be too large to be read again.
    """
    updated = replace(
        analysis,
        type_name=analysis_type.name,
        type_version=analysis_type.version,
        data_json=json_text.write(data),
    )
    if updated.wire_bytes > MAX_MESSAGE_BYTES:
        raise ParameterError(field, f"makes an analysis of more than {MAX_MESSAGE_BYTES} bytes")
    return updated


def subject(analysis: Analysis) -> str:
    """Return what the history says an update was about."""
    return f"{analysis.type_name} version {analysis.type_version}"


def _refused(name: str) -> Violation:
    return violation((name,), "not", "is not dynamic data: leave it out", ())
