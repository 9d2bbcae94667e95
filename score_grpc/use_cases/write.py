"""Write chunks of an upload: one session per stream, one part at a time."""

from dataclasses import dataclass

import structlog

from byte_path.codec import UploadChunk
from byte_path.digests import PartDigest, chunk_digest
from score_grpc.domain import limits
from score_grpc.domain.access import Principal
from score_grpc.domain.errors import (
    ChunkCorruptError,
    ChunkOutOfOrderError,
    FieldInvalidError,
    PartTakenOverError,
    StagingLostError,
    StoreUnavailableError,
)
from score_grpc.domain.uploads import Upload, UploadPart, require_open
from score_grpc.gateways.objects.port import PartWriter, Staging
from score_grpc.use_cases.claims import PartClaim
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.passing import PassingPart
from score_grpc.use_cases.permission import Permission, sending_action
from score_grpc.use_cases.staging import stage

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Resend:
    """Bytes must come again, from `offset` of the part."""

    part_number: int
    offset: int
    reason: str
    """Name in the contract's ErrorReason."""


class _OpenPart:
    """A part in the middle."""

    def __init__(self, claim: PartClaim, writer: PartWriter, size_bytes: int, passing: PassingPart | None) -> None:
        self.claim, self.writer, self.size_bytes, self.passing = claim, writer, size_bytes, passing
        self.digest = PartDigest()
        self.received_bytes = 0


