"""The port to the external sources that types name for their values."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol


class ExternalSources(Protocol):
    """Asks web services whether values are permitted."""

    def ask(self, urls: Collection[str], is_wanted: Callable[[], bool]) -> Mapping[str, str]:
        """Ask each URL; return for each that does not permit, why: `answered 404`, `can't be reached`.

        One that can't be asked does not permit. Waits at most `limits.EXTERNAL_SOURCES_SECONDS`. Raises
        ValidationUnfinishedError where the server is too busy, or nobody waits for the answer any more.
        """

    def close(self) -> None:
        """Let go of connections."""
