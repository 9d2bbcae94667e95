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
    name: Annotated[str, typer.Option(metavar="NAME", help="Name for people.")] = "",
    organization: Annotated[str, typer.Option(metavar="NAME", help="Who runs the study.")] = "",
    description: Annotated[str, typer.Option(metavar="TEXT", help="Free text.")] = "",
    info: Annotated[str, typer.Option(metavar="JSON", help="Further information, a JSON object.")] = "",
    controlled: Annotated[
        bool, typer.Option("--controlled", help="Samples and data of published analyses are not for everyone.")
    ] = False,
) -> None:
    """Create a study."""
    from song.v1.study_pb2 import STUDY_VISIBILITY_CONTROLLED, STUDY_VISIBILITY_OPEN, Study

    from song_score_client.overture_json import render_study

    session: Session = context.obj
    study = Study(
        study_id=study_id or session.configuration.study_id,
        name=name,
        organization=organization,
        description=description,
        info_json=info,
        visibility=STUDY_VISIBILITY_CONTROLLED if controlled else STUDY_VISIBILITY_OPEN,
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


def get_study(context: typer.Context) -> None:
    """Show the study of the settings."""
    from song_score_client.exact_json import dump
    from song_score_client.overture_json import render_study

    session: Session = context.obj
    with session.open_song() as client:
        study = client.get_study(session.configuration.study_id)
    session.output.show(render_study(study), lambda: dump(render_study(study)))


def update_study(
    context: typer.Context,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name for people.")] = None,
    organization: Annotated[str | None, typer.Option(metavar="NAME", help="Who runs the study.")] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="Free text.")] = None,
    info: Annotated[str | None, typer.Option(metavar="JSON", help="A JSON object; replaces what is there.")] = None,
    controlled: Annotated[
        bool | None, typer.Option("--controlled/--open", help="Whether samples and data are not for everyone.")
    ] = None,
) -> None:
    """Change the study of the settings; what is not named stays."""
    from song.v1.study_pb2 import STUDY_VISIBILITY_CONTROLLED, STUDY_VISIBILITY_OPEN

    from song_score_client.overture_json import render_study

    session: Session = context.obj
    texts = {"name": name, "organization": organization, "description": description, "info_json": info}
    wanted = {field: text for field, text in texts.items() if text is not None}
    fields = [*wanted, *(["visibility"] if controlled is not None else [])]
    if not fields:
        raise typer.BadParameter("give at least one of --name, --organization, --description, --info, --controlled")
    with session.open_song() as client:
        study = client.get_study(session.configuration.study_id)
        for field, text in wanted.items():
            setattr(study, field, text)
        if controlled is not None:
            study.visibility = STUDY_VISIBILITY_CONTROLLED if controlled else STUDY_VISIBILITY_OPEN
        changed = client.update_study(study, fields)
    session.output.show(render_study(changed), lambda: f"Study {changed.study_id} is changed.")


def study_tree(context: typer.Context) -> None:
    """Print every donor of the study with its specimens and samples, one JSON object a line."""
    from song_score_client.song.study_tree import whole_donors
    from song_score_client.study_tree_json import render_tree

    session: Session = context.obj
    study_id = session.configuration.study_id
    with session.open_song() as client:
        for donor in whole_donors(client.get_study_tree(study_id)):
            session.output.show_line(render_tree(donor, study_id))
