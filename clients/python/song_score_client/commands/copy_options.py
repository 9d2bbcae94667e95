"""The words that `score verify` and `score repair` have in common: which files, copies of which objects."""

# No `from __future__ import annotations`: the annotations are what a command's options are made of.

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated

import typer

from song_score_client.commands import options
from song_score_client.output_layout import OutputLayout


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """What the command line says of the files."""

    paths: Sequence[Path]
    """Files; or one folder, as `score download` filled it."""
    object_ids: Sequence[str]
    manifest: str | None
    analysis_id: str | None
    study_id: str | None
    layout: OutputLayout
    allow_unpublished: bool


def _gather(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files, or the folder of a download. Alone: their names are object ids.", show_default=False
        ),
    ] = None,
    *,
    object_id: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Whose copy the file is; repeat for a folder.")
    ] = None,
    manifest: options.ManifestSource = None,
    analysis_id: Annotated[
        str | None, typer.Option(metavar="ID", help="All files of an analysis, in the folder.")
    ] = None,
    study_id: options.StudyId = None,
    output_layout: Annotated[
        OutputLayout, typer.Option(help="How the download named the files of the folder.")
    ] = OutputLayout.FILENAME,
    unpublished: options.Unpublished = False,
) -> CopyOptions:
    given = {"--object-id": object_id, "--manifest": manifest, "--analysis-id": analysis_id}
    if any(given.values()):
        options.require_one(given)
    elif not paths:
        raise typer.BadParameter("give files or a folder, or a manifest")
    return CopyOptions(paths or (), object_id or (), manifest, analysis_id, study_id, output_layout, unpublished)


def about_copies(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these words before its own, which are keywords; it is called with the context and CopyOptions."""
    shared = inspect.signature(_gather).parameters
    context, _, *own = inspect.signature(command, eval_str=True).parameters.values()

    @wraps(command)
    def run(context: typer.Context, **values: object) -> None:
        chosen = _gather(**{name: values.pop(name) for name in shared})  # type: ignore[arg-type]  # typer has checked them
        command(context, chosen, **values)

    parameters = [context, *shared.values(), *own]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
