"""One object from its first byte to visible, through an upload like any other: for those that can't go in one piece.

That is, what is larger than is held in memory; and what has a live upload already, or other bytes stored.
"""

import hashlib
import time
from collections.abc import Mapping

from byte_path.codec import UploadChunk
from score_grpc.domain import limits
from score_grpc.domain.access import Principal
from score_grpc.domain.errors import (
    ChangingError,
    DrainingError,
    ObjectDigestMismatchError,
    PartsMissingError,
    PartTakenOverError,
    ScoreError,
    StoreUnavailableError,
    UploadAbortedError,
    UploadNotOpenError,
)
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.domain.uploads import Upload, UploadFailure, UploadState
from score_grpc.use_cases.complete import Completions
from score_grpc.use_cases.completion import REASONS
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.start import start_upload
from score_grpc.use_cases.write import Resend, WriteSession

_ERRORS: dict[str, type[ScoreError]] = {reason: kind for kind, reason in REASONS.items()} | {
    # The store has lost them: whoever sends the object again sends every part of it.
    "PARTS_MISSING": StoreUnavailableError
}


class WholeUpload:
    """Takes the bytes of one object in order, then completes. Used by one thread; ends with `finish` or `close`."""

    def __init__(
        self,
        environment: Environment,
        completions: Completions,
        principal: Principal,
        object_id: str,
        size_bytes: int,
        expected_md5: str,
        *,
        replace: bool,
        call_facts: Mapping[str, str],
    ) -> None:
        """Find these bytes stored, start an upload, or join the live one once it is OPEN.

        `call_facts` go into the audit with the end of its completion. Raises as `start_upload`, and DrainingError.
        """
        self._environment, self._completions, self._principal = environment, completions, principal
        self._call_facts = call_facts
        self._deadline = time.monotonic() + limits.WHOLE_UPLOAD_SECONDS
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._position = 0
        self._stored: StoredObject | None = None
        self._session: WriteSession | None = None
        while self._session is None:
            started = start_upload(
                environment, principal, object_id, size_bytes, expected_md5, part_size_hint_bytes=0, replace=replace
            )
            if isinstance(started, StoredObject):
                self._stored = started
                return
            self._upload = started
            try:
                self._session = WriteSession(environment, principal, started.upload_id)
            except (UploadNotOpenError, UploadAbortedError):  # another call completes or ends it
                self._pause()

    def write(self, data: memoryview) -> None:
        """Take the next bytes, not beyond the object's end. What the upload holds of them already is replaced.

        Raises StoreUnavailableError, StoreFullError, AnalysisNotUnpublishedError, SongUnavailableError, ChangingError.
        """
        self._md5.update(data)
        while data and self._session is not None:
            part_size_bytes = self._upload.part_size_bytes
            number, offset = self._position // part_size_bytes + 1, self._position % part_size_bytes
            piece, data = data[: part_size_bytes - offset], data[part_size_bytes - offset :]
            try:
                answer = self._session.take(UploadChunk(number, offset, piece, replace_part=offset == 0))
            except (UploadNotOpenError, UploadAbortedError):
                self.close()  # another call was faster: `finish` looks what it came to
            except PartTakenOverError as error:
                raise ChangingError(f"{self._upload.file_name}: another stream sends it too: retry") from error
            else:
                if isinstance(answer, Resend):
                    raise StoreUnavailableError(f"{self._upload.file_name} could not be written to the store: retry")
            self._position += piece.nbytes

    def finish(self) -> StoredObject:
        """Complete, wait, and return the object. Raises what a completion may lead back to OPEN with, DrainingError."""
        self.close()
        if self._stored is not None:
            return _require_same(self._stored, self._md5.hexdigest())
        while True:
            try:
                upload, stored = self._completions.complete(self._principal, self._upload.upload_id, self._call_facts)
            except PartsMissingError as error:
                raise StoreUnavailableError(f"{error}: retry") from error
            except UploadAbortedError as error:
                raise ChangingError(f"{error}: retry") from error
            if stored is not None:
                return _require_same(stored, self._md5.hexdigest())
            if upload.state is UploadState.OPEN and upload.last_failure is not None:
                raise _error(upload, upload.last_failure)
            self._pause()

    def close(self) -> None:
        """Take no more bytes. A part in the middle leaves nothing."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _pause(self) -> None:
        if self._environment.draining.wait(limits.WHOLE_UPLOAD_PAUSE_SECONDS):
            raise DrainingError("this server is shutting down: send the object to another one")
        if time.monotonic() > self._deadline:
            raise StoreUnavailableError(f"{self._upload.file_name} is still being verified: retry in a while")


def _require_same(stored: StoredObject, md5: str) -> StoredObject:
    """Return the object. Raises ObjectDigestMismatchError unless the bytes that were sent are those that are stored."""
    if md5 != stored.md5:
        raise ObjectDigestMismatchError(
            f"{stored.file_name}: the bytes that were sent have MD5 {md5}, those stored under {stored.object_id} have "
            f"{stored.md5}: choose the right file",
            computed_md5=md5,
            registered_md5=stored.md5,
        )
    return stored


def _error(upload: Upload, failure: UploadFailure) -> ScoreError:
    metadata = {"computed_md5": failure.computed_md5, "registered_md5": upload.expected_md5}
    known = {name: text for name, text in metadata.items() if failure.computed_md5}
    return _ERRORS.get(failure.reason, StoreUnavailableError)(failure.message, **known)
