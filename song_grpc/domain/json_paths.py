"""JSONPath (RFC 9535): all that knows the library.

Filters look at single places of an element, as in `[?@.type == "x"]`: no wildcards, no `..`, no `$`, and not the
functions `match` and `search`, whose patterns nothing could stop. So what a path costs can be counted.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jsonpath_rfc9535 import JSONPathEnvironment, JSONPathNode, JSONPathQuery
from jsonpath_rfc9535.exceptions import JSONPathError
from jsonpath_rfc9535.filter_expressions import FilterContext, FilterExpression, FilterQuery, RootFilterQuery
from jsonpath_rfc9535.selectors import FilterSelector

from song_grpc.domain.schema_tree import Path
from song_grpc.domain.work import Work

_COMPILED = 256
_PARTS = ("expression", "left", "right", "args")
_ENVIRONMENT = JSONPathEnvironment()
for _name in ("match", "search"):
    del _ENVIRONMENT.function_extensions[_name]


class _UncountableError(Exception):
    """A filter looks at more than single places of its element."""


def problem(path: str) -> str:
    """Return what is wrong with a path below the root, without its `$.`; empty where nothing is."""
    try:
        _compile(path)
    except _UncountableError:
        return (
            "has a filter with a wildcard, a slice, '..' or '$': let it look at single places, as in [?@.type == 'x']"
        )
    except JSONPathError as error:
        return f"is no JSONPath below the root: {error}"
    except RecursionError:
        return "is nested too deeply"
    return ""


def find(path: str, document: Any, work: Work) -> Iterator[tuple[Path, Any]]:  # noqa: ANN401 - any JSON value
    """Yield every place that the path leads to, with the value there.

    Raises TooMuchWorkError, ValidationUnfinishedError.
    """
    nodes: Any = [_CountedNode(value=document, location=(), parent=None, root=work)]  # type: ignore[arg-type] # carried along
    for segment in _compile(path).segments:
        nodes = segment.resolve(nodes)
    for node in nodes:
        yield node.location, node.value


class _CountedNode(JSONPathNode):
    """A place on the way; the work travels as the root, which no filter may look at."""

    __slots__ = ()

    def new_child(self, value: object, key: int | str, parent: JSONPathNode | None) -> JSONPathNode:
        work: Any = self.root
        work.spend()
        return _CountedNode(value=value, location=(*self.location, key), parent=parent, root=self.root)


class _CountedFilter:
    """A filter's expression, which counts how often it is asked."""

    def __init__(self, expression: FilterExpression) -> None:
        self._expression = expression

    def evaluate(self, context: FilterContext) -> bool:
        work: Any = context.root
        work.spend()
        return self._expression.evaluate(context)


@lru_cache(maxsize=_COMPILED)
def _compile(path: str) -> JSONPathQuery:
    query = _ENVIRONMENT.compile(f"${path}" if path.startswith("[") else f"$.{path}")
    for segment in query.segments:
        for selector in segment.selectors:
            if isinstance(selector, FilterSelector):
                _check_countable(selector.expression)
                selector.expression = _CountedFilter(selector.expression)  # type: ignore[assignment] # all it is asked for
    return query


def _check_countable(expression: object) -> None:
    if isinstance(expression, FilterQuery):
        if isinstance(expression, RootFilterQuery) or not expression.query.singular_query():
            raise _UncountableError
        return
    if isinstance(expression, list | tuple):
        for part in expression:
            _check_countable(part)
        return
    for name in _PARTS:
        if hasattr(expression, name):
            _check_countable(getattr(expression, name))
