"""The subcommands of `song` that change an analysis' data, and show what happened to it."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from song_score_client.commands.session import Session

AnalysisId = Annotated[str, typer.Option("-a", "--analysis-id", metavar="ID", help="Id of the analysis.")]
Etag = Annotated[
    str | None,
    typer.Option(metavar="ETAG", help="The etag that was read, or * to overwrite any. [the one at the moment]"),
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, for the history.")]


def update(
    context: typer.Context,
    analysis_id: AnalysisId,
    file: Annotated[
        str, typer.Option("-f", "--file", metavar="FILE", help="JSON with analysisType and the new data; - is stdin.")
    ],
    etag: Etag = None,
    reason: Reason = "",
) -> None:
    """Replace the dynamic data of an analysis; it may move to another version of its type."""
    from song_score_client.commands.inputs import read_document

    session: Session = context.obj
    document, study_id = read_document(file), session.configuration.study_id
    with session.open_song() as client:
        if etag is None:
            etag = client.get_analysis(study_id, analysis_id, fields=["etag"]).etag
        answer = client.update_analysis(study_id, analysis_id, document, etag=etag, reason=reason)
    kind = answer.analysis_type
    session.output.show(
        {
            "analysisId": analysis_id,
            "changed": answer.changed,
            "etag": answer.etag,
            "analysisType": {"name": kind.name, "version": kind.version},
        },
        lambda: f"Analysis {analysis_id} {'is changed' if answer.changed else 'was so already'}; etag {answer.etag}.",
    )


def patch(
    context: typer.Context,
    analysis_id: AnalysisId,
    file: Annotated[str, typer.Option("-f", "--file", metavar="FILE", help="JSON Merge Patch, RFC 7396; - is stdin.")],
    etag: Etag = None,
    reason: Reason = "",
) -> None:
    """Merge changes into the dynamic data of an analysis; null removes a member."""
    from song_score_client.commands.inputs import read_document

    session: Session = context.obj
    document, study_id = read_document(file), session.configuration.study_id
    with session.open_song() as client:
        if etag is None:
            etag = client.get_analysis(study_id, analysis_id, fields=["etag"]).etag
        answer = client.patch_analysis(study_id, analysis_id, document, etag=etag, reason=reason)
    session.output.show(
        {"analysisId": analysis_id, "changed": answer.changed, "etag": answer.etag},
        lambda: f"Analysis {analysis_id} {'is changed' if answer.changed else 'was so already'}; etag {answer.etag}.",
    )


def history(context: typer.Context, analysis_id: AnalysisId) -> None:
    """Show what happened to an analysis, oldest first."""
    from song_score_client.overture_json import history_action, render_history, state_name

    session: Session = context.obj
    with session.open_song() as client:
        session.output.show_each(
            client.list_analysis_history(session.configuration.study_id, analysis_id, page_size=1000),
            render_history,
            ["when", "what", "state", "by", "why", "about"],
            lambda entry: (
                f"{entry.time.ToDatetime():%Y-%m-%d %H:%M:%S} UTC",
                history_action(entry.action),
                state_name(entry.state),
                entry.actor,
                entry.reason,
                ", ".join(entry.subjects),
            ),
        )
