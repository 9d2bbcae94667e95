"""The subcommands of `song` for the descriptions of files."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from song_score_client.commands.session import Session

MAX_SIZE_BYTES = 2**63 - 1
ObjectId = Annotated[str, typer.Option("--object-id", metavar="ID", help="Object id of the file.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, for the history.")]


class Access(StrEnum):
    """Who may read the bytes of a published file."""

    OPEN = "open"
    CONTROLLED = "controlled"


def update_file(  # noqa: PLR0913, PLR0917 - a command has as many options as its users need
    context: typer.Context,
    object_id: ObjectId,
    size: Annotated[
        int | None, typer.Option("-s", "--size", metavar="BYTES", min=0, max=MAX_SIZE_BYTES, help="Bytes.")
    ] = None,
    md5: Annotated[str | None, typer.Option("-m", "--md5", metavar="MD5", help="MD5 of all bytes.")] = None,
    datatype: Annotated[
        str | None, typer.Option("-d", "--datatype", metavar="NAME", help="What the file holds.")
    ] = None,
    access: Annotated[Access | None, typer.Option("-a", "--access", help="Who may read it.")] = None,
    info: Annotated[
        str | None, typer.Option("-i", "--info", metavar="JSON", help="A JSON object; replaces what is there.")
    ] = None,
    etag: Annotated[
        str | None, typer.Option(metavar="ETAG", help="The etag that was read. [the one at the moment]")
    ] = None,
    reason: Reason = "",
) -> None:
    """Change the description of a file: size and MD5 only while its analysis is UNPUBLISHED."""
    from song.v1.file_pb2 import FILE_ACCESS_CONTROLLED, FILE_ACCESS_OPEN, File
    from song.v1.file_service_pb2 import FileUpdateType

    from song_score_client.overture_json import render_file, state_name

    session: Session = context.obj
    study_id = session.configuration.study_id
    changed = File(study_id=study_id, object_id=object_id)
    fields = []
    for name, value in (("size_bytes", size), ("md5", md5), ("data_type", datatype), ("info_json", info)):
        if value is not None:
            setattr(changed, name, value)
            fields.append(name)
    if access is not None:
        changed.access = FILE_ACCESS_OPEN if access is Access.OPEN else FILE_ACCESS_CONTROLLED
        fields.append("access")
    if not fields:
        raise typer.BadParameter("give at least one of --size, --md5, --datatype, --access, --info")
    with session.open_song() as client:
        changed.etag = client.get_file(study_id, object_id).etag if etag is None else etag
        answer = client.update_file(changed, fields, reason=reason)
    kind = FileUpdateType.Name(answer.update_type).removeprefix("FILE_UPDATE_TYPE_")
    analysis_id = answer.file.analysis_id
    message = (
        f"No update for file with objectId '{object_id}' and analysisId '{analysis_id}'"
        if kind == "NO_UPDATE"
        else f"Updated file with objectId '{object_id}' and analysisId '{analysis_id}'"
    )
    session.output.show(
        {
            "message": message,
            "fileUpdateType": kind,
            "originalAnalysisState": state_name(answer.analysis_state),
            "unpublishedAnalysis": False,
            "originalFile": render_file(answer.original_file),
        },
        lambda: f"{message} ({kind}).",
    )


def delete_file(
    context: typer.Context,
    analysis_id: Annotated[str, typer.Option("-a", "--analysis-id", metavar="ID", help="The analysis to delete from.")],
    object_ids: Annotated[list[str], typer.Option("--object-id", metavar="ID", help="Repeat it.")],
    reason: Reason = "",
) -> None:
    """Delete files from an UNPUBLISHED analysis, all of them or none."""
    session: Session = context.obj
    with session.open_song() as client:
        etag = client.delete_files(session.configuration.study_id, analysis_id, object_ids, reason=reason)
    session.output.show(
        {"analysisId": analysis_id, "deleted": list(object_ids), "etag": etag},
        lambda: f"{len(object_ids)} files are deleted from analysis {analysis_id}.",
    )
