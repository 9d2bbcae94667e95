"""The version of a type that a payload asks for."""

from song_grpc.database import analysis_types
from song_grpc.database.engine import Connection
from song_grpc.domain.analysis_type import TYPE_NAME, AnalysisType, not_found
from song_grpc.domain.errors import TypeVersionNotLatestError
from song_grpc.domain.payload import WantedType
from song_grpc.use_cases.environment import Environment


def resolve(environment: Environment, wanted: WantedType) -> AnalysisType:
    """Return the version, the latest where none is named.

    Raises AnalysisTypeNotFoundError; TypeVersionNotLatestError where only the latest may be used.
    """
    with environment.database.read() as connection:
        return find(connection, wanted, enforce_latest=environment.enforce_latest)


def find(connection: Connection, wanted: WantedType, *, enforce_latest: bool) -> AnalysisType:
    """Return the version as `resolve` does."""
    if TYPE_NAME.fullmatch(wanted.name) is None:
        raise not_found(wanted.name)
    found = analysis_types.find(connection, wanted.name)
    if found is None:
        raise not_found(wanted.name)
    latest = found.version
    version = wanted.version or latest
    if version == latest:
        return found
    if version > latest:
        raise not_found(wanted.name, version, latest)
    if enforce_latest:
        raise TypeVersionNotLatestError(wanted.name, version, latest)
    found = analysis_types.find(connection, wanted.name, version)
    if found is None:
        raise not_found(wanted.name, version, latest)
    return found
