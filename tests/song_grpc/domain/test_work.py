"""No schema and no payload takes a server's time or memory without end."""

import json
import re
import threading
import time
import tracemalloc
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from song_grpc.domain import json_text, limits, payload, work
from song_grpc.domain.analysis_type import AnalysisType, EntityModel, TypeOptions
from song_grpc.domain.errors import PayloadParsingError, ValidationUnfinishedError
from song_grpc.domain.violations import Violations
from song_grpc.domain.work import Work
from tests.song_grpc import world

DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"
SLOW_PATTERN = "^(a|a)*$"
SLOW_TEXT = "a" * 40 + "!"


def found(rule: Any, x: Any, used: Work | None = None, **root: Any) -> Violations:  # noqa: ANN401 - any schema and value
    """Hold a payload with `x` against a type with a rule for it."""
    schema = {"type": "object", "properties": {"x": rule}, **root}
    stored = AnalysisType("t", 1, TypeOptions(EntityModel.NONE), json.dumps(schema), None)  # type: ignore[arg-type] # its time is of no matter
    sent = world.payload("S", x=x)
    del sent["samples"]
    return payload.violations(json_text.read_object(json.dumps(sent), "payload"), stored, used or Work())


def bomb(link: Any, last: Any) -> dict[str, Any]:  # noqa: ANN401 - any schema
    """Return definitions that each refer to the next one in two ways: 2^40 applications."""
    return {f"d{number}": link(f"#/definitions/d{number + 1}") for number in range(40)} | {"d40": last}


@pytest.mark.parametrize(
    ("rule", "x", "root"),
    [
        ({"pattern": SLOW_PATTERN}, SLOW_TEXT, {}),
        ({"not": {"pattern": SLOW_PATTERN}}, SLOW_TEXT, {}),
        ({"patternProperties": {SLOW_PATTERN: True}}, {SLOW_TEXT: 1}, {}),
        ({"patternProperties": {SLOW_PATTERN: True}, "additionalProperties": False}, {SLOW_TEXT: 1}, {}),
        (
            {"unevaluatedProperties": False, "patternProperties": {SLOW_PATTERN: True}},
            {SLOW_TEXT: 1},
            {"$schema": DRAFT_2020},
        ),
    ],
)
def test_a_pattern_that_takes_too_long_is_a_violation_that_names_it(rule: Any, x: Any, root: Any) -> None:  # noqa: ANN401 - any schema
    start = time.monotonic()
    result = found(rule, x, **root)
    assert time.monotonic() - start < 10
    assert result.total == 1
    assert result.first[0].keyword == "pattern"
    assert f"more than 1 s to be searched for the pattern {SLOW_PATTERN}" in result.first[0].message
    assert "pattern" in result.first[0].schema_pointer


def test_nested_repetition_is_no_catastrophe() -> None:
    start = time.monotonic()
    assert [one.keyword for one in found({"pattern": "^(a+)+$"}, SLOW_TEXT).first] == ["pattern"]
    assert time.monotonic() - start < 5


def test_other_threads_run_while_a_pattern_is_searched_for() -> None:
    searching = threading.Thread(target=found, args=({"pattern": SLOW_PATTERN}, SLOW_TEXT))
    searching.start()
    longest = 0.0
    while searching.is_alive():
        start = time.monotonic()
        time.sleep(0.001)
        longest = max(longest, time.monotonic() - start)
    assert longest < 0.5


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"a{x}", "a{x}", True),
        (r"^a{i<=1}$", "ab", False),
        (r"^a{e}$", "a{e}", True),
        (r"^a{,}$", "aaa", True),
        (r"^a{2,3}$", "aaa", True),
        (r"^a{,2}$", "aa", True),
        (r"^[]{x}]+$", "]{x}", True),
        (r"^[^]]$", "{", True),
        (r"\{x\}", "{x}", True),
        (r"^\N{EN DASH}$", "–", True),  # noqa: RUF001 - that dash
        (r"^\d$", "٣", False),
        (r"(?i)^straße$", "STRASSE", False),
    ],
)
def test_patterns_without_a_meaning_in_java_mean_what_python_says(pattern: str, text: str, expected: bool) -> None:
    assert (re.search(pattern, text, re.ASCII) is not None) is expected
    assert Work().finds(pattern, text) is expected


@pytest.mark.parametrize(
    ("rule", "root"),
    [
        (
            {"$ref": "#/definitions/d0"},
            {"definitions": bomb(lambda to: {"allOf": [{"$ref": to}] * 2}, {"type": "string"})},
        ),
        (
            {"unevaluatedProperties": False, "$ref": "#/definitions/d0"},
            {
                "$schema": DRAFT_2020,
                "definitions": bomb(lambda to: {"dependentSchemas": {"a": {"$ref": to}, "b": {"$ref": to}}}, True),
            },
        ),
    ],
)
def test_a_schema_that_doubles_without_end_is_stopped(
    rule: dict[str, Any], root: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "MAX_VALIDATION_SECONDS", 0.5)
    start = time.monotonic()
    result = found(rule, {"a": 1, "b": 1}, **root)
    assert time.monotonic() - start < 10
    assert [one.message for one in result.first] == ["this payload takes too much work against its schema"]