class WriteSession:
    """One stream of one upload. Used by one thread."""

    def __init__(self, environment: Environment, principal: Principal, upload_id: str) -> None:
        """Join the upload.

        Raises UploadNotFoundError, UploadAbortedError, UploadNotOpenError, ScopeMissingError,
        AnalysisNotUnpublishedError, SongUnavailableError, TooManyUploadStreamsError.
        """
        self._environment = environment
        self._ledger, self._store = environment.ledger, environment.store
        self._claims, self._hashing = environment.claims, environment.hashing
        known = self._ledger.upload(upload_id)
        action = sending_action(self._ledger, known)
        self._permission = Permission(environment.registry, principal, action, known.object_id)
        self._claims.enter(upload_id)
        try:
            self._upload, self._epoch = self._ledger.join(upload_id)
        except BaseException:
            self._claims.leave(upload_id)
            raise
        self._hashing.follow(upload_id)
        self._staging = Staging(self._upload.staging_key, self._upload.staging_token)
        self._part: _OpenPart | None = None
        self._skipped_part = 0
        self._awaited: tuple[int, int] | None = None
        self._bad_chunks = 0
        self._failed_writes: dict[int, int] = {}

    def close(self) -> None:
        """Leave the upload; a part in the middle leaves nothing."""
        self._abandon_part()
        self._claims.leave(self._upload.upload_id)

    def take(self, chunk: UploadChunk, md5: str = "") -> UploadPart | Resend | None:
        """Take one chunk; return the part if it is now persisted, or what to send again.

        `md5` is that of the whole part, to be recorded with it; who does not know it by the part's last chunk gives
        none.

        Raises FieldInvalidError, ChunkOutOfOrderError, ChunkCorruptError, PartTakenOverError, UploadNotOpenError,
        UploadAbortedError, AnalysisNotUnpublishedError, SongUnavailableError, StoreFullError,
        StoreUnavailableError.
        """
        number, size_bytes = chunk.part_number, chunk.data.nbytes
        part_bytes = self._upload.plan.part_bytes(number)
        if not 0 < size_bytes <= limits.CHUNK_MAX_BYTES:
            raise FieldInvalidError("chunk.data", f"{size_bytes} bytes: send 1 to {limits.CHUNK_MAX_BYTES} at a time")
        if not 0 <= chunk.offset <= part_bytes - size_bytes:
            raise FieldInvalidError(
                "chunk.offset", f"{chunk.offset} + {size_bytes} bytes do not lie in part {number} of {part_bytes} bytes"
            )
        if number == self._skipped_part:
            if chunk.offset > 0:
                return None
            self._skipped_part = 0  # at offset 0 a part begins anew
        if self._awaited is not None and number == self._awaited[0] and chunk.offset not in {0, self._awaited[1]}:
            return None  # sent before the peer heard of the resend
        if chunk.xxh3_64 is not None and chunk_digest(chunk.data) != chunk.xxh3_64:
            return self._ask_again(chunk)
        self._bad_chunks = 0
        try:
            if chunk.offset == 0:
                known = self._begin_part(chunk, part_bytes)
                if known is not None:
                    return known
            self._awaited = None
            return self._write(chunk, md5)
        except StagingLostError as error:
            self._restage()
            return self._write_again(number, StoreUnavailableError(str(error)))
        except PartTakenOverError:
            # Completion and abortion take parts from their streams too; then that is the reason.
            require_open(self._ledger.upload(self._upload.upload_id))
            raise

    def _ask_again(self, chunk: UploadChunk) -> Resend:
        self._bad_chunks += 1
        if self._bad_chunks >= limits.BAD_CHUNKS_IN_A_ROW:
            raise ChunkCorruptError(
                f"part {chunk.part_number}: {self._bad_chunks} chunks in a row did not match their xxh3_64; the "
                "network or the sender's memory corrupts data",
                part_number=str(chunk.part_number),
            )
        return self._resend(chunk.part_number, chunk.offset, "CHUNK_CORRUPT")

    def _resend(self, part_number: int, offset: int, reason: str) -> Resend:
        self._awaited = (part_number, offset)
        return Resend(part_number, offset, reason)

    def _begin_part(self, chunk: UploadChunk, part_bytes: int) -> UploadPart | None:
        """Begin a part anew; or return it if it is persisted and not to be replaced."""
        self._abandon_part()
        self._permission.renew()
        upload_id, number = self._upload.upload_id, chunk.part_number
        self._hashing.keep_pace(upload_id, number)
        # The claim comes before the look: whoever wrote this part has either persisted it by now, or never will.
        claim = self._claims.take(upload_id, number)
        try:
            with claim.held():
                upload, known = self._ledger.part(upload_id, number)
                require_open(upload)
                is_kept = known is not None and not chunk.replace_part
                if known is not None and chunk.replace_part:
                    self._ledger.withdraw_part(upload_id, known)
                    self._hashing.restart(upload_id)
                if not is_kept:
                    writer = self._open_writer(upload, number, part_bytes)
                    claim.write_with(writer)
        except BaseException:
            self._claims.drop(claim)
            raise
        if is_kept:
            self._claims.drop(claim)
            self._skipped_part, self._awaited = number, None
            return known
        self._part = _OpenPart(claim, writer, part_bytes, self._hashing.pass_part(upload_id, number))
        return None

    def _open_writer(self, upload: Upload, number: int, part_bytes: int) -> PartWriter:
        self._staging = Staging(upload.staging_key, upload.staging_token)
        return self._store.open_part(self._staging, number, upload.plan.offset(number), part_bytes)

    def _restage(self) -> None:
        """Begin again with no part: the store has lost the staging with all that was in it."""
        _log.error("staging lost, all its parts are asked for again", upload_id=self._upload.upload_id)
        if stage(self._environment, self._upload.upload_id, self._staging.key, self._staging.token):
            self._hashing.restart(self._upload.upload_id)

    def _write(self, chunk: UploadChunk, md5: str) -> UploadPart | Resend | None:
        part = self._part
        if part is None or part.claim.part_number != chunk.part_number or part.received_bytes != chunk.offset:
            is_same = part is not None and part.claim.part_number == chunk.part_number
            expected = part.received_bytes if part is not None and is_same else 0
            raise ChunkOutOfOrderError(
                f"part {chunk.part_number}: a chunk at offset {chunk.offset} where {expected} is next",
                part_number=str(chunk.part_number),
                expected_offset=str(expected),
            )
        try:
            with part.claim.held():
                part.writer.write(chunk.data)
                part.digest.update(chunk.data)
                if part.passing is not None:
                    part.passing.update(chunk.data)
                part.received_bytes += chunk.data.nbytes
                return self._persist(part, md5) if part.received_bytes == part.size_bytes else None
        except StoreUnavailableError as error:
            return self._write_again(chunk.part_number, error)

    def _persist(self, part: _OpenPart, md5: str) -> UploadPart:
        etag = part.writer.commit()
        number = part.claim.part_number
        persisted = UploadPart(number, part.size_bytes, part.digest.hexdigest(), etag, md5)
        self._ledger.add_part(self._upload.upload_id, persisted, self._epoch, self._staging.token)
        if part.passing is not None:
            part.passing.keep(persisted)
        self._hashing.follow(self._upload.upload_id)
        return persisted

    def _write_again(self, number: int, error: StoreUnavailableError) -> Resend:
        self._abandon_part()
        self._failed_writes[number] = self._failed_writes.get(number, 0) + 1
        if self._failed_writes[number] >= limits.FAILED_WRITES_OF_A_PART:
            raise error
        return self._resend(number, 0, "STORE_UNAVAILABLE")

    def _abandon_part(self) -> None:
        if self._part is not None:
            if self._part.passing is not None:
                self._part.passing.drop()
            self._claims.drop(self._part.claim)
            self._part = None
