"""`score doctor` and `score info`."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

import platform
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Annotated

import typer

from song_score_client.commands import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from song_score_client.commands.score_session import ScoreSession
    from song_score_client.findings import Finding


def doctor(
    context: typer.Context,
    *,
    object_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Of an object: it is read, and signed URLs are tried; if it is not stored, by a trial upload.",
        ),
    ] = None,
    state_dir: options.StateDir = None,
) -> None:
    """Look at everything between this machine and Score, and say what to do about what is wrong.

    The network, gRPC and streams, the HTTP side, TLS, proxies, clocks, the token, Song, the disks. The exit code is
    that which a transfer would end with: 0 where nothing failed.
    """
    from song_score_client.commands.exit_codes import combined_exit_code
    from song_score_client.diagnosis import Patient, diagnose
    from song_score_client.transfer.upload import default_state_dir

    session: ScoreSession = context.obj
    errors: list[Exception] = []

    def findings() -> Iterator[Finding]:
        with session.open_score() as score, session.open_song() as song:
            patient = Patient(score.connection, song.connection, state_dir or default_state_dir(), object_id)
            for finding in diagnose(patient):
                if finding.error is not None:
                    errors.append(finding.error)
                yield finding

    session.output.show_each(
        findings(),
        lambda finding: {
            "check": finding.check,
            "verdict": str(finding.verdict),
            "message": finding.message,
            "remedy": finding.remedy or None,
        },
        ["check", "verdict", "what was found", "what to do"],
        lambda finding: [finding.check, str(finding.verdict), finding.message, finding.remedy],
    )
    raise typer.Exit(combined_exit_code(errors))


def info(
    context: typer.Context,
    *,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Also versions, folders, and what else a question about a fault asks for.")
    ] = False,
) -> None:
    """Show the settings in force and where each is from; tokens are masked."""
    from song_score_client.commands.output import table
    from song_score_client.configuration import SETTINGS

    session: ScoreSession = context.obj
    settings = session.configuration
    rows = [(name, settings.shown(name), settings.values[name].source) for name in SETTINGS]
    if verbose:
        rows += _circumstances(session)
    session.output.show(
        {name: {"value": text, "source": source} for name, text, source in rows},
        lambda: table(["setting", "value", "from"], [(name, text or "", source) for name, text, source in rows]),
    )


def _circumstances(session: ScoreSession) -> list[tuple[str, str | None, str]]:
    import os

    from song_score_client.configuration import default_path
    from song_score_client.transfer.upload import default_state_dir

    path = session.config_path or default_path()
    profile = session.profile or os.environ.get("STORAGE_PROFILE")
    return [
        ("profile", profile, "not set" if not profile else "flag" if session.profile else "STORAGE_PROFILE"),
        ("configuration_file", str(path), "there" if path.is_file() else "not there"),
        ("state_dir", str(default_state_dir()), "default"),
        ("song-score", installed_version("song-score"), "installed"),
        ("grpcio", installed_version("grpcio"), "installed"),
        ("python", platform.python_version(), platform.platform()),
    ]


def show_help(
    context: typer.Context,
    command: Annotated[str | None, typer.Argument(help="The command to explain.")] = None,
) -> None:
    """Explain a command, or list them all; needs no server."""
    group_context = context.parent
    if group_context is None:
        return
    if command is None:
        typer.echo(group_context.get_help())
        return
    group = group_context.command
    found = group.get_command(group_context, command)  # type: ignore[attr-defined] # typer does not export its type
    if found is None:
        raise typer.BadParameter(f"there is no command {command!r}: `score help` lists them")
    with found.make_context(command, ["--help"], parent=group_context, resilient_parsing=True) as inner:
        typer.echo(found.get_help(inner))
