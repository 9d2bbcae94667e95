"""Who may do what."""

from dataclasses import replace

import pytest

from song_grpc.domain.access import Action, Facts, Policy, Principal, decide, may_see_data, require
from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.errors import ScopeMissingError, TokenMissingError
from song_grpc.domain.study import StudyVisibility

PUBLISHED, UNPUBLISHED = AnalysisState.PUBLISHED, AnalysisState.UNPUBLISHED
OPEN, CONTROLLED = StudyVisibility.OPEN, StudyVisibility.CONTROLLED
WRITE, UPDATE, REGISTER, REPLAY = (
    Action.WRITE_STUDY,
    Action.UPDATE_STUDY,
    Action.REGISTER_ANALYSIS_TYPE,
    Action.REPLAY_EVENTS,
)
CATALOGUE, READ, EVENTS, ENTITIES = (
    Action.READ_CATALOGUE,
    Action.READ_ANALYSIS,
    Action.READ_EVENTS,
    Action.READ_ENTITIES,
)
DEVELOPMENT = Principal("development", is_development=True)
SERVICE = Principal("service", frozenset({"song.READ", "song.WRITE"}))
ANONYMOUS = Principal("anonymous", is_anonymous=True)

STUDY_A = Facts("A")
OF_OPEN, OF_CONTROLLED = Facts("A", visibility=OPEN), Facts("A", visibility=CONTROLLED)


def having(*scopes: str) -> Principal:
    return Principal("someone", frozenset(scopes))


def in_state(state: AnalysisState, study_id: str = "A") -> Facts:
    return Facts(study_id, state)


READER, WRITER = having("PROGRAMDATA-A.READ"), having("PROGRAMDATA-A.WRITE")
SYSTEM_READER, SYSTEM_WRITER = having("song.READ"), having("song.WRITE")

# principal, action, facts → the missing scope, empty where it is allowed
TABLE = [
    (DEVELOPMENT, WRITE, STUDY_A, ""),
    (DEVELOPMENT, UPDATE, STUDY_A, ""),
    (DEVELOPMENT, REGISTER, Facts(), ""),
    (DEVELOPMENT, REPLAY, Facts(), ""),
    (DEVELOPMENT, READ, in_state(UNPUBLISHED), ""),
    (DEVELOPMENT, ENTITIES, OF_CONTROLLED, ""),
    (SERVICE, WRITE, STUDY_A, ""),
    (SERVICE, REGISTER, Facts(), ""),
    (SERVICE, READ, in_state(UNPUBLISHED), ""),
    (having(), CATALOGUE, Facts(), ""),
    (having(), READ, in_state(PUBLISHED), ""),
    (having(), READ, in_state(UNPUBLISHED), "PROGRAMDATA-A.READ"),
    (having(), READ, in_state(AnalysisState.SUPPRESSED), "PROGRAMDATA-A.READ"),
    (having(), WRITE, STUDY_A, "PROGRAMDATA-A.WRITE"),
    (having(), UPDATE, STUDY_A, "PROGRAMDATA-A.WRITE"),
    (having(), REGISTER, Facts(), "song.WRITE"),
    (having(), REPLAY, Facts(), "song.WRITE"),
    (READER, READ, in_state(UNPUBLISHED), ""),
    (READER, READ, in_state(UNPUBLISHED, "B"), "PROGRAMDATA-B.READ"),
    (READER, WRITE, STUDY_A, "PROGRAMDATA-A.WRITE"),
    (READER, UPDATE, STUDY_A, "PROGRAMDATA-A.WRITE"),
    (WRITER, WRITE, STUDY_A, ""),
    (WRITER, UPDATE, STUDY_A, ""),
    (WRITER, READ, in_state(UNPUBLISHED), ""),
    (WRITER, WRITE, Facts("B"), "PROGRAMDATA-B.WRITE"),
    (WRITER, REGISTER, Facts(), "song.WRITE"),
    (WRITER, REPLAY, Facts(), "song.WRITE"),
    (having("programdata-a.write"), WRITE, STUDY_A, "PROGRAMDATA-A.WRITE"),
    (WRITER, WRITE, Facts("a"), "PROGRAMDATA-a.WRITE"),
    (having("PROGRAMDATA-A.WRITE "), WRITE, STUDY_A, "PROGRAMDATA-A.WRITE"),
    (having("PROGRAMDATA-.WRITE", "PROGRAMDATA-*.WRITE"), WRITE, STUDY_A, "PROGRAMDATA-A.WRITE"),
    (SYSTEM_WRITER, WRITE, STUDY_A, ""),
    (SYSTEM_WRITER, UPDATE, STUDY_A, ""),
    (SYSTEM_WRITER, READ, in_state(UNPUBLISHED), ""),
    (SYSTEM_WRITER, REGISTER, Facts(), ""),
    (SYSTEM_WRITER, REPLAY, Facts(), ""),
    (SYSTEM_READER, READ, in_state(UNPUBLISHED), ""),
    (SYSTEM_READER, WRITE, STUDY_A, "PROGRAMDATA-A.WRITE"),
    (SYSTEM_READER, REGISTER, Facts(), "song.WRITE"),
    (SYSTEM_READER, REPLAY, Facts(), "song.WRITE"),
    (having("score.WRITE"), WRITE, STUDY_A, "PROGRAMDATA-A.WRITE"),
    # The watch itself is open, each event is not.
    (ANONYMOUS, EVENTS, Facts(), ""),
    (ANONYMOUS, EVENTS, in_state(PUBLISHED), ""),
    (ANONYMOUS, EVENTS, in_state(UNPUBLISHED), "PROGRAMDATA-A.READ"),
    (READER, EVENTS, in_state(UNPUBLISHED), ""),
    # Entities: anyone's only where the study is OPEN and a PUBLISHED analysis refers to them.
    (ANONYMOUS, ENTITIES, replace(OF_OPEN, is_published=True), ""),
    (ANONYMOUS, ENTITIES, OF_OPEN, "PROGRAMDATA-A.READ"),
    (ANONYMOUS, ENTITIES, replace(OF_CONTROLLED, is_published=True), "PROGRAMDATA-A.READ"),
    (ANONYMOUS, ENTITIES, Facts("A", is_published=True), "PROGRAMDATA-A.READ"),
    (READER, ENTITIES, OF_CONTROLLED, ""),
    (WRITER, ENTITIES, OF_CONTROLLED, ""),
    (SYSTEM_READER, ENTITIES, OF_CONTROLLED, ""),
    (having("PROGRAMDATA-B.WRITE"), ENTITIES, OF_OPEN, "PROGRAMDATA-A.READ"),
    (ANONYMOUS, CATALOGUE, Facts(), ""),
    (ANONYMOUS, WRITE, STUDY_A, "PROGRAMDATA-A.WRITE"),
]