def test_nobody_works_on_for_a_caller_that_left() -> None:
    rule, root = {"$ref": "#/definitions/d0"}, {"definitions": bomb(lambda to: {"allOf": [{"$ref": to}] * 2}, True)}
    start = time.monotonic()
    with pytest.raises(ValidationUnfinishedError):
        found(rule, {}, Work(lambda: False), **root)
    assert time.monotonic() - start < 2


def test_a_busy_server_says_so_instead_of_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "VALIDATION_DEADLINE_SECONDS", 0.0)
    with pytest.raises(ValidationUnfinishedError, match="retry"):
        found({"items": {"type": "integer"}}, [1] * 1000)


def test_the_largest_honest_payload_is_far_from_the_limit() -> None:
    sent = world.payload("S", samples=[world.sample(i) for i in range(limits.MAX_SAMPLES)])
    sent["files"] = [world.file() for _ in range(limits.MAX_FILES)]
    schema = json.dumps({"type": "object", "properties": {}})
    stored = AnalysisType("t", 1, TypeOptions(), schema, None)  # type: ignore[arg-type] # its time is of no matter
    start = time.thread_time()
    assert payload.violations(sent, stored, Work()).total == 0
    assert time.thread_time() - start < limits.MAX_VALIDATION_SECONDS / 2


@pytest.mark.parametrize(("name", "limit"), [("iri", 2048), ("iri-reference", 2048), ("uri", 8192), ("regex", 8192)])
def test_long_texts_are_of_no_format(name: str, limit: int) -> None:
    text = ("a" if name == "regex" else "http://a/") + "a" * limit
    start = time.monotonic()
    assert [one.keyword for one in found({"format": name}, text).first] == ["format"]
    assert time.monotonic() - start < 1
    assert found({"format": "made-up"}, text).total == 0


def test_large_enumerations_cost_their_size_once() -> None:
    start = time.thread_time()
    result = found({"items": {"enum": [f"v{i}" for i in range(50_000)]}}, ["z"] * 2000)
    assert time.thread_time() - start < 2
    assert result.total == 2000
    assert {len(one.message) for one in result.first} == {limits.MAX_VIOLATION_MESSAGE_CHARS}


def test_many_missing_properties_are_named_without_a_search_for_each() -> None:
    start = time.thread_time()
    result = found({"required": [f"v{i}" for i in range(20_000)]}, {})
    assert time.thread_time() - start < 4
    assert result.total == 20_000
    assert result.first[0].message == "required property 'v0' is missing"


def test_only_violations_that_are_kept_take_memory() -> None:
    tracemalloc.start()
    try:
        result = found({"items": {"type": "string"}}, [1] * 60_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.total == 60_000
    assert [one.pointer for one in result.first] == [f"/x/{i}" for i in range(limits.MAX_VIOLATIONS)]
    assert peak < 30 * 2**20


def test_the_first_violations_of_the_document_are_kept_whatever_their_order() -> None:
    rule = {"allOf": [{"items": {"minimum": 1}}, {"items": {"type": "string"}}, {"items": {"maximum": -1}}]}
    result = found(rule, [0] * 15_000)
    assert result.total == 45_000
    expected = [(f"/x/{i}", keyword) for i in range(4000) for keyword in ("minimum", "type", "maximum")]
    assert [(one.pointer, one.keyword) for one in result.first] == expected[: limits.MAX_VIOLATIONS]


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False},
        {
            "anyOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"b": True}}],
            "unevaluatedProperties": False,
        },
        {"if": {"required": ["a"]}, "then": {"properties": {"a": True}}, "unevaluatedProperties": {"type": "string"}},
        {"if": {"required": ["c"]}, "else": {"properties": {"a": True}}, "unevaluatedProperties": {"type": "integer"}},
        {"dependentSchemas": {"a": {"properties": {"b": True}}}, "unevaluatedProperties": False},
        {"patternProperties": {"^a": True}, "unevaluatedProperties": False},
        {"$ref": "#/$defs/d", "unevaluatedProperties": False},
        {"allOf": [{"additionalProperties": {"type": "integer"}}], "unevaluatedProperties": False},
    ],
)
def test_unevaluated_properties_are_those_of_a_2020_12_validator(schema: dict[str, Any]) -> None:
    defs = {"d": {"properties": {"b": True}}}
    for x in ({}, {"a": 1}, {"b": 1}, {"a": 1, "b": 2}, {"a": "t"}, {"c": "t"}, {"a": 1, "c": "t"}):
        plain = Draft202012Validator({"properties": {"x": schema}, "$defs": defs})
        root: dict[str, Any] = {"$schema": DRAFT_2020, "$defs": defs}
        ours = found(schema, x, **root)
        assert (ours.total == 0) == plain.is_valid({"x": x}), x


def test_where_a_long_text_breaks_is_found_without_memory_for_each_character() -> None:
    text = '{"x": "' + "a" * (4 * 2**20) + '", "y": 1e9999999999999999999}'
    tracemalloc.start()
    try:
        with pytest.raises(PayloadParsingError, match="number"):
            json_text.read_object(text, "payload")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * 2**20
