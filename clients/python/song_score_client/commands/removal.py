"""`score rm`."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from song_score_client.commands import options
from song_score_client.terminal import plain, print_message

if TYPE_CHECKING:
    from song_score_client.commands.score_session import ScoreSession
    from song_score_client.exact_json import Json
    from song_score_client.score import ScoreClient


def remove(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(help="Object ids; with --upload, upload ids.")],
    *,
    upload: Annotated[
        bool, typer.Option("--upload", help="Abort uploads that are under way; what was sent is gone.")
    ] = False,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why, for the audit. Objects are not deleted without one.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    fail_fast: options.FailFast = False,
) -> None:
    """Delete objects for good, or abort uploads; asks before each unless --yes is given.

    An object of a PUBLISHED analysis is not deleted: unpublish or suppress it first. It needs the system scope WRITE.
    """
    if not upload and not reason:
        raise typer.BadParameter("objects are not deleted without a --reason")
    if not yes and (sys.stdin is None or not sys.stdin.isatty()):
        raise typer.BadParameter("nobody is here to be asked: add --yes")
    from song_score_client.commands.one_by_one import try_each

    session: ScoreSession = context.obj
    with session.open_score() as score:

        def remove_one(chosen: str) -> None:
            if yes or typer.confirm(plain(_question(score, chosen, is_upload=upload)), err=True):
                _say(session, _abort(score, chosen) if upload else _delete(score, chosen, reason))

        code = try_each(dict.fromkeys(ids), remove_one, fail_fast=fail_fast)
    raise typer.Exit(code)


def _question(score: ScoreClient, chosen: str, *, is_upload: bool) -> str:
    """Return what to ask, with what there is to lose. Raises ServiceError."""
    from song_score_client.quantities import format_bytes

    if is_upload:
        found = score.get_upload(chosen).upload
        sent = f"{format_bytes(found.persisted_size_bytes)} of {format_bytes(found.size_bytes)} sent"
        return f"Abort upload {chosen} of object {found.object_id}, {sent}?"
    return f"Delete object {chosen} for good?"


def _abort(score: ScoreClient, upload_id: str) -> dict[str, Json]:
    upload = score.abort_upload(upload_id)
    return {"event": "aborted", "upload_id": upload_id, "object_id": upload.object_id}


def _delete(score: ScoreClient, object_id: str, reason: str) -> dict[str, Json]:
    from song_score_client.errors import ObjectNotFoundError, ServiceError, UnavailableError

    stored = None
    try:
        stored = score.get_object(object_id, allow_unpublished=True)
    except UnavailableError:
        raise
    except ServiceError:  # unknown to Song, or suppressed: then whatever is there goes
        pass
    try:
        stored = score.delete_object(object_id, reason, generation=0 if stored is None else stored.generation)
    except ObjectNotFoundError:
        if stored is None:
            raise
        # It was there a moment ago: the answer to the first call was lost, or somebody else deletes it too.
    return {
        "event": "deleted",
        "object_id": object_id,
        "file": stored.file_name,
        "generation": stored.generation,
        "size_bytes": stored.size_bytes,
    }


def _say(session: ScoreSession, document: dict[str, Json]) -> None:
    if session.output.as_json:
        session.output.show_line(document)
    elif not (session.is_quiet or session.is_silent):
        name = document.get("file") or document.get("upload_id")
        print_message("score", f"{name} is {document['event']}")
