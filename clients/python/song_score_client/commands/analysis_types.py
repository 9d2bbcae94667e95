"""The subcommands of `song` for analysis types."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from song_score_client.commands.session import Session

MAX_VERSION = 2**31 - 1
"""The contract counts versions in 32 bits."""


def register_analysis_type(
    context: typer.Context,
    file: Annotated[str, typer.Option("-f", "--file", help='JSON {"name", "schema", "options"?}; - is stdin.')],
    force: Annotated[bool, typer.Option(help="A new version even where nothing changed.")] = False,
) -> None:
    """Register a schema as the next version of an analysis type."""
    from song_score_client.commands.inputs import read_document
    from song_score_client.overture_json import render_analysis_type
    from song_score_client.registration import parse_registration

    session: Session = context.obj
    registration = parse_registration(read_document(file), file)
    with session.open_song() as client:
        answer = client.register_analysis_type(
            registration.name, registration.schema_json, options=registration.options, force=force
        )
    kind = answer.analysis_type
    word = "is registered" if answer.created else "was registered already, unchanged"
    session.output.show(render_analysis_type(kind), lambda: f"{kind.name} version {kind.version} {word}.")


def get_analysis_type(
    context: typer.Context,
    name: Annotated[str, typer.Option("-n", "--name", help="Name of the type.")],
    version: Annotated[int, typer.Option("-v", "--version", min=0, max=MAX_VERSION, help="0 means the latest.")] = 0,
    unrendered: Annotated[
        bool, typer.Option("-u", "--unrendered-only", help="The schema as registered, without the base schema.")
    ] = False,
) -> None:
    """Print an analysis type with its schema, always as JSON."""
    from song_score_client.exact_json import dump
    from song_score_client.overture_json import render_analysis_type

    session: Session = context.obj
    with session.open_song() as client:
        kind = client.get_analysis_type(name, version, unrendered=unrendered)
    session.output.show_text(dump(render_analysis_type(kind)) + "\n")


def list_analysis_types(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Option("-n", "--names", help="Only these; repeat it.")] = None,
    versions: Annotated[
        list[int] | None, typer.Option("-v", "--versions", min=1, max=MAX_VERSION, help="Only these; repeat it.")
    ] = None,
    hide_schema: Annotated[bool, typer.Option("-hs", "--hide-schema", help="Without schemas.")] = False,
    limit: Annotated[int | None, typer.Option("-l", "--limit", min=1, help="At most so many.")] = None,
) -> None:
    """List versions of analysis types, newest first."""
    from itertools import islice

    from song_score_client.overture_json import render_analysis_type

    session: Session = context.obj
    # Tables show no schemas.
    is_hidden = hide_schema or session.output.is_for_people
    with session.open_song() as client:
        kinds = client.list_analysis_types(names or (), versions or (), hide_schema=is_hidden)
        session.output.show_each(
            islice(kinds, limit),
            render_analysis_type,
            ["type", "version", "file types", "registered"],
            lambda kind: (
                kind.name,
                str(kind.version),
                ", ".join(kind.options.file_types.names) or "any",
                f"{kind.create_time.ToDatetime():%Y-%m-%d %H:%M} UTC",
            ),
        )
