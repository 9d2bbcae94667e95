"""Update masks: which fields a change is about."""

from collections.abc import Iterable, Sequence

from song_grpc.domain.errors import ParameterError

_SHOWN_CHARS = 100


def read(paths: Iterable[str], permitted: Sequence[str]) -> frozenset[str]:
    """Return the fields a mask names. Raises ParameterError where it names none, or one that is not permitted."""
    named = frozenset(paths)
    wrong = sorted(named.difference(permitted))
    if wrong or not named:
        found = f"names '{wrong[0][:_SHOWN_CHARS]}'" if wrong else "is empty"
        raise ParameterError("update_mask", f"{found}: give one or more of {', '.join(permitted)}")
    return named
