"""The subcommands of `song` that submit, check and show analyses."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from song.v1.analysis_pb2 import Analysis

    from song_score_client.commands.session import Session

PayloadFile = Annotated[str, typer.Option("-f", "--file", metavar="FILE", help="The payload, JSON; - is stdin.")]
AllowDuplicates = Annotated[
    bool,
    typer.Option("-ad", "--allow-duplicates", help="Accept files whose MD5 another analysis of the study has."),
]


MAX_PAGE_ITEMS = 1000
_COLUMNS = ["analysis", "state", "type", "files", "submitted"]


class Match(StrEnum):
    """How ids are compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"


class State(StrEnum):
    """States to list."""

    UNPUBLISHED = "UNPUBLISHED"
    PUBLISHED = "PUBLISHED"
    SUPPRESSED = "SUPPRESSED"


def submit(context: typer.Context, file: PayloadFile, allow_duplicates: AllowDuplicates = False) -> None:
    """Submit an analysis; prints its id."""
    from song_score_client.commands.inputs import read_document
    from song_score_client.errors import SchemaViolationError, ServiceError

    session: Session = context.obj
    study_id, payload = session.configuration.study_id, read_document(file)
    with session.open_song() as client:
        try:
            analysis_id = client.submit(study_id, payload, allow_duplicates=allow_duplicates)
        except SchemaViolationError as error:
            # A status has room for the first few alone, and cuts their texts; where the rest can't be had, they do.
            with suppress(ServiceError):
                answer = client.validate(study_id, payload, allow_duplicates=allow_duplicates)
                error.violations = [(violation.pointer, violation.message) for violation in answer.violations]
            raise
    session.output.show(
        {"analysisId": analysis_id, "status": "OK"},
        lambda: f"Analysis {analysis_id} is submitted. Next: song manifest -a {analysis_id} -d <directory> -f <file>",
    )


def validate(context: typer.Context, file: PayloadFile, allow_duplicates: AllowDuplicates = False) -> None:
    """Check a payload as submit would, and write nothing; exit code 1 where it would be refused."""
    from song_score_client.commands.inputs import read_document
    from song_score_client.commands.output import table

    session: Session = context.obj
    payload = read_document(file)
    with session.open_song() as client:
        answer = client.validate(session.configuration.study_id, payload, allow_duplicates=allow_duplicates)
    rows = [(violation.pointer or "(document)", violation.message) for violation in answer.violations]
    session.output.show(
        {
            "valid": not answer.violation_total,
            "violationTotal": answer.violation_total,
            "violations": [
                {
                    "pointer": violation.pointer,
                    "keyword": violation.keyword,
                    "message": violation.message,
                    "schemaPointer": violation.schema_pointer,
                }
                for violation in answer.violations
            ],
        },
        lambda: (
            table(["where", f"what is wrong ({answer.violation_total})"], rows) if rows else "The payload is valid."
        ),
    )
    raise typer.Exit(1 if answer.violation_total else 0)


def search(  # noqa: PLR0913, PLR0917 - a command has as many options as its users need
    context: typer.Context,
    analysis_id: Annotated[
        str | None, typer.Option("-a", "--analysis-id", metavar="ID", help="Id of the analysis.")
    ] = None,
    file_id: Annotated[str, typer.Option("-f", "--file-id", metavar="ID", help="Object id of a file.")] = "",
    sample_id: Annotated[str, typer.Option("-sa", "--sample-id", metavar="ID", help="Id of a sample.")] = "",
    specimen_id: Annotated[str, typer.Option("-sp", "--specimen-id", metavar="ID", help="Id of a specimen.")] = "",
    donor_id: Annotated[str, typer.Option("-d", "--donor-id", metavar="ID", help="Id of a donor.")] = "",
    submitter_sample_id: Annotated[str, typer.Option(metavar="ID", help="The submitter's id of a sample.")] = "",
    submitter_specimen_id: Annotated[str, typer.Option(metavar="ID", help="The submitter's id of a specimen.")] = "",
    submitter_donor_id: Annotated[str, typer.Option(metavar="ID", help="The submitter's id of a donor.")] = "",
    match: Annotated[Match, typer.Option(case_sensitive=False, help="How ids are compared.")] = Match.EXACT,
) -> None:
    """Print one analysis by its id, or all that ids of what belongs to them lead to."""
    from song.v1.analysis_service_pb2 import IdMatch, SearchAnalysesByIdRequest

    from song_score_client.commands.analysis_view import view_analysis
    from song_score_client.overture_json import render_analysis

    session: Session = context.obj
    ids = (file_id, sample_id, specimen_id, donor_id, submitter_sample_id, submitter_specimen_id, submitter_donor_id)
    if (analysis_id is None) == (not any(ids)):
        raise typer.BadParameter("give --analysis-id, or ids of a file, sample, specimen or donor")
    study_id = session.configuration.study_id
    with session.open_song() as client:
        if analysis_id is not None:
            analysis = client.get_analysis(study_id, analysis_id)
            session.output.show(render_analysis(analysis), lambda: view_analysis(analysis))
            return
        request = SearchAnalysesByIdRequest(
            study_id=study_id,
            match=IdMatch.Value(f"ID_MATCH_{match.name}"),
            page_size=MAX_PAGE_ITEMS,
            object_id=file_id,
            sample_id=sample_id,
            specimen_id=specimen_id,
            donor_id=donor_id,
            submitter_sample_id=submitter_sample_id,
            submitter_specimen_id=submitter_specimen_id,
            submitter_donor_id=submitter_donor_id,
        )
        session.output.show_each(client.search_analyses_by_id(request), render_analysis, _COLUMNS, _cells)


def list_analyses(
    context: typer.Context,
    states: Annotated[
        list[State] | None, typer.Option("-s", "--state", case_sensitive=False, help="Repeat it. [PUBLISHED]")
    ] = None,
    filter_expression: Annotated[
        str,
        typer.Option(
            "--filter", metavar="EXPRESSION", help="""For example 'data.experiment.libraryStrategy = "WGS"'."""
        ),
    ] = "",
    order_by: Annotated[str, typer.Option("--order-by", metavar="FIELDS", help="For example 'update_time desc'.")] = "",
    limit: Annotated[int | None, typer.Option("-l", "--limit", metavar="N", min=1, help="At most so many.")] = None,
) -> None:
    """List the PUBLISHED analyses of the study, or those of the states asked for, oldest first."""
    from itertools import islice

    from song_score_client.overture_json import render_analysis

    session: Session = context.obj
    expression = " OR ".join(f"state = {state.value}" for state in states or ())
    if expression and filter_expression:
        expression = f"({filter_expression}) AND ({expression})"
    with session.open_song() as client:
        found = client.list_analyses(
            session.configuration.study_id,
            filter_expression=expression or filter_expression,
            order_by=order_by,
            page_size=min(limit or MAX_PAGE_ITEMS, MAX_PAGE_ITEMS),
        )
        session.output.show_each(islice(found, limit), render_analysis, _COLUMNS, _cells)


def _cells(analysis: Analysis) -> tuple[str, ...]:
    from song_score_client.overture_json import state_name

    return (
        analysis.analysis_id,
        state_name(analysis.state),
        f"{analysis.analysis_type.name} {analysis.analysis_type.version}",
        str(len(analysis.files)),
        f"{analysis.create_time.ToDatetime():%Y-%m-%d %H:%M} UTC",
    )
