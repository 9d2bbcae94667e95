"""The subcommand `song submit-all`."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from song_score_client.commands.session import Session
    from song_score_client.song import BulkPayload


def submit_all(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Payloads, JSON; of a folder all *.json.")],
    allow_duplicates: Annotated[
        bool,
        typer.Option("-ad", "--allow-duplicates", help="Accept files whose MD5 another analysis of the study has."),
    ] = False,
) -> None:
    """Submit many payloads on one stream; prints one JSON object a line, in order; exit code 1 if any is refused."""
    session: Session = context.obj
    study_id = session.configuration.study_id
    refused = 0
    with session.open_song() as client:
        for result in client.submit_many(_payloads(paths, study_id, allow_duplicates=allow_duplicates)):
            path = str(result.payload.tag)
            if result.error is None:
                session.output.show_line({"file": path, "analysisId": result.analysis_id, "status": "OK"})
                continue
            refused += 1
            session.output.show_line(
                {
                    "file": path,
                    "status": "REFUSED",
                    "reason": result.error.reason,
                    "message": result.error.message,
                    "violations": [{"pointer": place, "message": what} for place, what in result.error.violations],
                }
            )
    raise typer.Exit(1 if refused else 0)


def _payloads(paths: list[Path], study_id: str, *, allow_duplicates: bool) -> Iterator[BulkPayload]:
    from song_score_client.commands.inputs import read_document
    from song_score_client.song import BulkPayload

    for path in paths:
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            yield BulkPayload(study_id, read_document(str(file)), allow_duplicates, tag=file)