@pytest.mark.parametrize(("principal", "action", "facts", "missing"), TABLE)
def test_decisions(principal: Principal, action: Action, facts: Facts, missing: str) -> None:
    decision = decide(principal, action, facts)
    assert (decision.allowed, decision.missing_scope) == (missing == "", missing)
    if missing:
        with pytest.raises(TokenMissingError if principal.is_anonymous else ScopeMissingError, match=missing):
            require(principal, action, facts)
    else:
        require(principal, action, facts)


def test_where_reads_are_public_anyone_reads_everything_and_writes_nothing_more() -> None:
    anyone = replace(ANONYMOUS, policy=Policy(reads_are_public=True))
    for facts in (in_state(UNPUBLISHED), in_state(AnalysisState.SUPPRESSED), OF_CONTROLLED):
        for action in (READ, EVENTS, ENTITIES, CATALOGUE):
            assert decide(anyone, action, facts).allowed
    assert may_see_data(anyone, "A", CONTROLLED)
    for action in (WRITE, UPDATE, REGISTER, REPLAY):
        assert not decide(anyone, action, STUDY_A).allowed


def test_data_of_a_controlled_study_is_shown_to_its_readers() -> None:
    assert all(may_see_data(principal, "A", OPEN) for principal in (ANONYMOUS, having(), READER, DEVELOPMENT))
    shown = [READER, WRITER, SYSTEM_READER, SYSTEM_WRITER, SERVICE, DEVELOPMENT]
    assert all(may_see_data(principal, "A", CONTROLLED) for principal in shown)
    hidden = [ANONYMOUS, having(), having("PROGRAMDATA-B.WRITE"), having("song.read")]
    assert not any(may_see_data(principal, "A", CONTROLLED) for principal in hidden)


def test_scopes_are_spelled_as_the_policy_says() -> None:
    policy = Policy("song.", "-r", "-w", "all-r", "all-w")
    for scope, action, allowed in (
        ("song.A-w", WRITE, True),
        ("song.A-r", WRITE, False),
        ("song.A-r", READ, True),
        ("all-w", REGISTER, True),
        ("all-r", READ, True),
        ("PROGRAMDATA-A.WRITE", WRITE, False),
        ("song.WRITE", WRITE, False),
    ):
        principal = Principal("someone", frozenset({scope}), policy=policy)
        assert decide(principal, action, in_state(UNPUBLISHED)).allowed == allowed, scope
    assert decide(Principal("someone", policy=policy), WRITE, STUDY_A).missing_scope == "song.A-w"


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("scope_prefix", "", "scope_prefix"),
        ("scope_prefix", "-", "scope_prefix"),
        ("scope_prefix", "PROGRAMDATA", "scope_prefix"),
        ("scope_prefix", "A-\n", "scope_prefix"),
        ("read_suffix", "READ", "scope_read_suffix"),
        ("write_suffix", ".", "scope_write_suffix"),
        ("write_suffix", ".READ", "scope_write_suffix"),
        ("system_read_scope", "song.WRITE", "system_write_scope"),
        ("system_write_scope", "", "system_write_scope"),
        ("system_write_scope", "song WRITE", "system_write_scope"),
        ("system_write_scope", "PROGRAMDATA-A.WRITE", "the scope of one study"),
    ],
)
def test_a_policy_that_would_confuse_scopes_is_refused(field: str, value: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Policy(**{field: value})  # type: ignore[arg-type] # these fields are texts
