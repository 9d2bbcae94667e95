"""A small random study, random filters, and what a filter selects said in plain Python."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from song.v1 import analysis_pb2, file_pb2

from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.filter_tree import And, Comparison, DataComparison, DataPresence, Holding, Node, Not, Or, Part
from tests.song_grpc.world import World, file, payload, sample

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
_STATES = {
    value: AnalysisState(name[len("ANALYSIS_STATE_") :]) for name, value in analysis_pb2.AnalysisState.items()[1:]
}
_ACCESS = {file_pb2.FILE_ACCESS_OPEN: "open", file_pb2.FILE_ACCESS_CONTROLLED: "controlled"}
# As JSON text, so that numbers are spelled in more than one way.
_VALUES = (
    *("null", "1", "1.0", "1.50", "-3", "0", "-0", "0.1", "20", "1e2", '"1"', '"a"', '"b"', '"ä"', '"q\\"\\\\"', '""'),
    *("true", "false", "[1]", "[]", '["a"]', '{"y":1}', "{}", "9007199254740993"),
)
_LITERALS = ("1", "1.5", "-3", "0", "0.1", "100", '"1"', '"a"', '"b"', '"ä"', r'"q\"\\"', '""', "true", "false", "abc")
_PATHS = ("data.x", "data.y", "data.x.y", 'data."my key"', "data.y.x", "data.nowhere")
_TEXT_OPERATORS = ("=", "!=")


@dataclass(frozen=True)
class Corpus:
    """Analyses in all states, with all their values."""

    study_id: str
    analyses: Sequence[analysis_pb2.Analysis]
    """Oldest first."""


def make_corpus(world: World, seed: int, size: int) -> Corpus:
    """Submit a random study. The same seed makes the same study, but for ids and times."""
    rng = random.Random(seed)
    study_id = world.new_study()
    types = [world.new_type({"type": "object", "properties": {}}) for _ in range(2)]
    for type_name in types:
        world.register(type_name, {"type": "object", "properties": {"x": {}}})
    ids = []
    for _ in range(size):
        names = [name for name in ("x", "y", "my key") if rng.random() < 0.8]
        data = "".join(f",{json.dumps(name)}:{rng.choice(_VALUES)}" for name in names)
        kinds = rng.choices(("BAM", "CRAM", "VCF"), k=rng.randint(1, 2))
        files = [
            file(fileType=kind, fileSize=rng.choice((0, 10)), fileAccess=rng.choice(("open", "controlled")))
            for kind in kinds
        ]
        samples = [_sample(number) for number in rng.sample(range(6), rng.randint(1, 2))]
        sent = payload(study_id, files=files, samples=samples, analysisType={"name": rng.choice(types)})
        ids.append(world.submit(study_id, json.dumps(sent)[:-1] + data + "}"))
    for analysis_id in ids:
        fate = rng.random()
        if fate < 0.6:
            world.score.hold(world.get(study_id, analysis_id))
            world.publish(study_id, analysis_id)
        if fate < 0.1:
            world.unpublish(study_id, analysis_id)
        if 0.1 < fate < 0.2 or fate > 0.9:
            world.suppress(study_id, analysis_id)
    return Corpus(study_id, [world.get(study_id, analysis_id) for analysis_id in ids])


def _sample(number: int) -> dict[str, Any]:
    donor = {"submitterDonorId": f"donor-{number // 2}", "gender": ("Female", "Male", "Other")[number // 2]}
    return sample(number, donor=donor, sampleType=("Total DNA", "ctDNA")[number % 2])


def random_filter(rng: random.Random, corpus: Corpus) -> str:
    """Return the text of a filter with up to some eight terms, with a condition on the state."""
    text = f"({_random_node(rng, corpus, 3)})"
    return (
        f"{text} AND {rng.choice(('state != SUPPRESSED', 'NOT state = SUPPRESSED', 'state = PUBLISHED'))}"
        if (rng.random() < 0.3)
        else f"{text} AND (state = PUBLISHED OR state != PUBLISHED)"
    )


def _random_node(rng: random.Random, corpus: Corpus, depth: int) -> str:
    choice = rng.random() if depth else 1.0
    if choice < 0.25:
        return " AND ".join(f"({_random_node(rng, corpus, depth - 1)})" for _ in range(2))
    if choice < 0.5:
        return " OR ".join(f"({_random_node(rng, corpus, depth - 1)})" for _ in range(2))
    if choice < 0.65:
        return f"NOT ({_random_node(rng, corpus, depth - 1)})"
    return _random_term(rng, corpus)


def _random_term(rng: random.Random, corpus: Corpus) -> str:
    one = rng.choice(corpus.analyses)
    any_operator = rng.choice(tuple(_OPERATORS))
    part = rng.choice(one.samples)
    return rng.choice(
        (
            *(f"{rng.choice(_PATHS)} {rng.choice(tuple(_OPERATORS))} {rng.choice(_LITERALS)}" for _ in range(6)),
            f"{rng.choice(_PATHS)} : *",
            f"analysis_id {rng.choice(_TEXT_OPERATORS)} {one.analysis_id}",
            f"state {rng.choice(_TEXT_OPERATORS)} {rng.choice(tuple(AnalysisState)).value}",
            f"analysis_type.name {rng.choice(_TEXT_OPERATORS)} {one.analysis_type.name}",
            f"analysis_type.version {any_operator} {rng.choice((1, 2, 3))}",
            f"{rng.choice(('create_time', 'update_time'))} {any_operator} {_shown(one.create_time)}",
            f"{rng.choice(('first_publish_time', 'publish_time'))} {any_operator} {_shown(one.update_time)}",
            f"files.file_type : {rng.choice(('BAM', 'CRAM', 'VCF', 'bam'))}",
            f"files.size_bytes : {rng.choice((0, 10, 11))}",
            f"files.access : {rng.choice(('open', 'controlled'))}",
            f"files.object_id : {one.files[0].object_id}",
            f"files.md5 : {one.files[0].md5}",
            f'samples.sample_type : "{part.sample_type}"',
            f"samples.sample_id : {part.sample_id}",
            f"samples.donor.gender : {rng.choice(('Female', 'Male'))}",
            f"samples.donor.submitter_donor_id : {part.donor.submitter_donor_id}",
            f"samples.specimen.specimen_id : {part.specimen.specimen_id}",
            f"samples.specimen.specimen_tissue_source : {rng.choice(('Skin', 'Bone'))}",
        )
    )


def _shown(time: Any) -> str:  # noqa: ANN401 - a timestamp of the contract
    return f'"{time.ToJsonString()}"'


def selects(node: Node, analysis: analysis_pb2.Analysis) -> bool:  # noqa: PLR0911 - one for each kind of node
    """Say whether a filter selects an analysis."""
    match node:
        case And(terms):
            return all(selects(term, analysis) for term in terms)
        case Or(terms):
            return any(selects(term, analysis) for term in terms)
        case Not(term):
            return not selects(term, analysis)
        case Comparison(field, comparator, value):
            found = _value_of(analysis, field)
            return found is not None and _OPERATORS[comparator.value](found, value)
        case Holding(part, member, value):
            owners = analysis.files if part is Part.FILES else analysis.samples
            return value in [_member(owner, member) for owner in owners]
        case DataPresence(path):
            return _place(analysis, path) is not None
        case DataComparison(path, comparator, value):
            found = _place(analysis, path)
            return _kind(found) == _kind(value) and _OPERATORS[comparator.value](found, value)


def _value_of(analysis: analysis_pb2.Analysis, field: str) -> Any:  # noqa: ANN401 - of the field's kind
    if field.endswith("_time"):
        time: datetime | None = getattr(analysis, field).ToDatetime() if analysis.HasField(field) else None  # type: ignore[arg-type] # a field of the contract
        nanos = getattr(analysis, field).nanos
        return None if time is None else _utc(time.replace(microsecond=0) + timedelta(microseconds=nanos // 1000))
    if field == "state":
        return _STATES[analysis.state]
    if field.startswith("analysis_type."):
        return getattr(analysis.analysis_type, field.partition(".")[2])
    return getattr(analysis, field)


def _utc(time: datetime) -> datetime:
    return datetime.fromisoformat(f"{time.isoformat()}+00:00")


def _member(owner: Any, member: str) -> Any:  # noqa: ANN401 - a file or a sample
    for name in member.split("."):
        owner = getattr(owner, name)
    return _ACCESS[owner] if member == "access" else owner


def _place(analysis: analysis_pb2.Analysis, path: Sequence[str]) -> Any:  # noqa: ANN401 - any JSON value
    found = json.loads(analysis.data_json, parse_int=Decimal, parse_float=Decimal)
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _kind(value: object) -> str | None:
    kinds = {bool: "boolean", str: "string", Decimal: "number"}
    return kinds.get(type(value), f"none to compare with: {type(value).__name__}")
