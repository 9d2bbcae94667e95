from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from song_score_client.exact_json import dump, parse, parse_object

NUMBERS = ["9007199254740993", "0.10", "1E5", "1.0", "-0", "1e400", "123456789012345678901234567890.000", "0"]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_keeps_every_character(number: str) -> None:
    assert dump(parse(number)) == number
    assert f'"x": {number}\n' in dump(parse(f'{{"x":{number}}}'))


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(DOCUMENTS)
def test_a_dumped_document_means_what_was_parsed(document: object) -> None:
    assert json.loads(dump(parse(json.dumps(document)))) == document


@given(st.text(st.characters(exclude_categories=[])))
def test_every_string_can_be_written_as_utf_8_and_read_back(text: str) -> None:
    assert json.loads(dump(text).encode()) == text


def test_letters_stay_readable_and_control_characters_are_escaped() -> None:
    assert dump("line \N{EN DASH} derived") == '"line \N{EN DASH} derived"'
    assert dump("\x9b31m") == '"\\u009b31m"'


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "[" * 100_000])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


def test_an_object_can_be_demanded_and_no_text_is_an_empty_one() -> None:
    assert parse_object("") == {}
    with pytest.raises(ValueError, match="not a JSON object"):
        parse_object("[]")
