"""Who may do what: one decision, called by every use case. Scope is checked before state."""

from dataclasses import dataclass
from enum import Enum

from score_grpc.domain.errors import (
    AnalysisNotPublishedError,
    AnalysisNotUnpublishedError,
    DeleteRefusedError,
    ScopeMissingError,
)
from score_grpc.domain.registrations import AnalysisState

STUDY_SCOPE_PREFIX = "PROGRAMDATA-"
SYSTEM_READ, SYSTEM_WRITE = "score.READ", "score.WRITE"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling, with the scopes that count here."""

    name: str
    scopes: frozenset[str] = frozenset()
    writes_every_study: bool = False
    """The development principal of a server without authentication: no system, so the rules of state hold."""

    @property
    def is_system(self) -> bool:
        """Whether it has either system scope."""
        return bool(self.scopes & {SYSTEM_READ, SYSTEM_WRITE})

    def may_write(self, study_id: str) -> bool:
        """Whether it may write to the study."""
        granted = {SYSTEM_WRITE, f"{STUDY_SCOPE_PREFIX}{study_id}.WRITE"}
        return self.writes_every_study or bool(self.scopes & granted)

    def may_read(self, study_id: str) -> bool:
        """Whether it may read the study's controlled files. WRITE implies READ."""
        return self.is_system or self.may_write(study_id) or f"{STUDY_SCOPE_PREFIX}{study_id}.READ" in self.scopes


class Action(Enum):
    """What is asked for."""

    UPLOAD = "upload to"
    """Start an upload, write parts, complete it."""
    MEND = "upload again to"
    """As UPLOAD, of the very bytes that are stored and were found damaged."""
    MANAGE_UPLOAD = "complete or abort uploads to"
    INSPECT = "see uploads to, and verify files of,"
    DELETE = "delete files of"
    READ = "read files of"
    READ_UNPUBLISHED = "read unpublished files of"
    """As READ, and while the analysis is UNPUBLISHED to those who may write."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision depends on."""

    study_id: str
    analysis_id: str
    analysis_state: AnalysisState
    is_open: bool


_UPLOAD_STATES = {
    Action.UPLOAD: {AnalysisState.UNPUBLISHED},
    Action.MEND: {AnalysisState.UNPUBLISHED, AnalysisState.PUBLISHED},
    Action.MANAGE_UPLOAD: set(AnalysisState),
}


def decide(principal: Principal, action: Action, facts: Facts) -> None:
    """Return if the principal may; otherwise raise ScopeMissingError or the error of the wrong state."""
    if action in _UPLOAD_STATES:
        _require(principal.may_write(facts.study_id), principal, action, facts, "WRITE")
        if facts.analysis_state not in _UPLOAD_STATES[action]:
            raise AnalysisNotUnpublishedError(
                f"analysis {facts.analysis_id} is {facts.analysis_state.value}: only UNPUBLISHED analyses take uploads",
                analysis_id=facts.analysis_id,
                analysis_state=facts.analysis_state.value,
            )
        return
    if action is Action.INSPECT:
        require_inspection(principal, facts.study_id)
        return
    if action is Action.DELETE:
        _require_delete(principal, facts)
        return
    _require(facts.is_open or principal.may_read(facts.study_id), principal, action, facts, "READ")
    if facts.analysis_state is AnalysisState.PUBLISHED or principal.is_system:
        return
    if facts.analysis_state is AnalysisState.UNPUBLISHED and action is Action.READ_UNPUBLISHED:
        _require(principal.may_write(facts.study_id), principal, action, facts, "WRITE")
        return
    if facts.analysis_state is AnalysisState.UNPUBLISHED:
        remedy = "publish it first, or ask for unpublished files too if you may write to the study"
    else:
        remedy = "it was withdrawn for good"
    raise AnalysisNotPublishedError(
        f"analysis {facts.analysis_id} is {facts.analysis_state.value}, its files can't be downloaded: {remedy}",
        analysis_id=facts.analysis_id,
        analysis_state=facts.analysis_state.value,
    )


def require_system_write(principal: Principal) -> None:
    """Raise ScopeMissingError unless the principal has the system scope WRITE."""
    if SYSTEM_WRITE not in principal.scopes:
        raise ScopeMissingError(
            f"{principal.name} may not delete objects: scope {SYSTEM_WRITE} is missing", scope=SYSTEM_WRITE
        )


def require_all_studies(principal: Principal, what: str) -> None:
    """Raise ScopeMissingError unless the principal may ask for every study at once."""
    if not (principal.is_system or principal.writes_every_study):
        raise ScopeMissingError(
            f"{principal.name} may not {what} of all studies: name a study, or bring scope {SYSTEM_READ}",
            scope=SYSTEM_READ,
        )


def require_inspection(principal: Principal, study_id: str) -> None:
    """Raise ScopeMissingError unless the principal may see uploads to the study."""
    if not (principal.is_system or principal.may_write(study_id)):
        scope = f"{STUDY_SCOPE_PREFIX}{study_id}.WRITE"
        raise ScopeMissingError(
            f"{principal.name} may not {Action.INSPECT.value} study {study_id}: scope {scope} is missing", scope=scope
        )


def _require_delete(principal: Principal, facts: Facts) -> None:
    require_system_write(principal)
    if facts.analysis_state is AnalysisState.PUBLISHED:
        raise DeleteRefusedError(
            f"analysis {facts.analysis_id} is PUBLISHED, its objects are not deleted: unpublish or suppress it first",
            analysis_id=facts.analysis_id,
            analysis_state=facts.analysis_state.value,
        )


def _require(allowed: bool, principal: Principal, action: Action, facts: Facts, kind: str) -> None:  # noqa: FBT001 - the condition
    if not allowed:
        scope = f"{STUDY_SCOPE_PREFIX}{facts.study_id}.{kind}"
        raise ScopeMissingError(
            f"{principal.name} may not {action.value} study {facts.study_id}: scope {scope} is missing", scope=scope
        )
