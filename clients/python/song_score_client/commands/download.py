"""`score download`."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from song_score_client.commands import options
from song_score_client.output_layout import OutputLayout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from score.v1.stored_object_pb2 import StoredObject

    from song_score_client.commands.score_session import ScoreSession
    from song_score_client.commands.selection import Selection
    from song_score_client.errors import ServiceError
    from song_score_client.score import ScoreClient
    from song_score_client.transfer.batch import Group, Receipt, Transfer
    from song_score_client.transfer.listener import Listener
    from song_score_client.transfer.parallelism import Streams
    from song_score_client.transfer.rate import RateLimit


STDOUT = "-"


class Validation(StrEnum):
    """What is verified. Parts always are."""

    FULL = "full"
    PARTS = "parts"
    TRUE = "true"
    FALSE = "false"


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """How to download, whatever it is."""

    force: bool
    allow_unpublished: bool
    whole_md5: bool
    streams: int | Streams
    rate: RateLimit | None


def download(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    *,
    output_dir: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where files go; made if need be, but not those above it.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="-", help="In place of --output-dir: - writes one object to stdout, in order.")
    ] = None,
    more_object_ids: Annotated[list[str] | None, typer.Argument(hidden=True, metavar="ID")] = None,
    object_id: Annotated[list[str] | None, typer.Option(metavar="ID", help="Repeat it, or name several.")] = None,
    manifest: options.ManifestSource = None,
    analysis_id: Annotated[str | None, typer.Option(metavar="ID", help="All files of an analysis.")] = None,
    study_id: options.StudyId = None,
    output_layout: Annotated[
        OutputLayout, typer.Option(help="<file name>, <analysis id>/<file name>, or <object id>.")
    ] = OutputLayout.FILENAME,
    offset: Annotated[
        int, typer.Option(metavar="BYTES", min=0, help="Fetch from this byte on, into <name>.range-OFFSET-LENGTH.")
    ] = 0,
    length: Annotated[int, typer.Option(metavar="BYTES", min=-1, help="Fetch so many bytes; -1: to the end.")] = -1,
    index: Annotated[
        bool, typer.Option("--index/--no-index", help="Also the index of each file: .bai, .crai, .csi, .tbi, .idx.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there with other bytes.")] = False,
    unpublished: options.Unpublished = False,
    validate: Annotated[
        Validation, typer.Option(help="full (true): parts and the whole MD5; parts (false): parts alone.")
    ] = Validation.FULL,
    verify_connection: options.VerifyConnection = True,
    parallel: options.AtOnce = options.PARALLEL,
    streams: options.Streams = None,
    max_rate: options.MaxRate = None,
    fail_fast: options.FailFast = False,
) -> None:
    """Fetch files from Score, verified part by part and as a whole.

    A file has its name only once it is whole; run again after an interruption it fetches only what is missing.
    """
    options.require_one({"--object-id": object_id, "--manifest": manifest, "--analysis-id": analysis_id})
    options.require_one({"--output-dir": output_dir, "--output": output})
    if more_object_ids and not object_id:
        raise typer.BadParameter(f"unexpected argument {more_object_ids[0]!r}")
    if output not in {None, STDOUT}:
        raise typer.BadParameter("--output takes - alone, for stdout; files go to --output-dir")
    from byte_path.allocator import tune_allocator
    from song_score_client.commands.selection import chosen_object_ids, find_objects, with_indexes
    from song_score_client.commands.transfers import FETCHED, run_transfers
    from song_score_client.targets import prepare_output_dir
    from song_score_client.transfer.batch import Batch

    session: ScoreSession = context.obj
    object_ids = chosen_object_ids(
        session, [*(object_id or ()), *(more_object_ids or ())], manifest, analysis_id, study_id
    )
    tune_allocator()
    batch = Batch(parallel, fail_fast=fail_fast)
    chosen = DownloadOptions(
        force=force,
        allow_unpublished=unpublished,
        whole_md5=validate in {Validation.FULL, Validation.TRUE},
        streams=options.choose_streams(context, parallel, streams, max_rate),
        rate=None if max_rate is None else batch.rate_limit(max_rate),
    )
    is_range = offset > 0 or length >= 0
    with session.open_score() as score:
        if verify_connection:
            score.require_serving()
        selection = find_objects(score, object_ids, allow_unpublished=unpublished)
        if output_dir is None:
            transfers = _to_stdout(score, selection, offset, length, chosen)
        else:
            if index and not is_range:
                selection = with_indexes(score, selection, allow_unpublished=unpublished)
            transfers = _transfers(
                score, selection, output_dir, output_layout, (offset, length) if is_range else None, chosen
            )
            prepare_output_dir(output_dir)
        code = run_transfers(batch, transfers, session.open_progress(stdout_is_data=output_dir is None), FETCHED)
    raise typer.Exit(code)


def _transfers(
    score: ScoreClient,
    selection: Selection,
    output_dir: Path,
    layout: OutputLayout,
    byte_range: tuple[int, int] | None,
    chosen: DownloadOptions,
) -> list[Transfer]:
    """Return a transfer for each id, in their order; one that can't be had fails in its turn. Raises ClientError."""
    from song_score_client.targets import require_room
    from song_score_client.transfer.batch import Transfer

    targets = selection.targets(output_dir, layout)
    group, small = (None, set()) if byte_range is not None else _group(score, selection, targets, output_dir, chosen)
    transfers = []
    for object_id in selection.object_ids:
        if object_id in selection.refused:
            transfers.append(Transfer(object_id, object_id, 0, partial(_refuse, selection.refused[object_id])))
            continue
        stored, target = selection.found[object_id], targets[object_id]
        name = str(target.relative_to(output_dir))
        run = partial(_fetch, score, stored, target, output_dir, chosen)
        if byte_range is not None:
            run = partial(_fetch_range, score, stored, target, output_dir, byte_range, chosen)
        size_bytes = stored.size_bytes if byte_range is None else _range_bytes(stored, *byte_range)
        transfers.append(Transfer(name, object_id, size_bytes, run, group if object_id in small else None))
    require_room(
        output_dir,
        {targets[transfer.object_id]: transfer.size_bytes for transfer in transfers if transfer.object_id in targets},
    )
    return transfers


