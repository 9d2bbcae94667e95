"""Analysis types: named, versioned schemas."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from song_grpc.domain import json_text
from song_grpc.domain.errors import AnalysisTypeNotFoundError, ParameterError, TypeNameReservedError
from song_grpc.domain.limits import MAX_FILE_TYPE_CHARS, MAX_FILE_TYPES, MAX_TYPE_NAME_CHARS, MAX_TYPE_VERSION

TYPE_NAME = re.compile(r"[a-zA-Z0-9._-]+")
RESERVED_NAME = "registration"  # a route of Overture's REST interface
_OVERHEAD_BYTES = 64


class EntityModel(Enum):
    """Which parts of the data model the base schema demands of a payload."""

    DONOR_SPECIMEN_SAMPLE = "DONOR_SPECIMEN_SAMPLE"
    NONE = "NONE"


@dataclass(frozen=True, slots=True)
class ExternalValidation:
    """A web service to ask about values of each payload."""

    url: str
    """With `{study}` and `{value}`."""
    json_path: str
    """RFC 9535, without its `$.`."""


@dataclass(frozen=True, slots=True)
class TypeOptions:
    """What a type asks of its analyses beyond the schema."""

    entity_model: EntityModel = EntityModel.DONOR_SPECIMEN_SAMPLE
    file_types: tuple[str, ...] = ()
    """Permitted values of `files[].fileType`; empty permits any."""
    external_validations: tuple[ExternalValidation, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestedOptions:
    """Options of a registration; None inherits."""

    entity_model: EntityModel | None = None
    file_types: tuple[str, ...] | None = None
    external_validations: tuple[ExternalValidation, ...] | None = None


@dataclass(frozen=True, slots=True)
class AnalysisType:
    """One version of a type."""

    name: str
    version: int
    options: TypeOptions
    schema_json: str
    """As registered, compact; empty where it was hidden."""
    create_time: datetime

    @property
    def wire_bytes(self) -> int:
        """At least what its message takes."""
        file_types = sum(len(name.encode()) + 2 for name in self.options.file_types)
        external = sum(len(one.url) + len(one.json_path) + 16 for one in self.options.external_validations)
        return _OVERHEAD_BYTES + len(self.name) + file_types + external + len(self.schema_json.encode())


class TypeField(Enum):
    """What a list of types can be ordered by."""

    NAME = "name"
    VERSION = "version"


@dataclass(frozen=True, slots=True)
class TypeOrder:
    """One field of an order."""

    field: TypeField
    is_descending: bool


DEFAULT_ORDER = (TypeOrder(TypeField.NAME, is_descending=False), TypeOrder(TypeField.VERSION, is_descending=True))


@dataclass(frozen=True, slots=True)
class TypeFilter:
    """Which versions to list, empty means all; and in which order."""

    names: Sequence[str]
    versions: Sequence[int]
    order_by: str = ""
    """See `read_order`."""


def read_order(text: str) -> tuple[TypeOrder, TypeOrder]:
    """Parse `order_by`; a field that it leaves out comes last, as in the default. Raises ParameterError."""
    if not text.strip():
        return DEFAULT_ORDER
    stated: list[TypeOrder] = []
    for term in text.split(","):
        words = term.split()
        if not words or words[0] not in {"name", "version"} or words[1:] not in ([], ["desc"]):
            raise ParameterError("order_by", "give name or version, each with ' desc' for the reverse, a comma between")
        stated.append(TypeOrder(TypeField(words[0]), is_descending=words[1:] == ["desc"]))
    fields = [order.field for order in stated]
    if len(set(fields)) < len(fields):
        raise ParameterError("order_by", f"names {fields[-1].value} twice")
    first, second = [*stated, *(order for order in DEFAULT_ORDER if order.field not in fields)]
    return first, second


def check_name(name: str) -> None:
    """Raise unless a type may be registered under this name."""
    if len(name) > MAX_TYPE_NAME_CHARS or TYPE_NAME.fullmatch(name) is None:
        raise ParameterError("name", f"give 1 to {MAX_TYPE_NAME_CHARS} characters of A-Z a-z 0-9 . _ -")
    if name == RESERVED_NAME:
        raise TypeNameReservedError(f"the name '{name}' is reserved", name=name)


def check_file_types(names: Sequence[str]) -> None:
    """Raise ParameterError unless these can be a type's permitted file types."""
    if len(names) > MAX_FILE_TYPES:
        raise ParameterError("options.file_types", f"has more than {MAX_FILE_TYPES} names")
    if any(not 0 < len(name) <= MAX_FILE_TYPE_CHARS or "\0" in name for name in names):
        raise ParameterError("options.file_types", f"each name has 1 to {MAX_FILE_TYPE_CHARS} characters, none NUL")
    if len(set(names)) < len(names):
        raise ParameterError("options.file_types", "names one file type twice")


def effective_options(requested: RequestedOptions, latest: AnalysisType | None) -> TypeOptions:
    """Return the options in force: what was left out is as in the version before."""
    before = latest.options if latest else TypeOptions()
    return TypeOptions(
        entity_model=before.entity_model if requested.entity_model is None else requested.entity_model,
        file_types=before.file_types if requested.file_types is None else requested.file_types,
        external_validations=before.external_validations
        if requested.external_validations is None
        else requested.external_validations,
    )


def is_same(latest: AnalysisType, schema_json: str, options: TypeOptions) -> bool:
    """Say whether a registration would change nothing. The order of keys is no change."""
    before, after = (json_text.write_sorted(json_text.read_stored(text)) for text in (latest.schema_json, schema_json))
    return before == after and latest.options == options


def not_found(name: str, version: int | None = None, latest: int | None = None) -> AnalysisTypeNotFoundError:
    """Return the error for an unknown type, or an unknown version of a known one."""
    if latest is None:
        return AnalysisTypeNotFoundError(f"analysis type '{name}' does not exist", name=name)
    if version is not None and version > MAX_TYPE_VERSION:
        text = f"analysis type '{name}' has no version above {MAX_TYPE_VERSION}: its latest is {latest}"
        return AnalysisTypeNotFoundError(text, name=name, latest=str(latest))
    return AnalysisTypeNotFoundError(
        f"analysis type '{name}' has no version {version}: its latest is {latest}",
        name=name,
        version=str(version),
        latest=str(latest),
    )
