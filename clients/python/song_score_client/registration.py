"""The file `song register-analysis-type` reads: `{"name", "schema", "options"?}`.

`options` may have `fileTypes`, `entityModel` and `externalValidations`, a list of `{"url", "jsonPath"}`.
"""

from dataclasses import dataclass

from song.v1.analysis_type_pb2 import AnalysisTypeOptions, EntityModel, ExternalValidation

from song_score_client.errors import LocalFileError
from song_score_client.exact_json import Json, dump, parse_object

_MODELS = {name.removeprefix("ENTITY_MODEL_"): value for name, value in EntityModel.items() if value}

_OPTIONS = {"fileTypes", "entityModel", "externalValidations"}


@dataclass(frozen=True, slots=True)
class Registration:
    """What to register."""

    name: str
    schema_json: str
    """The schema's JSON text, numbers as they were written."""
    options: AnalysisTypeOptions | None
    """None means: as in the version before."""


def parse_registration(text: str, source: str) -> Registration:
    """Read a registration; LocalFileError, naming the source, where it is not one."""
    try:
        document = parse_object(text)
        _allow_only(document, {"name", "schema", "options"}, "the file")
        name, schema, options = document.get("name"), document.get("schema"), document.get("options")
        if not isinstance(name, str) or not isinstance(schema, dict):
            raise ValueError('"name" must be a string and "schema" an object')  # noqa: TRY004, TRY301 - one kind, below
        return Registration(name, dump(schema), _parse_options(options))
    except ValueError as error:
        raise LocalFileError(f"{source}: {error}") from None


def _parse_options(document: Json) -> AnalysisTypeOptions | None:
    if document is None:
        return None
    if not isinstance(document, dict):
        raise ValueError('"options" must be an object')  # noqa: TRY004 - one kind of error for the whole file
    # Overture's exports write what is not set as null or as an empty list.
    _allow_only({key: value for key, value in document.items() if value}, _OPTIONS, '"options"')
    options = AnalysisTypeOptions()
    model, file_types = document.get("entityModel"), document.get("fileTypes")
    if model is not None:
        if not isinstance(model, str) or model not in _MODELS:
            raise ValueError(f'"entityModel" must be one of {", ".join(_MODELS)}')
        options.entity_model = _MODELS[model]
    if file_types is not None:
        if not isinstance(file_types, list):
            raise ValueError('"fileTypes" must be a list')
        # Present even with no name in it: an empty list clears what the version before had.
        options.file_types.SetInParent()
        options.file_types.names.extend(_require_text(name) for name in file_types)
    external = document.get("externalValidations")
    if external is not None:
        if not isinstance(external, list):
            raise ValueError('"externalValidations" must be a list')
        options.external_validations.SetInParent()
        options.external_validations.items.extend(_parse_external(one) for one in external)
    return options


def _parse_external(document: Json) -> ExternalValidation:
    if not isinstance(document, dict):
        raise ValueError('"externalValidations" must hold objects')  # noqa: TRY004 - as above
    _allow_only(document, {"url", "jsonPath"}, 'an item of "externalValidations"')
    url, json_path = document.get("url"), document.get("jsonPath")
    if not isinstance(url, str) or not isinstance(json_path, str):
        raise ValueError('an item of "externalValidations" needs the strings "url" and "jsonPath"')  # noqa: TRY004 - as above
    return ExternalValidation(url=url, json_path=json_path)


def _require_text(value: Json) -> str:
    if not isinstance(value, str):
        raise ValueError('"fileTypes" must hold strings')  # noqa: TRY004 - as above
    return value


def _allow_only(document: dict[str, Json], names: set[str], place: str) -> None:
    unknown = sorted(document.keys() - names)
    if unknown:
        raise ValueError(f"{place} has {', '.join(unknown)}, which this version does not know")
