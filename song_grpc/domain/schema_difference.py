"""Where two schemas differ: a structural comparison of JSON, by pointer."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from song_grpc.domain import json_text
from song_grpc.domain.limits import (
    MAX_DIFFERENCE_CHARS,
    MAX_DIFFERENCES,
    MAX_PAGE_BYTES,
    MAX_VIOLATION_POINTER_CHARS,
)
from song_grpc.domain.schema_keywords import comparable
from song_grpc.domain.schema_tree import pointer


@dataclass(frozen=True, slots=True)
class Difference:
    """A place where only one of two schemas has something, or they have different things."""

    pointer: str
    before_json: str | None
    """JSON text, cut after 1000 characters; None where the first schema has nothing."""
    after_json: str | None


@dataclass(frozen=True, slots=True)
class Differences:
    """The differences of two schemas, in the order of their pointers."""

    first: Sequence[Difference]
    """The first 10 000, or fewer: together about 3 MiB at most."""
    total: int


def compare(before: Any, after: Any) -> Differences:  # noqa: ANN401 - any JSON values
    """Compare member by member, and arrays element by element; an object or array that is new is one difference."""
    total = 0

    def counted() -> Iterator[_Found]:
        nonlocal total
        for found in _walk("", before, after):
            total += 1
            yield found

    kept = heapq.nsmallest(MAX_DIFFERENCES, counted(), key=lambda found: found[0])
    return Differences(_fitting(Difference(where, _text(one), _text(other)) for where, one, other in kept), total)


class _Nothing:
    """Stands where a schema has nothing; null is something."""


_NOTHING = _Nothing()
_Found = tuple[str, Any, Any]


def _walk(at: str, before: Any, after: Any) -> Iterator[_Found]:  # noqa: ANN401 - any JSON values
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            yield from _walk(_below(at, name), before.get(name, _NOTHING), after.get(name, _NOTHING))
    elif isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            one = before[index] if index < len(before) else _NOTHING
            other = after[index] if index < len(after) else _NOTHING
            yield from _walk(_below(at, str(index)), one, other)
    elif before is _NOTHING or after is _NOTHING or comparable(before) != comparable(after):
        yield at, before, after


def _below(at: str, step: str) -> str:
    """Return the pointer one step further down, cut at once: names can be long, and have much below them."""
    if at.endswith("…"):
        return at
    limit = MAX_VIOLATION_POINTER_CHARS
    text = at + pointer((step[:limit],))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _fitting(differences: Iterable[Difference]) -> list[Difference]:
    """Return the first of them, as many as one message takes."""
    shown: list[Difference] = []
    size = 0
    for one in differences:
        size += sum(len(text.encode()) for text in (one.pointer, one.before_json or "", one.after_json or ""))
        if size > MAX_PAGE_BYTES:
            break
        shown.append(one)
    return shown


def _text(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    if value is _NOTHING:
        return None
    text = json_text.write(value)
    return text if len(text) <= MAX_DIFFERENCE_CHARS else text[: MAX_DIFFERENCE_CHARS - 1] + "…"
