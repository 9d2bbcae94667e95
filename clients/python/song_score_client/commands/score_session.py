"""What every subcommand of `score` starts from: settings, clients, how much to show."""

# ruff: noqa: PLC0415 - a subcommand's help needs neither settings nor a client

from __future__ import annotations  # names that only types need are not imported

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from song_score_client.commands.session import Session
from song_score_client.terminal import print_message

if TYPE_CHECKING:
    from song_score_client.errors import ServiceError
    from song_score_client.progress import Outages, Progress
    from song_score_client.score import ScoreClient
    from song_score_client.song import SongClient


@dataclass(frozen=True)
class ScoreSession(Session):
    """One run of the `score` command."""

    is_quiet: bool = False
    """Nothing but errors, and what is being waited for."""
    is_silent: bool = False
    """Errors only."""
    program: str = "score"
    """In whose name messages are."""

    @cached_property
    def outages(self) -> Outages:
        """What was told of services that are away, by whatever waits for them."""
        from song_score_client.progress import Outages

        return Outages()

    def open_score(self) -> ScoreClient:
        """Make the client; it connects on the first call."""
        from song_score_client.connection import Connection
        from song_score_client.score import ScoreClient

        settings = self.configuration
        return ScoreClient(
            Connection(
                "score",
                settings.score_address,
                settings.score_token,
                on_retry=self._announce_retry,
                http_url=settings.score_http,
                transport=settings.score_transport,
                ca_file=settings.score_ca_file,
            )
        )

    def open_song(self) -> SongClient:
        """Make Song's client, announcing in this program's name."""
        from song_score_client.connection import Connection
        from song_score_client.song import SongClient

        settings = self.configuration
        return SongClient(
            Connection(
                "song",
                settings.song_address,
                settings.song_token,
                on_retry=self._announce_retry,
                ca_file=settings.song_ca_file,
            )
        )

    def open_progress(self, *, stdout_is_data: bool = False) -> Progress:
        """Make the display that the options and the terminal ask for; JSON goes to stderr where stdout is data."""
        from song_score_client.progress import JsonProgress, Progress

        is_loud = not (self.is_quiet or self.is_silent)
        if self.output.as_json:
            return JsonProgress(self.program, updates=is_loud, messages=is_loud, to_stderr=stdout_is_data)
        if is_loud and sys.stderr.isatty():
            from song_score_client.progress_bars import BarProgress

            return BarProgress(self.program, self.outages)
        return Progress(self.program, self.outages, reports=is_loud, messages=is_loud)

    def say(self, message: str) -> None:
        """Tell people, on stderr, how it goes; nothing where programs listen or nobody wants to know."""
        if not (self.is_quiet or self.is_silent or self.output.as_json):
            print_message(self.program, message)

    def _announce_retry(self, error: ServiceError, failures: int, _delay_seconds: float) -> None:
        # Once: a person must learn at once what is being waited for, a log needs no ten lines of it.
        if failures == 1 and not self.is_silent and self.outages.is_new(error):
            print_message(self.program, f"{error.message}; trying again")
