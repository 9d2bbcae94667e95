"""The subcommands of `song` that submit, check and show analyses."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from song_score_client.commands.session import Session

PayloadFile = Annotated[str, typer.Option("-f", "--file", help="The payload, JSON; - is stdin.")]
AllowDuplicates = Annotated[
    bool,
    typer.Option("-ad", "--allow-duplicates", help="Accept files whose MD5 another analysis of the study has."),
]


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


def search(
    context: typer.Context,
    analysis_id: Annotated[str, typer.Option("-a", "--analysis-id", help="Id of the analysis.")],
) -> None:
    """Print one analysis."""
    from song_score_client.commands.analysis_view import view_analysis
    from song_score_client.overture_json import render_analysis

    session: Session = context.obj
    with session.open_song() as client:
        analysis = client.get_analysis(session.configuration.study_id, analysis_id)
    session.output.show(render_analysis(analysis), lambda: view_analysis(analysis))


def list_analyses(
    context: typer.Context,
    states: Annotated[
        list[State] | None, typer.Option("-s", "--state", case_sensitive=False, help="Repeat it. [PUBLISHED]")
    ] = None,
    limit: Annotated[int | None, typer.Option("-l", "--limit", min=1, help="At most so many.")] = None,
) -> None:
    """List the PUBLISHED analyses of the study, or those of the states asked for, oldest first."""
    from itertools import islice

    from song_score_client.overture_json import render_analysis, state_name

    session: Session = context.obj
    expression = " OR ".join(f"state = {state.value}" for state in states or ())
    with session.open_song() as client:
        analyses = client.list_analyses(session.configuration.study_id, filter_expression=expression)
        session.output.show_each(
            islice(analyses, limit),
            render_analysis,
            ["analysis", "state", "type", "files", "submitted"],
            lambda analysis: (
                analysis.analysis_id,
                state_name(analysis.state),
                f"{analysis.analysis_type.name} {analysis.analysis_type.version}",
                str(len(analysis.files)),
                f"{analysis.create_time.ToDatetime():%Y-%m-%d %H:%M} UTC",
            ),
        )
