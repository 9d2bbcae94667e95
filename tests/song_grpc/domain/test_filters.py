"""The filter language: what is parsed, how it binds, and where errors point."""

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from song_grpc.domain import filters
from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.filter_tree import (
    And,
    Comparator,
    Comparison,
    DataComparison,
    DataPresence,
    Holding,
    Node,
    Not,
    Or,
    Part,
)
from song_grpc.domain.filter_tree import given as given_state

UNPUBLISHED, PUBLISHED, SUPPRESSED = AnalysisState
EQUAL, NOT_EQUAL = Comparator.EQUAL, Comparator.NOT_EQUAL
A, B, C = (Comparison("analysis_id", EQUAL, name) for name in "abc")
IS_PUBLISHED = Comparison("state", EQUAL, PUBLISHED)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("state = PUBLISHED", IS_PUBLISHED),
        ('state="PUBLISHED"', IS_PUBLISHED),
        ("state != SUPPRESSED", Comparison("state", NOT_EQUAL, SUPPRESSED)),
        ("analysis_type.version >= 2", Comparison("analysis_type.version", Comparator.AT_LEAST, 2)),
        ('create_time < "2026-01-01T12:00:00Z"', Comparison("create_time", Comparator.LESS, NOON)),
        ("publish_time > 2026-01-01T13:00:00.000000000+01:00", Comparison("publish_time", Comparator.MORE, NOON)),
        ("data.a.b = 1.50", DataComparison(("a", "b"), EQUAL, Decimal("1.5"))),
        ("data.a = -1e3", DataComparison(("a",), EQUAL, Decimal(-1000))),
        ("data.a = true", DataComparison(("a",), EQUAL, value=True)),
        ('data.a = "true"', DataComparison(("a",), EQUAL, "true")),
        ('data.a = "1"', DataComparison(("a",), EQUAL, "1")),
        ("data.a = WGS", DataComparison(("a",), EQUAL, "WGS")),
        (r'data."my key"."a.b" = "q\"\\"', DataComparison(("my key", "a.b"), EQUAL, 'q"\\')),
        ("data.a-b.7.ä : *", DataPresence(("a-b", "7", "ä"))),
        ('files.file_type : "CRAM"', Holding(Part.FILES, "file_type", "CRAM")),
        ("files.size_bytes:10", Holding(Part.FILES, "size_bytes", 10)),
        ("samples.donor.gender : Female", Holding(Part.SAMPLES, "donor.gender", "Female")),
    ],
)
def test_terms_say_what_the_contract_says(text: str, node: Node) -> None:
    assert filters.parse(f"{text} AND state = PUBLISHED") == And((node, IS_PUBLISHED))


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("analysis_id=a AND analysis_id=b OR analysis_id=c", And((A, Or((B, C))))),
        ("analysis_id=a OR analysis_id=b AND analysis_id=c", And((Or((A, B)), C))),
        ("(analysis_id=a AND analysis_id=b) OR analysis_id=c", Or((And((A, B)), C))),
        ("NOT analysis_id=a OR -analysis_id=b", Or((Not(A), Not(B)))),
        ("NOT (analysis_id=a OR analysis_id=b)", Not(Or((A, B)))),
        ("-(analysis_id=a)\n\tAND\n( ( analysis_id=b ) )", And((Not(A), B))),
    ],
)
def test_or_binds_tighter_than_and_as_aip_160_says(text: str, node: Node) -> None:
    assert filters.parse(text) == And((IS_PUBLISHED, node))


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        ("state", 5, "an operator"),
        ("foo = 1", 0, "a field: analysis_id, state,"),
        ("foo", 0, "a field: analysis_id, state,"),
        ("state = published", 8, "one of UNPUBLISHED, PUBLISHED, SUPPRESSED"),
        ("state < PUBLISHED", 0, "state takes = !="),
        ("state = PUBLISHED state = PUBLISHED", 18, "AND, OR or the end"),
        ("state = PUBLISHED or state = UNPUBLISHED", 18, "AND, OR or the end"),
        ("state = PUBLISHED AND", 21, "a field, NOT or '('"),
        ("OR", 0, "a field"),
        ('state = "PUBLISHED', 8, "a value"),
        ("(state = PUBLISHED", 18, "AND, OR or ')'"),
        ("state = PUBLISHED)", 17, "AND, OR or the end"),
        ("create_time = yesterday", 14, "an RFC 3339 time"),
        ("create_time = 2026-02-30T00:00:00Z", 14, "an RFC 3339 time"),
        ("create_time = 2026-01-01T00:00:00.0000001Z", 14, "to the microsecond"),
        ("analysis_type.version = two", 24, "an integer"),
        ("analysis_type.version = 9223372036854775808", 24, "an integer"),
        ("data = 1", 0, "a path after 'data'"),
        ("data. = 1", 5, "a member's name"),
        ("data .a = 1", 5, "an operator"),
        ("data.a = null", 9, "presence is ': *'"),
        ("data.a = 01", 9, "in double quotes"),
        ("data.a = 1e999", 9, "a number between"),
        ("data.a : 1", 9, "'*'"),
        ('data."a\\"" = 1', 0, "a quote, a backslash"),
        ('data.a = "\\n"', 10, "a backslash stands before"),
        ("files.foo : x", 0, "files.X with X one of object_id"),
        ("files.access : public", 15, "one of open, controlled"),
        ('files.md5 = "x"', 0, "files take ':' only"),
        ("samples.donor : *", 0, "samples.X"),
        ("analysis_id = 'x'", 14, "a value"),
        ("NOT NOT state = PUBLISHED", 4, "a field"),
        (" AND ".join(["state = PUBLISHED"] * 33), 704, "more than 32 terms"),
        ("(" * 17 + "state = PUBLISHED" + ")" * 17, 16, "more than 16 parentheses"),
    ],
)
def test_errors_point_to_the_place_and_say_what_was_expected(text: str, offset: int, expected: str) -> None:
    with pytest.raises(ParameterError, match=f"at offset {offset}: ") as raised:
        filters.parse(text)
    assert expected in str(raised.value)


