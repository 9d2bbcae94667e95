"""The tree of a study: every donor with its specimens and samples, streamed; on every database."""

from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest
from song.v1 import entity_service_pb2, study_service_pb2

from song_grpc.domain import study_tree
from song_grpc.domain.analysis import Donor, Sample, Specimen
from song_grpc.domain.limits import MAX_PAGE_BYTES
from song_grpc.domain.study_tree import Leaf, Piece
from tests.song_grpc.world import World, payload, refusal, sample

Tree = dict[str, dict[str, list[str]]]
WALKS = [5000, 0]
"""How many rows are read at once; 0 makes every donor be walked by itself."""


@pytest.fixture(params=WALKS, autouse=True)
def walk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read many small donors at once, or walk each by itself."""
    monkeypatch.setattr("song_grpc.use_cases.study_tree._ROWS_AT_ONCE", request.param)
    if request.param == 0:
        monkeypatch.setattr("song_grpc.use_cases.study_tree._READ_AT_ONCE", 3)


def stream(world: World, study_id: str, after: str = "") -> Iterator[study_service_pb2.GetStudyTreeResponse]:
    request = study_service_pb2.GetStudyTreeRequest(study_id=study_id, after_submitter_donor_id=after)
    yield from world.studies.GetStudyTree(request)


def put_together(messages: Sequence[study_service_pb2.GetStudyTreeResponse]) -> Tree:
    """Return submitter ids; messages that go on with a donor or specimen add to it."""
    tree: Tree = {}
    for message in messages:
        specimens = tree.setdefault(message.donor.submitter_donor_id, {})
        for branch in message.specimens:
            below = specimens.setdefault(branch.specimen.submitter_specimen_id, [])
            below += [found.submitter_sample_id for found in branch.samples]
    return tree


def small_sample(donor: object, specimen: object, number: object) -> dict[str, Any]:
    own = sample(f"{donor}.{specimen}.{number}")
    own["donor"]["submitterDonorId"] = f"{donor}"
    own["specimen"]["submitterSpecimenId"] = f"{donor}.{specimen}"
    return own


def test_donors_come_in_order_with_all_below_them(world: World, study_id: str) -> None:
    numbers = [(donor, specimen, number) for donor in "bAc_a" for specimen in "yX" for number in (2, 1, 3, 4)]
    samples = [small_sample(*which) for which in numbers]
    for start in range(0, len(samples), 16):
        world.submit(study_id, payload(study_id, samples=samples[start : start + 16]))

    messages = list(stream(world, study_id))

    expected = {
        donor: {f"{donor}.{specimen}": [f"sample-{donor}.{specimen}.{n}" for n in (1, 2, 3, 4)] for specimen in "Xy"}
        for donor in "A_abc"
    }
    found = put_together(messages)
    assert found == expected
    assert list(found) == list(expected)
    assert [list(below) for below in found.values()] == [list(below) for below in expected.values()]
    assert len(messages) == 5
    assert not any(message.goes_on for message in messages)


def test_what_the_tree_shows_is_what_reads_show(world: World, study_id: str) -> None:
    world.submit(study_id, payload(study_id, samples=[sample(1, info={"a": 1}), sample(2)]))
    listed = world.entities.ListSamples(entity_service_pb2.ListSamplesRequest(study_id=study_id)).samples
    for message, known in zip(stream(world, study_id), listed, strict=True):
        branch = message.specimens[0]
        assert message.donor == known.donor
        assert branch.specimen == known.specimen
        known.ClearField("donor")
        known.ClearField("specimen")
        assert list(branch.samples) == [known]


def test_a_stream_goes_on_after_a_donor(world: World, study_id: str) -> None:
    world.submit(study_id, payload(study_id, samples=[small_sample(donor, 1, 1) for donor in range(8)]))
    assert list(put_together(list(stream(world, study_id, "4")))) == ["5", "6", "7"]
    assert list(put_together(list(stream(world, study_id, "45")))) == ["5", "6", "7"]
    assert not list(stream(world, study_id, "7"))


def test_a_large_donor_comes_in_pieces(world: World, study_id: str) -> None:
    for specimen in range(2):
        large = [small_sample("large", specimen, number) for number in range(10)]
        for one in large:
            one["info"] = {"x": "é" * 250_000}
        world.submit(study_id, payload(study_id, samples=large))
    world.submit(study_id, payload(study_id, samples=[small_sample(donor, 1, 1) for donor in ("a", "z")]))

    messages = list(stream(world, study_id))

    assert all(message.ByteSize() <= MAX_PAGE_BYTES for message in messages)
    assert len(messages) <= 8
    names = [message.donor.submitter_donor_id for message in messages]
    assert names == ["a", *(["large"] * (len(names) - 2)), "z"]
    assert [message.goes_on for message in messages] == [False, *([True] * (len(names) - 3)), False, False]
    assert put_together(messages)["large"] == {
        f"large.{specimen}": [f"sample-large.{specimen}.{number}" for number in range(10)] for specimen in range(2)
    }
    first, *others = messages[1:-1]
    assert first.donor.gender == "Female"
    assert not any(message.donor.gender or message.donor.etag for message in others)


def test_a_study_without_donors_has_an_empty_tree(world: World, study_id: str) -> None:
    assert not list(stream(world, study_id))


@pytest.mark.parametrize("unknown", ["nowhere", "", "\0"])
def test_there_is_no_tree_of_an_unknown_study(world: World, unknown: str) -> None:
    refused = refusal(lambda: list(stream(world, unknown)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "STUDY_ID_DOES_NOT_EXIST")


def test_a_place_to_go_on_from_must_be_possible(world: World, study_id: str) -> None:
    refused = refusal(lambda: list(stream(world, study_id, "\0")))
    assert (refused.reason, refused.metadata) == ("MALFORMED_PARAMETER", {"field": "after_submitter_donor_id"})


def donor(info_bytes: int = 0) -> Donor:
    return Donor("d", "s", "donor", "Female", "x" * info_bytes)


def specimen(number: int, info_bytes: int = 0) -> Specimen:
    return Specimen(f"p{number}", "d", f"specimen-{number}", "Normal", "Skin", "Normal", "x" * info_bytes)


def leaf(of: Specimen, number: int, info_bytes: int = 0) -> Leaf:
    return of, Sample(f"s{number}", of.specimen_id, f"sample-{number}", "RNA", None, "x" * info_bytes, of, donor())


def shape(pieces: Sequence[Piece]) -> list[Any]:
    """Return, per piece, whether it goes on, and its branches: whether each goes on, and its samples' ids."""
    return [
        (piece.goes_on, [(branch.goes_on, [found.sample_id for found in branch.samples]) for branch in piece.branches])
        for piece in pieces
    ]


def test_a_donor_that_fills_a_message_comes_first_and_alone() -> None:
    one = specimen(1, info_bytes=MAX_PAGE_BYTES)
    pieces = list(study_tree.cut(donor(info_bytes=MAX_PAGE_BYTES), [(one, None), leaf(one, 1), leaf(one, 2)]))
    assert shape(pieces) == [(False, []), (True, [(False, [])]), (True, [(True, ["s1", "s2"])])]
    assert [piece.is_last for piece in pieces] == [False, False, True]


def test_each_piece_is_as_full_as_it_may_be() -> None:
    half = MAX_PAGE_BYTES // 2 - 1000
    one, two = specimen(1), specimen(2)
    leaves = [(one, None), *(leaf(one, number, half) for number in range(3)), (two, None), leaf(two, 3, half)]
    assert shape(list(study_tree.cut(donor(), leaves))) == [
        (False, [(False, ["s0", "s1"])]),
        (True, [(True, ["s2"]), (False, ["s3"])]),
    ]
