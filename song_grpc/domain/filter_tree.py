"""What a filter says, as a tree. A comparison with a value that is missing does not hold; NOT of it does."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum

from song_grpc.domain.analysis import AnalysisState


class Comparator(Enum):
    """How a field is compared with a value."""

    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="


class Part(Enum):
    """What an analysis has many of."""

    FILES = "files"
    SAMPLES = "samples"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field of the analysis itself against a value of the field's kind."""

    field: str
    """As the contract spells it, for example `analysis_type.name`."""
    comparator: Comparator
    value: str | int | datetime | AnalysisState


@dataclass(frozen=True, slots=True)
class DataComparison:
    """A place of the dynamic data against a value; values of other kinds never compare."""

    path: tuple[str, ...]
    """Names of members, outermost first. Never into an array."""
    comparator: Comparator
    value: str | Decimal | bool


@dataclass(frozen=True, slots=True)
class DataPresence:
    """A place of the dynamic data is there, and is not null."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holding:
    """One of the files or samples has this value."""

    part: Part
    member: str
    """For example `file_type`, `donor.gender`."""
    value: str | int


Leaf = Comparison | DataComparison | DataPresence | Holding


@dataclass(frozen=True, slots=True)
class Not:
    """The term does not hold."""

    term: "Node"


@dataclass(frozen=True, slots=True)
class And:
    """All terms hold."""

    terms: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of the terms holds."""

    terms: tuple["Node", ...]


Node = Leaf | Not | And | Or


def simplify(node: Node, known: Callable[[Leaf], bool | None]) -> Node | bool:
    """Return what is left to be found out once `known` has said which leaves hold; None means: not known."""
    match node:
        case Not(term):
            left = simplify(term, known)
            return not left if isinstance(left, bool) else Not(left)
        case And(terms):
            return _join(And, [simplify(term, known) for term in terms], deciding=False)
        case Or(terms):
            return _join(Or, [simplify(term, known) for term in terms], deciding=True)
        case leaf:
            holds = known(leaf)
            return leaf if holds is None else holds


def _join(kind: type[And] | type[Or], terms: list[Node | bool], *, deciding: bool) -> Node | bool:
    if any(term is deciding for term in terms):
        return deciding
    left = [term for term in terms if not isinstance(term, bool)]
    if not left:
        return not deciding
    return left[0] if len(left) == 1 else kind(tuple(left))


def given(node: Node, state: AnalysisState, *, shows_data: bool) -> Node | bool:
    """Return what is left to be found out about analyses in this state.

    Where samples and dynamic data are not shown, conditions on them do not hold.
    """

    def known(leaf: Leaf) -> bool | None:
        match leaf:
            case Comparison("state", comparator, value):
                return (value is state) is (comparator is Comparator.EQUAL)
            case DataComparison() | DataPresence() | Holding(Part.SAMPLES) if not shows_data:
                return False
            case _:
                return None

    return simplify(node, known)


def names_state(node: Node) -> bool:
    """Say whether there is a condition on the state anywhere."""
    match node:
        case Not(term):
            return names_state(term)
        case And(terms) | Or(terms):
            return any(names_state(term) for term in terms)
        case Comparison("state"):
            return True
        case _:
            return False
