"""The command `song`: metadata of genomic analyses, from study to publication."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer

from song_score_client.commands import (
    analyses,
    analysis_types,
    bulk,
    changes,
    entities,
    events,
    export,
    files,
    life_cycle,
    studies,
)
from song_score_client.commands.group import CommandGroup
from song_score_client.commands.output import Output
from song_score_client.commands.session import Session

app = typer.Typer(
    name="song",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich's tables cut the names of options where the terminal is narrow
    # A traceback is for a defect of ours; with local variables in it, it could show a token.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command."""
    app()


def _print_version(is_wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if is_wanted:
        typer.echo(installed_version("song-score"))
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    *,
    server: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Song's address, host:port. [SONG_URL]")
    ] = None,
    study: Annotated[str | None, typer.Option(metavar="ID", help="Id of the study. [SONG_STUDY_ID]")] = None,
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="Profile of the configuration file.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Configuration file, TOML.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to a terminal too.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback acts
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Keep the metadata of genomic analyses valid.

    The access token comes from SONG_ACCESS_TOKEN or the file, never from the command line, where others see it.
    """
    context.obj = Session({"song.url": server, "song.study_id": study}, config, profile, Output(json))


def show_config(context: typer.Context) -> None:
    """Show the settings in force and where each is from; tokens are masked."""
    from song_score_client.commands.output import table
    from song_score_client.configuration import SETTINGS

    session: Session = context.obj
    rows = [(name, session.configuration.shown(name), session.configuration.values[name].source) for name in SETTINGS]
    session.output.show(
        {name: {"value": text, "source": source} for name, text, source in rows},
        lambda: table(["setting", "value", "from"], [(name, text or "", source) for name, text, source in rows]),
    )


def ping(context: typer.Context) -> None:
    """Ask whether Song can work; exit code 1 if not. Programs get true or false."""
    session: Session = context.obj
    with session.open_song() as client:
        is_serving = client.is_serving()
    word = "serving" if is_serving else "not serving"
    session.output.show(is_serving, lambda: f"Song at {session.configuration.song_address} is {word}")
    raise typer.Exit(0 if is_serving else 1)


app.command("config")(show_config)
app.command("ping")(ping)
app.command("create-study")(studies.create_study)
app.command("list-studies")(studies.list_studies)
app.command("get-study")(studies.get_study)
app.command("update-study")(studies.update_study)
app.command("study-tree")(studies.study_tree)
app.command("register-analysis-type")(analysis_types.register_analysis_type)
app.command("get-analysis-type")(analysis_types.get_analysis_type)
app.command("list-analysis-types")(analysis_types.list_analysis_types)
app.command("get-registration-schema")(analysis_types.get_registration_schema)
app.command("diff")(analysis_types.diff)
app.command("submit")(analyses.submit)
app.command("submit-all")(bulk.submit_all)
app.command("validate")(analyses.validate)
app.command("search")(analyses.search)
app.command("list")(analyses.list_analyses)
app.command("update")(changes.update)
app.command("patch")(changes.patch)
app.command("history")(changes.history)
app.command("manifest")(life_cycle.manifest)
app.command("publish")(life_cycle.publish)
app.command("unpublish")(life_cycle.unpublish)
app.command("suppress")(life_cycle.suppress)
app.command("export")(export.export)
app.command("update-file")(files.update_file)
app.command("delete-file")(files.delete_file)
app.command("get-entity")(entities.get)
app.command("list-entities")(entities.list_all)
app.command("correct")(entities.correct)
app.command("delete-entity")(entities.delete)
app.command("watch")(events.watch)
app.add_typer(events.events, name="events")
