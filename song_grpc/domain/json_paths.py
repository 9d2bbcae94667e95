"""JSONPath (RFC 9535): all that knows the library."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jsonpath_rfc9535 import JSONPathEnvironment, JSONPathQuery
from jsonpath_rfc9535.exceptions import JSONPathError

from song_grpc.domain.schema_tree import Path

_COMPILED = 256
_ENVIRONMENT = JSONPathEnvironment()


def problem(path: str) -> str:
    """Return what is wrong with a path below the root, without its `$.`; empty where nothing is."""
    try:
        _compile(path)
    except JSONPathError as error:
        return f"is no JSONPath below the root: {error}"
    except RecursionError:
        return "is nested too deeply"
    return ""


def find(path: str, document: Any) -> Iterator[tuple[Path, Any]]:  # noqa: ANN401 - any JSON value
    """Yield every place that the path leads to, with the value there."""
    for node in _compile(path).finditer(document):
        yield node.location, node.value


@lru_cache(maxsize=_COMPILED)
def _compile(path: str) -> JSONPathQuery:
    return _ENVIRONMENT.compile(f"${path}" if path.startswith("[") else f"$.{path}")
