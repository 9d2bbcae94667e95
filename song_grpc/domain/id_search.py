"""Searches for analyses by ids of what belongs to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from song_grpc.domain.errors import ParameterError

_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


class IdMatch(Enum):
    """How ids are compared."""

    EXACT = "EXACT"
    PREFIX = "PREFIX"
    REGEX = "REGEX"


class IdKind(Enum):
    """Whose id it is; the value is the field of the request."""

    DONOR = "donor_id"
    SPECIMEN = "specimen_id"
    SAMPLE = "sample_id"
    OBJECT = "object_id"
    SUBMITTER_DONOR = "submitter_donor_id"
    SUBMITTER_SPECIMEN = "submitter_specimen_id"
    SUBMITTER_SAMPLE = "submitter_sample_id"


@dataclass(frozen=True, slots=True)
class IdSearch:
    """What is searched for; all conditions must hold."""

    match: IdMatch
    texts: Mapping[IdKind, str]
    """None of them is empty."""

    def check(self) -> None:
        """Raise ParameterError unless there is a condition."""
        if not self.texts:
            raise ParameterError("donor_id", f"give at least one of {', '.join(kind.value for kind in IdKind)}")

    @property
    def needs_data(self) -> bool:
        """Whether a condition is on samples."""
        return bool(self.texts.keys() - {IdKind.OBJECT})


def end_of_prefix(prefix: str) -> str | None:
    """Return the first text after all that begin with this one, in the order of characters; None: there is none."""
    kept = prefix.rstrip(chr(_LAST_CHARACTER))
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)
