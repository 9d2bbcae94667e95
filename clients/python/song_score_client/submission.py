"""One payload's way: validated, submitted, its files uploaded, verified, published; begun again, it goes on."""

from __future__ import annotations  # names that only types need are not imported

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import grpc
from score.v1.stored_object_pb2 import VERIFICATION_VERIFIED
from song.v1.analysis_pb2 import ANALYSIS_STATE_PUBLISHED, ANALYSIS_STATE_SUPPRESSED
from song.v1.file_pb2 import File

from song_score_client.errors import (
    AnalysisNotFoundError,
    ConfigurationError,
    LocalFileError,
    SchemaViolationError,
    StateConflictError,
)
from song_score_client.exact_json import Json, Number, parse_object
from song_score_client.score import ScoreClient
from song_score_client.song import SongClient
from song_score_client.submission_state import SubmissionFile, SubmissionState
from song_score_client.upload_manifest import ManifestEntry, match_files

PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class SubmissionOptions:
    """How to go about it."""

    study_id: str | None
    """None: the one in the payload."""
    directory: Path | None
    """Where the files are. None: beside the payload."""
    publish: bool
    allow_duplicates: bool
    anew: bool
    """Forget what was submitted before."""
    state_dir: Path


@dataclass(frozen=True, slots=True)
class Submitted:
    """How far a payload came."""

    study_id: str
    analysis_id: str
    state: str
    """UNPUBLISHED or PUBLISHED."""
    file_total: int


Upload = Callable[[ScoreClient, Sequence[ManifestEntry]], None]
"""Uploads files and raises what hinders it."""


def run_submission(
    song: SongClient,
    score: ScoreClient,
    payload: str,
    payload_path: Path,
    chosen: SubmissionOptions,
    upload: Upload,
    say: Callable[[str], None],
) -> Submitted:
    """Bring a payload all the way; a step that is done is skipped. Raises ClientError, and what `upload` does."""
    document = _parse(payload, payload_path)
    study_id = chosen.study_id or _study_of(document, payload_path)
    directory = chosen.directory or payload_path.absolute().parent
    memory = SubmissionFile(chosen.state_dir, song.connection.address, study_id, payload)
    state = None if chosen.anew else memory.load()
    analysis_id = _submit(song, study_id, payload, document, directory, memory, state, chosen, say)
    if song.get_analysis(study_id, analysis_id, fields=["state"]).state == ANALYSIS_STATE_PUBLISHED:
        files = list(song.list_files(study_id, analysis_id, page_size=PAGE_SIZE))
        say(f"analysis {analysis_id} is PUBLISHED already")
        return Submitted(study_id, analysis_id, "PUBLISHED", len(files))
    files = list(song.list_files(study_id, analysis_id, page_size=PAGE_SIZE))
    missing = _not_stored(score, files)
    if missing:
        upload(score, match_files(missing, directory))
        missing = _not_stored(score, files)
    if missing:
        names = ", ".join(file.file_name for file in missing)
        raise StateConflictError(
            f"Score does not hold, verified and as registered: {names}; run the command again",
            service="score",
            code=grpc.StatusCode.FAILED_PRECONDITION,
        )
    say(f"Score holds all {len(files)} files of analysis {analysis_id}, verified")
    if chosen.publish:
        song.publish(study_id, analysis_id)
        say(f"analysis {analysis_id} is PUBLISHED")
    return Submitted(study_id, analysis_id, "PUBLISHED" if chosen.publish else "UNPUBLISHED", len(files))


def _submit(  # noqa: PLR0913, PLR0917 - the state of one payload
    song: SongClient,
    study_id: str,
    payload: str,
    document: dict[str, Json],
    directory: Path,
    memory: SubmissionFile,
    state: SubmissionState | None,
    chosen: SubmissionOptions,
    say: Callable[[str], None],
) -> str:
    """Return the analysis' id, that of the run before where there was one. Raises ClientError."""
    if state is not None and state.analysis_id:
        _require_usable(song, study_id, state.analysis_id)
        say(f"going on with analysis {state.analysis_id}")
        return state.analysis_id
    if state is None:
        # Before anything is written: what can be known now need not be mended later. Once a submission was tried,
        # its own files would be duplicates of themselves.
        answer = song.validate(study_id, payload, allow_duplicates=chosen.allow_duplicates)
        if answer.violation_total:
            raise SchemaViolationError(
                f"the payload has {answer.violation_total} violations: nothing was submitted",
                service="song",
                code=grpc.StatusCode.INVALID_ARGUMENT,
                reason="SCHEMA_VIOLATION",
                violations=[(violation.pointer, violation.message) for violation in answer.violations],
            )
        _require_local_files(document, directory)
        state = memory.begin()
    analysis_id = song.submit(study_id, payload, allow_duplicates=chosen.allow_duplicates, request_id=state.request_id)
    memory.submitted(state, analysis_id)
    say(f"submitted as analysis {analysis_id}")
    return analysis_id


def _require_usable(song: SongClient, study_id: str, analysis_id: str) -> None:
    again = "; --anew submits the payload once more"
    try:
        state = song.get_analysis(study_id, analysis_id, fields=["state"]).state
    except AnalysisNotFoundError as error:
        error.args = (f"{error.message}: it was submitted from here before{again}",)
        raise
    if state == ANALYSIS_STATE_SUPPRESSED:
        raise StateConflictError(
            f"analysis {analysis_id}, submitted from here before, is SUPPRESSED{again}",
            service="song",
            code=grpc.StatusCode.FAILED_PRECONDITION,
        )


def _not_stored(score: ScoreClient, files: Sequence[File]) -> list[File]:
    """Return the files that Score does not hold verified, with the registered size and MD5. Raises ServiceError."""
    answer = score.batch_get_objects([file.object_id for file in files], allow_unpublished=True)
    stored = {
        (found.object_id, found.size_bytes, found.md5)
        for found in answer.stored_objects
        if found.verification == VERIFICATION_VERIFIED
    }
    return [file for file in files if (file.object_id, file.size_bytes, file.md5) not in stored]


def _parse(payload: str, path: Path) -> dict[str, Json]:
    try:
        return parse_object(payload)
    except ValueError as error:
        raise LocalFileError(f"{path}: {error}") from None


def _study_of(document: dict[str, Json], path: Path) -> str:
    study_id = document.get("studyId")
    if not isinstance(study_id, str) or not study_id:
        raise ConfigurationError(f'{path} has no "studyId": use --study')
    return study_id


def _require_local_files(document: dict[str, Json], directory: Path) -> None:
    """Raise LocalFileError unless every file of a valid payload is in the folder, in its size."""
    named = document.get("files")
    files = [
        File(file_name=str(file.get("fileName")), size_bytes=int(Decimal(size.text)))
        for file in (named if isinstance(named, list) else [])
        if isinstance(file, dict) and isinstance(size := file.get("fileSize"), Number)
    ]
    match_files(files, directory)
