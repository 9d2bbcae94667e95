"""Options that `score upload` and `score download` share."""

from __future__ import annotations  # no cost where nothing is checked

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from song_score_client.quantities import parse_rate

MAX_STREAMS = 16
MAX_PARALLEL = 64
PARALLEL = 4


def _parse_rate(text: str) -> float:
    try:
        return parse_rate(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


StudyId = Annotated[
    str | None, typer.Option("--study-id", "--program-id", help="Study of the analysis. [SONG_STUDY_ID]")
]
ManifestSource = Annotated[
    str | None, typer.Option(help="A manifest: its path, its URL, or its UUID at the portal. [SCORE_PORTAL_URL]")
]
Parallel = Annotated[int, typer.Option(min=1, max=MAX_PARALLEL, help="Files at once.")]
Streams = Annotated[int, typer.Option(min=1, max=MAX_STREAMS, help="Streams per file; more help on long paths.")]
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
StateDir = Annotated[Path | None, typer.Option(help="Where it is noted what was sent. [~/.local/state/song-score]")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first file that fails.")]


def require_one(choices: Mapping[str, object]) -> None:
    """Raise a usage error unless exactly one of these options is given."""
    given = [name for name, value in choices.items() if value]
    if len(given) != 1:
        found = f", not {' and '.join(given)}" if given else ""
        raise typer.BadParameter(f"give one of {', '.join(choices)}{found}")
