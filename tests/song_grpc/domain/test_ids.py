"""Ids are the same on every server."""

import pytest

from song_grpc.domain import ids


@pytest.mark.parametrize(
    ("study_id", "submitter_id", "expected"),
    [
        ("parameter1_1", "parameter2_1", "8540ebac-66f2-553a-b865-0d3006edd892"),
        ("parameter1_1", "parameter2_2", "57f844eb-4ab4-5d3d-8dc1-8b7a463e20c1"),
        ("parameter1_2", "parameter2_1", "b4f5aea1-1f4c-5e12-8557-76dbadb26239"),
    ],
)
def test_derived_ids_are_name_based(study_id: str, submitter_id: str, expected: str) -> None:
    assert ids.entity_id(study_id, submitter_id) == expected
    assert ids.object_id(study_id, submitter_id) == expected


def test_analysis_ids_are_random_version_four() -> None:
    made = {ids.new_analysis_id() for _ in range(100)}
    assert len(made) == 100
    assert {identifier[14] for identifier in made} == {"4"}
