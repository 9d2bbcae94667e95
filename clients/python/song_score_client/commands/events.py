"""The subcommands of `song` for events."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from song.v1.event_service_pb2 import WatchEventsRequest

    from song_score_client.commands.session import Session

events = typer.Typer(help="Events: watch them, have them sent again.", no_args_is_help=True, rich_markup_mode=None)
_FORMATS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]
FromTime = Annotated[
    datetime | None,
    typer.Option(
        "--from-time", metavar="TIME", formats=_FORMATS, help="Begin at this time, UTC: 2026-01-31T12:00:00Z."
    ),
]


class Action(StrEnum):
    """What events tell."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    PUBLISH = "PUBLISH"
    UNPUBLISH = "UNPUBLISH"
    SUPPRESS = "SUPPRESS"


def watch(  # noqa: PLR0913, PLR0917 - a command has as many options as its users need
    context: typer.Context,
    all_studies: Annotated[bool, typer.Option("--all-studies", help="Not only the study of the settings.")] = False,
    types: Annotated[
        list[str] | None, typer.Option("-t", "--type", metavar="NAME", help="Only this analysis type; repeat it.")
    ] = None,
    actions: Annotated[
        list[Action] | None, typer.Option("--action", case_sensitive=False, help="Only these; repeat it.")
    ] = None,
    from_time: FromTime = None,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="All that are kept.")] = False,
    resume_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Go on after the last event of the run before; keeps its place in this file."
        ),
    ] = None,
    until_now: Annotated[bool, typer.Option("--until-now", help="End instead of waiting for more.")] = False,
    hide_analysis: Annotated[bool, typer.Option("--hide-analysis", help="Without the analyses.")] = False,
) -> None:
    """Print events as they happen, one JSON object a line."""
    from song.v1.event_service_pb2 import EventAction, WatchEventsRequest

    from song_score_client.commands.resume_file import read_resume_token, write_resume_token
    from song_score_client.overture_json import render_event

    session: Session = context.obj
    request = WatchEventsRequest(
        study_ids=[] if all_studies else [session.configuration.study_id],
        analysis_type_names=types or (),
        actions=[EventAction.Value(f"EVENT_ACTION_{action.value}") for action in actions or ()],
        until_now=until_now,
        hide_analysis=hide_analysis,
    )
    token = "" if resume_file is None else read_resume_token(resume_file)
    if token:
        request.resume_token = token
    else:
        _begin(request, from_time, from_beginning=from_beginning)
    with session.open_song() as client:
        for response in client.watch_events(request):
            if response.HasField("event"):
                session.output.show_line(render_event(response.event))
            if resume_file is not None:
                write_resume_token(resume_file, response.resume_token)


@events.command("replay")
def replay(
    context: typer.Context,
    from_time: FromTime = None,
    from_id: Annotated[str, typer.Option("--from-id", metavar="ID", help="Begin with this event.")] = "",
) -> None:
    """Have events sent to Kafka again, from a time or an event on."""
    from song.v1.event_service_pb2 import ReplayEventsRequest

    if (from_time is None) == (not from_id):
        raise typer.BadParameter("give one of --from-time, --from-id")
    session: Session = context.obj
    request = ReplayEventsRequest(from_event_id=from_id)
    if from_time is not None:
        request.from_time.FromDatetime(from_time)
    with session.open_song() as client:
        total = client.replay_events(request)
    session.output.show({"events": total}, lambda: f"{total} events are sent again.")


def _begin(request: WatchEventsRequest, from_time: datetime | None, *, from_beginning: bool) -> None:
    request.from_beginning = from_beginning
    if from_time is not None:
        request.from_time.FromDatetime(from_time)
