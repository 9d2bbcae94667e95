"""Register, get and list analysis types."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from song_grpc.database import analysis_types, locks, requests
from song_grpc.domain import access, external_validation, json_text, limits, paging, type_schema, validation
from song_grpc.domain import registration_schema as registration_schemas
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.analysis_type import (
    TYPE_NAME,
    AnalysisType,
    EntityModel,
    RequestedOptions,
    TypeFilter,
    TypeOptions,
    check_file_types,
    check_name,
    effective_options,
    is_same,
    not_found,
    read_order,
)
from song_grpc.domain.builtin_types import BUILTIN_TYPES
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.json_text import JsonObject
from song_grpc.domain.requests import request_key
from song_grpc.domain.violations import Violations, refuse
from song_grpc.use_cases.environment import Environment


@dataclass(frozen=True, slots=True)
class Registration:
    """What to register."""

    name: str
    schema_json: str
    options: RequestedOptions
    force: bool
    """Registers a new version even where nothing changed."""
    validate_only: bool = False
    """Checks everything and registers nothing; the request id is not remembered."""


def register(
    environment: Environment, principal: Principal, wanted: Registration, request_id: str
) -> tuple[AnalysisType, bool]:
    """Register a version; return the version now latest, and whether this call made it, or would."""
    access.require(principal, Action.REGISTER_ANALYSIS_TYPE, Facts())
    key = request_key(principal.name, "RegisterAnalysisType", request_id, _content(wanted))
    if wanted.validate_only:
        key = None
    if key is not None:
        with environment.database.read() as connection:
            answer = requests.find(connection, key)
            if answer is not None:
                first = analysis_types.find(connection, wanted.name, int(answer["version"]))
                return _present(first, wanted.name), bool(answer["created"])
    check_name(wanted.name)
    check_file_types(wanted.options.file_types or ())
    external_validation.check(wanted.options.external_validations or ())
    if len(wanted.schema_json.encode()) > limits.MAX_SCHEMA_BYTES:
        raise ParameterError("schema_json", f"has more than {limits.MAX_SCHEMA_BYTES} bytes")
    schema = json_text.read_object(wanted.schema_json, "schema_json")
    schema_json = json_text.write(schema)
    with environment.database.read() as connection:
        latest = analysis_types.find(connection, wanted.name)
    checked = effective_options(wanted.options, latest).entity_model
    _check_schema(schema, checked)  # outside the writing transaction: a large schema takes its time
    if wanted.validate_only:
        return _next(environment, wanted, latest, schema_json)
    with environment.database.write() as connection:
        locks.lock_new_types(connection)
        answer = requests.find(connection, key)
        latest = analysis_types.find(connection, wanted.name)
        if answer is not None:
            first = analysis_types.find(connection, wanted.name, int(answer["version"]))
            return _present(first, wanted.name), bool(answer["created"])
        model = effective_options(wanted.options, latest).entity_model
        if model is not checked:
            _check_schema(schema, model)  # another registration came in between
        registered, created = _next(environment, wanted, latest, schema_json)
        if created:
            analysis_types.add(connection, registered)
        requests.add(connection, key, {"version": registered.version, "created": created}, environment.now())
    return registered, created


def register_builtin(environment: Environment) -> None:
    """Register the built-in types on an empty database."""
    with environment.database.write() as connection:
        locks.lock_new_types(connection)
        if analysis_types.is_empty(connection):
            for name, schema in BUILTIN_TYPES.items():
                _check_schema(schema, EntityModel.DONOR_SPECIMEN_SAMPLE)
                stored = AnalysisType(name, 1, TypeOptions(), json_text.write(schema), environment.now())
                analysis_types.add(connection, stored)


def get(environment: Environment, principal: Principal, name: str, version: int, *, unrendered: bool) -> AnalysisType:
    """Return a version, 0 for the latest, its schema rendered unless told otherwise."""
    access.require(principal, Action.READ_CATALOGUE, Facts())
    if not name:
        raise ParameterError("name", "is required")
    if version < 0:
        raise ParameterError("version", "counts from 1; 0 means the latest")
    if TYPE_NAME.fullmatch(name) is None:
        raise not_found(name)
    with environment.database.read() as connection:
        found = analysis_types.find(connection, name, version or None)
        if found is None:
            raise not_found(name, version, analysis_types.latest_version(connection, name))
    if unrendered:
        return found
    rendered = type_schema.render(json_text.read_stored(found.schema_json), found.options.entity_model)
    return replace(found, schema_json=json_text.write(rendered))


def list_page(
    environment: Environment, principal: Principal, which: TypeFilter, page: paging.PageRequest, *, hide_schema: bool
) -> tuple[Sequence[AnalysisType], str]:
    """Return a page, and the token of the next."""
    access.require(principal, Action.READ_CATALOGUE, Facts())
    limit = page.limit
    _check_filter(which)
    order = read_order(which.order_by)
    ordered = [f"{one.field.value} {one.is_descending}" for one in order]
    scope = ("analysis types", *ordered, f"{len(which.names)} names", *which.names, *map(str, which.versions))
    after = paging.read_token(page.token, scope, (str, int))
    with environment.database.read() as connection:
        rows = analysis_types.list_after(connection, which, order, after, limit + 1, hide_schema=hide_schema)
        shown = paging.cut(rows, limit)
        found = analysis_types.read(connection, [row.key for row in shown], hide_schema=hide_schema) if shown else []
    return found, paging.next_token(scope, rows, shown)


def registration_schema(principal: Principal, model: EntityModel | None) -> str:
    """Return the JSON Schema that schemas to be registered keep, as JSON text; None is the first type's model."""
    access.require(principal, Action.READ_CATALOGUE, Facts())
    return json_text.write(registration_schemas.registration_schema(model or TypeOptions().entity_model))