def test_filters_are_bounded() -> None:
    filters.parse("(" * 16 + " OR ".join(["state = PUBLISHED"] * 32) + ")" * 16)
    for text in ("state = PUBLISHED" + " " * 2048, "state = \0"):
        with pytest.raises(ParameterError):
            filters.parse(text)


@given(st.text(st.sampled_from('abdet.= :<>!"\\()-*1 ANDOR\n') | st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with suppress(ParameterError):
        filters.parse(text)


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("", {PUBLISHED}),
        (" \n", {PUBLISHED}),
        ("analysis_id = a", {PUBLISHED}),
        ("state = UNPUBLISHED", {UNPUBLISHED}),
        ("state != PUBLISHED", {UNPUBLISHED, SUPPRESSED}),
        ("NOT state = SUPPRESSED", {UNPUBLISHED, PUBLISHED}),
        ("state = UNPUBLISHED OR state = PUBLISHED", {UNPUBLISHED, PUBLISHED}),
        ("state = UNPUBLISHED AND state = PUBLISHED", set()),
        ("state = UNPUBLISHED OR analysis_id = a", set(AnalysisState)),
        ("(state = UNPUBLISHED AND analysis_id = a) OR state = SUPPRESSED", {UNPUBLISHED, SUPPRESSED}),
    ],
)
def test_a_filter_tells_which_states_have_to_be_looked_at(text: str, states: set[AnalysisState]) -> None:
    node = filters.parse(text)
    assert {state for state in AnalysisState if given_state(node, state, shows_data=True) is not False} == states


def test_of_conditions_on_the_state_nothing_is_left_to_the_database() -> None:
    node = filters.parse("(state = UNPUBLISHED AND analysis_id = a) OR state = SUPPRESSED")
    assert given_state(node, UNPUBLISHED, shows_data=True) == A
    assert given_state(node, SUPPRESSED, shows_data=True) is True


@pytest.mark.parametrize("term", ["data.a = 1", "data.a : *", "samples.donor.gender : Male"])
def test_where_data_are_hidden_conditions_on_them_do_not_hold(term: str) -> None:
    assert given_state(filters.parse(term), PUBLISHED, shows_data=False) is False
    assert given_state(filters.parse(f"{term} OR analysis_id = a"), PUBLISHED, shows_data=False) == A
    assert given_state(filters.parse(f"NOT {term}"), PUBLISHED, shows_data=False) is True
