"""Who may do what: the decision against a table written by hand."""

import pytest

from score_grpc.domain.access import Action, Facts, Principal, decide
from score_grpc.domain.errors import AnalysisNotPublishedError, AnalysisNotUnpublishedError, ScopeMissingError
from score_grpc.domain.registrations import AnalysisState

PRINCIPALS = {
    "nobody": Principal("nobody"),
    "reader": Principal("reader", frozenset({"PROGRAMDATA-ABC.READ"})),
    "writer": Principal("writer", frozenset({"PROGRAMDATA-ABC.WRITE"})),
    "stranger": Principal("stranger", frozenset({"PROGRAMDATA-XYZ.WRITE", "PROGRAMDATA-abc.WRITE"})),
    "system reader": Principal("system reader", frozenset({"score.READ"})),
    "system writer": Principal("system writer", frozenset({"score.WRITE"})),
    "development": Principal("development", writes_every_study=True),
}
OK, SCOPE, STATE = "ok", "scope", "state"
ERRORS: dict[str, tuple[type[Exception], ...]] = {
    SCOPE: (ScopeMissingError,),
    STATE: (AnalysisNotPublishedError, AnalysisNotUnpublishedError),
}
# Per action and access: UNPUBLISHED, PUBLISHED, SUPPRESSED.
TABLE = {
    ("nobody", Action.UPLOAD, "open"): (SCOPE, SCOPE, SCOPE),
    ("reader", Action.UPLOAD, "open"): (SCOPE, SCOPE, SCOPE),
    ("stranger", Action.UPLOAD, "open"): (SCOPE, SCOPE, SCOPE),
    ("writer", Action.UPLOAD, "open"): (OK, STATE, STATE),
    ("writer", Action.UPLOAD, "controlled"): (OK, STATE, STATE),
    ("system reader", Action.UPLOAD, "open"): (SCOPE, SCOPE, SCOPE),
    ("system writer", Action.UPLOAD, "open"): (OK, STATE, STATE),
    ("development", Action.UPLOAD, "controlled"): (OK, STATE, STATE),
    ("nobody", Action.MANAGE_UPLOAD, "open"): (SCOPE, SCOPE, SCOPE),
    ("reader", Action.MANAGE_UPLOAD, "open"): (SCOPE, SCOPE, SCOPE),
    ("writer", Action.MANAGE_UPLOAD, "open"): (OK, OK, OK),
    ("system writer", Action.MANAGE_UPLOAD, "open"): (OK, OK, OK),
    ("development", Action.MANAGE_UPLOAD, "open"): (OK, OK, OK),
    ("nobody", Action.READ, "open"): (STATE, OK, STATE),
    ("nobody", Action.READ, "controlled"): (SCOPE, SCOPE, SCOPE),
    ("stranger", Action.READ, "controlled"): (SCOPE, SCOPE, SCOPE),
    ("reader", Action.READ, "controlled"): (STATE, OK, STATE),
    ("writer", Action.READ, "controlled"): (STATE, OK, STATE),
    ("system reader", Action.READ, "controlled"): (OK, OK, OK),
    ("system writer", Action.READ, "controlled"): (OK, OK, OK),
    ("development", Action.READ, "controlled"): (STATE, OK, STATE),
    ("nobody", Action.READ_UNPUBLISHED, "open"): (SCOPE, OK, STATE),
    ("reader", Action.READ_UNPUBLISHED, "open"): (SCOPE, OK, STATE),
    ("reader", Action.READ_UNPUBLISHED, "controlled"): (SCOPE, OK, STATE),
    ("writer", Action.READ_UNPUBLISHED, "controlled"): (OK, OK, STATE),
    ("system reader", Action.READ_UNPUBLISHED, "controlled"): (OK, OK, OK),
    ("development", Action.READ_UNPUBLISHED, "controlled"): (OK, OK, STATE),
}


@pytest.mark.parametrize(("name", "action", "access"), TABLE)
def test_the_decision_is_the_tables(name: str, action: Action, access: str) -> None:
    for state, expected in zip(AnalysisState, TABLE[name, action, access], strict=True):
        facts = Facts("ABC", "analysis-1", state, is_open=access == "open")
        if expected == OK:
            decide(PRINCIPALS[name], action, facts)
            continue
        with pytest.raises(ERRORS[expected]):
            decide(PRINCIPALS[name], action, facts)
