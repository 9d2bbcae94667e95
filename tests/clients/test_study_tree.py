"""Donors that come in several messages."""

from song.v1.entity_pb2 import Donor, Sample, Specimen
from song.v1.study_service_pb2 import GetStudyTreeResponse, SpecimenTree
from song_score_client.song.study_tree import whole_donors


def tree(specimen_id: str, *sample_ids: str) -> SpecimenTree:
    return SpecimenTree(
        specimen=Specimen(specimen_id=specimen_id), samples=[Sample(sample_id=sample_id) for sample_id in sample_ids]
    )


def test_parts_of_a_donor_are_put_together() -> None:
    answers = [
        GetStudyTreeResponse(donor=Donor(donor_id="1", gender="Male"), specimens=[tree("a", "x")], goes_on=True),
        GetStudyTreeResponse(donor=Donor(donor_id="1"), specimens=[tree("a", "y"), tree("b")], goes_on=True),
        GetStudyTreeResponse(donor=Donor(donor_id="1"), specimens=[tree("b", "z")]),
        GetStudyTreeResponse(donor=Donor(donor_id="2")),
    ]
    first, second = whole_donors(answers)
    assert (first.donor.gender, first.goes_on) == ("Male", False)
    assert [(each.specimen.specimen_id, [sample.sample_id for sample in each.samples]) for each in first.specimens] == [
        ("a", ["x", "y"]),
        ("b", ["z"]),
    ]
    assert second.donor.donor_id == "2"
