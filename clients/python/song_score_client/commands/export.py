"""The subcommand `song export`."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from song_score_client.commands.session import Session

MAX_THREADS = 64


def export(
    context: typer.Context,
    output_dir: Annotated[
        Path, typer.Option("-o", "--output-dir", metavar="FOLDER", help="Gets <study>/<analysis id>.json.")
    ],
    study_id: Annotated[
        str | None, typer.Option("-s", "--studyId", "--study-id", metavar="ID", help="All of this study.")
    ] = None,
    analysis_ids: Annotated[
        list[str] | None,
        typer.Option("-a", "--analysisIds", "--analysis-id", metavar="ID", help="These; repeat it, or commas."),
    ] = None,
    input_file: Annotated[
        Path | None,
        typer.Option("-f", "--inputFile", "--input-file", metavar="FILE", help="Those in this file, one id a line."),
    ] = None,
    threads: Annotated[  # noqa: ARG001 - see its help
        int,
        typer.Option("-t", "--threads", metavar="N", min=1, max=MAX_THREADS, help="No effect: one stream is enough."),
    ] = 1,
    omit_type_version: Annotated[
        bool, typer.Option("--omit-type-version", help="Without versions: to be submitted to the latest.")
    ] = False,
) -> None:
    """Write payloads that can be submitted again, a file per analysis."""
    from song_score_client.commands.export_files import read_ids, write_exported

    session: Session = context.obj
    ids = [part.strip() for text in analysis_ids or () for part in text.split(",") if part.strip()]
    if input_file is not None:
        ids += read_ids(input_file)
    if bool(study_id) == bool(ids):
        raise typer.BadParameter("give a study (--study-id), or analyses (--analysis-id, --input-file)")
    with session.open_song() as client:
        if study_id:
            answers = client.export_study(study_id, omit_type_version=omit_type_version)
        else:
            answers = client.export_analyses(ids, omit_type_version=omit_type_version)
        exported = write_exported(answers, output_dir)
    session.output.show(
        {
            "exported": exported.total,
            "outputDir": str(output_dir),
            "failed": [{"analysisId": analysis_id, "error": str(error)} for analysis_id, error in exported.failures],
        },
        lambda: "\n".join(
            [f"{exported.total} payloads are in {output_dir}."]
            + [f"{analysis_id}: {error}" for analysis_id, error in exported.failures]
        ),
    )
    raise typer.Exit(1 if exported.failures else 0)
