"""The mark of a change, against Song's publish.

Each side marks first, then asks the other, and refuses on seeing the other's mark: Song marks an analysis as publishing
before it asks what Score holds; Score marks an object as changing before its last question to Song.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from score_grpc.domain.errors import ChangingError
from score_grpc.domain.registrations import Registration
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.use_cases.environment import Environment


@contextmanager
def changing(environment: Environment, stored: StoredObject, changer: str) -> Iterator[None]:
    """Mark an object as changing for the length of the block. Raises ChangingError where another one's mark stands.

    `changer` names who does it: whoever goes on in the same name after a crash has the mark already.
    """
    environment.generations.mark(stored, changer)
    try:
        yield
    finally:
        with suppress(Exception):  # the database may be away: then it expires by itself
            environment.generations.unmark(stored, changer)


def require_not_publishing(registration: Registration) -> None:
    """Raise ChangingError while Song publishes the analysis."""
    if registration.is_publishing:
        raise ChangingError(
            f"{registration.file_name}: analysis {registration.analysis_id} is being published, its objects can't "
            "change now: retry",
            analysis_id=registration.analysis_id,
        )
