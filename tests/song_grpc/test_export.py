"""ExportAnalyses: payloads that can be submitted again, on every database."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import simplejson
from song.v1 import analysis_pb2, analysis_type_pb2, error_reason_pb2, study_pb2, study_service_pb2
from song.v1 import analysis_service_pb2 as service

from song_grpc.domain import limits
from tests.servers.identity import token, write_public_key
from tests.song_grpc.world import SERVICE_TOKEN, World, file, payload, refusal, running, sample

NOT_FOUND = error_reason_pb2.ERROR_REASON_ANALYSIS_ID_NOT_FOUND


def exact(text: str) -> Any:  # noqa: ANN401 - any JSON value
    return simplejson.loads(text, use_decimal=True)


def test_a_payload_comes_back_as_it_could_be_submitted(world: World, study_id: str) -> None:
    tumour = sample()["specimen"] | {"tumourNormalDesignation": "Tumour", "note": "n"}
    samples = [
        sample(2, info={"k": [1, None]}, specimenId=None, extra=True),
        sample(1, specimen=tumour | {"submitterSpecimenId": "t"}, matchedNormalSubmitterSampleId="other"),
    ]
    del samples[0]["specimenId"]
    files = [file("b", info={"gone": None, "kept": {"x": None}}), file("a", fileSize=0, fileMd5sum="A" * 32)]
    sent = payload(study_id, samples=samples, files=files, nothing=None, deep={"x": [None]})
    text = json.dumps(sent)[:-1] + ', "number": 1.10}'
    analysis_id = world.submit(study_id, text)

    (exported,) = world.export(analysis_ids=[analysis_id])

    assert (exported.analysis_id, exported.study_id) == (analysis_id, study_id)
    assert '"number":1.10' in exported.payload_json
    assert exact(exported.payload_json) == exact(
        json.dumps(
            sent
            | {
                "analysisType": {"name": "sequencingRead", "version": 1},
                "samples": [
                    sample(2, info={"k": [1, None], "extra": True}),
                    sample(
                        1,
                        specimen={
                            **sample()["specimen"],
                            "submitterSpecimenId": "t",
                            "tumourNormalDesignation": "Tumour",
                            "info": {"note": "n"},
                        },
                        matchedNormalSubmitterSampleId="other",
                    ),
                ],
                "files": [
                    files[1] | {"fileMd5sum": "a" * 32},
                    files[0] | {"info": {"kept": {"x": None}}},
                ],
            }
        )[:-1]
        + ', "number": 1.10}'
    )


def test_the_version_of_the_type_is_left_out_on_request(world: World, study_id: str) -> None:
    name = world.new_type({"type": "object", "properties": {}})
    analysis_id = world.submit(study_id, payload(study_id, analysisType={"name": name}))
    world.register(name, {"type": "object", "properties": {}}, force=True)

    def exported(**fields: Any) -> str:  # noqa: ANN401 - fields of the message
        (one,) = world.export(analysis_ids=[analysis_id], **fields)
        return one.payload_json

    old = world.new_study()
    assert json.loads(exported())["analysisType"] == {"name": name, "version": 1}
    again = exported(omit_type_version=True)
    assert json.loads(again)["analysisType"] == {"name": name}
    moved = json.dumps(json.loads(again) | {"studyId": old})
    assert world.get(old, world.submit(old, moved)).analysis_type.version == 2


def test_a_study_comes_in_all_states_oldest_first_and_goes_on_where_it_broke(
    world: World, study_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("song_grpc.use_cases.export.EXPORT_BATCH_ANALYSES", 3)
    submitted = [world.submit(study_id, payload(study_id)) for _ in range(8)]
    world.suppress(study_id, submitted[2])
    world.score.hold(world.get(study_id, submitted[5]))
    world.publish(study_id, submitted[5])

    whole = world.export(study_id=study_id)

    assert [one.analysis_id for one in whole] == submitted
    assert {one.study_id for one in whole} == {study_id}
    for place in (0, 2, 3, 7):
        rest = world.export(study_id=study_id, after_analysis_id=submitted[place])
        assert [one.analysis_id for one in rest] == submitted[place + 1 :]
    assert world.export(study_id=world.new_study()) == ()


def test_ids_come_in_their_order_with_errors_for_those_that_are_not_there(
    world: World, study_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("song_grpc.use_cases.export.EXPORT_BATCH_ANALYSES", 2)
    other = world.new_study()
    first, second = world.submit(study_id, payload(study_id)), world.submit(other, payload(other))
    wanted = [second, "nowhere", first, second, "", "x" * 1000, first]

    answers = world.export(analysis_ids=wanted)

    assert [one.analysis_id for one in answers] == wanted
    assert [one.study_id for one in answers] == [other, "", study_id, other, "", "", study_id]
    errors = [one.error for one in answers if one.HasField("error")]
    assert [(error.code, error.reason, error.retryable) for error in errors] == [(5, NOT_FOUND, False)] * 3
    assert dict(errors[0].metadata) == {"analysis_id": "nowhere"}


def test_large_analyses_are_read_one_at_a_time(world: World, study_id: str) -> None:
    large = "x" * (2 * 1024 * 1024)
    submitted = [world.submit(study_id, payload(study_id, large=large)) for _ in range(4)]
    assert [one.analysis_id for one in world.export(study_id=study_id)] == submitted
    answers = world.export(analysis_ids=[*submitted, *submitted])
    assert [len(one.payload_json) > len(large) for one in answers] == [True] * 8


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({}, "MALFORMED_PARAMETER", "study_id"),
        ({"study_id": "s", "analysis_ids": ["a"]}, "MALFORMED_PARAMETER", "study_id"),
        ({"analysis_ids": ["a"] * (limits.MAX_EXPORTED_IDS + 1)}, "MALFORMED_PARAMETER", "analysis_ids"),
        ({"analysis_ids": ["a"], "after_analysis_id": "a"}, "MALFORMED_PARAMETER", "after_analysis_id"),
        ({"study_id": "nowhere"}, "STUDY_ID_DOES_NOT_EXIST", None),
        ({"study_id": "x" * 100}, "STUDY_ID_DOES_NOT_EXIST", None),
    ],
    ids=range(6),
)
def test_an_export_is_of_a_study_or_of_ids(
    world: World, fields: dict[str, Any], reason: str, field: str | None
) -> None:
    refused = refusal(lambda: world.export(**fields))
    assert (refused.reason, refused.metadata.get("field")) == (reason, field)


def test_an_export_goes_on_after_an_analysis_of_the_study_only(world: World, study_id: str) -> None:
    other = world.new_study()
    elsewhere = world.submit(other, payload(other))
    for after in ("nowhere", elsewhere, "x" * 1000):
        refused = refusal(lambda after=after: world.export(study_id=study_id, after_analysis_id=after))  # type: ignore[misc] # mypy can't infer such a lambda
        assert (refused.reason, refused.metadata) == ("MALFORMED_PARAMETER", {"field": "after_analysis_id"})


def test_a_caller_that_leaves_ends_the_stream(world: World, study_id: str) -> None:
    for _ in range(5):
        world.submit(study_id, payload(study_id, large="x" * 1_000_000))
    stream = world.analyses.ExportAnalyses(service.ExportAnalysesRequest(study_id=study_id))
    next(stream)
    stream.cancel()
    with pytest.raises(grpc.RpcError):
        list(stream)
    assert len(world.export(study_id=study_id)) == 5


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A Song that wants JWTs, called as the sister service where a call brings none."""
    folder = tmp_path_factory.mktemp("song")
    with running(folder, auth="on", jwt_public_key_file=write_public_key(folder)) as world:
        yield world.calling_with(SERVICE_TOKEN)


