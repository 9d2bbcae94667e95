"""What happened to an analysis, who did it, when and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from song_grpc.domain.analysis import AnalysisState, StateChange
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.limits import MAX_REASON_CHARS

LISTED_SUBJECTS = 20
_ENTRY_OVERHEAD_BYTES = 64  # of a message's tags, lengths and numbers


class HistoryAction(Enum):
    """What happened."""

    SUBMIT = "SUBMIT"
    UPDATE = "UPDATE"
    PATCH = "PATCH"
    PUBLISH = "PUBLISH"
    UNPUBLISH = "UNPUBLISH"
    SUPPRESS = "SUPPRESS"
    UPDATE_FILE = "UPDATE_FILE"
    DELETE_FILES = "DELETE_FILES"
    CORRECT_ENTITY = "CORRECT_ENTITY"


_UPDATED_STATE = {
    HistoryAction.PUBLISH: AnalysisState.PUBLISHED,
    HistoryAction.UNPUBLISH: AnalysisState.UNPUBLISHED,
    HistoryAction.SUPPRESS: AnalysisState.SUPPRESSED,
}
ACTION_OF_STATE = {state: action for action, state in _UPDATED_STATE.items()}
STATE_ACTIONS = tuple(_UPDATED_STATE)
"""Those that change the state."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Who changes something, when, and why."""

    actor: str
    """Name of the principal."""
    time: datetime
    reason: str = ""
    """As given; empty where none was."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One thing that happened to an analysis."""

    revision: int
    """Of the analysis, right after it. Entries have no gaps: 1 is the submission."""
    action: HistoryAction
    cause: Cause
    state: AnalysisState
    """Right after it."""
    subjects: Sequence[str] = ()
    """Ids and names it was about."""

    @property
    def wire_bytes(self) -> int:
        """At least what its message takes."""
        texts = (self.cause.actor, self.cause.reason, *self.subjects)
        return _ENTRY_OVERHEAD_BYTES + sum(len(text.encode()) + 2 for text in texts)


def check_reason(reason: str) -> None:
    """Raise ParameterError unless this can be kept as a reason."""
    if len(reason) > MAX_REASON_CHARS or "\0" in reason:
        raise ParameterError("reason", f"has more than {MAX_REASON_CHARS} characters, or NUL")


def cut_subjects(subjects: Sequence[str]) -> list[str]:
    """Return the first 20, and how many there are more."""
    more = len(subjects) - LISTED_SUBJECTS
    return [*subjects[:LISTED_SUBJECTS], *([f"and {more} more"] if more > 0 else [])]


def state_changes(entries: Sequence[HistoryEntry]) -> list[StateChange]:
    """Return the changes of state among entries that are in their order, oldest first."""
    changes: list[StateChange] = []
    state = AnalysisState.UNPUBLISHED
    for entry in entries:
        updated = _UPDATED_STATE.get(entry.action)
        if updated is not None:
            changes.append(StateChange(state, updated, entry.cause.time, entry.cause.actor, entry.cause.reason))
            state = updated
    return changes
