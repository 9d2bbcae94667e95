"""Patterns are read as Java's, and refusals say where, why and what to write instead."""

import time
from contextlib import suppress

import pytest

from song_grpc.domain import type_schema
from song_grpc.domain.analysis_type import EntityModel
from song_grpc.domain.errors import MalformedSchemaError
from song_grpc.domain.java_source import PatternError
from song_grpc.domain.json_text import read_object, write
from song_grpc.domain.limits import MAX_PATTERN_DEPTH
from song_grpc.domain.patterns import compile_pattern
from song_grpc.domain.validation import compile_type
from song_grpc.domain.work import PatternTimeoutError, Work


@pytest.mark.parametrize(
    ("pattern", "found", "not_found"),
    [
        (r"^abc/(?i)(canada)/", "abc/CaNaDa/", "ABC/canada/"),
        (r"^(?:a(?i)b|c)$", "C", "Ab"),
        (r"^(?:(a(?i)b)c)$", "aBc", "aBC"),
        (r"^\p{Lu}\p{IsAlphabetic}+$", "Ünal", "ünal"),
        (r"^[a-z&&[^bc]]+\z", "axz", "abz"),
        (r"^\Qa.b\E$", "a.b", "axb"),
        (r"^a\h\x{1F600}$", "a\u2003😀", "a😀"),
        (r"^a$", "a\r\n", "a\n\n"),
        (r"^a\z", "a", "a\n"),
        (r"^a.b$", "a\x0bb", "a\u2028b"),
        (r"^(?>a|ab)c$", "ac", "abc"),
        (r"(?i)é", "é", "É"),
        (r"(?iu)é", "É", "e"),
        (r"^(?<x>['\"])\w+\k<x>$", "'a'", "'a\""),
    ],
)
def test_java_syntax_is_understood(pattern: str, found: str, not_found: str) -> None:
    assert Work().finds(pattern, found)
    assert not Work().finds(pattern, not_found)


@pytest.mark.parametrize(
    ("pattern", "offset", "reason"),
    [
        (r"ab\X", 2, "spell out"),
        (r"a\p{InGreek}", 1, "name ranges of characters"),
        (r"a(?U)b", 1, "'U' has no faithful translation"),
        ("ab[cd", 2, "'\\]' is missing"),
        ("(a", 0, "'\\)' is missing"),
        ("a)", 1, "closes no group"),
        ("a**", 2, "nothing for"),
        ("[a&&]", 4, "write \\[\\[…\\]&&\\[…\\]\\]"),
        ("[z-a]", 1, "ends before it begins"),
        (r"a\j", 1, "without its backslash"),
        (r"\Qab\E\q", 6, "no escape"),
        ("a{3,2}", 1, "most is less than its least"),
        ("a{99999999999}", 1, "repeats more than"),
        (r"(a\1)", 2, "does not end before it"),
        ("(?<=a+)b", 5, "repetition without end"),
        (r"\ud83d", 0, "hexadecimal code"),
        ("a\\", 2, "ends too early"),
        ("(?P<a b>c)", 0, "letters and digits"),
        (r"\k<x>", 0, "no group 'x'"),
    ],
)
def test_a_refusal_says_where_and_why(pattern: str, offset: int, reason: str) -> None:
    with pytest.raises(PatternError, match=reason) as refused:
        compile_pattern(pattern)
    assert refused.value.offset == offset


def test_a_schema_with_a_refused_pattern_names_pointer_pattern_and_offset() -> None:
    schema = {"type": "object", "properties": {"x": {"patternProperties": {r"^a/\X": {}}}}}
    with pytest.raises(MalformedSchemaError) as refused:
        compile_type(schema, EntityModel.NONE)
    assert refused.value.metadata["pointer"] == r"/properties/x/patternProperties/^a~1\X"
    assert r"the pattern ^a/\X can't be used as Java would, at character 3" in str(refused.value)


def test_depth_has_a_bound_that_does_not_depend_on_the_caller() -> None:
    compile_pattern("(" * MAX_PATTERN_DEPTH + "a" + ")" * MAX_PATTERN_DEPTH)
    for deep in ("(" * 2000 + "a" + ")" * 2000, "[" * 2000 + "a" + "]" * 2000, "[a&&" * 2000 + "a" + "]" * 2000):
        with pytest.raises(PatternError, match=r"levels deep|both sides"):
            compile_pattern(deep)


@pytest.mark.parametrize("pattern", [r"^(\w|\p{L})*$", r"^(?:a|(?i)A)*\z", r"^((a|a)*)\1$", r"(?:a|a)*(?<!b)\Z"])
def test_java_patterns_are_stopped_as_others_are(pattern: str) -> None:
    start = time.monotonic()
    with suppress(PatternTimeoutError):
        assert Work().finds(pattern, "a" * 40 + "!") is ("Z" in pattern)
    assert time.monotonic() - start < 20


def test_reserved_names_are_found_by_java_patterns() -> None:
    text = write({"type": "object", "properties": {}, "patternProperties": {r"^(?i)FILE\p{Lower}\z": {"type": "null"}}})
    (found,) = type_schema.check_rules(read_object(text, "schema"), EntityModel.NONE)
    assert found.keyword == "reserved"
