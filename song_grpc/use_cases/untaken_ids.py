"""No two entities, of whatever studies, get one id from the id service."""

from song_grpc.database import entity_owners
from song_grpc.database.engine import Connection
from song_grpc.domain import entity_ids
from song_grpc.domain.matching import Known, Matched


def check(connection: Connection, matched: Matched, known: Known) -> None:
    """Raise EntityExistsError where a new entity has another one's id, a stored one's or a known one's.

    Who stores them holds the lock of new entities.
    """
    new = entity_ids.stored_ids(
        {donor.submitter_donor_id: donor for donor in matched.new_donors},
        {specimen.submitter_specimen_id: specimen for specimen in matched.new_specimens},
        {sample.submitter_sample_id: sample for sample in matched.new_samples},
    )
    if new:
        taken = entity_owners.find_taken(connection, {(wanted.kind, given) for wanted, given in new.items()})
        known_ids = entity_ids.stored_ids(known.donors, known.specimens, known.samples)
        entity_ids.check_untaken(new, taken | {(wanted.kind, given) for wanted, given in known_ids.items()})
