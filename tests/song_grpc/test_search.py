"""SearchAnalysesById, on every database."""

import time
from collections.abc import Callable, Sequence

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from song.v1 import analysis_pb2, analysis_service_pb2

from song_grpc.domain import search_patterns
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.id_search import end_of_prefix
from song_grpc.domain.search_patterns import IdPattern
from song_grpc.use_cases import search as use_case
from tests.song_grpc.world import World, payload, refusal, sample

EXACT = analysis_service_pb2.ID_MATCH_EXACT
PREFIX, REGEX = analysis_service_pb2.ID_MATCH_PREFIX, analysis_service_pb2.ID_MATCH_REGEX
Search = Callable[..., list[int]]


def searched(world: World, study_id: str, **fields: object) -> list[str]:
    """Return the ids on all pages."""
    found: list[str] = []
    token = ""
    while True:
        request = analysis_service_pb2.SearchAnalysesByIdRequest(study_id=study_id, page_token=token, **fields)  # type: ignore[arg-type] # fields of the message
        page = world.analyses.SearchAnalysesById(request)
        found += [analysis.analysis_id for analysis in page.analyses]
        token = page.next_page_token
        if not token:
            return found


@pytest.fixture
def analyses(world: World, study_id: str) -> Sequence[analysis_pb2.Analysis]:
    """Four analyses: of samples 1, 2, 1 with 2, and 11; samples 1 and 2 are of one donor."""
    donor = {"submitterDonorId": "Donor_1", "gender": "Male"}
    one, two = sample(1, donor=donor), sample(2, donor=donor)
    eleven = sample(11, donor={"submitterDonorId": "donorX1", "gender": "Male"})
    ids = [
        world.submit(study_id, payload(study_id, samples=samples)) for samples in ([one], [two], [one, two], [eleven])
    ]
    world.suppress(study_id, ids[1])
    world.score.hold(world.get(study_id, ids[2]))
    world.publish(study_id, ids[2])
    return [world.get(study_id, analysis_id) for analysis_id in ids]


@pytest.fixture
def search(world: World, study_id: str, analyses: Sequence[analysis_pb2.Analysis]) -> Search:
    """Search the study; the numbers of the analyses found."""
    ids = [analysis.analysis_id for analysis in analyses]
    return lambda **fields: [ids.index(found) for found in searched(world, study_id, **fields)]


def test_every_id_finds_what_it_belongs_to_in_all_states(
    search: Search, analyses: Sequence[analysis_pb2.Analysis]
) -> None:
    first = analyses[0].samples[0]
    assert search(donor_id=first.donor.donor_id) == [0, 1, 2]
    assert search(submitter_donor_id="Donor_1", match=EXACT) == [0, 1, 2]
    assert search(specimen_id=first.specimen_id) == [0, 2]
    assert search(submitter_specimen_id="specimen-2") == [1, 2]
    assert search(sample_id=first.sample_id) == [0, 2]
    assert search(submitter_sample_id="sample-11") == [3]
    assert search(object_id=analyses[1].files[0].object_id) == [1]
    for nothing in ("donor_1", "Donor_", "", "x" * 100, "\0"):
        assert search(submitter_donor_id=nothing, submitter_sample_id="sample-1") == ([0, 2] if not nothing else [])


@pytest.mark.parametrize("page_size", [1, 2])
def test_pages_are_in_the_order_of_submission(search: Search, page_size: int) -> None:
    assert search(submitter_donor_id="onor", match=REGEX, page_size=page_size) == [0, 1, 2, 3]


def test_all_conditions_hold_on_one_and_the_same_sample(
    search: Search, analyses: Sequence[analysis_pb2.Analysis]
) -> None:
    for match in (EXACT, PREFIX, REGEX):
        both = {"submitter_sample_id": "sample-2", "submitter_specimen_id": "specimen-2", "match": match}
        assert search(**both) == [1, 2]
        assert search(**both | {"submitter_specimen_id": "specimen-11"}) == []
        assert search(submitter_sample_id="sample-1", submitter_specimen_id="specimen-2", match=match) == []
        assert search(**both, object_id=analyses[2].files[0].object_id) == [2]


def test_a_prefix_is_compared_as_it_is(search: Search, analyses: Sequence[analysis_pb2.Analysis]) -> None:
    assert search(submitter_sample_id="sample-1", match=PREFIX) == [0, 2, 3]
    assert search(submitter_donor_id="Donor_", match=PREFIX) == [0, 1, 2]
    assert search(submitter_donor_id="donor", match=PREFIX) == [3]
    for nothing in ("%", "D%", "donor_", "Donor_\\", "D*", "x" * 65, "\0"):
        assert search(submitter_donor_id=nothing, match=PREFIX) == []
    object_id = analyses[3].files[0].object_id
    assert search(object_id=object_id[:20], match=PREFIX) == [3]


