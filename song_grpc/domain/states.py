"""The life cycle: UNPUBLISHED and PUBLISHED lead to each other, both to SUPPRESSED, which is final."""

from enum import Enum

from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.errors import SuppressedError

_UNPUBLISHED, _PUBLISHED, _SUPPRESSED = AnalysisState


class EventAction(Enum):
    """What an event tells."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    PUBLISH = "PUBLISH"
    UNPUBLISH = "UNPUBLISH"
    SUPPRESS = "SUPPRESS"


ACTION_OF = {
    _PUBLISHED: EventAction.PUBLISH,
    _UNPUBLISHED: EventAction.UNPUBLISH,
    _SUPPRESSED: EventAction.SUPPRESS,
}


def is_change(analysis_id: str, current: AnalysisState, wanted: AnalysisState) -> bool:
    """Say whether the state has to change; raises SuppressedError where it never may."""
    if current is wanted:
        return False
    if current is _SUPPRESSED:
        raise SuppressedError(
            f"analysis '{analysis_id}' is SUPPRESSED for good: it can't become {wanted.value}",
            analysis_id=analysis_id,
            initial_state=current.value,
            updated_state=wanted.value,
        )
    return True
