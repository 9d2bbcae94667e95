"""A study's donors with their specimens and samples, cut into pieces that fit into one message each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

from song_grpc.domain.analysis import Donor, Sample, Specimen
from song_grpc.domain.limits import MAX_PAGE_BYTES

_OVERHEAD_BYTES = 96  # of a message's tags, lengths and etag
_IDS_BYTES = 256  # of one that goes on: at most two ids of 64 characters, and overhead

Leaf = tuple[Specimen, Sample | None]
"""A specimen alone, or a sample of the specimen before."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A specimen with samples of it."""

    specimen: Specimen
    goes_on: bool
    """The piece before has the specimen, and the samples that come first."""
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Piece:
    """A donor with specimens of it."""

    donor: Donor
    goes_on: bool
    """The piece before has the donor, and the specimens that come first."""
    branches: Sequence[Branch]
    is_last: bool
    """The next piece is another donor's."""


def cut(donor: Donor, leaves: Iterable[Leaf]) -> Iterator[Piece]:
    """Yield a donor in pieces of at most 3 MiB, or of one item: every specimen, its samples right after it."""
    branches: list[Branch] = []
    samples: list[Sample] = []
    goes_on = False
    used = own_bytes(donor)
    for specimen, sample in leaves:
        size = own_bytes(specimen if sample is None else sample)
        if used + size > MAX_PAGE_BYTES and (branches or not goes_on):
            yield Piece(donor, goes_on, branches, is_last=False)
            branches, goes_on, used = [], True, _IDS_BYTES
        if sample is None:
            samples = []
            branches.append(Branch(specimen, goes_on=False, samples=samples))
        else:
            if not branches:
                samples = []
                branches.append(Branch(specimen, goes_on=True, samples=samples))
                used += _IDS_BYTES
            samples.append(sample)
        used += size
    yield Piece(donor, goes_on, branches, is_last=True)


def own_bytes(entity: Donor | Specimen | Sample) -> int:
    """Return at least what the entity's message takes without its parts."""
    values = (getattr(entity, field.name) for field in fields(entity))
    return _OVERHEAD_BYTES + sum(len(value.encode()) for value in values if isinstance(value, str))
