"""The filter language of lists: a subset of AIP-160, see https://google.aip.dev/160."""

import re

from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.limits import MAX_FILTER_BYTES, MAX_FILTER_TERMS

_TERM = re.compile(r'\s*state\s*=\s*(?P<quote>"?)(?P<state>\w+)(?P=quote)\s*', re.ASCII)
_OR = re.compile(r"\s+OR\s+")


def read_states(text: str) -> tuple[AnalysisState, ...]:
    """Return the states a filter names, in their life cycle's order; an empty filter means PUBLISHED."""
    if not text.strip():
        return (AnalysisState.PUBLISHED,)
    if len(text.encode()) > MAX_FILTER_BYTES:
        raise ParameterError("filter", f"has more than {MAX_FILTER_BYTES} bytes")
    terms = _OR.split(text)
    if len(terms) > MAX_FILTER_TERMS:
        raise ParameterError("filter", f"has more than {MAX_FILTER_TERMS} terms")
    named = {_state(term) for term in terms}
    return tuple(state for state in AnalysisState if state in named)


def _state(term: str) -> AnalysisState:
    match = _TERM.fullmatch(term)
    if match is None:
        raise ParameterError("filter", "give terms like 'state = PUBLISHED', joined by OR")
    try:
        return AnalysisState(match["state"])
    except ValueError:
        known = ", ".join(state.value for state in AnalysisState)
        raise ParameterError("filter", f"the states are {known}") from None
