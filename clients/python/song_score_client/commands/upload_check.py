"""`score upload --dry-run`: everything that can be known of an upload without beginning it."""

from collections.abc import Sequence

import grpc
from score.v1.stored_object_pb2 import StoredObject
from song.v1.analysis_pb2 import ANALYSIS_STATE_UNPUBLISHED, AnalysisState
from song.v1.file_service_pb2 import RegisteredObject

from song_score_client.commands.exit_codes import ExitCode, combined_exit_code
from song_score_client.commands.score_session import ScoreSession
from song_score_client.commands.transfers import report_failure
from song_score_client.errors import (
    AnalysisNotUnpublishedError,
    ClientError,
    Md5NotRegisteredError,
    ObjectNotRegisteredError,
    ServiceError,
    SizeNotRegisteredError,
)
from song_score_client.progress import Document
from song_score_client.quantities import format_bytes
from song_score_client.transfer.local_file import open_file
from song_score_client.upload_manifest import ManifestEntry

_REASONS = {kind: reason for reason, kind in ServiceError.reasons.items()}


def check_upload(session: ScoreSession, entries: Sequence[ManifestEntry]) -> ExitCode:
    """Say of each file whether it would be sent, is stored already, or would be refused. Raises ClientError.

    Asks Song what is registered and Score what it holds; reads sizes, not bytes.
    """
    object_ids = [entry.object_id for entry in entries]
    with session.open_song() as song:
        registered = {found.file.object_id: found for found in song.resolve_objects(object_ids).objects}
    with session.open_score() as score:
        answer = score.batch_get_objects(object_ids, allow_unpublished=True)
        stored = {found.object_id: found for found in answer.stored_objects}
    progress, failures, sizes = session.open_progress(), [], []
    for entry in entries:
        try:
            size_bytes, is_stored = _check(entry, registered.get(entry.object_id), stored.get(entry.object_id))
        except ClientError as error:
            report_failure(progress, entry.path.name, entry.object_id, error)
            failures.append(error)
            continue
        sizes.append(0 if is_stored else size_bytes)
        verdict = "is stored already" if is_stored else f"would be sent, {format_bytes(size_bytes)}"
        document: Document = {
            "event": "checked",
            "file": entry.path.name,
            "object_id": entry.object_id,
            "total": size_bytes,
            "stored": is_stored,
        }
        progress.report(f"{entry.path.name}: {verdict}", document)
    code = combined_exit_code(failures)
    text = f"{len(sizes)} of {len(entries)} files can be uploaded, {format_bytes(sum(sizes))} would be sent"
    facts = {"files": len(entries), "failed": len(failures), "bytes_to_send": sum(sizes), "exit_code": int(code)}
    progress.report(text, {"event": "summary", **facts})
    return code


def _check(entry: ManifestEntry, registered: RegisteredObject | None, stored: StoredObject | None) -> tuple[int, bool]:
    """Return the file's size in bytes and whether it is stored. Raises what its upload would end with."""
    with open_file(entry.path) as file:
        size_bytes = file.identity.size_bytes
    if registered is None:
        raise _refusal(
            ObjectNotRegisteredError, f"Song knows no object id {entry.object_id!r}: submit its analysis first"
        )
    known = registered.file
    if registered.analysis_state != ANALYSIS_STATE_UNPUBLISHED:
        state = AnalysisState.Name(registered.analysis_state).removeprefix("ANALYSIS_STATE_")
        raise _refusal(
            AnalysisNotUnpublishedError,
            f"analysis {known.analysis_id} is {state}: only UNPUBLISHED analyses take uploads",
        )
    if size_bytes != known.size_bytes:
        raise _refusal(
            SizeNotRegisteredError, f"{entry.path} has {size_bytes} bytes, registered are {known.size_bytes}"
        )
    if entry.md5 and entry.md5 != known.md5:
        raise _refusal(Md5NotRegisteredError, f"{entry.path} should have MD5 {entry.md5}, registered is {known.md5}")
    return size_bytes, stored is not None and stored.md5 == known.md5


def _refusal(kind: type[ServiceError], message: str) -> ServiceError:
    return kind(message, service="score", code=grpc.StatusCode.FAILED_PRECONDITION, reason=_REASONS[kind])
