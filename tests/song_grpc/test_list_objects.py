"""ListObjects, and the mark of ResolveObjects, on every database."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from song.v1 import analysis_pb2, file_pb2, file_service_pb2
from sqlalchemy import update

from song_grpc.database import tables
from song_grpc.database.times import to_microseconds
from song_grpc.use_cases import objects as use_case
from tests.song_grpc.world import World, file, payload, refusal

STATES = analysis_pb2.AnalysisState


def listed(world: World, **fields: object) -> list[file_service_pb2.RegisteredObject]:
    """Return the objects on all pages."""
    found: list[file_service_pb2.RegisteredObject] = []
    token = ""
    while True:
        request = file_service_pb2.ListObjectsRequest(page_token=token, **fields)  # type: ignore[arg-type] # fields of the message
        page = world.files.ListObjects(request)
        found += page.objects
        token = page.next_page_token
        if not token:
            return found


@pytest.fixture
def analyses(world: World, study_id: str) -> Sequence[analysis_pb2.Analysis]:
    """Three analyses of two files each, the second one published."""
    files = [[file("a.bam"), file("b.bam", fileAccess="controlled", info={"x": 1})] for _ in range(3)]
    ids = [world.submit(study_id, payload(study_id, files=both)) for both in files]
    world.score.hold(world.get(study_id, ids[1]))
    world.publish(study_id, ids[1])
    return [world.get(study_id, analysis_id) for analysis_id in ids]


def ids_of(files: Sequence[file_pb2.File]) -> list[str]:
    return sorted(found.object_id for found in files)


def found_ids(world: World, **fields: object) -> list[str]:
    return [found.file.object_id for found in listed(world, **fields)]


@pytest.mark.parametrize("page_size", [0, 1, 4, 6])
def test_objects_are_listed_in_the_order_of_their_ids(
    world: World, study_id: str, analyses: Sequence[analysis_pb2.Analysis], page_size: int
) -> None:
    found = listed(world, study_id=study_id, page_size=page_size)
    files = {one.object_id: one for analysis in analyses for one in analysis.files}
    assert [one.file.object_id for one in found] == sorted(files)
    state_of = {analysis.analysis_id: analysis.state for analysis in analyses}
    for one in found:
        expected = files[one.file.object_id]
        expected.info_json = expected.etag = ""
        assert one.file == expected
        assert one.analysis_state == state_of[one.file.analysis_id]
        assert not one.publishing


def test_all_studies_are_listed_where_none_is_named(world: World, analyses: Sequence[analysis_pb2.Analysis]) -> None:
    other = world.new_study()
    there = world.get(other, world.submit(other, payload(other)))
    found = found_ids(world)
    assert found == sorted(found)
    assert {*ids_of(analyses[0].files), *ids_of(there.files)} <= set(found)


def test_all_conditions_hold(world: World, study_id: str, analyses: Sequence[analysis_pb2.Analysis]) -> None:
    every = [one for analysis in analyses for one in analysis.files]
    assert found_ids(world, analysis_id=analyses[0].analysis_id) == ids_of(analyses[0].files)
    assert found_ids(world, study_id=study_id, file_name="a.bam") == ids_of(
        [one for one in every if one.file_name == "a.bam"]
    )
    controlled = [one for one in every if one.access == file_pb2.FILE_ACCESS_CONTROLLED]
    for page_size in (1, 2, 100):
        pages = {"access": file_pb2.FILE_ACCESS_CONTROLLED, "page_size": page_size}
        assert found_ids(world, study_id=study_id, **pages) == ids_of(controlled)
    one = controlled[0]
    exact = {"study_id": study_id, "analysis_id": one.analysis_id, "file_name": one.file_name, "access": one.access}
    assert found_ids(world, **exact) == [one.object_id]
    for other in (
        *({"study_id": "nowhere"}, {"analysis_id": "x" * 100}, {"file_name": "B.bam"}, {"file_name": "\0"}),
        {"access": file_pb2.FILE_ACCESS_OPEN},
    ):
        assert found_ids(world, **exact | other) == []


def test_a_page_may_be_empty_and_have_a_next_one(
    world: World, study_id: str, analyses: Sequence[analysis_pb2.Analysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use_case, "MAX_EXAMINED_OBJECTS", 2)
    monkeypatch.setattr(use_case, "_BATCH_OBJECTS", 1)
    request = file_service_pb2.ListObjectsRequest(study_id=study_id, file_name="nothing", page_size=1)
    page = world.files.ListObjects(request)
    assert not page.objects
    assert page.next_page_token
    assert found_ids(world, study_id=study_id, file_name="nothing", page_size=1) == []
    assert found_ids(world, study_id=study_id, file_name="b.bam", page_size=1) == ids_of(
        [analysis.files[1] for analysis in analyses]
    )


def test_other_requests_are_refused(world: World, analyses: Sequence[analysis_pb2.Analysis]) -> None:
    request = file_service_pb2.ListObjectsRequest(study_id=analyses[0].study_id, page_size=1)
    token = world.files.ListObjects(request).next_page_token
    for fields, field in (
        ({"page_size": 1001}, "page_size"),
        ({"access": 9}, "access"),
        ({"page_token": "x"}, "page_token"),
        ({"page_token": token}, "page_token"),
        ({"page_token": token, "file_name": analyses[0].study_id}, "page_token"),
    ):
        broken = file_service_pb2.ListObjectsRequest(**fields)
        assert refusal(lambda r=broken: world.files.ListObjects(r)).metadata == {"field": field}  # type: ignore[misc] # mypy can't infer such a lambda


@pytest.mark.parametrize(("seconds", "publishing"), [(60, True), (-1, False)])
def test_objects_of_an_analysis_that_is_being_published_are_marked_until_the_time_has_passed(
    world: World, analyses: Sequence[analysis_pb2.Analysis], seconds: int, *, publishing: bool
) -> None:
    until = to_microseconds(datetime.now(UTC) + timedelta(seconds=seconds))
    marked = update(tables.analyses).where(tables.analyses.c.analysis_id == analyses[0].analysis_id)
    with world.database.write() as connection:
        connection.execute(marked.values(publishing_until=until))
    object_ids = [one.object_id for analysis in analyses[:2] for one in analysis.files]
    resolved = world.files.ResolveObjects(file_service_pb2.ResolveObjectsRequest(object_ids=object_ids)).objects
    assert [found.publishing for found in resolved] == [publishing, publishing, False, False]
    found = listed(world, analysis_id=analyses[0].analysis_id)
    assert [one.publishing for one in found] == [publishing, publishing]
