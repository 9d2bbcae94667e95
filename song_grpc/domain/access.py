"""Who may do what: one function, asked by every use case.

Scopes are granted per study: prefix + study id + suffix, for example `PROGRAMDATA-ABC.WRITE`. A system scope
stands for that scope on every study. WRITE implies READ. Scopes are compared as they are, case and all.
"""

from dataclasses import dataclass, field
from enum import Enum, auto

from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.errors import ScopeMissingError

SCOPE_PREFIX = "PROGRAMDATA-"
READ_SUFFIX = ".READ"
WRITE_SUFFIX = ".WRITE"
SYSTEM_READ = "song.READ"
SYSTEM_WRITE = "song.WRITE"


class Action(Enum):
    """What a caller wants to do."""

    WRITE_STUDY = auto()
    """Create the study, submit to it, change the state of its analyses."""
    REGISTER_ANALYSIS_TYPE = auto()
    READ_CATALOGUE = auto()
    """Studies and analysis types."""
    READ_ANALYSIS = auto()
    """An analysis and its files."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller, with what was granted."""

    name: str
    """For history and logs."""
    scopes: frozenset[str] = field(default=frozenset())
    is_development: bool = False
    """Authentication is off. WRITE on every study, and registers analysis types, since nobody else could; but
    not system: what only the sister service may ask stays closed."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an action is about; None where it does not matter."""

    study_id: str | None = None
    state: AnalysisState | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer."""

    allowed: bool
    missing_scope: str = ""
    """The narrowest scope that would have allowed it."""


ALLOWED = Decision(allowed=True)


def decide(principal: Principal, action: Action, facts: Facts) -> Decision:
    """Say whether the principal may do this."""
    if action is Action.READ_CATALOGUE:
        return ALLOWED
    if action is Action.READ_ANALYSIS and facts.state is AnalysisState.PUBLISHED:
        return ALLOWED
    if principal.is_development:
        return ALLOWED
    if action is Action.REGISTER_ANALYSIS_TYPE:
        return _needs(principal, SYSTEM_WRITE)
    if facts.study_id is None:
        raise ValueError(f"{action.name} is about a study")
    write = f"{SCOPE_PREFIX}{facts.study_id}{WRITE_SUFFIX}"
    if action is Action.WRITE_STUDY:
        return _needs(principal, write, SYSTEM_WRITE)
    read = f"{SCOPE_PREFIX}{facts.study_id}{READ_SUFFIX}"
    return _needs(principal, read, SYSTEM_READ, write, SYSTEM_WRITE)


def require(principal: Principal, action: Action, facts: Facts) -> None:
    """Raise ScopeMissingError unless the principal may do this."""
    decision = decide(principal, action, facts)
    if not decision.allowed:
        raise ScopeMissingError(decision.missing_scope)


def _needs(principal: Principal, *scopes: str) -> Decision:
    return ALLOWED if principal.scopes.intersection(scopes) else Decision(allowed=False, missing_scope=scopes[0])
