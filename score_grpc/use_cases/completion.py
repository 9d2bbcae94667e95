"""One completion: hash the whole, compare it with Song's registration, make the object visible.

Every step finds what the step before left, also when that was in another process:

    parts all there → Song's word → MD5 of the staging (where the store can read one) → assemble
        → MD5 of what passed, if the store vouches for it, else MD5 read back (where it could not be had before)
        → Song's word again → visible

A completion that can't go through leads back to OPEN with every verified part kept.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from byte_path.digests import PartDigest
from byte_path.md5 import new_md5
from score_grpc.domain import limits
from score_grpc.domain.errors import (
    AnalysisNotUnpublishedError,
    ChangingError,
    ObjectDigestMismatchError,
    ObjectExistsError,
    ObjectNotRegisteredError,
    PartsLostError,
    PartsMissingError,
    ScoreError,
    SizeNotRegisteredError,
    SongUnavailableError,
    StagingLostError,
    StoredBytesCorruptError,
    StoreFullError,
    StoreUnavailableError,
)
from score_grpc.domain.registrations import AnalysisState, Registration
from score_grpc.domain.stored_objects import StoredObject, new_object
from score_grpc.domain.uploads import AbortReason, Upload, UploadFailure, UploadPart, UploadState
from score_grpc.gateways.objects.port import StagedPart, Staging, StoredBytes
from score_grpc.use_cases.changing import changing, require_not_publishing
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.hashing import DamagedPartError
from score_grpc.use_cases.permission import registration_of

DIGEST_MISMATCH = "OBJECT_DIGEST_MISMATCH"
REASONS: dict[type[ScoreError], str] = {
    ObjectDigestMismatchError: DIGEST_MISMATCH,
    PartsMissingError: "PARTS_MISSING",
    AnalysisNotUnpublishedError: "ANALYSIS_NOT_UNPUBLISHED",
    ChangingError: "CHANGING",
    ObjectExistsError: "OBJECT_EXISTS",
    SizeNotRegisteredError: "SIZE_NOT_REGISTERED",
    ObjectNotRegisteredError: "OBJECT_NOT_REGISTERED",
    SongUnavailableError: "SONG_UNAVAILABLE",
    StoreUnavailableError: "STORE_UNAVAILABLE",
    StoreFullError: "STORE_FULL",
}
"""What leads a completion back to OPEN, by the name the contract gives it."""
_FAILURES = tuple(REASONS)
_FAILURES_AFTER_ASSEMBLY: tuple[type[Exception], ...] = (DamagedPartError, PartsLostError, *_FAILURES)

_log = structlog.get_logger()


class NotOursError(Exception):
    """The completion was taken over or aborted, or this process shuts down: stop, and change nothing more."""


class CompletionJob:
    """Runs one completion whose lease this process holds."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._ledger, self._store, self._registry = environment.ledger, environment.store, environment.registry
        self._hashing, self._draining = environment.hashing, environment.draining
        self._renewed = time.monotonic()

    def run(self, upload_id: str) -> None:
        """Complete the upload, or lead it back to OPEN. Raises NotOursError; anything else may be tried again."""
        upload = self._ledger.completion(upload_id)
        if upload is None:
            raise NotOursError
        self._upload = upload
        self._staging = Staging(upload.staging_key, upload.staging_token)
        self._parts: Sequence[UploadPart] = self._ledger.parts(upload_id, 0, limits.PARTS_MAX)
        self._unseen = {part.part_number for part in self._parts if not part.xxh3_128}
        try:
            self._make_visible()
        except DamagedPartError as damaged:
            self._lose([damaged.part.part_number])
        except PartsLostError as lost:
            self._lose(lost.part_numbers)
        except StagingLostError as lost:
            self._staging = self._store.begin(upload.staging_key)
            self._lose([part.part_number for part in self._parts], f". {lost}")
        except _FAILURES as error:
            self._reopen(error)

    def _make_visible(self) -> None:
        upload = self._upload
        registration = self._registration()
        require_parts(upload, self._parts)
        md5 = self._hashing.finish(upload, self._parts, self._renew)
        if md5 is not None:
            _require_md5(upload, md5, registration)
        stored = self._store.assemble(self._staging, self._staged_parts())
        try:
            if md5 is None:
                md5 = self._vouched_for(stored) or self._read_back(stored)
                self._require_signed_parts(stored, md5, registration)
            with self._changing(md5):
                registration = self._registration()
                _require_md5(upload, md5, registration)
                self._fill_digests()
                made = new_object(registration, upload, md5, stored.version, datetime.now(UTC), is_verified=True)
                is_visible = self._ledger.complete(made)
        except _FAILURES_AFTER_ASSEMBLY:
            self._unassemble()
            raise
        if not is_visible:
            self._clean_up_if_aborted()
            raise NotOursError
        self._hashing.forget(upload.upload_id)
        _log.info("object visible", object_id=upload.object_id, size_bytes=upload.size_bytes, md5=md5)

    @contextmanager
    def _changing(self, md5: str) -> Iterator[None]:
        """Mark the object whose place the upload takes, unless it is mended. Raises ChangingError."""
        replaced = self._replaced()
        if replaced is None or replaced.holds(self._upload.size_bytes, md5):
            yield
            return
        with changing(self._environment, replaced, self._upload.upload_id):
            yield

    def _replaced(self) -> StoredObject | None:
        return self._ledger.objects([self._upload.object_id]).get(self._upload.object_id)

    def _registration(self) -> Registration:
        """Return Song's word of now. Raises what leads back to OPEN; aborts the upload of a suppressed analysis."""
        upload = self._upload
        registration = registration_of(self._registry, upload.object_id, fresh=True)
        if registration.analysis_state is AnalysisState.SUPPRESSED:
            self._ledger.abort(upload.upload_id, AbortReason.SUPPRESSED)
            self._hashing.forget(upload.upload_id)
            self._clean_up_if_aborted()
            raise NotOursError
        replaced = self._replaced()
        # The bytes that are stored already can only mend it, whatever the state.
        only_mends = replaced is not None and replaced.holds(registration.size_bytes, registration.md5)
        if registration.analysis_state is not AnalysisState.UNPUBLISHED and not only_mends:
            raise AnalysisNotUnpublishedError(
                f"analysis {registration.analysis_id} became {registration.analysis_state.value} during the upload of "
                f"{upload.file_name}: its parts are kept; unpublish the analysis and complete again"
            )
        if registration.size_bytes != upload.size_bytes:
            raise SizeNotRegisteredError(
                f"{upload.file_name}: {registration.size_bytes} bytes are registered in Song now, this upload has "
                f"{upload.size_bytes}: abort it and start another one"
            )
        if replaced is not None and not only_mends:
            require_not_publishing(registration)
        return registration

    def _vouched_for(self, stored: StoredBytes) -> str | None:
        """Return the MD5 of the bytes that passed, if the store has exactly those by its own account."""
        if self._unseen:
            return None
        passed = self._hashing.passed(self._upload.upload_id, self._parts)
        if passed is None or not stored.digest:
            return None
        md5, digest = passed
        if digest != stored.digest:
            _log.warning("the store has other bytes than it was sent", upload_id=self._upload.upload_id)
            return None
        return md5

    def _read_back(self, stored: StoredBytes) -> str:
        """Return the MD5 of the assembled object; the parts know their xxh3_128 afterwards.

        Raises DamagedPartError, StoreUnavailableError.
        """
        md5, offset = new_md5(), 0
        self._parts = parts = list(self._parts)
        # In one go: a request to the store for each part would cost more than its hashing.
        pieces = self._store.read(self._staging.key, stored.version, 0, self._upload.size_bytes)
        for index, part in enumerate(parts):
            digest, end = PartDigest(), offset + part.size_bytes
            while offset < end:
                piece = _next_piece(pieces, part)  # no part ends within a piece, but the last one with it
                md5.update(piece)
                digest.update(piece)
                offset += piece.nbytes
            if part.xxh3_128 not in {"", digest.hexdigest()}:  # empty: it came by a signed URL, and is seen now
                raise DamagedPartError(part)
            parts[index] = replace(part, xxh3_128=digest.hexdigest())
            self._renew(offset)
        return md5.hexdigest()

    def _require_signed_parts(self, stored: StoredBytes, md5: str, registration: Registration) -> None:
        """Look, where the whole is wrong, for parts that are not what their signed URLs were made for.

        Raises PartsLostError naming them, StoreUnavailableError. Where the whole is right, so are its parts: no byte
        is hashed for nothing.
        """
        if md5 == registration.md5:
            return
        wrong = [part.part_number for part in self._parts if part.md5 and self._md5_of(stored, part) != part.md5]
        if wrong:
            raise PartsLostError(f"{len(wrong)} parts of {self._staging.key} have another MD5 than was signed.", wrong)

    def _md5_of(self, stored: StoredBytes, part: UploadPart) -> str:
        md5 = new_md5()
        for piece in self._part_pieces(stored, part):
            md5.update(piece)
        self._renew(self._upload.size_bytes)
        return md5.hexdigest()

    def _part_pieces(self, stored: StoredBytes, part: UploadPart) -> Iterator[memoryview]:
        offset = self._upload.plan.offset(part.part_number)
        try:
            yield from self._store.read(self._staging.key, stored.version, offset, part.size_bytes)
        except StoredBytesCorruptError as error:
            raise DamagedPartError(part) from error

    def _fill_digests(self) -> None:
        """Note what was learned of parts that came by signed URLs."""
        filled = [part for part in self._parts if part.part_number in self._unseen]
        if filled:
            self._environment.signed_parts.fill_digests(self._upload.upload_id, filled)

    def _renew(self, hashed_size_bytes: int) -> None:
        """Keep the lease, from time to time. Raises NotOursError where the work must stop."""
        if self._draining.is_set():
            raise NotOursError
        if time.monotonic() - self._renewed < limits.COMPLETION_PROGRESS_SECONDS:
            return
        self._renewed = time.monotonic()
        if not self._ledger.renew(self._upload.upload_id, hashed_size_bytes):
            raise NotOursError

    def _unassemble(self) -> None:
        """Turn the object back into a staging, so that parts can be replaced."""
        try:
            self._staging, staged = self._store.reopen(self._staging, self._staged_parts())
        except StoreUnavailableError as error:
            # Not OPEN yet: who replaced a part then would find no staging, and lose the others.
            raise RuntimeError(f"{self._staging.key} can't be reopened: {error}") from error
        self._parts = [replace(part, store_etag=again.etag) for part, again in zip(self._parts, staged, strict=True)]

    def _staged_parts(self) -> Sequence[StagedPart]:
        offset = self._upload.plan.offset
        return [
            StagedPart(part.part_number, offset(part.part_number), part.size_bytes, part.store_etag)
            for part in self._parts
        ]

    def _lose(self, part_numbers: Sequence[int], why: str = "") -> None:
        """Lead back to OPEN without these parts; `why` ends the message."""
        lost = set(part_numbers)
        self._parts = [part for part in self._parts if part.part_number not in lost]
        shown = ", ".join(map(str, sorted(lost)[:20]))
        self._reopen(
            PartsMissingError(
                f"{self._upload.file_name}: {len(lost)} parts are no longer in the store as they were sent ({shown}): "
                f"send them again{why}",
                sorted(lost),
            )
        )

    def _reopen(self, error: ScoreError) -> None:
        reason = next(REASONS[kind] for kind in type(error).__mro__ if kind in REASONS)
        computed_md5 = error.metadata.get("computed_md5", "")
        failure = UploadFailure(reason, str(error), computed_md5)
        _log.warning("completion failed", upload_id=self._upload.upload_id, reason=reason, error=str(error))
        if not self._ledger.reopen(self._upload, failure, self._staging.token, self._parts):
            self._clean_up_if_aborted()

    def _clean_up_if_aborted(self) -> None:
        """Free what nobody needs any more: the key is this upload's own."""
        if self._ledger.upload(self._upload.upload_id).state is UploadState.ABORTED:
            self._store.abort(self._staging)
            self._store.delete(self._staging.key)


def _next_piece(pieces: Iterator[memoryview], part: UploadPart) -> memoryview:
    try:
        return next(pieces)
    except StoredBytesCorruptError as error:
        raise DamagedPartError(part) from error


def require_parts(upload: Upload, parts: Sequence[UploadPart]) -> None:
    """Raise PartsMissingError unless every part is persisted."""
    persisted = {part.part_number for part in parts}
    if missing := [number for number in upload.plan.numbers() if number not in persisted]:
        shown = ", ".join(map(str, missing[:20])) + (", …" if missing[20:] else "")
        raise PartsMissingError(
            f"{upload.file_name}: {len(missing)} of {upload.plan.part_total} parts are missing ({shown}): send them",
            missing,
            upload_id=upload.upload_id,
        )


def _require_md5(upload: Upload, md5: str, registration: Registration) -> None:
    if md5 != registration.md5:
        raise ObjectDigestMismatchError(
            f"{upload.file_name}: the uploaded bytes have MD5 {md5}, {registration.md5} is registered in Song. Every "
            "part is kept: send those that differ from the registered file again",
            computed_md5=md5,
            registered_md5=registration.md5,
        )
