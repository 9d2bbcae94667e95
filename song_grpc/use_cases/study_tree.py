"""Walk all donors of a study with their specimens and samples, in pieces, with little in memory.

Nothing is read while a piece is on its way to the caller: a slow one holds no transaction open.
"""

from collections.abc import Iterator

from song_grpc.database import entity_lists, studies
from song_grpc.database.entity_lists import Listed
from song_grpc.domain import access, ids, paging, study_tree
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.analysis import Donor
from song_grpc.domain.corrections import DONOR, SAMPLE, SPECIMEN, E, EntityKind
from song_grpc.domain.errors import ParameterError, StudyNotFoundError
from song_grpc.domain.limits import MAX_PAGE_BYTES
from song_grpc.domain.study_tree import Leaf, Piece
from song_grpc.use_cases.environment import Environment

_READ_AT_ONCE = 100
_ROWS_AT_ONCE = 5000


def walk(environment: Environment, principal: Principal, study_id: str, after: str) -> Iterator[Piece]:
    """Yield the donors whose submitter ids follow `after`, by submitter id. Raises StudyNotFoundError."""
    access.require(principal, Action.READ_ENTITIES, Facts(study_id=study_id))
    if "\0" in after:
        raise ParameterError("after_submitter_donor_id", "has a NUL character")
    if not ids.can_exist(study_id):
        raise StudyNotFoundError(study_id)
    with environment.database.read() as connection:
        if not studies.exists(connection, study_id):
            raise StudyNotFoundError(study_id)
    listed = Listed(study_id)
    while True:
        donors, below = _read_donors(environment, listed, after)
        if not donors:
            return
        for donor in donors:
            # Many small donors are read at once; where there is much below them, each is walked by itself.
            leaves = _walk_donor(environment, donor) if below is None else below[donor.donor_id]
            yield from study_tree.cut(donor, leaves)
        after = donors[-1].submitter_donor_id


def _read_donors(
    environment: Environment, listed: Listed, after: str
) -> tuple[list[Donor], dict[str, list[Leaf]] | None]:
    with environment.database.read() as connection:
        rows = paging.cut(entity_lists.list_after(connection, DONOR, listed, after, _READ_AT_ONCE), _READ_AT_ONCE)
        if not rows:
            return [], {}
        donors = list(entity_lists.read_between(connection, DONOR, listed, str(rows[0].key[0]), str(rows[-1].key[0])))
        donor_ids = [donor.donor_id for donor in donors]
        count, info_bytes = entity_lists.measure_below(connection, donor_ids)
        is_little = count <= _ROWS_AT_ONCE and info_bytes <= MAX_PAGE_BYTES
        return donors, entity_lists.read_below(connection, donor_ids) if is_little else None


def _walk_donor(environment: Environment, donor: Donor) -> Iterator[Leaf]:
    for specimen in _walk(environment, SPECIMEN, Listed(donor.study_id, donor.donor_id)):
        yield specimen, None
        for sample in _walk(environment, SAMPLE, Listed(donor.study_id, specimen.specimen_id)):
            yield specimen, sample


def _walk(environment: Environment, kind: EntityKind[E], listed: Listed) -> Iterator[E]:
    after: str | None = None
    while True:
        with environment.database.read() as connection:
            found_rows = entity_lists.list_after(connection, kind, listed, after, _READ_AT_ONCE, with_parts=False)
            rows = paging.cut(found_rows, _READ_AT_ONCE)
            if not rows:
                return
            first, last = str(rows[0].key[0]), str(rows[-1].key[0])
            found = entity_lists.read_between(connection, kind, listed, first, last)
        yield from found
        after = last
