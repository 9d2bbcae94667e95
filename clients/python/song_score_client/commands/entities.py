"""The subcommands of `song` for donors, specimens and samples."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from song_score_client.commands.session import Session
    from song_score_client.song import SongClient


class Kind(StrEnum):
    """What to read, correct or delete."""

    DONOR = "donor"
    SPECIMEN = "specimen"
    SAMPLE = "sample"


WhichKind = Annotated[Kind, typer.Argument(help="donor, specimen or sample.")]
EntityId = Annotated[str, typer.Argument(help="Its id (not its submitter id).")]
_FIELDS: Mapping[Kind, Mapping[str, str]] = {
    Kind.DONOR: {"gender": "gender", "info": "info_json"},
    Kind.SPECIMEN: {
        "tumourNormalDesignation": "tumour_normal_designation",
        "specimenTissueSource": "specimen_tissue_source",
        "specimenType": "specimen_type",
        "info": "info_json",
    },
    Kind.SAMPLE: {
        "sampleType": "sample_type",
        "matchedNormalSubmitterSampleId": "matched_normal_submitter_sample_id",
        "info": "info_json",
    },
}


def get(context: typer.Context, kind: WhichKind, entity_id: EntityId) -> None:
    """Show a donor, specimen or sample."""
    from song_score_client.exact_json import dump

    session: Session = context.obj
    study_id = session.configuration.study_id
    with session.open_song() as client:
        document = _render(kind, _read(client, kind, study_id, entity_id), study_id)
    session.output.show(document, lambda: dump(document))


def list_all(
    context: typer.Context,
    kind: WhichKind,
    limit: Annotated[int | None, typer.Option("-l", "--limit", metavar="N", min=1, help="At most so many.")] = None,
) -> None:
    """List the donors, specimens or samples of the study, by submitter id."""
    from itertools import islice

    session: Session = context.obj
    study_id = session.configuration.study_id
    with session.open_song() as client:
        listing: Mapping[Kind, Callable[[], Iterator[Any]]] = {
            Kind.DONOR: lambda: client.list_donors(study_id, page_size=1000),
            Kind.SPECIMEN: lambda: client.list_specimens(study_id, page_size=1000),
            Kind.SAMPLE: lambda: client.list_samples(study_id, page_size=1000),
        }
        session.output.show_each(
            islice(listing[kind](), limit),
            lambda entity: _render(kind, entity, study_id),
            [f"submitter's {kind.value}", "id"],
            lambda entity: (
                getattr(entity, f"submitter_{kind.value}_id"),
                getattr(entity, f"{kind.value}_id"),
            ),
        )


def correct(
    context: typer.Context,
    kind: WhichKind,
    entity_id: EntityId,
    settings: Annotated[
        list[str],
        typer.Option("--set", metavar="FIELD=VALUE", help="For example gender=Female; null clears. Repeat it."),
    ],
    etag: Annotated[
        str | None, typer.Option(metavar="ETAG", help="The etag that was read. [the one at the moment]")
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the history of the analyses.")] = "",
) -> None:
    """Correct a donor, specimen or sample; every analysis that refers to it is told."""
    session: Session = context.obj
    study_id = session.configuration.study_id
    wanted = _parse_settings(kind, settings)
    with session.open_song() as client:
        entity = _read(client, kind, study_id, entity_id)
        if etag is not None:
            entity.etag = etag
        for field, value in wanted.items():
            if value is None:
                entity.ClearField(field)
            else:
                setattr(entity, field, value)
        change: Mapping[Kind, Callable[[str, Any, Iterable[str]], Any]] = {
            Kind.DONOR: lambda *what: client.update_donor(*what, reason=reason),
            Kind.SPECIMEN: lambda *what: client.update_specimen(*what, reason=reason),
            Kind.SAMPLE: lambda *what: client.update_sample(*what, reason=reason),
        }
        answer = change[kind](study_id, entity, wanted)
    touched = answer.touched_analysis_total
    session.output.show(
        {
            kind.value: _render(kind, getattr(answer, kind.value), study_id),
            "touchedAnalyses": touched,
        },
        lambda: f"The {kind.value} {entity_id} is as asked; {touched} analyses were told.",
    )


def delete(context: typer.Context, kind: WhichKind, entity_id: EntityId) -> None:
    """Delete a donor, specimen or sample that no analysis refers to, with what is below it."""
    session: Session = context.obj
    study_id = session.configuration.study_id
    with session.open_song() as client:
        remove = {
            Kind.DONOR: client.delete_donor,
            Kind.SPECIMEN: client.delete_specimen,
            Kind.SAMPLE: client.delete_sample,
        }
        total = remove[kind](study_id, entity_id)
    session.output.show({"deleted": total}, lambda: f"Deleted: {total} with the {kind.value} {entity_id}.")


def _read(client: SongClient, kind: Kind, study_id: str, entity_id: str) -> Any:  # noqa: ANN401 - one of three messages
    read = {Kind.DONOR: client.get_donor, Kind.SPECIMEN: client.get_specimen, Kind.SAMPLE: client.get_sample}
    return read[kind](study_id, entity_id)


def _render(kind: Kind, entity: Any, study_id: str) -> Any:  # noqa: ANN401 - one of three messages, as JSON
    from song_score_client.overture_json import render_donor, render_sample, render_specimen

    if kind is Kind.DONOR:
        rendered = render_donor(entity, study_id)
    elif kind is Kind.SPECIMEN:
        rendered = render_specimen(entity)
    else:
        rendered = render_sample(entity, study_id)
    return {**rendered, "etag": entity.etag}


def _parse_settings(kind: Kind, settings: list[str]) -> dict[str, str | None]:
    known, wanted = _FIELDS[kind], {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or name not in known:
            raise typer.BadParameter(f"{setting!r}: give FIELD=VALUE, with FIELD one of {', '.join(known)}")
        wanted[known[name]] = None if value == "null" else value
    return wanted
