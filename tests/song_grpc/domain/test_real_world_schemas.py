"""Schemas as projects write them: verdict and violations are those of a plain validator of the rendered schema.

The plain validator is the library as it comes, over the schema that is rendered for a type. Two things differ on
purpose, so the payloads keep out of them: its numbers are binary floats, and its patterns are Python's. Hence each
pattern of Java's is replaced by a twin in Python's syntax, written by hand.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from song_grpc.domain import payload, schema_tree, type_schema
from song_grpc.domain.analysis_type import AnalysisType, EntityModel, TypeOptions
from song_grpc.domain.json_text import read_object
from song_grpc.domain.work import Work
from tests.song_grpc import world
from tests.song_grpc.world import World, refusal

FOLDER = Path(__file__).parents[1] / "schemas"
TREE, NONE = EntityModel.DONOR_SPECIMEN_SAMPLE, EntityModel.NONE
MUTATED = 200
OVER_GRPC = 40

SCHEMAS = {
    "sequencing_experiment": TREE,
    "somatic_variants": TREE,
    "clinical_cohort": NONE,
    "pathogen_surveillance": NONE,
}

# What stands in Java's patterns, and what says the same to Python; applied in this order.
TWINS = (
    (r"\Qpolicy.v\E", r"policy\.v"),
    ("[A-Z&&[^IOX]]", "[A-HJ-NP-WYZ]"),
    ("[A-Z&&[^IO]]", "[A-HJ-NP-Z]"),
    ("[A-Z&&[^U]]", "[A-TV-Z]"),
    (r"[\w&&[^_]]", "[A-Za-z0-9]"),
    (r"[\p{Alnum}&&[^_]]", "[A-Za-z0-9]"),
    (r"[^\p{Cntrl}\p{Space}]", r"[^\x00-\x20\x7f]"),
    (r"\P{Cntrl}", r"[^\x00-\x1f\x7f]"),
    (r"[\p{L}\p{M}\d .,'&()/\-]", r"(?:(?!_)[\w .,'&()/\-])"),
    (r"\p{IsAlphabetic}[\p{IsAlphabetic}\h\-]", r"[^\W\d_](?:[^\W\d_]|[ \t\-])"),
    (r"\p{IsLatin}[\p{IsLatin}\h'\-]++", r"[^\W\d_](?:[^\W\d_]|[ \t'\-])++"),
    (r"-\p{Alnum}+", "-[A-Za-z0-9]+"),
    (r"\p{Alnum}", "A-Za-z0-9"),
    (r"[\p{Upper}\d]", r"[A-Z\d]"),
    (r"\p{Upper}", "[A-Z]"),
    (r"\p{Lower}", "[a-z]"),
    (r"\p{XDigit}", "[0-9A-Fa-f]"),
    (r"[\h\-]", r"[ \t\-]"),
    (r"\h", r"[ \t]"),
    (r"^(?i)[a-z]{2}-(?:\d{3,6})(?-i)", r"^(?i:[a-z]{2}-\d{3,6})"),
    ("^(?i)", "(?i)^"),
    (r"\Z", "$"),
    (r"\z", r"\Z"),
)


@dataclass(frozen=True)
class Case:
    """A type, a payload that keeps its schema, and the plain validator."""

    name: str
    model: EntityModel
    schema: dict[str, Any]
    dynamic: dict[str, Any]
    """What the payload has beside the members of the base."""
    plain: Any


@cache
def case(name: str) -> Case:
    schema = json.loads((FOLDER / f"{name}.json").read_text())
    dynamic = json.loads((FOLDER / f"{name}.payload.json").read_text())
    rendered = copy.deepcopy(type_schema.render(schema, SCHEMAS[name]))
    for part in [part for _, part in schema_tree.walk(rendered)]:
        if "pattern" in part:
            part["pattern"] = twin(part["pattern"])
        if "patternProperties" in part:
            part["patternProperties"] = {twin(key): value for key, value in part["patternProperties"].items()}
    kind = Draft202012Validator if "2020" in schema.get("$schema", "") else Draft7Validator
    return Case(name, SCHEMAS[name], schema, dynamic, kind(rendered, format_checker=kind.FORMAT_CHECKER))


def twin(pattern: str) -> str:
    for java, python in TWINS:
        pattern = pattern.replace(java, python)
    # The library joins the patterns of `patternProperties` into one, where flags for the whole have no place.
    return f"(?i:{pattern.removeprefix('(?i)')})" if pattern.startswith("(?i)") else pattern


def whole(one: Case, study_id: str, number: int, type_name: str) -> dict[str, Any]:
    """Return a payload that keeps the schema, with files and entities of its own."""
    sent = world.payload(study_id, samples=[world.sample(number), world.sample(f"{number}-b")])
    del sent["experiment"]
    if one.model is NONE:
        del sent["samples"]
    sent["analysisType"] = {"name": type_name}
    return sent | copy.deepcopy(one.dynamic)


def mutated(random: Random, document: dict[str, Any]) -> dict[str, Any]:
    """Return a payload with one to three places changed; study and type stay as they are."""
    for _ in range(random.randint(1, 3)):
        holder, key = random.choice(list(_places(document)))
        change = random.choice(("remove", "type", "value", "extra", "value", "items"))
        value = holder.get(key) if isinstance(holder, dict) else holder[key] if key < len(holder) else None
        if change == "remove":
            del holder[key]
        elif change == "extra" and isinstance(value, dict):
            value[random.choice(("zz_extra", "is_x", "note", "kind", "value"))] = random.choice((1, "x", None, {}))
        elif change == "items" and isinstance(value, list):
            value.extend(random.choice(([], [None], value[:1], value[:1] * 3)))
        elif change == "type":
            holder[key] = random.choice((None, True, 7, -1, "text", [], {}, [1], {"a": 1}))
        elif isinstance(value, str):
            holder[key] = random.choice((value + "!", value.swapcase(), value[1:], value + value, "", " " + value))
        elif isinstance(value, (int, float)):
            holder[key] = random.choice((-value - 1, value + 1000, value * 1_000_000, value + 0.5))
        else:
            holder[key] = random.choice(({}, [], None, "text"))
    return document


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 - any JSON value
    for key, child in list(value.items() if isinstance(value, dict) else enumerate(value)):
        if depth > 0 or key not in {"studyId", "analysisType"}:
            yield value, key
            if isinstance(child, (dict, list)):
                yield from _places(child, depth + 1)


def plain_violations(one: Case, document: dict[str, Any]) -> set[tuple[str, str]]:
    found = one.plain.iter_errors(document)
    return {(schema_tree.pointer(tuple(error.absolute_path)), str(error.validator or "false")) for error in found}


def documents(one: Case, study_id: str = "S", type_name: str = "t", count: int = MUTATED) -> list[dict[str, Any]]:
    """Return a payload that keeps the schema, then mutated ones."""
    random = Random(one.name)
    kept = [whole(one, study_id, number, type_name) for number in range(count + 1)]
    return [kept[0], *(mutated(random, document) for document in kept[1:])]


@pytest.mark.parametrize("name", SCHEMAS)
def test_violations_are_those_of_a_plain_validator(name: str) -> None:
    one = case(name)
    stored = AnalysisType("t", 1, TypeOptions(one.model), json.dumps(one.schema), None)  # type: ignore[arg-type] # its time is of no matter
    broken: set[tuple[str, str]] = set()
    valid = 0
    for document in documents(one):
        found = payload.violations(read_object(json.dumps(document), "payload"), stored, Work())
        ours = {(violation.pointer, violation.keyword) for violation in found.first}
        assert ours == plain_violations(one, document), json.dumps(document)
        valid += not ours
        broken |= ours
    assert payload.violations(read_object(json.dumps(documents(one, count=0)[0]), "payload"), stored, Work()).total == 0
    assert 3 <= valid < MUTATED / 3
    assert len({keyword for _, keyword in broken}) >= 12, broken


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_are_of_real_size_and_use_patterns_of_javas(name: str) -> None:
    lines = (FOLDER / f"{name}.json").read_text().count("\n")
    assert 500 <= lines <= 1500
    patterns = {part["pattern"] for _, part in schema_tree.walk(case(name).schema) if "pattern" in part}
    assert len([pattern for pattern in patterns if twin(pattern) != pattern]) >= 8


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world.running(tmp_path_factory.mktemp("song")) as running:
        yield running


@pytest.mark.parametrize("name", SCHEMAS)
def test_validation_and_submission_agree_over_grpc(song: World, name: str) -> None:
    one = case(name)
    study_id = song.new_study()
    model = "ENTITY_MODEL_NONE" if one.model is NONE else "ENTITY_MODEL_DONOR_SPECIMEN_SAMPLE"
    type_name = song.new_type(one.schema, options={"entity_model": model})
    accepted = 0
    for document in documents(one, study_id, type_name, OVER_GRPC):
        found = song.validate(study_id, document)
        ours = {(violation.pointer, violation.keyword) for violation in found.violations}
        assert ours == plain_violations(one, document)
        if not ours:
            accepted += 1
            assert song.submit(study_id, document)
            continue
        refused = refusal(lambda document=document: song.submit(study_id, document))  # type: ignore[misc] # mypy can't infer the default's type
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SCHEMA_VIOLATION")
        pointers = [pointer for pointer, _ in refused.violations]
        assert pointers == [violation.pointer for violation in found.violations][:20]
        assert refused.metadata["violation_count"] == str(found.violation_total)
    assert accepted >= 1