def _group(
    score: ScoreClient, selection: Selection, targets: Mapping[str, Path], directory: Path, chosen: DownloadOptions
) -> tuple[Group | None, set[str]]:
    """Return what fetches the small objects together, if there are several, and their ids."""
    from song_score_client.transfer.small_downloads import SmallDownload, SmallDownloads
    from song_score_client.transfer.small_files import SMALL_FILE_BYTES

    small = {
        object_id: SmallDownload(stored, targets[object_id], directory)
        for object_id, stored in selection.found.items()
        if object_id in targets and stored.size_bytes <= SMALL_FILE_BYTES
    }
    if len(small) < 2:  # noqa: PLR2004 - several
        return None, set()
    group = SmallDownloads(
        score,
        small,
        force=chosen.force,
        allow_unpublished=chosen.allow_unpublished,
        whole_md5=chosen.whole_md5,
        rate=chosen.rate,
    )
    return group, set(small)


def _refuse(error: ServiceError, _listener: Listener) -> Receipt:
    raise error


def _fetch(
    score: ScoreClient, stored: StoredObject, target: Path, directory: Path, chosen: DownloadOptions, listener: Listener
) -> Receipt:
    from song_score_client.targets import prepare_target
    from song_score_client.transfer.batch import Receipt
    from song_score_client.transfer.download import download_object

    prepare_target(target, directory)
    result = download_object(
        score,
        stored.object_id,
        target,
        force=chosen.force,
        allow_unpublished=chosen.allow_unpublished,
        whole_md5=chosen.whole_md5,
        streams=chosen.streams,
        rate=chosen.rate,
        listener=listener,
    )
    return Receipt(result.fetched_bytes, result.stored_object.part_total, result.kept_part_total, result.md5)


def _range_bytes(stored: StoredObject, offset: int, length: int) -> int:
    """Return how long the range is; what is wrong with it is said in its file's turn."""
    rest = max(0, stored.size_bytes - offset)
    return rest if length < 0 else min(length, rest)


def _fetch_range(
    score: ScoreClient,
    stored: StoredObject,
    target: Path,
    directory: Path,
    byte_range: tuple[int, int],
    chosen: DownloadOptions,
    listener: Listener,
) -> Receipt:
    from song_score_client.targets import prepare_target
    from song_score_client.transfer.batch import Receipt
    from song_score_client.transfer.range_download import clip_range, download_range

    offset, length = clip_range(stored, *byte_range)
    named = target.with_name(f"{target.name}.range-{offset}-{length}")
    prepare_target(named, directory)
    result = download_range(
        score,
        stored,
        named,
        offset,
        length,
        force=chosen.force,
        allow_unpublished=chosen.allow_unpublished,
        streams=chosen.streams,
        rate=chosen.rate,
        listener=listener,
    )
    return Receipt(result.fetched_bytes, result.piece_total, result.kept_piece_total, None)


def _to_stdout(
    score: ScoreClient, selection: Selection, offset: int, length: int, chosen: DownloadOptions
) -> list[Transfer]:
    """Return the one transfer. Raises ConfigurationError where several objects are asked for."""
    from song_score_client.errors import ConfigurationError
    from song_score_client.transfer.batch import Transfer

    if len(selection.object_ids) != 1:
        raise ConfigurationError(f"--output - takes one object, not {len(selection.object_ids)}")
    (object_id,) = selection.object_ids
    if object_id in selection.refused:
        return [Transfer(object_id, object_id, 0, partial(_refuse, selection.refused[object_id]))]
    stored = selection.found[object_id]
    size_bytes = _range_bytes(stored, offset, length)
    return [Transfer(stored.file_name, object_id, size_bytes, partial(_pipe, score, stored, offset, length, chosen))]


def _pipe(
    score: ScoreClient, stored: StoredObject, offset: int, length: int, chosen: DownloadOptions, listener: Listener
) -> Receipt:
    from song_score_client.errors import LocalFileError
    from song_score_client.transfer.batch import Receipt
    from song_score_client.transfer.range_download import clip_range, download_to

    if sys.stdout is None:  # a shell's `>&-`
        raise LocalFileError("stdout is closed: there is nowhere to write the object")
    offset, length = clip_range(stored, offset, length)
    try:
        md5 = download_to(
            score,
            stored,
            sys.stdout.buffer,
            offset,
            length,
            allow_unpublished=chosen.allow_unpublished,
            whole_md5=chosen.whole_md5,
            rate=chosen.rate,
            listener=listener,
        )
    except BrokenPipeError:
        # What is still in the buffer would fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise LocalFileError(f"{stored.file_name}: nobody reads stdout any more") from None
    return Receipt(length, stored.part_total, 0, md5)
