"""Options that commands share: those of `score` and `song-score` themselves, and of what moves bytes."""

from __future__ import annotations  # no cost where nothing is checked

from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from song_score_client.quantities import parse_rate
from song_score_client.transports import Transport

if TYPE_CHECKING:
    from song_score_client.transfer.parallelism import Streams as StreamsAtOnce

MAX_STREAMS = 16
MAX_PARALLEL = 64
PARALLEL = 8


def _parse_rate(text: str) -> float:
    try:
        return parse_rate(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _print_version(is_wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if is_wanted:
        typer.echo(installed_version("song-score"))
        raise typer.Exit


SongAddress = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Song's address, host:port. [SONG_URL]")]
ScoreHttp = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Score's HTTP side, https://host:port, where no gRPC passes. [SCORE_HTTP]"),
]
ChosenTransport = Annotated[
    Transport | None,
    typer.Option(help="How bytes go: auto is stream if gRPC passes, else signed. [SCORE_TRANSPORT]"),
]
Profile = Annotated[
    str | None, typer.Option(metavar="NAME", help="Profile of the configuration file. [STORAGE_PROFILE]")
]
ConfigFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Configuration file, TOML.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, at a terminal too; of transfers a line an event.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no report of what went well.")]
Silent = Annotated[bool, typer.Option("--silent", help="Errors only.")]
Version = Annotated[bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")]
StudyId = Annotated[
    str | None, typer.Option("--study-id", "--program-id", metavar="ID", help="Study of the analysis. [SONG_STUDY_ID]")
]
ManifestSource = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|URL|UUID", help="A manifest: its path, its URL, or its UUID at the portal. [SCORE_PORTAL_URL]"
    ),
]
Parallel = Annotated[int, typer.Option(metavar="N", min=1, max=MAX_PARALLEL, help="Files at once.")]
AtOnce = Annotated[
    int,
    typer.Option(
        metavar="N", min=1, max=MAX_PARALLEL, help="Files at once; where given, also the most streams of all files."
    ),
]
Streams = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=MAX_STREAMS, help="Streams per file, always; by default as many as prove useful."
    ),
]
MaxRate = Annotated[
    float | None,
    typer.Option(parser=_parse_rate, metavar="RATE", help="Bytes per second of all files together: 800K, 50M, 1.5G."),
]
Unpublished = Annotated[
    bool, typer.Option("--unpublished", help="Also files of unpublished analyses, if you may write to the study.")
]
VerifyConnection = Annotated[
    bool,
    typer.Option("--verify-connection/--no-verify-connection", help="Ask first whether Score can work at all."),
]
StateDir = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where it is noted what was sent. [~/.local/state/song-score]")
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first file that fails.")]


def choose_streams(
    context: typer.Context, parallel: int, streams: int | None, max_rate: float | None
) -> int | StreamsAtOnce:
    """Return how many streams a file has, or what finds it out for all files."""
    from song_score_client.transfer.parallelism import useful_streams  # noqa: PLC0415 - help needs none of it

    if streams is not None:
        return streams
    source = context.get_parameter_source("parallel")
    is_given = source is not None and source.name != "DEFAULT"
    most = min(parallel, MAX_STREAMS) if is_given else MAX_STREAMS
    return useful_streams(most, is_limited=max_rate is not None)


def require_one(choices: Mapping[str, object]) -> None:
    """Raise a usage error unless exactly one of these options is given."""
    given = [name for name, value in choices.items() if value]
    if len(given) != 1:
        found = f", not {' and '.join(given)}" if given else ""
        raise typer.BadParameter(f"give one of {', '.join(choices)}{found}")