@pytest.mark.parametrize("visibility", [study_pb2.STUDY_VISIBILITY_OPEN, study_pb2.STUDY_VISIBILITY_CONTROLLED])
def test_what_a_caller_may_not_see_whole_is_not_exported(
    guarded: World, visibility: study_pb2.StudyVisibility.ValueType
) -> None:
    study_id = f"study-{visibility}"
    study = study_pb2.Study(study_id=study_id, visibility=visibility)
    guarded.studies.CreateStudy(study_service_pb2.CreateStudyRequest(study=study))
    published, hidden = (guarded.submit(study_id, payload(study_id)) for _ in range(2))
    guarded.score.hold(guarded.get(study_id, published))
    guarded.publish(study_id, published)
    is_open = visibility == study_pb2.STUDY_VISIBILITY_OPEN

    stranger, reader = (guarded.calling_with(token(*scopes)) for scopes in ((), (f"PROGRAMDATA-{study_id}.READ",)))

    assert [one.analysis_id for one in reader.export(study_id=study_id)] == [published, hidden]
    assert [one.analysis_id for one in stranger.export(study_id=study_id)] == ([published] if is_open else [])
    answers = stranger.export(analysis_ids=[hidden, published])
    assert [one.error.reason for one in answers] == [NOT_FOUND, 0 if is_open else NOT_FOUND]
    for after in [hidden] if is_open else [hidden, published]:
        refused = refusal(lambda after=after: stranger.export(study_id=study_id, after_analysis_id=after))  # type: ignore[misc] # mypy can't infer such a lambda
        assert refused.reason == "MALFORMED_PARAMETER"


