"""The command `score`: bytes of genomic files, up and down, verified and resumable."""

from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from song_score_client.commands import options
from song_score_client.commands.doctor import doctor, info, show_help
from song_score_client.commands.download import download
from song_score_client.commands.listing import list_stored
from song_score_client.commands.manifest import manifest
from song_score_client.commands.output import Output
from song_score_client.commands.removal import remove
from song_score_client.commands.score_group import ScoreGroup
from song_score_client.commands.score_session import ScoreSession
from song_score_client.commands.upload import upload
from song_score_client.commands.url import url
from song_score_client.commands.verify import repair, verify

app = typer.Typer(
    name="score",
    cls=ScoreGroup,
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


@app.callback()
def start(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    *,
    score: Annotated[
        str | None,
        typer.Option("--score", "--server", metavar="HOST:PORT", help="Score's address, host:port. [SCORE_URL]"),
    ] = None,
    score_http: options.ScoreHttp = None,
    transport: options.ChosenTransport = None,
    song: options.SongAddress = None,
    profile: options.Profile = None,
    config: options.ConfigFile = None,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
    silent: options.Silent = False,
    version: options.Version = False,  # noqa: ARG001 - its callback acts
) -> None:
    """Move the bytes of genomic files, verified end to end. Whatever stops, run again, goes on where it was.

    The access token comes from SCORE_ACCESS_TOKEN or the file, never from the command line, where others see it.

    Exit codes: 0 all done; 1 unexpected; 2 usage or manifest; 3 access; 4 not found; 5 state or conflict; 6 integrity;
    7 given up on a passing failure; 8 local file or disk; 9 several of these; 130 interrupted.
    """
    flags = {"score.url": score, "score.http": score_http, "score.transport": transport, "song.url": song}
    context.obj = ScoreSession(flags, config, profile, Output(json), quiet, silent)


def show_version() -> None:
    """Print the version."""
    typer.echo(installed_version("song-score"))


app.command("upload")(upload)
app.command("download")(download)
app.command("manifest")(manifest)
app.command("verify")(verify)
app.command("repair")(repair)
app.command("url")(url)
app.command("ls")(list_stored)
app.command("rm")(remove)
app.command("doctor")(doctor)
app.command("info")(info)
app.command("help")(show_help)
app.command("version")(show_version)