def test_a_pattern_is_found_anywhere_whatever_the_case(
    search: Search, analyses: Sequence[analysis_pb2.Analysis]
) -> None:
    assert search(submitter_donor_id="DONOR.1", match=REGEX) == [0, 1, 2, 3]
    assert search(submitter_donor_id=r"^donor_1$", match=REGEX) == [0, 1, 2]
    assert search(submitter_sample_id=r"-(1|2)$", match=REGEX) == [0, 1, 2]
    assert search(submitter_sample_id=r"e-1{2}", match=REGEX) == [3]
    assert search(submitter_sample_id=r"\d", submitter_donor_id="[^_]1$", match=REGEX) == [3]
    assert search(sample_id=analyses[3].samples[0].sample_id.upper(), match=REGEX) == [3]
    assert search(object_id=".*", match=REGEX) == [0, 1, 2, 3]
    assert search(submitter_specimen_id="nothing", match=REGEX) == []


def test_other_studies_are_not_searched(
    world: World, search: Search, analyses: Sequence[analysis_pb2.Analysis]
) -> None:
    other = world.new_study()
    donor = {"submitterDonorId": "Donor_1", "gender": "Male"}
    there = world.get(other, world.submit(other, payload(other, samples=[sample(1, donor=donor)])))
    for match in (EXACT, PREFIX, REGEX):
        assert searched(world, other, submitter_donor_id="Donor_1", match=match) == [there.analysis_id]
        assert search(submitter_donor_id="Donor_1", match=match) == [0, 1, 2]
        for nothing in ({"donor_id": there.samples[0].donor.donor_id}, {"object_id": there.files[0].object_id}):
            assert search(**nothing, match=match) == []
            assert searched(world, analyses[0].study_id, **nothing, match=match) == []


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        (r"(a)\1", "at offset 3: backreferences"),
        (r"(?P<n>a)\k<n>", "at offset 8: backreferences"),
        ("(?=a)", "at offset 0: lookaround"),
        ("a(?<!b)", "at offset 1: lookaround"),
        ("(?>a)", "at offset 0: of the groups"),
        ("(?i)a", "at offset 0: of the groups"),
        ("a++", "at offset 1: not a repetition"),
        ("(?:ab){e<=1}", "at offset 6: not a repetition"),
        ("a{1001}", "at offset 1: a repetition"),
        ("a{3,2}", "at offset 1: a repetition"),
        (r"\p{L}", "at offset 0: this escape"),
        (r"\L<x>", "at offset 0: this escape"),
        ("[a", "at offset 0: not a set"),
        ("[[:alpha:]]", "at offset 0: not a set"),
        ("(a", "is not a regular expression"),
        ("a" * 257, "has more than 256 characters"),
    ],
)
def test_patterns_have_the_syntax_of_re2(world: World, study_id: str, pattern: str, complaint: str) -> None:
    refused = refusal(lambda: searched(world, study_id, sample_id=pattern, match=REGEX))
    assert (refused.reason, refused.metadata) == ("MALFORMED_PARAMETER", {"field": "sample_id"})
    assert complaint in refused.message


def test_other_requests_are_refused(world: World, study_id: str) -> None:
    assert refusal(lambda: searched(world, study_id)).metadata == {"field": "donor_id"}
    assert refusal(lambda: searched(world, study_id, match=7, donor_id="x")).metadata == {"field": "match"}
    assert refusal(lambda: searched(world, "nowhere", donor_id="x")).reason == "STUDY_ID_DOES_NOT_EXIST"
    bad_mask = FieldMask(paths=["x"])
    assert refusal(lambda: searched(world, study_id, donor_id="x", read_mask=bad_mask)).metadata == {
        "field": "read_mask"
    }


def test_what_matches_too_many_ids_is_refused(
    world: World, search: Search, study_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use_case, "MAX_SEARCHED_IDS", 2)
    assert search(submitter_sample_id="sample-1", match=PREFIX) == [0, 2, 3]
    for match in (PREFIX, REGEX):
        refused = refusal(lambda m=match: searched(world, study_id, submitter_sample_id="sample", match=m))  # type: ignore[misc] # mypy can't infer such a lambda
        assert refused.metadata == {"field": "submitter_sample_id"}
        assert "more than 2 ids match" in refused.message


def test_a_mask_says_what_is_shown(
    world: World, search: Search, study_id: str, analyses: Sequence[analysis_pb2.Analysis]
) -> None:
    assert search(submitter_sample_id="sample-11") == [3]
    mask = FieldMask(paths=["etag", "files"])
    request = analysis_service_pb2.SearchAnalysesByIdRequest(
        study_id=study_id, submitter_sample_id="sample-11", read_mask=mask
    )
    (found,) = world.analyses.SearchAnalysesById(request).analyses
    assert found == analysis_pb2.Analysis(etag=analyses[3].etag, files=analyses[3].files)


def test_a_pattern_that_explodes_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_patterns, "MAX_SEARCH_PATTERN_SECONDS", 0.2)
    pattern = IdPattern("sample_id", "(x+x+)+y")
    begin = time.thread_time()
    with pytest.raises(ParameterError, match="takes too long"):
        any(pattern.finds("x" * 64) for _ in range(1000))
    assert time.thread_time() - begin < 10


def test_the_end_of_a_prefix_is_the_first_text_after_it() -> None:
    assert end_of_prefix("ab") == "ac"
    assert end_of_prefix("a\U0010ffff\U0010ffff") == "b"
    assert end_of_prefix("\ud7ff") == "\ue000"
    assert end_of_prefix("\U0010ffff") is None
