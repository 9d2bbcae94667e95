"""`score verify` and `score repair`."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from song_score_client.commands import options
from song_score_client.commands.copy_options import CopyOptions, about_copies

if TYPE_CHECKING:
    from collections.abc import Callable

    from song_score_client.commands.local_copies import LocalCopy
    from song_score_client.commands.score_session import ScoreSession
    from song_score_client.commands.transfers import Words
    from song_score_client.score import ScoreClient
    from song_score_client.transfer.batch import Outcome, Receipt, Transfer
    from song_score_client.transfer.listener import Listener
    from song_score_client.transfer.parallelism import Streams
    from song_score_client.transfer.rate import RateLimit


@about_copies
def verify(
    context: typer.Context,
    chosen: CopyOptions,
    *,
    stored: Annotated[
        bool, typer.Option("--stored", help="Not local files: have Score read what it stores again, and wait.")
    ] = False,
    parallel: options.Parallel = options.PARALLEL,
    fail_fast: options.FailFast = False,
) -> None:
    """Compare files on this machine with what Score holds, part by part; nothing is fetched.

    Exit code 6 where a file differs: `score repair`, with the same words, fetches just the parts that do.
    """
    from song_score_client.commands.transfers import CHECKED

    session: ScoreSession = context.obj
    if stored:
        if chosen.paths:
            raise typer.BadParameter("--stored takes no path, but --object-id, --manifest or --analysis-id")
        from song_score_client.commands.stored_check import check_stored

        raise typer.Exit(check_stored(session, chosen, parallel, fail_fast=fail_fast))
    check = partial(_check, chosen.allow_unpublished)
    _run(session, chosen, parallel, None, CHECKED, check, fail_fast=fail_fast)


@about_copies
def repair(
    context: typer.Context,
    chosen: CopyOptions,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also overwrite a file that looks like another one altogether.")
    ] = False,
    parallel: options.Parallel = options.PARALLEL,
    max_rate: options.MaxRate = None,
    fail_fast: options.FailFast = False,
) -> None:
    """Fetch the parts of files that differ from what Score holds, and mend them in place.

    Run again after an interruption it fetches only what is still wrong.
    """
    from song_score_client.commands.transfers import MENDED
    from song_score_client.transfer.parallelism import useful_streams

    session: ScoreSession = context.obj
    streams = useful_streams(is_limited=max_rate is not None)
    mend = partial(_repair, chosen.allow_unpublished, force, streams)
    _run(session, chosen, parallel, max_rate, MENDED, mend, fail_fast=fail_fast)


def _run(
    session: ScoreSession,
    chosen: CopyOptions,
    parallel: int,
    max_rate: float | None,
    words: Words,
    work: Callable[[ScoreClient, RateLimit | None, LocalCopy, Listener], Receipt],
    *,
    fail_fast: bool,
) -> None:
    """Do the work for every copy and end with its exit code."""
    from byte_path.allocator import tune_allocator
    from song_score_client.commands.local_copies import local_copies
    from song_score_client.commands.transfers import run_transfers
    from song_score_client.transfer.batch import Batch

    tune_allocator()
    batch = Batch(parallel, fail_fast=fail_fast)
    rate = None if max_rate is None else batch.rate_limit(max_rate)
    with session.open_score() as score:
        copies = local_copies(session, score, chosen)
        transfers = [_transfer(copy, partial(work, score, rate, copy)) for copy in copies]
        code = run_transfers(batch, transfers, session.open_progress(), words, _describe)
    raise typer.Exit(code)


def _transfer(copy: LocalCopy, run: Callable[[Listener], Receipt]) -> Transfer:
    from song_score_client.transfer.batch import Transfer

    try:
        size_bytes = copy.path.stat().st_size
    except OSError:
        size_bytes = 0  # its own turn says what is wrong
    return Transfer(str(copy.path), copy.object_id, size_bytes, run)


def _describe(outcome: Outcome, receipt: Receipt) -> str:
    from song_score_client.quantities import count

    fetched = receipt.part_total - receipt.kept_part_total
    parts = f"all {receipt.part_total} parts are right" if receipt.part_total != 1 else "its one part is right"
    if fetched:
        were = "was wrong, and is mended" if fetched == 1 else "were wrong, and are mended"
        parts = f"{fetched} of {count(receipt.part_total, 'part')} {were}"
    cut = "; it was too long, and is cut to its size" if receipt.is_cut else ""
    return f"{outcome.transfer.name}: {parts}{cut}"


def _check(
    allow_unpublished: bool,  # noqa: FBT001 - passed on
    score: ScoreClient,
    _rate: RateLimit | None,
    copy: LocalCopy,
    listener: Listener,
) -> Receipt:
    from song_score_client.transfer.batch import Receipt
    from song_score_client.transfer.local_check import check_file, require_right

    if copy.refusal is not None:
        raise copy.refusal
    check = check_file(score, copy.object_id, copy.path, allow_unpublished=allow_unpublished, listener=listener)
    require_right(check, copy.path)
    return Receipt(0, check.part_total, check.part_total, None)


def _repair(
    allow_unpublished: bool,  # noqa: FBT001 - passed on
    force: bool,  # noqa: FBT001 - passed on
    streams: Streams,
    score: ScoreClient,
    rate: RateLimit | None,
    copy: LocalCopy,
    listener: Listener,
) -> Receipt:
    from song_score_client.transfer.batch import Receipt
    from song_score_client.transfer.local_check import repair_file

    if copy.refusal is not None:
        raise copy.refusal
    result = repair_file(
        score,
        copy.object_id,
        copy.path,
        force=force,
        allow_unpublished=allow_unpublished,
        streams=streams,
        rate=rate,
        listener=listener,
    )
    check = result.check
    is_cut = check.size_bytes > check.stored_object.size_bytes
    kept_total = check.part_total - len(check.bad_parts)
    return Receipt(result.fetched_bytes, check.part_total, kept_total, None, is_cut)
