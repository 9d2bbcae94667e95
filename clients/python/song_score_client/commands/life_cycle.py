"""The subcommands of `song` that bring an analysis from its upload manifest to publication, and back.

Each takes the analysis from `--analysis-id` or from the JSON on stdin: `song submit -f x.json | song publish`.
"""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from song.v1.analysis_service_pb2 import (
        PublishAnalysisResponse,
        SuppressAnalysisResponse,
        UnpublishAnalysisResponse,
    )

    from song_score_client.commands.session import Session
    from song_score_client.song import SongClient

    Answer = PublishAnalysisResponse | UnpublishAnalysisResponse | SuppressAnalysisResponse

AnalysisId = Annotated[
    str | None, typer.Option("-a", "--analysis-id", metavar="ID", help="Default: the analysisId of the JSON on stdin.")
]

Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, for the history.")]


def manifest(
    context: typer.Context,
    input_dir: Annotated[Path, typer.Option("-d", "--input-dir", metavar="FOLDER", help="Where the files are.")],
    analysis_id: AnalysisId = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", metavar="FILE", help="Write it here. [stdout]")] = None,
    check_md5: Annotated[bool, typer.Option("--check-md5", help="Compare the MD5s too; reads every file.")] = False,
) -> None:
    """Write the manifest that `score upload` reads; every file must be there, in its registered size."""
    from song_score_client.commands.inputs import choose_analysis_id
    from song_score_client.quantities import count
    from song_score_client.upload_manifest import format_manifest, match_files
    from song_score_client.whole_file import write_whole

    session: Session = context.obj
    chosen = choose_analysis_id(analysis_id)
    with session.open_song() as client:
        files = list(client.list_files(session.configuration.study_id, chosen, page_size=1000))
    text = format_manifest(chosen, match_files(files, input_dir, check_md5=check_md5))
    if file is None:
        session.output.show_text(text)
        return
    write_whole(text, file)
    session.output.show(
        {"analysisId": chosen, "manifest": str(file), "files": len(files)},
        lambda: f"{file} names {count(len(files), 'file')}. Next: score upload --manifest {file}",
    )


def publish(
    context: typer.Context,
    analysis_id: AnalysisId = None,
    ignore_undefined_md5: Annotated[  # noqa: ARG001 - see its help
        bool,
        typer.Option("-i", "--ignore-undefined-md5", help="No effect: Score knows the MD5 of all it holds."),
    ] = False,
    validate_only: Annotated[bool, typer.Option("--validate-only", help="Check, and change nothing.")] = False,
    reason: Reason = "",
) -> None:
    """Publish an analysis all of whose files are uploaded."""
    if not validate_only:
        _change_state(context.obj, analysis_id, lambda client, *which: client.publish(*which, reason=reason))
        return
    from song_score_client.commands.inputs import choose_analysis_id

    session: Session = context.obj
    chosen = choose_analysis_id(analysis_id)
    with session.open_song() as client:
        client.publish(session.configuration.study_id, chosen, validate_only=True)
    session.output.show(
        {"analysisId": chosen, "publishable": True}, lambda: f"Analysis {chosen} has all that publishing needs."
    )


def unpublish(context: typer.Context, analysis_id: AnalysisId = None, reason: Reason = "") -> None:
    """Take a published analysis back; its files can no longer be downloaded."""
    _change_state(context.obj, analysis_id, lambda client, *which: client.unpublish(*which, reason=reason))


def suppress(context: typer.Context, analysis_id: AnalysisId = None, reason: Reason = "") -> None:
    """Withdraw an analysis for good: this can't be undone."""
    _change_state(context.obj, analysis_id, lambda client, *which: client.suppress(*which, reason=reason))


def _change_state(session: Session, analysis_id: str | None, change: Callable[[SongClient, str, str], Answer]) -> None:
    from song_score_client.commands.inputs import choose_analysis_id
    from song_score_client.overture_json import state_name

    chosen = choose_analysis_id(analysis_id)
    with session.open_song() as client:
        answer = change(client, session.configuration.study_id, chosen)
    state = state_name(answer.state)
    session.output.show(
        # The id, so that the next command can be piped on.
        {"analysisId": chosen, "state": state, "changed": answer.changed},
        lambda: f"Analysis {chosen} {'is now' if answer.changed else 'was already'} {state}.",
    )
