"""What the holder of a signed URL of our own may do: write one part, read one object. The signature was checked.

Who signed had the right. What may change since is asked again: whether the upload is OPEN and the analysis still
takes uploads, whether the generation is there and its analysis was not withdrawn.
"""

from collections.abc import Callable, Iterator

from byte_path.codec import UploadChunk
from byte_path.digests import PartDigest
from byte_path.md5 import new_md5
from score_grpc.domain import limits
from score_grpc.domain.access import Action, Principal
from score_grpc.domain.errors import ChunkCorruptError, DrainingError, PartTakenOverError, StoreUnavailableError
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.domain.uploads import UploadPart
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.own_urls import PartGrant, ReadGrant
from score_grpc.use_cases.read import ReadSession
from score_grpc.use_cases.write import Resend, WriteSession

# Whoever signed could write to the study, or read it; no system, so the rules of state hold.
_HOLDER = Principal("holder of a signed URL", writes_every_study=True)


def write_part(environment: Environment, grant: PartGrant, content_md5: str, fill: Callable[[memoryview], int]) -> str:
    """Write a part whole and record it; return its MD5, 32 lower-case hexadecimal digits.

    `fill` fills a buffer with the body's next bytes, or raises. `content_md5` is what the sender says of the body, in
    the same form, or empty. A body that breaks off or has another MD5 changes nothing.

    Raises UploadNotFoundError, UploadAbortedError, UploadNotOpenError, AnalysisNotUnpublishedError,
    SongUnavailableError, TooManyUploadStreamsError, PartTakenOverError, ChunkCorruptError, StoreFullError,
    StoreUnavailableError.
    """
    session = WriteSession(environment, _HOLDER, grant.upload_id)
    try:
        return _written(session, grant, content_md5, fill)
    finally:
        session.close()


def _written(session: WriteSession, grant: PartGrant, content_md5: str, fill: Callable[[memoryview], int]) -> str:
    md5, digest = new_md5(), PartDigest()
    buffer = memoryview(bytearray(min(limits.SIGNED_PIECE_BYTES, grant.size_bytes)))
    part: UploadPart | None = None
    for offset in range(0, grant.size_bytes, limits.SIGNED_PIECE_BYTES):
        piece = buffer[: grant.size_bytes - offset]
        fill(piece)
        md5.update(piece)
        digest.update(piece)
        is_last = offset + piece.nbytes == grant.size_bytes
        if is_last:  # which commits the part
            _require_md5(grant, content_md5, md5.hexdigest())
        match session.take(UploadChunk(grant.part_number, offset, piece), md5.hexdigest() if is_last else ""):
            case Resend():
                raise StoreUnavailableError(f"part {grant.part_number} could not be written: send it again")
            case UploadPart() as persisted:
                part = persisted
    if part is None or (part.md5 or md5.hexdigest(), part.xxh3_128 or digest.hexdigest()) != (
        md5.hexdigest(),
        digest.hexdigest(),
    ):
        raise PartTakenOverError(
            f"part {grant.part_number} is persisted with other bytes: ask for a URL that replaces it",
            upload_id=grant.upload_id,
            part_number=str(grant.part_number),
        )
    return md5.hexdigest()


def _require_md5(grant: PartGrant, content_md5: str, found: str) -> None:
    for wanted, where in ((grant.md5, "its URL was signed for"), (content_md5, "Content-MD5 says")):
        if wanted and wanted != found:
            raise ChunkCorruptError(
                f"part {grant.part_number} arrived with MD5 {found}, {where} {wanted}: send it again",
                part_number=str(grant.part_number),
            )


class SignedRead:
    """One GET or HEAD of one generation."""

    def __init__(self, environment: Environment, grant: ReadGrant) -> None:
        """Find the object.

        Raises ObjectNotFoundError, GenerationChangedError, AnalysisNotPublishedError, SongUnavailableError.
        """
        self._session = ReadSession(environment, _HOLDER, Action.READ_UNPUBLISHED, grant.object_id)
        self._session.pin(grant.generation)
        self._draining = environment.draining

    @property
    def stored(self) -> StoredObject:
        """What is read."""
        return self._session.stored

    def read(self, first: int, length: int) -> Iterator[memoryview]:
        """Yield exactly these bytes, in pieces. Raises as ReadSession.read, and DrainingError between two pieces."""
        for _, piece in self._session.read(first, length):
            yield piece
            if self._draining.is_set():
                raise DrainingError("this server is shutting down: read the rest from another one")
