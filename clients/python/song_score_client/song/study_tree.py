"""Donors that came in several messages, put together."""

from collections.abc import Iterable, Iterator

from song.v1.study_service_pb2 import GetStudyTreeResponse


def whole_donors(answers: Iterable[GetStudyTreeResponse]) -> Iterator[GetStudyTreeResponse]:
    """Yield each donor whole. One with very many samples is held in memory."""
    whole: GetStudyTreeResponse | None = None
    for answer in answers:
        if whole is None:
            whole = answer
        else:
            _append(whole, answer)
        if not answer.goes_on:
            whole.goes_on = False
            yield whole
            whole = None


def _append(whole: GetStudyTreeResponse, answer: GetStudyTreeResponse) -> None:
    """Add a continuation, whose first specimen may go on with the last one there is."""
    for tree in answer.specimens:
        if whole.specimens and whole.specimens[-1].specimen.specimen_id == tree.specimen.specimen_id:
            whole.specimens[-1].samples.extend(tree.samples)
        else:
            whole.specimens.append(tree)
