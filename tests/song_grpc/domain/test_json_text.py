"""JSON text keeps every digit, and says where it is wrong, never what."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from song_grpc.domain import json_text
from song_grpc.domain.errors import PayloadParsingError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NUMBERS = st.integers() | st.decimals(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=30,
)


@given(st.dictionaries(TEXT, VALUES))
def test_what_is_written_reads_back_the_same(value: dict[str, object]) -> None:
    text = json_text.write(value)
    again = json_text.read_object(text, "text")
    assert again == value
    assert json_text.write(again) == text


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        json_text.read_object(text, "the text")
    except PayloadParsingError as error:
        assert int(error.metadata["line"]) >= 1  # noqa: PT017 - either way is right


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("", 1, 1),
        ("[]", 1, 1),
        ('"x"', 1, 1),
        ('{"studyId": }', 1, 13),
        ('{\n "a": NaN}', 2, 7),
        ('{"a": -Infinity}', 1, 7),
        ('{"a": 01}', 1, 8),
        ("{} x", 1, 4),
        ('{"a": "\\u0000"}', 1, 8),
        ('{"\\u0000": 1}', 1, 3),
        ('{"a": "\\ud800"}', 1, 8),
        ('{"a": "\\udc00\\ud800"}', 1, 8),
        ('{"a": "\\ud800x\\udc00"}', 1, 8),
        ('{"a": "\x01"}', 1, 8),
        ('{"a": [1, ' + "9" * 4301 + "]}", 1, 11),
        ('{"a": [1, 0.' + "9" * 4301 + "]}", 1, 11),
        ('{"a": 1, "b": 1E99999999999999999999999}', 1, 15),
        ('{"a":' * 64 + "[]" + "}" * 64, 1, 321),
        ('{"a":' * 100_000, 1, 321),
    ],
)
def test_refusals_name_the_place(text: str, line: int, column: int) -> None:
    with pytest.raises(PayloadParsingError) as raised:
        json_text.read_object(text, "the payload")
    assert (raised.value.metadata["line"], raised.value.metadata["column"]) == (str(line), str(column))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": "\\\\u0000"}', "\\u0000"),
        ('{"a": "\\ud83d\\ude00"}', "\N{GRINNING FACE}"),
        ('{"a": 1, "a": 2}', 2),
        ('{"a": 1E999999999}', Decimal("1E999999999")),
        ('{"a": -0.0}', Decimal("-0.0")),
        ('{"a":' * 63 + "1" + "}" * 63, None),
        ('{"a": ' + "9" * 4300 + "}", int("9" * 4300)),
    ],
)
def test_what_json_has_is_read(text: str, value: object) -> None:
    read = json_text.read_object(text, "the payload")
    if value is not None:
        assert read["a"] == value
