"""The subcommands of `song` for studies."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from song_score_client.commands.session import Session


def create_study(
    context: typer.Context,
    study_id: Annotated[str | None, typer.Argument(help="Default: the study of the settings.")] = None,
    name: Annotated[str, typer.Option(help="Name for people.")] = "",
    organization: Annotated[str, typer.Option(help="Who runs the study.")] = "",
    description: Annotated[str, typer.Option(help="Free text.")] = "",
    info: Annotated[str, typer.Option(help="Further information, a JSON object.")] = "",
) -> None:
    """Create a study."""
    from song.v1.study_pb2 import Study

    from song_score_client.overture_json import render_study

    session: Session = context.obj
    study = Study(
        study_id=study_id or session.configuration.study_id,
        name=name,
        organization=organization,
        description=description,
        info_json=info,
    )
    with session.open_song() as client:
        created = client.create_study(study)
    session.output.show(render_study(created), lambda: f"Study {created.study_id} is created.")


def list_studies(context: typer.Context) -> None:
    """List all studies."""
    from song_score_client.overture_json import render_study

    session: Session = context.obj
    with session.open_song() as client:
        session.output.show_each(
            client.list_studies(page_size=1000),
            render_study,
            ["study", "name", "organization"],
            lambda study: (study.study_id, study.name, study.organization),
        )
