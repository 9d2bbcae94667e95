"""`score upload`."""

# ruff: noqa: PLC0415 - what talks to the service is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from song_score_client.commands import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from song_score_client.commands.score_session import ScoreSession
    from song_score_client.score import ScoreClient
    from song_score_client.transfer.batch import Receipt, Transfer
    from song_score_client.transfer.listener import Listener
    from song_score_client.transfer.parallelism import Streams
    from song_score_client.transfer.rate import RateLimit
    from song_score_client.upload_manifest import ManifestEntry

STDIN = "-"


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """How to upload, whatever it is."""

    streams: int | Streams
    rate: RateLimit | None
    state_dir: Path | None
    replace: bool = False
    """Put the bytes in the place of others."""


def upload(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="With --analysis-id: where its files are.")] = Path(),
    *,
    manifest: options.ManifestSource = None,
    file: Annotated[str | None, typer.Option(metavar="FILE", help="One file, with --object-id; - is stdin.")] = None,
    object_id: Annotated[str | None, typer.Option(metavar="ID", help="The id Song gave the file.")] = None,
    md5: Annotated[
        str, typer.Option(metavar="MD5", help="The file's MD5, checked; by default the registered one.")
    ] = "",
    analysis_id: Annotated[
        str | None, typer.Option(metavar="ID", help="All files of an analysis, found by name.")
    ] = None,
    study_id: options.StudyId = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace other bytes that are stored, and abort an upload of another size."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, send nothing.")] = False,
    verify_connection: options.VerifyConnection = True,
    parallel: options.AtOnce = options.PARALLEL,
    streams: options.Streams = None,
    max_rate: options.MaxRate = None,
    state_dir: options.StateDir = None,
    fail_fast: options.FailFast = False,
) -> None:
    """Send files to Score; each is verified there before it becomes visible.

    Run again after an interruption it sends only what is missing.
    """
    options.require_one({"--manifest": manifest, "--file": file, "--analysis-id": analysis_id})
    if (file is None) != (object_id is None):
        raise typer.BadParameter("--file and --object-id belong together")
    if file is None and md5:
        raise typer.BadParameter("--md5 goes with --file")
    from byte_path.allocator import tune_allocator
    from song_score_client.commands.transfers import SENT, run_transfers
    from song_score_client.transfer.batch import Batch

    session: ScoreSession = context.obj
    if file == STDIN and dry_run:
        raise typer.BadParameter("--dry-run would have to read stdin to its end")
    entries = _entries(session, manifest, file, object_id, md5, analysis_id, study_id, directory)
    if dry_run:
        from song_score_client.commands.upload_check import check_upload

        raise typer.Exit(check_upload(session, entries))
    tune_allocator()
    batch = Batch(parallel, fail_fast=fail_fast)
    chosen = UploadOptions(
        options.choose_streams(context, parallel, streams, max_rate),
        None if max_rate is None else batch.rate_limit(max_rate),
        state_dir,
        force,
    )
    with session.open_score() as score:
        if verify_connection:
            score.require_serving()
        code = run_transfers(batch, upload_transfers(score, entries, chosen), session.open_progress(), SENT)
    raise typer.Exit(code)


def _entries(
    session: ScoreSession,
    manifest: str | None,
    file: str | None,
    object_id: str | None,
    md5: str,
    analysis_id: str | None,
    study_id: str | None,
    directory: Path,
) -> list[ManifestEntry]:
    """Return the files to upload. Raises ClientError."""
    from song_score_client.errors import ConfigurationError
    from song_score_client.manifest_source import load_manifest
    from song_score_client.manifests import is_md5, upload_entries
    from song_score_client.upload_manifest import ManifestEntry, match_files

    if manifest is not None:
        return upload_entries(load_manifest(manifest, session.configuration.portal_url))
    if file is not None and object_id is not None:
        if md5 and not is_md5(md5):
            raise ConfigurationError(f"--md5 {md5!r} is no MD5: 32 hexadecimal digits are expected")
        # A file that is called so, in whatever folder, has an absolute path.
        path = Path(STDIN) if file == STDIN else Path(file).absolute()
        return [ManifestEntry(object_id, path, md5.lower())]
    with session.open_song() as song:
        files = list(song.list_files(study_id or session.configuration.study_id, analysis_id or "", page_size=1000))
    return match_files(files, directory)


def upload_transfers(score: ScoreClient, entries: Sequence[ManifestEntry], chosen: UploadOptions) -> list[Transfer]:
    """Return a transfer for each file, in their order. Small ones go together, if there are several."""
    from song_score_client.transfer.batch import Transfer
    from song_score_client.transfer.small_files import SMALL_FILE_BYTES
    from song_score_client.transfer.small_uploads import SmallUpload, SmallUploads

    sizes = {entry.object_id: _size_bytes(entry.path) for entry in entries}
    small = {
        entry.object_id: SmallUpload(entry.object_id, entry.path, entry.md5)
        for entry in entries
        if sizes[entry.object_id] <= SMALL_FILE_BYTES
    }
    group = SmallUploads(score, small, replace=chosen.replace, rate=chosen.rate) if len(small) > 1 else None
    return [
        Transfer(
            entry.path.name,
            entry.object_id,
            sizes[entry.object_id],
            partial(_send, score, entry, chosen),
            group if entry.object_id in small else None,
        )
        for entry in entries
    ]


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0  # its own turn says what is wrong


def _send(score: ScoreClient, entry: ManifestEntry, chosen: UploadOptions, listener: Listener) -> Receipt:
    from song_score_client.transfer.batch import Receipt
    from song_score_client.transfer.upload import upload_file

    if str(entry.path) == STDIN:
        return _send_stdin(score, entry, chosen, listener)
    result = upload_file(
        score,
        entry.object_id,
        entry.path,
        expected_md5=entry.md5,
        replace=chosen.replace,
        streams=chosen.streams,
        rate=chosen.rate,
        state_dir=chosen.state_dir,
        listener=listener,
    )
    return Receipt(result.sent_bytes, result.part_total, result.kept_part_total, result.stored_object.md5)


def _send_stdin(score: ScoreClient, entry: ManifestEntry, chosen: UploadOptions, listener: Listener) -> Receipt:
    from song_score_client.errors import LocalFileError
    from song_score_client.transfer.batch import Receipt
    from song_score_client.transfer.pipe_upload import upload_pipe

    if sys.stdin is None:  # a shell's `<&-`
        raise LocalFileError("stdin is closed: there is nothing to upload")
    result = upload_pipe(
        score,
        entry.object_id,
        sys.stdin.buffer,
        expected_md5=entry.md5,
        replace=chosen.replace,
        rate=chosen.rate,
        listener=listener,
    )
    stored = result.stored_object
    return Receipt(
        result.sent_bytes, result.part_total, result.kept_part_total, stored.md5, size_bytes=stored.size_bytes
    )
