"""`score url`."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from typing import TYPE_CHECKING, Annotated

import typer

from song_score_client.commands import options

if TYPE_CHECKING:
    from score.v1.download_service_pb2 import SignDownloadRequest, SignDownloadResponse

    from song_score_client.commands.score_session import ScoreSession

MAX_EXPIRES_SECONDS = 86_400
DEFAULT_EXPIRES_SECONDS = 3600


def url(
    context: typer.Context,
    more_object_ids: Annotated[list[str] | None, typer.Argument(hidden=True, metavar="ID")] = None,
    *,
    object_id: Annotated[list[str], typer.Option(metavar="ID", help="Repeat it, or name several.")],
    expires: Annotated[
        int,
        typer.Option(
            metavar="SECONDS",
            min=1,
            max=MAX_EXPIRES_SECONDS,
            help="For how many seconds it shall hold; the server may cut it.",
        ),
    ] = DEFAULT_EXPIRES_SECONDS,
    index: Annotated[
        bool, typer.Option("--index", help="After each file's URL that of its index: .bai, .crai, .csi, .tbi, .idx.")
    ] = False,
    unpublished: options.Unpublished = False,
    fail_fast: options.FailFast = False,
) -> None:
    """Print a URL to GET each object by, whole or by Range, one a line in the order asked.

    Whoever has it needs no token until it expires: treat it as a secret.
    """
    from song_score_client.commands.one_by_one import try_each
    from song_score_client.commands.selection import find_objects, with_indexes

    session: ScoreSession = context.obj
    with session.open_score() as score:
        selection = find_objects(
            score, list(dict.fromkeys([*object_id, *(more_object_ids or ())])), allow_unpublished=unpublished
        )
        if index:
            selection = with_indexes(score, selection, allow_unpublished=unpublished)

        def show_one(chosen: str) -> None:
            if chosen in selection.refused:
                raise selection.refused[chosen]
            _show(session, score.sign_download(_request(chosen, expires, allow_unpublished=unpublished)))

        code = try_each(selection.object_ids, show_one, fail_fast=fail_fast)
    raise typer.Exit(code)


def _request(object_id: str, expires_seconds: int, *, allow_unpublished: bool) -> SignDownloadRequest:
    from score.v1.download_service_pb2 import SignDownloadRequest

    return SignDownloadRequest(
        object_id=object_id, allow_unpublished=allow_unpublished, lifetime_seconds=expires_seconds
    )


def _show(session: ScoreSession, answer: SignDownloadResponse) -> None:
    from song_score_client.score_json import render_time

    (signed,) = answer.requests
    if not session.output.as_json:
        session.output.show_text(f"{signed.url}\n")
        return
    stored = answer.stored_object
    session.output.show_line(
        {
            "object_id": stored.object_id,
            "file_name": stored.file_name,
            "size_bytes": stored.size_bytes,
            "method": signed.method,
            "url": signed.url,
            "headers": {header.name: header.value for header in signed.headers},
            "expire_time": render_time(signed.expire_time),
        }
    )
