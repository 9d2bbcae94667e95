"""StudyService and FileService, on every database."""

from typing import Any

import grpc
import pytest
from song.v1 import file_service_pb2, study_pb2, study_service_pb2

from tests.song_grpc.world import World, file, in_parallel, payload, refusal


def create(world: World, study: study_pb2.Study, request_id: str = "") -> study_pb2.Study:
    request = study_service_pb2.CreateStudyRequest(study=study, request_id=request_id)
    return world.studies.CreateStudy(request).study


def test_a_study_reads_back_as_created(world: World) -> None:
    wanted = study_pb2.Study(
        study_id=f"{world.new_study()}.b",
        name="Name",
        organization="Org ü",
        description="text\n",
        info_json='{"b": 1.10, "a": null, "n": {"x": null}}',
    )
    created = create(world, wanted)
    assert created.info_json == '{"b":1.10,"n":{"x":null}}'
    assert created.create_time.seconds > 0
    request = study_service_pb2.GetStudyRequest(study_id=wanted.study_id)
    assert world.studies.GetStudy(request).study == created


def test_a_repeated_creation_gives_the_first_answer(world: World) -> None:
    wanted = study_pb2.Study(study_id=f"{world.new_study()}.again")
    answers = in_parallel([lambda: create(world, wanted, wanted.study_id)] * 8)
    assert answers == [answers[0]] * 8
    assert refusal(lambda: create(world, wanted)).reason == "STUDY_ALREADY_EXISTS"
    wanted.name = "other"
    assert refusal(lambda: create(world, wanted, wanted.study_id)).reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    "fields",
    [
        {"study_id": ""},
        {"study_id": "all"},
        {"study_id": "-x"},
        {"study_id": "x\n"},
        {"study_id": "é"},
        {"study_id": "x" * 37},
        {"study_id": "x", "name": "x" * 1025},
        {"study_id": "x", "name": "\0"},
        {"study_id": "x", "description": "é" * 32 * 1024 + "x"},
        {"study_id": "x", "info_json": "[]"},
        {"study_id": "x", "info_json": '{"a": NaN}'},
        {"study_id": "x", "info_json": '{"a": "' + "x" * 1024 * 1024 + '"}'},
    ],
)
def test_studies_out_of_bounds_are_malformed(world: World, fields: dict[str, Any]) -> None:
    refused = refusal(lambda: create(world, study_pb2.Study(**fields)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_PARAMETER")
    assert refused.metadata["field"].startswith("study.")


def test_studies_are_listed_in_the_order_of_their_ids(world: World) -> None:
    prefix = f"{world.new_study()}."
    ids = [prefix + name for name in ("B", "a", "Z", "_", "b")]
    for study_id in ids:
        create(world, study_pb2.Study(study_id=study_id))
    found: list[str] = []
    token = ""
    while True:
        page = world.studies.ListStudies(study_service_pb2.ListStudiesRequest(page_size=2, page_token=token))
        found += [study.study_id for study in page.studies]
        token = page.next_page_token
        if not token:
            break
    assert [study_id for study_id in found if study_id.startswith(prefix)] == sorted(ids)
    assert found == sorted(found)


def test_a_page_of_large_studies_ends_before_three_mebibytes(world: World) -> None:
    prefix = f"{world.new_study()}."
    for number in range(4):
        create(world, study_pb2.Study(study_id=f"{prefix}{number}", info_json='{"x":"' + "x" * 1_000_000 + '"}'))
    page = world.studies.ListStudies(study_service_pb2.ListStudiesRequest(page_size=1000))
    assert page.ByteSize() <= 3 * 1024 * 1024
    assert page.next_page_token


@pytest.mark.parametrize("fields", [{"page_size": -1}, {"page_size": 1001}, {"page_token": "x"}, {"page_token": "é"}])
def test_bad_pages_are_malformed(world: World, study_id: str, fields: dict[str, Any]) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    listing = file_service_pb2.ListFilesRequest(study_id=study_id, analysis_id=analysis_id, **fields)
    for call in (
        lambda: world.studies.ListStudies(study_service_pb2.ListStudiesRequest(**fields)),
        lambda: world.files.ListFiles(listing),
        lambda: world.list(study_id, **fields),
    ):
        assert refusal(call).reason == "MALFORMED_PARAMETER"


def test_files_are_listed_by_name(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id, files=[file(name) for name in ("b", "A", "c", "a", "_")]))
    found: list[str] = []
    token = ""
    while True:
        request = file_service_pb2.ListFilesRequest(
            study_id=study_id, analysis_id=analysis_id, page_size=2, page_token=token
        )
        page = world.files.ListFiles(request)
        found += [listed.file_name for listed in page.files]
        token = page.next_page_token
        if not token:
            break
    assert found == ["A", "_", "a", "b", "c"]
    elsewhere = file_service_pb2.ListFilesRequest(study_id=world.new_study(), analysis_id=analysis_id)
    assert refusal(lambda: world.files.ListFiles(elsewhere)).reason == "ANALYSIS_ID_NOT_FOUND"


def test_objects_resolve_in_the_order_asked_and_unknown_ones_never_fail_the_batch(world: World, study_id: str) -> None:
    first = world.get(study_id, world.submit(study_id, payload(study_id, files=[file("a", info={"x": 1}), file("b")])))
    second = world.get(study_id, world.submit(study_id, payload(study_id)))
    world.suppress(study_id, second.analysis_id)
    known = [second.files[0].object_id, first.files[1].object_id, first.files[0].object_id]
    asked = [known[0], "nowhere", known[1], "\0", known[2], known[0]]

    answer = world.files.ResolveObjects(file_service_pb2.ResolveObjectsRequest(object_ids=asked))

    assert [found.file.object_id for found in answer.objects] == [*known, known[0]]
    assert list(answer.missing_object_ids) == ["nowhere", "\0"]
    assert [found.analysis_state for found in answer.objects] == [3, 1, 1, 3]
    expected = first.files[0]
    expected.info_json = expected.etag = ""
    assert answer.objects[2].file == expected
    for bad in ([], ["x"] * 1001):
        request = file_service_pb2.ResolveObjectsRequest(object_ids=bad)
        assert refusal(lambda request=request: world.files.ResolveObjects(request)).reason == "MALFORMED_PARAMETER"  # type: ignore[misc] # mypy can't infer such a lambda
