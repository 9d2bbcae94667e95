"""Pages of lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from song_grpc.domain import paging
from song_grpc.domain.errors import ParameterError


@given(
    st.lists(st.text()),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.integers(-(2**63), 2**63 - 1),
)
def test_tokens_lead_back_to_their_key_and_to_no_other_list(scope: list[str], text: str, number: int) -> None:
    token = paging.make_token(scope, (text, number))
    if len(token) > 2048:
        return
    assert paging.read_token(token, scope, (str, int)) == (text, number)
    for other, kinds in (([*scope, "x"], (str, int)), (scope, (int, str)), (scope, (str,))):
        with pytest.raises(ParameterError):
            paging.read_token(token, other, kinds)


@given(st.text(min_size=1))
def test_any_other_text_is_no_token(text: str) -> None:
    with pytest.raises(ParameterError):
        paging.read_token(text, ("list",), (str,))


def test_tokens_with_what_no_database_compares_are_refused() -> None:
    for key, kinds in ((("\0",), (str,)), ((2**63,), (int,)), ((True,), (int,))):
        with pytest.raises(ParameterError):
            paging.read_token(paging.make_token(("list",), key), ("list",), kinds)


def test_a_page_is_cut_by_items_and_by_bytes_and_holds_at_least_one() -> None:
    rows = [paging.Row((number,), 1024 * 1024) for number in range(5)]
    assert len(paging.cut(rows, 2)) == 2
    assert len(paging.cut(rows, 5)) == 3
    assert len(paging.cut([paging.Row((1,), 10**9), *rows], 5)) == 1
    assert list(paging.cut([], 5)) == []
