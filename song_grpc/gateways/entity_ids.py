"""The port to the service that gives donors, specimens and samples their ids, where there is one."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from song_grpc.domain.entity_ids import WantedId


class EntityIds(Protocol):
    """Asks for ids."""

    def resolve(
        self, study_id: str, wanted: Collection[WantedId], is_wanted: Callable[[], bool]
    ) -> Mapping[WantedId, str]:
        """Return the id of each.

        Waits at most `limits.ID_SERVICE_SECONDS`. Raises IdNotFoundError, IdServiceError, IdServiceAnswerError.
        """

    def close(self) -> None:
        """Let go of connections."""
