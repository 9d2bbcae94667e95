"""`score manifest`."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from song_score_client.commands import options

if TYPE_CHECKING:
    from song_score_client.commands.score_session import ScoreSession


class ManifestKind(StrEnum):
    """What a manifest is for."""

    UPLOAD = "upload"
    DOWNLOAD = "download"


def manifest(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(help="With --kind upload: where the analysis' files are. [the current folder]")
    ] = Path(),
    *,
    manifest: options.ManifestSource = None,
    analysis_id: Annotated[str | None, typer.Option(metavar="ID", help="Write the manifest of an analysis.")] = None,
    study_id: options.StudyId = None,
    kind: Annotated[
        ManifestKind, typer.Option(help="With --analysis-id: upload (3 columns) or download (11 columns).")
    ] = ManifestKind.DOWNLOAD,
) -> None:
    """Print a manifest: one that is kept elsewhere as it is, or that of an analysis.

    `score manifest --analysis-id ID > m.tsv`, then `score download --manifest m.tsv --output-dir DIR`.
    """
    options.require_one({"--manifest": manifest, "--analysis-id": analysis_id})
    session: ScoreSession = context.obj
    if manifest is not None:
        from song_score_client.manifest_source import load_manifest

        session.output.show_text(load_manifest(manifest, session.configuration.portal_url).text)
        return
    from song_score_client.download_manifest import format_download_manifest
    from song_score_client.upload_manifest import format_manifest, match_files

    study, analysis = study_id or session.configuration.study_id, analysis_id or ""
    with session.open_song() as song:
        files = list(song.list_files(study, analysis, page_size=1000))
        if kind is ManifestKind.UPLOAD:
            text = format_manifest(analysis, match_files(files, directory))
        else:
            text = format_download_manifest(song.get_analysis(study, analysis, fields=["samples"]), files)
    session.output.show_text(text)
