"""Who may do what."""

import pytest

from song_grpc.domain.access import Action, Facts, Principal, decide, require
from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.errors import ScopeMissingError

PUBLISHED, UNPUBLISHED = AnalysisState.PUBLISHED, AnalysisState.UNPUBLISHED
WRITE, REGISTER, CATALOGUE, READ = Action
DEVELOPMENT = Principal("development", is_development=True)
SERVICE = Principal("service", frozenset({"song.READ", "song.WRITE"}))


def having(*scopes: str) -> Principal:
    return Principal("someone", frozenset(scopes))


# principal, action, study, state → the missing scope, empty where it is allowed
TABLE = [
    (DEVELOPMENT, WRITE, "A", None, ""),
    (DEVELOPMENT, REGISTER, None, None, ""),
    (DEVELOPMENT, READ, "A", UNPUBLISHED, ""),
    (SERVICE, WRITE, "A", None, ""),
    (SERVICE, REGISTER, None, None, ""),
    (SERVICE, READ, "A", UNPUBLISHED, ""),
    (having(), CATALOGUE, None, None, ""),
    (having(), READ, "A", PUBLISHED, ""),
    (having(), READ, "A", UNPUBLISHED, "PROGRAMDATA-A.READ"),
    (having(), READ, "A", AnalysisState.SUPPRESSED, "PROGRAMDATA-A.READ"),
    (having(), WRITE, "A", None, "PROGRAMDATA-A.WRITE"),
    (having(), REGISTER, None, None, "song.WRITE"),
    (having("PROGRAMDATA-A.READ"), READ, "A", UNPUBLISHED, ""),
    (having("PROGRAMDATA-A.READ"), READ, "B", UNPUBLISHED, "PROGRAMDATA-B.READ"),
    (having("PROGRAMDATA-A.READ"), WRITE, "A", None, "PROGRAMDATA-A.WRITE"),
    (having("PROGRAMDATA-A.WRITE"), WRITE, "A", None, ""),
    (having("PROGRAMDATA-A.WRITE"), READ, "A", UNPUBLISHED, ""),
    (having("PROGRAMDATA-A.WRITE"), WRITE, "B", None, "PROGRAMDATA-B.WRITE"),
    (having("PROGRAMDATA-A.WRITE"), REGISTER, None, None, "song.WRITE"),
    (having("programdata-a.write"), WRITE, "A", None, "PROGRAMDATA-A.WRITE"),
    (having("PROGRAMDATA-A.WRITE"), WRITE, "a", None, "PROGRAMDATA-a.WRITE"),
    (having("PROGRAMDATA-A.WRITE "), WRITE, "A", None, "PROGRAMDATA-A.WRITE"),
    (having("song.WRITE"), WRITE, "A", None, ""),
    (having("song.WRITE"), READ, "A", UNPUBLISHED, ""),
    (having("song.WRITE"), REGISTER, None, None, ""),
    (having("song.READ"), READ, "A", UNPUBLISHED, ""),
    (having("song.READ"), WRITE, "A", None, "PROGRAMDATA-A.WRITE"),
    (having("song.READ"), REGISTER, None, None, "song.WRITE"),
    (having("score.WRITE"), WRITE, "A", None, "PROGRAMDATA-A.WRITE"),
]


@pytest.mark.parametrize(("principal", "action", "study_id", "state", "missing"), TABLE)
def test_decisions(
    principal: Principal, action: Action, study_id: str | None, state: AnalysisState | None, missing: str
) -> None:
    decision = decide(principal, action, Facts(study_id, state))
    assert (decision.allowed, decision.missing_scope) == (missing == "", missing)
    if missing:
        with pytest.raises(ScopeMissingError, match=missing):
            require(principal, action, Facts(study_id, state))
