"""Studies: changed, shown and listed; on every database."""

from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from song.v1 import study_pb2, study_service_pb2

from tests.song_grpc.world import World, in_parallel, refusal

OPEN, CONTROLLED = study_pb2.STUDY_VISIBILITY_OPEN, study_pb2.STUDY_VISIBILITY_CONTROLLED


def get(world: World, study_id: str) -> study_pb2.Study:
    return world.studies.GetStudy(study_service_pb2.GetStudyRequest(study_id=study_id)).study


def change(
    world: World,
    study_id: str,
    mask: Sequence[str] = (),
    etag: str = "*",
    **values: Any,  # noqa: ANN401 - fields of the message
) -> study_pb2.Study:
    """Update a study; the mask names the values unless it is given."""
    wanted = study_pb2.Study(study_id=study_id, etag=etag, **values)
    request = study_service_pb2.UpdateStudyRequest(study=wanted)
    request.update_mask.paths.extend(mask or values)
    return world.studies.UpdateStudy(request).study


def test_every_field_but_the_id_can_change(world: World, study_id: str) -> None:
    before = get(world, study_id)
    values: dict[str, Any] = {
        "name": "Näme",
        "organization": "Org",
        "description": "Text\nmore",
        "info_json": '{"a":1.10}',
        "visibility": CONTROLLED,
    }
    changed = change(world, study_id, etag=before.etag, **values)
    assert {name: getattr(changed, name) for name in values} == values
    assert (changed.study_id, changed.create_time) == (study_id, before.create_time)
    assert changed.etag != before.etag
    assert get(world, study_id) == changed


def test_only_named_fields_are_taken_and_a_named_empty_one_is_emptied(world: World, study_id: str) -> None:
    change(world, study_id, name="a", organization="b", info_json='{"x":1}')
    changed = change(world, study_id, ["organization", "info_json"], name="ignored")
    assert (changed.name, changed.organization, changed.info_json) == ("a", "", "")


def test_the_same_content_has_the_same_etag(world: World, study_id: str) -> None:
    before = get(world, study_id)
    assert change(world, study_id, name="a").etag != before.etag
    assert change(world, study_id, ["name"]).etag == before.etag
    assert change(world, study_id, ["name"], etag=before.etag) == before


def test_an_etag_that_was_overtaken_overwrites_nothing(world: World, study_id: str) -> None:
    before = get(world, study_id)
    now = change(world, study_id, name="a")
    stale = refusal(lambda: change(world, study_id, etag=before.etag, name="b"))
    assert (stale.code, stale.reason, stale.metadata) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", {"etag": now.etag})
    assert get(world, study_id) == now


@pytest.mark.parametrize(
    ("mask", "values", "field"),
    [
        ([], {}, "update_mask"),
        (["study_id"], {}, "update_mask"),
        (["create_time"], {}, "update_mask"),
        (["name"], {"etag": ""}, "study.etag"),
        (["name"], {"name": "x" * 1025}, "study.name"),
        (["organization"], {"organization": "\0"}, "study.organization"),
        (["description"], {"description": "é" * 32 * 1024 + "x"}, "study.description"),
        (["info_json"], {"info_json": "[]"}, "study.info_json"),
        (["info_json"], {"info_json": '{"a": "' + "x" * 1024 * 1024 + '"}'}, "study.info_json"),
        (["visibility"], {}, "study.visibility"),
        (["visibility"], {"visibility": 9}, "study.visibility"),
    ],
)
def test_updates_out_of_bounds_are_malformed(
    world: World, study_id: str, mask: list[str], values: dict[str, Any], field: str
) -> None:
    before = get(world, study_id)
    refused = refusal(lambda: change(world, study_id, mask, **values))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_PARAMETER")
    assert refused.metadata == {"field": field}
    assert get(world, study_id) == before


@pytest.mark.parametrize("unknown", ["nowhere", "", "\0", "x" * 65])
def test_a_study_that_is_not_there_is_not_updated(world: World, unknown: str) -> None:
    assert refusal(lambda: change(world, unknown, name="a")).reason == "STUDY_ID_DOES_NOT_EXIST"


def test_a_study_is_created_open_or_controlled(world: World) -> None:
    prefix = world.new_study()
    for visibility, shown in ((0, OPEN), (OPEN, OPEN), (CONTROLLED, CONTROLLED)):
        wanted = study_pb2.Study(study_id=f"{prefix}.{visibility}", visibility=visibility)  # type: ignore[arg-type] # 0 is one of its values
        created = world.studies.CreateStudy(study_service_pb2.CreateStudyRequest(study=wanted)).study
        assert created.visibility == shown
        assert get(world, wanted.study_id) == created
    bad = study_service_pb2.CreateStudyRequest(study=study_pb2.Study(study_id=f"{prefix}.x", visibility=9))  # type: ignore[arg-type] # no value of the contract
    assert refusal(lambda: world.studies.CreateStudy(bad)).metadata == {"field": "study.visibility"}


def test_a_repeated_creation_with_another_visibility_is_another_request(world: World) -> None:
    study = study_pb2.Study(study_id=f"{world.new_study()}.again", visibility=CONTROLLED)
    request = study_service_pb2.CreateStudyRequest(study=study, request_id=study.study_id)
    created = world.studies.CreateStudy(request)
    assert world.studies.CreateStudy(request) == created
    request.study.visibility = OPEN
    assert refusal(lambda: world.studies.CreateStudy(request)).reason == "REQUEST_ID_REUSED"


def test_ids_alone_are_listed_where_no_more_is_wanted(world: World) -> None:
    prefix = f"{world.new_study()}."
    for number in range(5):
        change_of = study_pb2.Study(
            study_id=f"{prefix}{number}", name="Name", info_json='{"x":"' + "x" * 900_000 + '"}'
        )
        world.studies.CreateStudy(study_service_pb2.CreateStudyRequest(study=change_of))
    found: list[study_pb2.Study] = []
    token = ""
    while True:
        request = study_service_pb2.ListStudiesRequest(page_size=1000, page_token=token, ids_only=True)
        page = world.studies.ListStudies(request)
        found += page.studies
        token = page.next_page_token
        if not token:
            break
    own = [study for study in found if study.study_id.startswith(prefix)]
    assert own == [study_pb2.Study(study_id=f"{prefix}{number}") for number in range(5)]


def test_of_parallel_updates_with_one_etag_one_wins(world: World, study_id: str) -> None:
    etag = get(world, study_id).etag
    answers = in_parallel([lambda n=n: change(world, study_id, etag=etag, name=f"name {n}") for n in range(16)])  # type: ignore[misc] # mypy can't infer such a lambda
    winners = [answer for answer in answers if isinstance(answer, study_pb2.Study)]
    assert winners == [get(world, study_id)]
    assert {answer.code() for answer in answers if answer not in winners} == {grpc.StatusCode.ABORTED}
