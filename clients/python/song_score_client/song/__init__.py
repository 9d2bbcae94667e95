"""Song: every method of song.v1, blocking."""

from __future__ import annotations  # grpc's classes are generic in its types only

from types import TracebackType
from typing import Self

from song_score_client.connection import Connection
from song_score_client.song.analyses import AnalysisCalls
from song_score_client.song.analysis_changes import AnalysisChangeCalls
from song_score_client.song.analysis_types import AnalysisTypeCalls
from song_score_client.song.bulk import BulkCalls, BulkPayload, BulkResult
from song_score_client.song.entities import EntityCalls
from song_score_client.song.events import EventCalls
from song_score_client.song.files import FileCalls
from song_score_client.song.studies import StudyCalls

__all__ = ["BulkPayload", "BulkResult", "SongClient"]


class SongClient(
    StudyCalls, AnalysisTypeCalls, AnalysisCalls, AnalysisChangeCalls, BulkCalls, FileCalls, EntityCalls, EventCalls
):
    """Song, blocking. Every method is repeated while the failure is transient, and raises ServiceError.

    Results are the contract's own messages: frozen copies of them would only repeat their documentation, that
    of `song.v1`, and turn away fields that a newer server adds. What creates something carries a request id, made
    here unless given, so that a repetition after a lost answer finds what the first try made. Streams are
    iterators; where they can be resumed they are, by themselves.
    """

    @classmethod
    def open(cls, address: str, token: str | None = None) -> SongClient:
        """Make a client of the Song at `host:port`; it connects on the first call."""
        return cls(Connection("song", address, token))

    def is_serving(self) -> bool:
        """Whether Song answers, and says that it can work. Asks once, within 5 s."""
        return self.connection.is_serving("song.v1.StudyService")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; calls under way fail."""
        self.connection.close()
