"""What every subcommand starts from: the settings in force, the output, the client."""

# ruff: noqa: PLC0415 - a subcommand's help needs neither settings nor a client

from __future__ import annotations  # names that only types need are not imported

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from song_score_client.commands.output import Output
from song_score_client.terminal import print_message

if TYPE_CHECKING:
    from song_score_client.configuration import Configuration
    from song_score_client.errors import ServiceError
    from song_score_client.song import SongClient


@dataclass(frozen=True)
class Session:
    """One run of the `song` command."""

    flags: Mapping[str, str | None]
    """Settings from the command line, by their names in `configuration.SETTINGS`."""
    config_path: Path | None
    profile: str | None
    output: Output

    @cached_property
    def configuration(self) -> Configuration:
        """The settings in force; ConfigurationError where the file can't be read."""
        from song_score_client.configuration import load_configuration

        return load_configuration(self.flags, path=self.config_path, profile=self.profile)

    def open_song(self) -> SongClient:
        """Make the client; it connects on the first call."""
        from song_score_client.connection import Connection
        from song_score_client.song import SongClient

        settings = self.configuration
        return SongClient(
            Connection(
                "song",
                settings.song_address,
                settings.song_token,
                on_retry=_announce_retry,
                ca_file=settings.song_ca_file,
            )
        )


def _announce_retry(error: ServiceError, failures: int, _delay_seconds: float) -> None:
    # Once: a person must learn at once what is being waited for, a log needs no ten lines of it.
    if failures == 1:
        print_message("song", f"{error.message}; trying again")
