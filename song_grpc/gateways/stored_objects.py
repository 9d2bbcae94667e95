"""The port to what Score holds."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from song_grpc.domain.publishing import StoredObject


class StoredObjects(Protocol):
    """Asks Score about objects."""

    def find(self, object_ids: Sequence[str]) -> Mapping[str, StoredObject]:
        """Return the objects that Score holds, by id; any number of ids may be asked for.

        Raises ScoreUnreachableError, ScoreTimedOutError, ScoreAnswerUnusableError. Waits at most
        `limits.SCORE_DEADLINE_SECONDS`.
        """
