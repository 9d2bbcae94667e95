"""Who may do what: one function, asked by every use case.

Scopes are granted per study: prefix + study id + suffix, for example `PROGRAMDATA-ABC.WRITE`. A system scope
stands for that scope on every study. WRITE implies READ. Scopes are compared as they are, case and all.
"""

import re
from dataclasses import dataclass, field
from enum import Enum, auto

from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.errors import ScopeMissingError, TokenMissingError
from song_grpc.domain.study import StudyVisibility


@dataclass(frozen=True, slots=True)
class Policy:
    """How scopes are spelled here, and whether reads need any. Raises ValueError, naming the field."""

    scope_prefix: str = "PROGRAMDATA-"
    read_suffix: str = ".READ"
    write_suffix: str = ".WRITE"
    system_read_scope: str = "song.READ"
    system_write_scope: str = "song.WRITE"
    reads_are_public: bool = False
    """Anyone reads everything, as with Overture's Song."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w+\W", self.scope_prefix):
            raise ValueError("scope_prefix: give letters or digits and one other character, as in 'PROGRAMDATA-'")
        for name in ("read_suffix", "write_suffix"):
            if not re.fullmatch(r"\W\w+", getattr(self, name)):
                raise ValueError(f"scope_{name}: give one character and letters or digits, as in '.WRITE'")
        if self.read_suffix == self.write_suffix:
            raise ValueError("scope_read_suffix and scope_write_suffix are the same: whoever reads would write")
        if self.system_read_scope == self.system_write_scope:
            raise ValueError("system_read_scope and system_write_scope are the same: whoever reads would write")
        suffixes = (self.read_suffix, self.write_suffix)
        for name in ("system_read_scope", "system_write_scope"):
            scope: str = getattr(self, name)
            if not scope or any(character.isspace() for character in scope):
                raise ValueError(f"{name}: give one word, as in 'song.WRITE'")
            shortest = len(self.scope_prefix) + 1 + min(map(len, suffixes))
            if scope.startswith(self.scope_prefix) and scope.endswith(suffixes) and len(scope) >= shortest:
                raise ValueError(f"{name}: it is the scope of one study")

    def read_scope(self, study_id: str) -> str:
        """Return the scope to read a study."""
        return f"{self.scope_prefix}{study_id}{self.read_suffix}"

    def write_scope(self, study_id: str) -> str:
        """Return the scope to write to a study."""
        return f"{self.scope_prefix}{study_id}{self.write_suffix}"


class Action(Enum):
    """What a caller wants to do."""

    WRITE_STUDY = auto()
    """Create the study, submit to it, change its analyses, files and entities."""
    UPDATE_STUDY = auto()
    """Change the study itself."""
    REGISTER_ANALYSIS_TYPE = auto()
    REPLAY_EVENTS = auto()
    """Have the events of all studies sent again."""
    READ_CATALOGUE = auto()
    """Studies and analysis types."""
    READ_ANALYSIS = auto()
    """An analysis and its files. How much of it: `may_see_data`."""
    READ_EVENTS = auto()
    """Watch events; with a study and a state, one event. How much of it: `may_see_data`."""
    READ_ENTITIES = auto()
    """Donors, specimens and samples, with their submitter ids."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller, with what was granted."""

    name: str
    """For history and logs."""
    scopes: frozenset[str] = field(default=frozenset())
    is_development: bool = False
    """Authentication is off. WRITE on every study, and registers analysis types, since nobody else could; but
    not system: what only the sister service may ask stays closed."""
    is_anonymous: bool = False
    """Authentication is on, and the caller has not said who it is: no scopes."""
    policy: Policy = field(default=Policy())
    """What the scopes mean."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an action is about; None where it does not matter."""

    study_id: str | None = None
    state: AnalysisState | None = None
    visibility: StudyVisibility | None = None
    """Of the study; without it, the study counts as CONTROLLED."""
    is_published: bool = False
    """Of an entity: a PUBLISHED analysis refers to it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer."""

    allowed: bool
    missing_scope: str = ""
    """The narrowest scope that would have allowed it."""


ALLOWED = Decision(allowed=True)

_WRITES = {Action.WRITE_STUDY, Action.UPDATE_STUDY}
_SYSTEM_WRITES = {Action.REGISTER_ANALYSIS_TYPE, Action.REPLAY_EVENTS}


def decide(principal: Principal, action: Action, facts: Facts) -> Decision:
    """Say whether the principal may do this."""
    policy = principal.policy
    if principal.is_development or _is_for_anyone(policy, action, facts):
        return ALLOWED
    if action in _SYSTEM_WRITES:
        return _needs(principal, policy.system_write_scope)
    if facts.study_id is None:
        raise ValueError(f"{action.name} is about a study")
    write = policy.write_scope(facts.study_id)
    if action in _WRITES:
        return _needs(principal, write, policy.system_write_scope)
    read = policy.read_scope(facts.study_id)
    return _needs(principal, read, policy.system_read_scope, write, policy.system_write_scope)


def require(principal: Principal, action: Action, facts: Facts) -> None:
    """Raise unless the principal may do this: ScopeMissingError, or TokenMissingError where it is anonymous."""
    decision = decide(principal, action, facts)
    if decision.allowed:
        return
    if principal.is_anonymous:
        raise TokenMissingError(decision.missing_scope)
    raise ScopeMissingError(decision.missing_scope)


def may_see_data(principal: Principal, study_id: str, visibility: StudyVisibility) -> bool:
    """Say whether an analysis that the principal may read is shown whole.

    Otherwise it shows only id, study, type, state, times and files, and no filter may look at the rest: no samples,
    no dynamic data.
    """
    facts = Facts(study_id=study_id, visibility=visibility, is_published=True)
    return decide(principal, Action.READ_ENTITIES, facts).allowed


def _is_for_anyone(policy: Policy, action: Action, facts: Facts) -> bool:
    match action:
        case Action.READ_CATALOGUE:
            return True
        case Action.READ_ANALYSIS:
            return policy.reads_are_public or facts.state is AnalysisState.PUBLISHED
        case Action.READ_EVENTS:
            return policy.reads_are_public or facts.study_id is None or facts.state is AnalysisState.PUBLISHED
        case Action.READ_ENTITIES:
            is_open = facts.visibility is StudyVisibility.OPEN
            return policy.reads_are_public or (is_open and facts.is_published)
        case _:
            return False


def _needs(principal: Principal, *scopes: str) -> Decision:
    return ALLOWED if principal.scopes.intersection(scopes) else Decision(allowed=False, missing_scope=scopes[0])
