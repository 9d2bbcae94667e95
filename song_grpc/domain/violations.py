"""Ways in which a document breaks a schema."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from song_grpc.domain.errors import SchemaViolationError
from song_grpc.domain.limits import MAX_VIOLATION_POINTER_CHARS, MAX_VIOLATIONS
from song_grpc.domain.schema_tree import Path, pointer

SENT_WITH_ERROR = 20


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which a document breaks a schema."""

    pointer: str
    """JSON Pointer into the document; empty means all of it."""
    keyword: str
    message: str
    """For the submitter; never the contents of the document."""
    schema_pointer: str
    """JSON Pointer to the keyword in the schema that failed."""


@dataclass(frozen=True, slots=True)
class Violations:
    """All violations of one document, in document order."""

    first: Sequence[Violation]
    """The first 10 000."""
    total: int


def refuse(what: str, violations: Violations) -> SchemaViolationError:
    """Return the error for a document; `what` says what breaks what."""
    shown = [(found.pointer, found.message) for found in islice(violations.first, SENT_WITH_ERROR)]
    places = "place" if violations.total == 1 else "places"
    error = SchemaViolationError(f"{what} in {violations.total} {places}", shown, violations.total)
    error.found = violations.first
    return error


def violation(path: Path, keyword: str, message: str, schema_path: Path) -> Violation:
    """Return a violation, with its pointers cut to what can be sent."""
    return Violation(_cut(pointer(path)), keyword, message, _cut(pointer(schema_path)))


def _cut(text: str) -> str:
    limit = MAX_VIOLATION_POINTER_CHARS
    return text if len(text) <= limit else text[: limit - 1] + "…"


def collect(found: Iterable[tuple[tuple[Any, ...], Violation]], document: object) -> Violations:
    """Sort violations, given with their paths, by the order of the document; the order given breaks ties.

    Never more than twice the violations that are kept are held at once.
    """
    order = _DocumentOrder()
    ranked: list[tuple[tuple[int, ...], Violation]] = []
    last: tuple[int, ...] | None = None  # beyond this one, no violation is kept
    total = 0
    for path, one in found:
        total += 1
        rank = order.rank(document, path)
        if last is None or rank < last:
            ranked.append((rank, one))
        if len(ranked) >= 2 * MAX_VIOLATIONS:
            ranked = sorted(ranked, key=_rank)[:MAX_VIOLATIONS]
            last = ranked[-1][0]
    return Violations([one for _, one in sorted(ranked, key=_rank)[:MAX_VIOLATIONS]], total)


def _rank(pair: tuple[tuple[int, ...], Violation]) -> tuple[int, ...]:
    return pair[0]


class _DocumentOrder:
    """Ranks paths by where they stand in the document's text."""

    def __init__(self) -> None:
        self._positions: dict[int, Mapping[str, int]] = {}

    def rank(self, document: object, path: tuple[Any, ...]) -> tuple[int, ...]:
        ranks: list[int] = []
        value: Any = document
        for step in path:
            if isinstance(value, dict):
                positions = self._positions.get(id(value))
                if positions is None:
                    positions = {key: position for position, key in enumerate(value)}
                    self._positions[id(value)] = positions
                ranks.append(positions[step])
            else:
                ranks.append(step)
            value = value[step]
        return tuple(ranks)
