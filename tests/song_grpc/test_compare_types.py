"""CompareAnalysisTypeVersions, on every database."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from song.v1 import analysis_type_pb2, study_pb2, study_service_pb2
from song.v1 import analysis_type_service_pb2 as messages

from song_grpc.domain import schema_difference
from song_grpc.transport import analysis_type as transport
from song_grpc.use_cases import compare_types
from tests.servers.identity import token, write_public_key
from tests.song_grpc.world import SERVICE_TOKEN, World, file, payload, refusal, running

FIRST: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "integer"}}}
SECOND: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "integer", "maximum": 5}}}


def compare(world: World, name: str, **fields: Any) -> list[messages.CompareAnalysisTypeVersionsResponse]:  # noqa: ANN401 - fields of the message
    request = messages.CompareAnalysisTypeVersionsRequest(name=name, **fields)
    return list(world.types.CompareAnalysisTypeVersions(request))


def filled(world: World, study_id: str, values: list[int]) -> tuple[str, dict[int, str]]:
    """Register a type, submit analyses with these values of `x`, register a version that wants at most 5."""
    name = world.new_type(FIRST)
    found = {value: submit(world, study_id, name, x=value) for value in values}
    world.register(name, SECOND)
    return name, found


def submit(world: World, study_id: str, name: str, **changes: Any) -> str:  # noqa: ANN401 - members of the payload
    return world.submit(study_id, payload(study_id, analysisType={"name": name}, **changes))


def test_what_differs_comes_first_then_what_would_be_refused_then_the_summary(world: World, study_id: str) -> None:
    name, ids = filled(world, study_id, [1, 9, 3, 7])

    first, *between, last = compare(world, name)

    assert (first.comparison.from_version, first.comparison.to_version) == (1, 2)
    assert [(one.pointer, one.HasField("from_json"), one.to_json) for one in first.comparison.differences] == [
        ("/properties/x/maximum", False, "5")
    ]
    assert first.comparison.difference_total == 1
    assert [one.incompatible.analysis_id for one in between] == sorted([ids[9], ids[7]])
    assert {one.incompatible.study_id for one in between} == {study_id}
    assert [(v.pointer, v.keyword) for v in between[0].incompatible.violations] == [("/x", "maximum")]
    assert last.summary == messages.CompatibilitySummary(checked_total=4, incompatible_total=2)


def test_versions_are_the_last_two_unless_named(world: World, study_id: str) -> None:
    name, _ = filled(world, study_id, [1])
    world.register(name, FIRST)
    for fields, versions in (
        ({}, (2, 3)),
        ({"from_version": 1}, (1, 3)),
        ({"to_version": 2}, (1, 2)),
        ({"from_version": 3, "to_version": 1}, (3, 1)),
        ({"from_version": 2, "to_version": 2}, (2, 2)),
    ):
        first = compare(world, name, **fields)[0].comparison
        assert (first.from_version, first.to_version) == versions
    same = compare(world, name, from_version=1)
    assert not same[0].comparison.differences
    assert same[-1].summary.incompatible_total == 0


def test_the_whole_payload_is_held_against_the_second_version(world: World, study_id: str) -> None:
    name = world.new_type(FIRST)
    analysis_id = submit(world, study_id, name, x=1, files=[file("a"), file("b", fileType="VCF")])
    wanted = analysis_type_pb2.AnalysisTypeOptions(file_types=analysis_type_pb2.FileTypes(names=["BAM"]))
    world.register(name, FIRST | {"required": ["y"]}, options=wanted)

    first, found, _ = compare(world, name)

    assert list(first.comparison.to_options.file_types.names) == ["BAM"]
    assert not first.comparison.from_options.file_types.names
    assert found.incompatible.analysis_id == analysis_id
    assert {(v.pointer, v.keyword) for v in found.incompatible.violations} == {
        ("", "required"),
        ("/files/1/fileType", "fileTypes"),
    }


def test_samples_do_not_fit_a_version_without_them(world: World, study_id: str) -> None:
    name = world.new_type(FIRST)
    submit(world, study_id, name)
    world.register(
        name, FIRST, options=analysis_type_pb2.AnalysisTypeOptions(entity_model=analysis_type_pb2.ENTITY_MODEL_NONE)
    )
    _, found, _ = compare(world, name)
    assert [v.pointer for v in found.incompatible.violations] == ["/samples"]


def test_only_the_first_twenty_violations_of_an_analysis_are_sent(world: World, study_id: str) -> None:
    name = world.new_type(FIRST)
    submit(world, study_id, name, **{f"n{number}": 1 for number in range(30)})
    world.register(name, FIRST | {"patternProperties": {"^n[0-9]": {"type": "string"}}})
    _, found, _ = compare(world, name)
    assert (len(found.incompatible.violations), found.incompatible.violation_total) == (20, 30)


def test_suppressed_analyses_and_other_versions_are_not_checked(world: World, study_id: str) -> None:
    name, ids = filled(world, study_id, [9, 8])
    world.suppress(study_id, ids[9])
    submit(world, study_id, name, x=2)
    assert [one.incompatible.analysis_id for one in compare(world, name)[1:-1]] == [ids[8]]
    assert compare(world, name, from_version=2, to_version=1)[-1].summary.checked_total == 1


def test_one_study_can_be_checked_alone(world: World, study_id: str) -> None:
    name, _ = filled(world, study_id, [9])
    other = world.new_study()
    assert compare(world, name, study_id=study_id)[-1].summary.checked_total == 1
    assert compare(world, name, study_id=other)[-1].summary.checked_total == 0


def test_batches_leave_nothing_out(world: World, study_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_types, "COMPARED_TOGETHER", 2)
    name, ids = filled(world, study_id, [9, 8, 7, 6, 5])
    _, *between, last = compare(world, name)
    assert [one.incompatible.analysis_id for one in between] == sorted(ids[value] for value in (9, 8, 7, 6))
    assert last.summary.checked_total == 5


def test_a_bound_ends_the_check_and_says_so(world: World, study_id: str) -> None:
    name, _ = filled(world, study_id, [9, 8, 7])
    for most, truncated in ((2, True), (3, False)):
        last = compare(world, name, max_analyses=most)[-1].summary
        assert (last.checked_total, last.truncated) == (most, truncated)


def test_a_check_that_finds_nothing_for_long_gives_signs_of_life(
    world: World, study_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "COMPARE_HEARTBEAT_SECONDS", 0)
    name, _ = filled(world, study_id, [1, 2, 3])
    found = [one.WhichOneof("message") for one in compare(world, name)]
    assert (found[0], found[-1]) == ("comparison", "summary")
    assert set(found[1:-1]) == {None}


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"name": "nowhere"}, grpc.StatusCode.NOT_FOUND, "ANALYSIS_TYPE_NOT_FOUND"),
        ({"name": ""}, grpc.StatusCode.NOT_FOUND, "ANALYSIS_TYPE_NOT_FOUND"),
        ({"to_version": 2}, grpc.StatusCode.NOT_FOUND, "ANALYSIS_TYPE_NOT_FOUND"),
        ({"from_version": 7}, grpc.StatusCode.NOT_FOUND, "ANALYSIS_TYPE_NOT_FOUND"),
        ({"from_version": 1, "study_id": "nowhere"}, grpc.StatusCode.NOT_FOUND, "STUDY_ID_DOES_NOT_EXIST"),
        ({"from_version": -1}, grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_PARAMETER"),
        ({"to_version": -1}, grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_PARAMETER"),
        ({}, grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_PARAMETER"),
        ({"max_analyses": -1}, grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_PARAMETER"),
        ({"max_analyses": 1_000_001}, grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_PARAMETER"),
    ],
)
def test_what_can_not_be_compared_is_refused(
    world: World, fields: dict[str, Any], code: grpc.StatusCode, reason: str
) -> None:
    refused = refusal(lambda: compare(world, **{"name": "sequencingRead", **fields}))
    assert (refused.code, refused.reason) == (code, reason)


def test_only_what_the_caller_may_read_is_checked(folder: Path) -> None:
    with running(folder, auth="on", jwt_public_key_file=write_public_key(folder), enforce_latest=False) as world:
        system = world.calling_with(SERVICE_TOKEN)
        study_id = system.new_study()
        name, ids = filled(system, study_id, [9, 8])
        closed = study_pb2.Study(study_id="closed", visibility=study_pb2.STUDY_VISIBILITY_CONTROLLED)
        system.studies.CreateStudy(study_service_pb2.CreateStudyRequest(study=closed))
        hidden = system.submit("closed", payload("closed", analysisType={"name": name, "version": 2}, x=1))
        for study, analysis_id in ((study_id, ids[9]), ("closed", hidden)):
            system.score.hold(system.get(study, analysis_id))
            system.publish(study, analysis_id)
        found = compare(world, name)
        assert [one.incompatible.analysis_id for one in found[1:-1]] == [ids[9]]
        assert compare(system, name)[-1].summary.checked_total == 2
        backwards = {"from_version": 2, "to_version": 1}
        assert compare(world, name, **backwards)[-1].summary.checked_total == 0
        reader = world.calling_with(token("PROGRAMDATA-closed.READ"))
        assert compare(reader, name, **backwards)[-1].summary.checked_total == 1


def differences(before: object, after: object) -> list[tuple[str, str | None, str | None]]:
    found = schema_difference.compare(before, after)
    return [(one.pointer, one.before_json, one.after_json) for one in found.first]


def test_differences_are_structural_and_in_the_order_of_pointers() -> None:
    before = {"b": {"x": 1, "y": None}, "a": [1, 2, {"z": True}], "c": "same", "d": 1}
    after = {"c": "same", "a": [1, 3, {"z": 1}, 4], "b": {"x": 1}, "d": {"new": [1]}, "e/f~": None}
    assert differences(before, after) == [
        ("/a/1", "2", "3"),
        ("/a/2/z", "true", "1"),
        ("/a/3", None, "4"),
        ("/b/y", "null", None),
        ("/d", "1", '{"new":[1]}'),
        ("/e~1f~0", None, "null"),
    ]
    assert not differences(before, before)


def test_differences_are_bounded_in_number_and_size() -> None:
    many = schema_difference.compare({}, {f"{number:05}": 1 for number in range(10_005)})
    assert (len(many.first), many.total) == (10_000, 10_005)
    assert many.first[0].pointer == "/00000"
    long = schema_difference.compare({}, {"k" * 300_000: {}, "v": "x" * 2000, "deep": {"n" * 3000: 1}})
    assert max(len(one.pointer) for one in long.first) <= 2000
    assert max(len(one.after_json or "") for one in long.first) == 1000
    large = schema_difference.compare(
        {"p": {"k" * 1900: {}}}, {"p": {"k" * 1900: {str(number): "x" * 900 for number in range(5000)}}}
    )
    assert large.total == 5000
    assert sum(len(one.pointer) + len(one.after_json or "") for one in large.first) <= 3 * 1024 * 1024


def test_a_comparison_of_the_largest_schemas_fits_a_message(world: World) -> None:
    name = world.new_type(FIRST)
    large = {"type": "object", "properties": {f"{'k' * 60}{number}": {"title": "x"} for number in range(11_000)}}
    world.register(name, json.dumps(large))
    first = compare(world, name)[0].comparison
    assert first.difference_total == 11_001
    assert 0 < len(first.differences) <= 10_000
    assert first.ByteSize() < 4 * 1024 * 1024
