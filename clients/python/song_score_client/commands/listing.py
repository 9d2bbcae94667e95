"""`score ls`."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from song_score_client.commands import options

if TYPE_CHECKING:
    from song_score_client.commands.score_session import ScoreSession

PAGE_SIZE = 1000
_OBJECT_COLUMNS = ["object", "file", "size", "verification", "analysis", "since"]
_UPLOAD_COLUMNS = ["upload", "object", "state", "persisted", "of", "last activity", "expires"]


class State(StrEnum):
    """States of uploads to list."""

    OPEN = "OPEN"
    COMPLETING = "COMPLETING"
    COMPLETED = "COMPLETED"
    ABORTED = "ABORTED"


class VerificationChoice(StrEnum):
    """What the server knows of an object's bytes."""

    VERIFIED = "VERIFIED"
    UNVERIFIED = "UNVERIFIED"


def list_stored(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    *,
    uploads: Annotated[
        bool, typer.Option("--uploads", help="Uploads, not objects: by default those under way.")
    ] = False,
    study_id: options.StudyId = None,
    all_studies: Annotated[bool, typer.Option("--all-studies", help="Of every study: needs a system scope.")] = False,
    analysis_id: Annotated[str, typer.Option(metavar="ID", help="Of this analysis alone.")] = "",
    object_id: Annotated[str, typer.Option(metavar="ID", help="With --uploads: for this object alone.")] = "",
    state: Annotated[
        list[State] | None,
        typer.Option(case_sensitive=False, help="With --uploads: in this state; repeat it. [OPEN, COMPLETING]"),
    ] = None,
    verification: Annotated[
        VerificationChoice | None, typer.Option(case_sensitive=False, help="Objects in this verification alone.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(metavar="TIME", help="Objects visible since this moment, UTC: 2026-01-31T12:00.")
    ] = None,
    before: Annotated[
        datetime | None, typer.Option(metavar="TIME", help="Objects visible since before this moment, UTC.")
    ] = None,
    unpublished: options.Unpublished = False,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most so many.")] = None,
) -> None:
    """List the objects that Score holds, or the uploads under way, newest first."""
    session: ScoreSession = context.obj
    study = "" if all_studies else study_id or session.configuration.study_id
    if not uploads and (object_id or state):
        raise typer.BadParameter("--object-id and --state go with --uploads")
    if uploads and (verification or since or before or unpublished):
        raise typer.BadParameter("--verification, --since, --before and --unpublished go with objects")
    if uploads:
        _list_uploads(session, study, analysis_id, object_id, state or [], limit)
        return
    from score.v1.object_service_pb2 import ListObjectsRequest
    from score.v1.stored_object_pb2 import Verification

    from song_score_client.quantities import format_bytes
    from song_score_client.score_json import parse_time, render_object, render_time, verification_name

    request = ListObjectsRequest(
        study_id=study,
        analysis_id=analysis_id,
        verification=Verification.Value(f"VERIFICATION_{verification or 'UNSPECIFIED'}"),
        created_from=parse_time(since),
        created_before=parse_time(before),
        allow_unpublished=unpublished,
        page_size=min(limit or PAGE_SIZE, PAGE_SIZE),
    )
    with session.open_score() as score:
        session.output.show_each(
            islice(score.list_objects(request), limit),
            render_object,
            _OBJECT_COLUMNS,
            lambda stored: [
                stored.object_id,
                stored.file_name,
                format_bytes(stored.size_bytes),
                verification_name(stored),
                stored.analysis_id,
                render_time(stored.create_time),
            ],
        )


def _list_uploads(
    session: ScoreSession, study_id: str, analysis_id: str, object_id: str, states: list[State], limit: int | None
) -> None:
    from score.v1.upload_pb2 import UploadState
    from score.v1.upload_service_pb2 import ListUploadsRequest

    from song_score_client.quantities import format_bytes
    from song_score_client.score_json import render_time, render_upload, upload_state_name

    request = ListUploadsRequest(
        study_id=study_id,
        analysis_id=analysis_id,
        object_id=object_id,
        states=[UploadState.Value(f"UPLOAD_STATE_{state}") for state in states],
        page_size=min(limit or PAGE_SIZE, PAGE_SIZE),
    )
    with session.open_score() as score:
        session.output.show_each(
            islice(score.list_uploads(request), limit),
            render_upload,
            _UPLOAD_COLUMNS,
            lambda upload: [
                upload.upload_id,
                upload.object_id,
                upload_state_name(upload),
                format_bytes(upload.persisted_size_bytes),
                format_bytes(upload.size_bytes),
                render_time(upload.update_time),
                render_time(upload.expire_time) if upload.HasField("expire_time") else "",
            ],
        )