def _next(
    environment: Environment, wanted: Registration, latest: AnalysisType | None, schema_json: str
) -> tuple[AnalysisType, bool]:
    """Return the version that is latest once this is registered, and whether it is a new one."""
    options = effective_options(wanted.options, latest)
    if latest is not None and not wanted.force and is_same(latest, schema_json, options):
        return latest, False
    version = latest.version + 1 if latest else 1
    return AnalysisType(wanted.name, version, options, schema_json, environment.now()), True


def _check_schema(schema: JsonObject, model: EntityModel) -> None:
    broken = type_schema.check_rules(schema, model)
    if broken:
        raise refuse("the schema breaks the rules of registration", Violations(broken, len(broken)))
    validation.compile_type(schema, model)


def _check_filter(which: TypeFilter) -> None:
    if len(which.names) > limits.MAX_LISTED_TYPE_NAMES:
        raise ParameterError("names", f"has more than {limits.MAX_LISTED_TYPE_NAMES} names")
    if any("\0" in name for name in which.names):
        raise ParameterError("names", "has a NUL character")
    if len(which.versions) > limits.MAX_LISTED_TYPE_VERSIONS:
        raise ParameterError("versions", f"has more than {limits.MAX_LISTED_TYPE_VERSIONS} versions")
    if any(version < 1 for version in which.versions):
        raise ParameterError("versions", "count from 1")


def _content(wanted: Registration) -> list[str | bool | list[str] | None]:
    options = wanted.options
    model, file_types, external = options.entity_model, options.file_types, options.external_validations
    content: list[str | bool | list[str] | None] = [wanted.name, wanted.schema_json, wanted.force]
    content += [None if model is None else model.value, None if file_types is None else list(file_types)]
    return [*content, None if external is None else [part for one in external for part in (one.url, one.json_path)]]


def _present(found: AnalysisType | None, name: str) -> AnalysisType:
    if found is None:
        raise not_found(name)
    return found
