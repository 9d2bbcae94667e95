"""Runs the transfers of a command and reports them, file by file and in total."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from song_score_client.commands.exit_codes import ExitCode, combined_exit_code, exit_code
from song_score_client.errors import (
    AnalysisNotPublishedError,
    ObjectDigestMismatchError,
    ServiceError,
    TokenInvalidError,
)
from song_score_client.progress import Document, Progress
from song_score_client.quantities import format_bytes, format_seconds
from song_score_client.transfer.batch import Batch, Outcome, Receipt, Transfer


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of files."""

    done: str
    """Of those that something was done with: `sent`."""
    kept: str
    """Of those that were as they should be, so that no byte had to move: `already stored`."""
    different: str = ""
    """Of those that were looked at and have other bytes, where that is the answer and no failure: `different`."""


SENT = Words("sent", "already stored")
FETCHED = Words("fetched", "already here")
MENDED = Words("mended", "already right")
CHECKED = Words("right", "right", "different")
VERIFIED = Words("verified", "verified")


def run_transfers(
    batch: Batch,
    transfers: Sequence[Transfer],
    progress: Progress,
    words: Words,
    describe: Callable[[Outcome, Receipt], str] | None = None,
) -> ExitCode:
    """Move the files and report. Returns the command's exit code.

    `describe` says what was done with a file, where it is another thing than moving it.
    """
    outcomes = move_files(batch, transfers, progress, describe or partial(describe_moved, words=words))
    code = combined_exit_code(outcome.error for outcome in outcomes if outcome.error is not None)
    _show_total(outcomes, progress, words, code)
    return code


def move_files(
    batch: Batch, transfers: Sequence[Transfer], progress: Progress, describe: Callable[[Outcome, Receipt], str]
) -> list[Outcome]:
    """Move the files, report each as it ends, and return how they fared, in their order."""
    progress.total.total_bytes = sum(transfer.size_bytes for transfer in transfers)

    is_refused = False

    def show(outcome: Outcome) -> None:
        nonlocal is_refused
        _show(outcome, progress, describe, is_told=is_refused)
        is_refused = is_refused or isinstance(outcome.error, TokenInvalidError)

    with progress:
        return batch.run(
            transfers,
            lambda transfer: progress.watch(transfer.name, transfer.object_id, transfer.size_bytes),
            show,
        )


def _show(outcome: Outcome, progress: Progress, describe: Callable[[Outcome, Receipt], str], *, is_told: bool) -> None:
    transfer, receipt = outcome.transfer, outcome.receipt
    if receipt is not None:
        progress.report(describe(outcome, receipt), _document(outcome, receipt))
        return
    error = outcome.error or AssertionError("an outcome has a receipt or an error")
    report_failure(progress, transfer.name, transfer.object_id, error, is_told=is_told)


def report_failure(progress: Progress, name: str, object_id: str, error: Exception, *, is_told: bool = False) -> None:
    """Say that a file failed, and why; shortly where it `is_told` already that the token is refused."""
    message = str(error) or type(error).__name__
    if isinstance(error, TokenInvalidError):
        message = f"the token is refused: {message} ({error.service.upper()}_ACCESS_TOKEN)"
    if isinstance(error, AnalysisNotPublishedError):
        message += " (--unpublished)"  # the flag of the words that the service uses
    # Many messages name the path, and with it the file.
    text = message if name in message else f"{name}: {message}"
    if is_told and isinstance(error, TokenInvalidError):
        text = f"{name}: the token is refused, as above"
    document: Document = {
        "event": "failed",
        "file": name,
        "object_id": object_id,
        "reason": (error.reason if isinstance(error, ServiceError) else "") or type(error).__name__,
        "message": message,
        "exit_code": int(exit_code(error)),
    }
    progress.fail(text, document)


def _document(outcome: Outcome, receipt: Receipt) -> Document:
    size_bytes = _size_bytes(outcome, receipt)
    return {
        "event": "done",
        "file": outcome.transfer.name,
        "object_id": outcome.transfer.object_id,
        "bytes": size_bytes,
        "total": size_bytes,
        "rate": round(_rate(receipt.moved_bytes, outcome.seconds)),
        "moved_bytes": receipt.moved_bytes,
        "part_total": receipt.part_total,
        "kept_part_total": receipt.kept_part_total,
        "md5": receipt.md5,
        "md5_verified": receipt.md5 is not None,
        "seconds": round(outcome.seconds, 3),
    }


def describe_moved(outcome: Outcome, receipt: Receipt, *, words: Words) -> str:
    """Say that a file was moved, or needed not, for people."""
    if _is_kept(receipt):
        moved = [words.kept]
    elif receipt.kept_part_total:
        kept = f"{receipt.kept_part_total} of {receipt.part_total} parts were there and were not {words.done} again"
        moved = [f"{format_bytes(receipt.moved_bytes)} {words.done}", kept]
    else:
        moved = [words.done]
    facts = [
        format_bytes(_size_bytes(outcome, receipt)),
        *moved,
        f"MD5 {receipt.md5} verified" if receipt.md5 else "parts verified, MD5 of the whole not asked for",
        format_seconds(outcome.seconds),
        *([f"{format_bytes(_rate(receipt.moved_bytes, outcome.seconds))}/s"] if receipt.moved_bytes else []),
    ]
    return f"{outcome.transfer.name}: {', '.join(facts)}"


def _size_bytes(outcome: Outcome, receipt: Receipt) -> int:
    return outcome.transfer.size_bytes if receipt.size_bytes is None else receipt.size_bytes


def _is_kept(receipt: Receipt) -> bool:
    """Whether the file was as it should be and no byte had to move: of a file that has any."""
    return not receipt.moved_bytes and not receipt.is_cut and 0 < receipt.part_total == receipt.kept_part_total


def _show_total(outcomes: Sequence[Outcome], progress: Progress, words: Words, code: ExitCode) -> None:
    receipts = [outcome.receipt for outcome in outcomes if outcome.receipt is not None]
    moved_bytes = sum(receipt.moved_bytes for receipt in receipts)
    failed = len(outcomes) - len(receipts)
    different = sum(isinstance(outcome.error, ObjectDigestMismatchError) for outcome in outcomes)
    totals = Counter(words.kept if _is_kept(receipt) else words.done for receipt in receipts)
    (first, done), *others = totals.most_common() or [(words.done, 0)]
    text = f"{done} of {len(outcomes)} files {first}"
    if words.different:
        others += [(words.different, different), ("failed", failed - different)]
    else:
        others.append(("failed", failed))
    text += "".join(f", {total} {word}" for word, total in others if total)
    document: Document = {
        "event": "summary",
        "files": len(outcomes),
        "done": len(receipts),
        "kept": sum(map(_is_kept, receipts)),
        "failed": failed,
        "moved_bytes": moved_bytes,
        "exit_code": int(code),
    }
    progress.report(text, document)


def _rate(moved_bytes: int, seconds: float) -> float:
    return moved_bytes / seconds if seconds > 0 else 0.0
