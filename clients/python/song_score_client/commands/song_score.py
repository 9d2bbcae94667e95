"""The command `song-score`: what needs both services. `submit` is here; `serve` is handed in by who can serve."""

# ruff: noqa: PLC0415 - what talks to the services is imported when a subcommand runs, so that help comes at once

from __future__ import annotations  # names that only types need are not imported

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from song_score_client.commands import options
from song_score_client.commands.output import Output
from song_score_client.commands.score_group import ScoreGroup
from song_score_client.commands.score_session import ScoreSession

if TYPE_CHECKING:
    from song_score_client.commands.upload import UploadOptions
    from song_score_client.errors import ClientError
    from song_score_client.score import ScoreClient
    from song_score_client.submission import SubmissionOptions
    from song_score_client.transfer.batch import Batch
    from song_score_client.upload_manifest import ManifestEntry

PROGRAM = "song-score"
Serve = Callable[[list[str]], None]
"""Serves until it is told to stop, by these arguments."""


def build(serve: Serve) -> typer.Typer:
    """Return the command."""
    app = typer.Typer(
        name=PROGRAM,
        cls=ScoreGroup,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # rich's tables cut the names of options where the terminal is narrow
        # A traceback is for a defect of ours; with local variables in it, it could show a token.
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def serve_both(context: typer.Context) -> None:
        """Serve Song and Score in one process, on loopback; `song-score serve --help` lists its own options."""
        serve(context.args)

    app.callback()(start)
    app.command("submit")(submit)
    app.command(
        "serve",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    )(serve_both)
    return app


def start(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    *,
    song: options.SongAddress = None,
    score: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Score's address, host:port. [SCORE_URL]")
    ] = None,
    score_http: options.ScoreHttp = None,
    transport: options.ChosenTransport = None,
    profile: options.Profile = None,
    config: options.ConfigFile = None,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
    silent: options.Silent = False,
    version: options.Version = False,  # noqa: ARG001 - its callback acts
) -> None:
    """Song and Score together: from a payload to a published analysis, or both services in one process."""
    flags = {"score.url": score, "score.http": score_http, "score.transport": transport, "song.url": song}
    context.obj = ScoreSession(flags, config, profile, Output(json), quiet, silent, PROGRAM)


def submit(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    payloads: Annotated[list[Path], typer.Argument(help="Payloads, JSON; of a folder all *.json.")],
    *,
    directory: Annotated[
        Path | None, typer.Option("--dir", "-d", metavar="FOLDER", help="Where the files are. [beside each payload]")
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="Publish each analysis once its files are stored.")
    ] = False,
    study: Annotated[
        str | None, typer.Option("--study", "--study-id", metavar="ID", help="The study. [the payload's]")
    ] = None,
    allow_duplicates: Annotated[
        bool, typer.Option("--allow-duplicates", help="Accept files whose MD5 another analysis of the study has.")
    ] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Submit once more what was submitted from here before.")] = False,
    parallel: options.AtOnce = options.PARALLEL,
    streams: options.Streams = None,
    max_rate: options.MaxRate = None,
    state_dir: options.StateDir = None,
    fail_fast: options.FailFast = False,
) -> None:
    """Validate payloads, submit them, upload their files, see that they are stored whole, and publish.

    Run again after an interruption, at whatever step, it goes on: nothing is submitted twice, no byte that is safe is
    sent again, and what is done is left as it is. Every payload is tried unless --fail-fast.
    """
    from byte_path.allocator import tune_allocator
    from song_score_client.commands.upload import UploadOptions
    from song_score_client.submission import SubmissionOptions
    from song_score_client.transfer.batch import Batch
    from song_score_client.transfer.upload import default_state_dir

    tune_allocator()
    session: ScoreSession = context.obj
    chosen = SubmissionOptions(study, directory, publish, allow_duplicates, anew, state_dir or default_state_dir())

    def new_batch() -> tuple[Batch, UploadOptions]:
        batch = Batch(parallel, fail_fast=fail_fast)
        rate = None if max_rate is None else batch.rate_limit(max_rate)
        return batch, UploadOptions(options.choose_streams(context, parallel, streams, max_rate), rate, state_dir)

    raise typer.Exit(_submit_all(session, _files(payloads), chosen, new_batch, fail_fast=fail_fast))


def _files(payloads: Sequence[Path]) -> list[Path]:
    """Return the payloads, each once, those of folders by name. Raises LocalFileError where there is none."""
    from song_score_client.errors import LocalFileError

    found = [file for path in payloads for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    if not found:
        raise LocalFileError(f"{', '.join(map(str, payloads))}: there is no payload, no *.json")
    return list(dict.fromkeys(found))


def _submit_all(
    session: ScoreSession,
    paths: Sequence[Path],
    chosen: SubmissionOptions,
    new_batch: Callable[[], tuple[Batch, UploadOptions]],
    *,
    fail_fast: bool,
) -> int:
    """Submit one payload after the other and report each; return the command's exit code."""
    from song_score_client.commands.exit_codes import combined_exit_code
    from song_score_client.commands.inputs import read_document
    from song_score_client.errors import ClientError
    from song_score_client.submission import run_submission

    failures: list[Exception] = []

    def upload(score: ScoreClient, entries: Sequence[ManifestEntry]) -> None:
        failed = _upload(session, score, entries, *new_batch())
        if failed:
            failures.extend(failed[1:])
            raise failed[0]

    done = 0
    with session.open_song() as song, session.open_score() as score:
        for path in paths:
            say = partial(_say_of, session, path)
            try:
                result = run_submission(song, score, read_document(str(path)), path, chosen, upload, say)
            except ClientError as error:
                failures.append(error)
                _report_refused(session, path, error)
                if fail_fast:
                    break
                continue
            done += 1
            if session.output.as_json:
                session.output.show_line({"event": "submitted", "file": str(path), **asdict(result)})
    session.say(
        f"{done} of {len(paths)} payloads are {'published' if chosen.publish else 'submitted, their files stored'}"
    )
    return combined_exit_code(failures)


def _say_of(session: ScoreSession, path: Path, text: str) -> None:
    session.say(f"{path}: {text}")


def _upload(
    session: ScoreSession, score: ScoreClient, entries: Sequence[ManifestEntry], batch: Batch, uploads: UploadOptions
) -> list[Exception]:
    """Upload files and report each; return what hindered some."""
    from song_score_client.commands.transfers import SENT, describe_moved, move_files
    from song_score_client.commands.upload import upload_transfers

    transfers = upload_transfers(score, entries, uploads)
    outcomes = move_files(batch, transfers, session.open_progress(), partial(describe_moved, words=SENT))
    return [outcome.error for outcome in outcomes if outcome.error is not None]


def _report_refused(session: ScoreSession, path: Path, error: ClientError) -> None:
    from song_score_client.commands.exit_codes import exit_code
    from song_score_client.commands.group import report
    from song_score_client.errors import ServiceError

    report(f"{PROGRAM}: {path}", error)
    if session.output.as_json:
        violations = error.violations if isinstance(error, ServiceError) else []
        session.output.show_line(
            {
                "event": "refused",
                "file": str(path),
                "reason": (error.reason if isinstance(error, ServiceError) else "") or type(error).__name__,
                "message": str(error),
                "violations": [{"pointer": place, "message": what} for place, what in violations],
                "exit_code": int(exit_code(error)),
            }
        )