def test_exported_payloads_are_accepted_elsewhere_and_make_equal_analyses(
    world: World, study_id: str, folder: Path
) -> None:
    none = analysis_type_pb2.AnalysisTypeOptions(entity_model=analysis_type_pb2.ENTITY_MODEL_NONE)
    anything = {"type": "object", "properties": {"samples": {}}}
    own, bare = world.new_type({"type": "object", "properties": {}}), world.new_type(anything, options=none)
    payloads = _Payloads(study_id, own, bare)
    submitted = [world.submit(study_id, payloads.payload(number)) for number in range(60)]

    exported = world.export(study_id=study_id)

    with running(folder) as other:
        for name, schema, options in ((own, {"type": "object", "properties": {}}, None), (bare, anything, none)):
            other.register(name, schema, options=options)
        study = study_pb2.Study(study_id=study_id)
        other.studies.CreateStudy(study_service_pb2.CreateStudyRequest(study=study))
        for analysis_id, one in zip(submitted, exported, strict=True):
            assert one.analysis_id == analysis_id
            assert other.validate(study_id, one.payload_json, allow_duplicates=True).violation_total == 0
            again = other.submit(study_id, one.payload_json, allow_duplicates=True)
            assert _comparable(other.get(study_id, again)) == _comparable(world.get(study_id, analysis_id))
        assert [one.payload_json for one in other.export(study_id=study_id)] == [one.payload_json for one in exported]


def _comparable(analysis: analysis_pb2.Analysis) -> analysis_pb2.Analysis:
    """Return an analysis without what the server makes anew each time."""
    kept = analysis_pb2.Analysis()
    kept.CopyFrom(analysis)
    for field in ("analysis_id", "create_time", "update_time"):
        kept.ClearField(field)
    for one in kept.files:
        for field in ("object_id", "analysis_id", "etag"):
            one.ClearField(field)  # type: ignore[arg-type] # fields of the message
    return kept


class _Payloads:
    """Makes payloads that keep their schema, the same ones each time."""

    def __init__(self, study_id: str, own: str, bare: str) -> None:
        self._study_id, self._own, self._bare = study_id, own, bare
        self._chance = random.Random(7)

    def payload(self, number: int) -> str:
        chance = self._chance
        files = [self._with_more(file(fileSize=chance.choice([0, 1, 2**63 - 1]))) for _ in range(chance.choice([1, 3]))]
        dynamic = {f"d{key}": self._value() for key in range(chance.randrange(6))}
        if chance.random() < 0.4:
            own_samples = {"samples": self._value()} if chance.random() < 0.5 else {}
            stated = payload(self._study_id, analysisType={"name": self._bare}, files=files, **dynamic)
            del stated["samples"]
            return json.dumps(stated | own_samples)
        samples = [self._sample(f"{number}-{place}") for place in range(chance.choice([1, 3]))]
        named = {"name": self._own}
        return json.dumps(payload(self._study_id, analysisType=named, files=files, samples=samples, **dynamic))

    def _sample(self, name: str) -> dict[str, Any]:
        stated = self._with_more(sample(name))
        stated["donor"] = self._with_more(stated["donor"])
        stated["specimen"] = self._with_more(stated["specimen"])
        if self._chance.random() < 0.5:
            stated["specimen"]["tumourNormalDesignation"] = "Tumour"
            stated["matchedNormalSubmitterSampleId"] = self._chance.choice([None, "normal"])
        return stated

    def _with_more(self, stated: dict[str, Any]) -> dict[str, Any]:
        """Return an object of the base with `info`, or with a property of nobody's, or both, or none."""
        chance = self._chance
        info = {"info": {f"i{key}": self._value() for key in range(3)}} if chance.random() < 0.5 else {}
        return stated | info | ({"unknown": self._value()} if chance.random() < 0.3 else {})

    def _value(self, depth: int = 0) -> object:
        chance = self._chance
        kind = chance.randrange(7 if depth < 3 else 5)
        if kind == 5:
            return [self._value(depth + 1) for _ in range(chance.randrange(4))]
        if kind == 6:
            return {f"k{key}": self._value(depth + 1) for key in range(chance.randrange(4))}
        text = "".join(chance.choice('aé"\\/\n\U0001f9ec \u2028') for _ in range(chance.randrange(5)))
        number = chance.randrange(-(10**30), 10**30)
        return (None, chance.random() < 0.5, number, text, float(chance.randrange(10**6)) / 8)[kind]
