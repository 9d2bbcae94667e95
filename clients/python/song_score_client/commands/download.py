"""`score download`."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from song_score_client.commands import options
from song_score_client.output_layout import OutputLayout

if TYPE_CHECKING:
    from collections.abc import Callable

    from score.v1.stored_object_pb2 import StoredObject

    from song_score_client.commands.score_session import ScoreSession
    from song_score_client.errors import ServiceError
    from song_score_client.score import ScoreClient
    from song_score_client.transfer.batch import Receipt, Transfer
    from song_score_client.transfer.listener import Listener
    from song_score_client.transfer.rate import RateLimit


class Validation(StrEnum):
    """What is verified. Parts always are."""

    FULL = "full"
    PARTS = "parts"
    TRUE = "true"
    FALSE = "false"


def download(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    *,
    output_dir: Annotated[Path, typer.Option(help="Where files go; made if need be, but not those above it.")],
    more_object_ids: Annotated[list[str] | None, typer.Argument(hidden=True, metavar="")] = None,
    object_id: Annotated[list[str] | None, typer.Option(help="Repeat it, or name several.")] = None,
    manifest: options.ManifestSource = None,
    analysis_id: Annotated[str | None, typer.Option(help="All files of an analysis.")] = None,
    study_id: options.StudyId = None,
    output_layout: Annotated[
        OutputLayout, typer.Option(help="<file name>, <analysis id>/<file name>, or <object id>.")
    ] = OutputLayout.FILENAME,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there with other bytes.")] = False,
    unpublished: Annotated[
        bool, typer.Option("--unpublished", help="Also files of unpublished analyses, if you may write to the study.")
    ] = False,
    validate: Annotated[
        Validation, typer.Option(help="full (true): parts and the whole MD5; parts (false): parts alone.")
    ] = Validation.FULL,
    parallel: options.Parallel = options.PARALLEL,
    streams: options.Streams = 1,
    max_rate: options.MaxRate = None,
    fail_fast: options.FailFast = False,
) -> None:
    """Fetch files from Score, verified part by part and as a whole.

    A file has its name only once it is whole; run again after an interruption it fetches only what is missing.
    """
    options.require_one({"--object-id": object_id, "--manifest": manifest, "--analysis-id": analysis_id})
    if more_object_ids and not object_id:
        raise typer.BadParameter(f"unexpected argument {more_object_ids[0]!r}")
    from byte_path.allocator import tune_allocator
    from song_score_client.commands.transfers import run_transfers
    from song_score_client.targets import prepare_output_dir
    from song_score_client.transfer.batch import Batch

    session: ScoreSession = context.obj
    object_ids = _object_ids(session, [*(object_id or ()), *(more_object_ids or ())], manifest, analysis_id, study_id)
    tune_allocator()
    batch = Batch(parallel, fail_fast=fail_fast)
    with session.open_score() as score:
        fetch = partial(
            _fetch,
            score,
            directory=output_dir,
            force=force,
            allow_unpublished=unpublished,
            whole_md5=validate in {Validation.FULL, Validation.TRUE},
            streams=streams,
            rate=None if max_rate is None else batch.rate_limit(max_rate),
        )
        transfers = _transfers(score, object_ids, output_dir, output_layout, unpublished, fetch)
        prepare_output_dir(output_dir)
        code = run_transfers(batch, transfers, session.open_progress(), "fetched")
    raise typer.Exit(code)


def _object_ids(
    session: ScoreSession, given: list[str], manifest: str | None, analysis_id: str | None, study_id: str | None
) -> list[str]:
    """Return the ids of what is asked for, each once. Raises ClientError."""
    from song_score_client.manifest_source import load_manifest
    from song_score_client.manifests import download_object_ids

    if manifest is not None:
        return download_object_ids(load_manifest(manifest, session.configuration.portal_url))
    if analysis_id is None:
        return list(dict.fromkeys(given))
    with session.open_song() as song:
        files = song.list_files(study_id or session.configuration.study_id, analysis_id, page_size=1000)
        return [file.object_id for file in files]


def _transfers(
    score: ScoreClient,
    object_ids: list[str],
    output_dir: Path,
    layout: OutputLayout,
    allow_unpublished: bool,  # noqa: FBT001 - passed on
    fetch: Callable[[StoredObject, Path, Listener], Receipt],
) -> list[Transfer]:
    """Return a transfer for each id, in their order; one that can't be had fails in its turn. Raises ClientError."""
    from song_score_client.errors import ServiceError
    from song_score_client.targets import choose_targets
    from song_score_client.transfer.batch import Transfer

    answer = score.batch_get_objects(object_ids, allow_unpublished=allow_unpublished)
    found = {stored.object_id: stored for stored in answer.stored_objects}
    refused: dict[str, ServiceError] = {}
    for object_id in answer.missing_object_ids:
        # A batch does not say why.
        try:
            found[object_id] = score.get_object(object_id, allow_unpublished=allow_unpublished)
        except ServiceError as error:
            refused[object_id] = error
    objects = [found[object_id] for object_id in object_ids if object_id in found]
    targets = dict(
        zip((stored.object_id for stored in objects), choose_targets(objects, output_dir, layout), strict=True)
    )
    transfers = []
    for object_id in object_ids:
        if object_id in refused:
            transfers.append(Transfer(object_id, object_id, 0, partial(_refuse, refused[object_id])))
        else:
            stored, target = found[object_id], targets[object_id]
            name = str(target.relative_to(output_dir))
            transfers.append(Transfer(name, object_id, stored.size_bytes, partial(fetch, stored, target)))
    return transfers


def _refuse(error: ServiceError, _listener: Listener) -> Receipt:
    raise error


def _fetch(  # noqa: PLR0913 - one parameter an option of download_object
    score: ScoreClient,
    stored: StoredObject,
    target: Path,
    listener: Listener,
    *,
    directory: Path,
    force: bool,
    allow_unpublished: bool,
    whole_md5: bool,
    streams: int,
    rate: RateLimit | None,
) -> Receipt:
    from song_score_client.targets import prepare_target
    from song_score_client.transfer.batch import Receipt
    from song_score_client.transfer.download import download_object

    prepare_target(target, directory)
    result = download_object(
        score,
        stored.object_id,
        target,
        force=force,
        allow_unpublished=allow_unpublished,
        whole_md5=whole_md5,
        streams=streams,
        rate=rate,
        listener=listener,
    )
    return Receipt(result.fetched_bytes, result.stored_object.part_total, result.kept_part_total, result.md5)
