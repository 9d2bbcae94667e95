"""Ids of new donors, specimens and samples from the id service, asked before the transaction that stores them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from song_grpc.database import entities, files
from song_grpc.domain import duplicates, entity_ids
from song_grpc.domain.analysis import File
from song_grpc.domain.payload import Submission
from song_grpc.use_cases.environment import Environment


def resolve(
    environment: Environment, submission: Submission, guarded: Sequence[File], is_wanted: Callable[[], bool]
) -> Submission:
    """Return the submission with the ids that its entities have already, or get from the id service.

    `guarded` are the files that no other analysis may hold: for a payload that can't be stored nothing is asked,
    since asking may make ids. Raises DuplicateFilesError, and what `EntityIds.resolve` raises.
    """
    if environment.entity_ids is None or not submission.samples:
        return submission
    with environment.database.read() as connection:
        if guarded:
            md5s = [file.md5 for file in guarded]
            duplicates.check_duplicates(guarded, files.find_holders(connection, submission.study_id, md5s))
        known = entities.find_known(connection, submission.study_id, submission.samples)
    stored = entity_ids.stored_ids(known.donors, known.specimens, known.samples)
    new = [wanted for wanted in entity_ids.ids_of(submission.samples) if wanted not in stored]
    given = environment.entity_ids.resolve(submission.study_id, new, is_wanted) if new else {}
    samples = entity_ids.with_ids(submission.samples, {**stored, **given})
    return replace(submission, samples=samples, ids_are_external=True)
