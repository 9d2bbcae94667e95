"""Texts made to cost much: what each may cost is bounded, whoever sends it."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from song_grpc.domain import info, json_paths, matching, schema_keywords
from song_grpc.domain.analysis import Analysis, AnalysisState, Donor, Sample, Specimen
from song_grpc.domain.errors import DonorDataMismatchError
from song_grpc.domain.java_source import PatternError
from song_grpc.domain.limits import MAX_UNROLLED_PATTERN
from song_grpc.domain.patterns import compile_pattern
from song_grpc.domain.payload import GivenIds

NOTHING_GIVEN = GivenIds((None, None), (None, None), (None,))


def sample(number: int, donor_info: str) -> Sample:
    donor = Donor("d", "S", "donor", "Other", donor_info)
    specimen = Specimen(f"p{number}", "d", f"specimen-{number}", "Normal", "Skin", "Normal", "")
    return Sample(f"s{number}", f"p{number}", f"sample-{number}", "Total DNA", None, "", specimen, donor)


def test_what_samples_share_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    form = info.form

    def noting(text: str) -> object:
        texts.append(text)
        return form(text)

    monkeypatch.setattr(info, "form", noting)
    samples = [sample(0, '{"a":1}'), *(sample(number, '{"b":1}') for number in range(1, 50))]
    with pytest.raises(DonorDataMismatchError) as refused:
        matching.match(samples, [NOTHING_GIVEN] * 50, matching.Known())
    assert len(refused.value.violations) == 49
    assert sorted(texts) == ['{"a":1}', '{"b":1}']
    same = [sample(0, '{"a":1,"b":2}'), sample(1, '{"b":2.0,"a":1}')]
    assert len(matching.match(same, [NOTHING_GIVEN] * 2, matching.Known()).samples) == 2


def test_what_samples_share_is_measured_for_each_of_them() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    shared = sample(0, '{"a":"é"}')

    def size(samples: list[Sample]) -> int:
        return Analysis("a", "S", AnalysisState.UNPUBLISHED, "t", 1, samples, [], "{}", now, now).wire_bytes

    one, none = size([shared]), size([])
    assert size([shared] * 100) - none == 100 * (one - none)
    assert one - none > len('{"a":"é"}'.encode())


@pytest.mark.parametrize(
    "pattern",
    ["a{2147483647}", "(?:a{1100}){1100}", "(?:[ab\\]]{10}(?:c|d){60000}){10}", "\\d{1,2000000}", "x{1000001,}"],
)
def test_a_pattern_that_is_long_once_written_out_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError, match=str(MAX_UNROLLED_PATTERN)):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["^[A-Z]{2,4}-\\d{1,6}$", "(?:a{100}){100}", ".{0,65536}", "[{]{3}\\{{2}", "a{5}+b"]
)
def test_a_pattern_that_is_not_is_taken(pattern: str) -> None:
    compile_pattern(pattern)


def test_numbers_can_not_be_made_to_collide() -> None:
    prime = 2**61 - 1  # Python's hash of its multiples is 0
    items = [prime * number for number in range(1, 1000)]
    assert len({hash(schema_keywords.comparable(item)) for item in items}) == len(items)
    assert schema_keywords.are_unique(items)
    assert not schema_keywords.are_unique([*items, Decimal(prime * 7)])


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, "1.0"), (100, "1E+2"), (0, "-0.0"), (-120, "-1.2E2"), (10**40, "1E40"), (0, "0E+400000"), (5, "5.000")],
)
def test_spellings_of_a_number_are_one(one: int, other: str) -> None:
    assert schema_keywords.comparable(one) == schema_keywords.comparable(Decimal(other))
    assert schema_keywords.comparable(one) != schema_keywords.comparable(one + 1)
    assert schema_keywords.comparable(one) != schema_keywords.comparable(str(one))


@pytest.mark.parametrize("path", ["x[?@.a>1e400]", "x[?@.a==-1E999]"])
def test_a_path_with_a_number_beyond_bounds_is_a_problem(path: str) -> None:
    assert json_paths.problem(path)
