"""The subcommands of `song` for analysis types."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType
    from song.v1.analysis_type_service_pb2 import CompareAnalysisTypeVersionsResponse

    from song_score_client.commands.session import Session
    from song_score_client.exact_json import Json


class Direction(StrEnum):
    """Of a sorted list."""

    ASC = "ASC"
    DESC = "DESC"


MAX_VERSION = 2**31 - 1
"""The contract counts versions in 32 bits."""


def register_analysis_type(
    context: typer.Context,
    file: Annotated[
        str, typer.Option("-f", "--file", metavar="FILE", help='JSON {"name", "schema", "options"?}; - is stdin.')
    ],
    force: Annotated[bool, typer.Option(help="A new version even where nothing changed.")] = False,
    validate_only: Annotated[bool, typer.Option("--validate-only", help="Check, and register nothing.")] = False,
) -> None:
    """Register a schema as the next version of an analysis type."""
    from song_score_client.commands.inputs import read_document
    from song_score_client.overture_json import render_analysis_type
    from song_score_client.registration import parse_registration

    session: Session = context.obj
    registration = parse_registration(read_document(file), file)
    with session.open_song() as client:
        answer = client.register_analysis_type(
            registration.name,
            registration.schema_json,
            options=registration.options,
            force=force,
            validate_only=validate_only,
        )
    kind = answer.analysis_type
    new = "would be registered" if validate_only else "is registered"
    word = new if answer.created else "was registered already, unchanged"
    session.output.show(render_analysis_type(kind), lambda: f"{kind.name} version {kind.version} {word}.")


def get_analysis_type(
    context: typer.Context,
    name: Annotated[str, typer.Option("-n", "--name", metavar="NAME", help="Name of the type.")],
    version: Annotated[
        int, typer.Option("-v", "--version", metavar="N", min=0, max=MAX_VERSION, help="0 means the latest.")
    ] = 0,
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


def list_analysis_types(  # noqa: PLR0913, PLR0917 - a command has as many options as its users need
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Option("-n", "--names", metavar="NAME", help="Only these; repeat it.")
    ] = None,
    versions: Annotated[
        list[int] | None,
        typer.Option("-v", "--versions", metavar="N", min=1, max=MAX_VERSION, help="Only these; repeat it."),
    ] = None,
    hide_schema: Annotated[bool, typer.Option("-hs", "--hide-schema", help="Without schemas.")] = False,
    unrendered_only: Annotated[  # noqa: ARG001 - see its help
        bool, typer.Option("-u", "--unrendered-only", help="No effect: listed schemas are always as registered.")
    ] = False,
    sort_order: Annotated[
        str, typer.Option("-so", "--sort-order", metavar="FIELDS", help="name, version, or name,version.")
    ] = "",
    sort_direction: Annotated[
        Direction | None, typer.Option("-sd", "--sort-direction", case_sensitive=False, help="Of all sorted fields.")
    ] = None,
    offset: Annotated[
        int, typer.Option("-o", "--offset", metavar="N", min=0, help="Leave out so many first ones.")
    ] = 0,
    limit: Annotated[int | None, typer.Option("-l", "--limit", metavar="N", min=1, help="At most so many.")] = None,
) -> None:
    """List versions of analysis types, newest first."""
    from itertools import islice

    from song_score_client.overture_json import render_analysis_type

    session: Session = context.obj
    # Tables show no schemas.
    is_hidden = hide_schema or session.output.is_for_people
    with session.open_song() as client:
        kinds = client.list_analysis_types(
            names or (), versions or (), hide_schema=is_hidden, order_by=_order(sort_order, sort_direction)
        )
        session.output.show_each(
            islice(kinds, offset, None if limit is None else offset + limit),
            render_analysis_type,
            ["type", "version", "file types", "registered"],
            lambda kind: (
                kind.name,
                str(kind.version),
                ", ".join(kind.options.file_types.names) or "any",
                f"{kind.create_time.ToDatetime():%Y-%m-%d %H:%M} UTC",
            ),
        )


def get_registration_schema(context: typer.Context) -> None:
    """Print the JSON Schema that schemas to be registered must keep."""
    from song_score_client.exact_json import dump, parse

    session: Session = context.obj
    with session.open_song() as client:
        text = client.get_registration_schema()
    session.output.show_text(dump(parse(text)) + "\n")


def diff(
    context: typer.Context,
    name: Annotated[str, typer.Option("-n", "--name", metavar="NAME", help="Name of the type.")],
    from_version: Annotated[
        int, typer.Option("--from", metavar="N", min=0, max=MAX_VERSION, help="0 means the one before the other.")
    ] = 0,
    to_version: Annotated[
        int, typer.Option("--to", metavar="N", min=0, max=MAX_VERSION, help="0 means the latest.")
    ] = 0,
    all_studies: Annotated[
        bool, typer.Option("--all-studies", help="Check the analyses of all studies, not only that of the settings.")
    ] = False,
    max_analyses: Annotated[int, typer.Option(metavar="N", min=0, help="Check at most so many. [10000]")] = 0,
) -> None:
    """Compare two versions of a type, and check analyses of the first against the second; exit code 1 if any fails."""
    session: Session = context.obj
    study_id = "" if all_studies else session.configuration.study_id
    with session.open_song() as client:
        stream = client.compare_analysis_type_versions(
            name, from_version, to_version, study_id=study_id, max_analyses=max_analyses
        )
        # An empty message is only a sign of life.
        answers = [answer for answer in stream if answer.WhichOneof("message") is not None]
    session.output.show(_comparison(answers), lambda: _view_comparison(answers))
    raise typer.Exit(1 if answers[-1].summary.incompatible_total else 0)


def _order(fields: str, direction: Direction | None) -> str:
    names = [name.strip() for name in fields.split(",") if name.strip()]
    if not names and direction is None:
        return ""
    mark = " desc" if direction is Direction.DESC else ""
    return ", ".join(f"{name}{mark}" for name in names or ["name", "version"])


def _comparison(answers: list[CompareAnalysisTypeVersionsResponse]) -> Json:
    first, last = answers[0].comparison, answers[-1].summary
    return {
        "fromVersion": first.from_version,
        "toVersion": first.to_version,
        "differenceTotal": first.difference_total,
        "differences": [
            {
                "pointer": one.pointer,
                **({"from": _value(one.from_json)} if one.HasField("from_json") else {}),
                **({"to": _value(one.to_json)} if one.HasField("to_json") else {}),
            }
            for one in first.differences
        ],
        "incompatible": [
            {
                "analysisId": one.incompatible.analysis_id,
                "studyId": one.incompatible.study_id,
                "violationTotal": one.incompatible.violation_total,
                "violations": [
                    {"pointer": violation.pointer, "message": violation.message}
                    for violation in one.incompatible.violations
                ],
            }
            for one in answers
            if one.HasField("incompatible")
        ],
        "checkedTotal": last.checked_total,
        "incompatibleTotal": last.incompatible_total,
        "truncated": last.truncated,
    }


def _value(text: str) -> Json:
    from song_score_client.exact_json import parse

    try:
        return parse(text)
    except ValueError:
        return text  # cut where it was too long


def _view_comparison(answers: list[CompareAnalysisTypeVersionsResponse]) -> RenderableType:
    from rich.console import Group

    from song_score_client.commands.output import table

    first, last = answers[0].comparison, answers[-1].summary
    changes = table(
        ["where", f"version {first.from_version}", f"version {first.to_version}"],
        [(one.pointer or "(schema)", one.from_json, one.to_json) for one in first.differences],
    )
    failing = table(
        ["study", "analysis", "violations", "the first"],
        [
            (
                answer.incompatible.study_id,
                answer.incompatible.analysis_id,
                str(answer.incompatible.violation_total),
                f"{answer.incompatible.violations[0].pointer}: {answer.incompatible.violations[0].message}",
            )
            for answer in answers
            if answer.HasField("incompatible")
        ],
    )
    end = f"{last.checked_total} analyses checked, {last.incompatible_total} would be refused"
    return Group(changes, failing, f"{end}{', more were not looked at' if last.truncated else ''}.")
