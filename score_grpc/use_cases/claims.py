"""Who writes which part, inside this process: one writer per part, and the newest wins."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from score_grpc.domain import limits
from score_grpc.domain.errors import PartTakenOverError, TooManyUploadStreamsError
from score_grpc.gateways.objects.port import PartWriter


class PartClaim:
    """One stream's right to write one part."""

    def __init__(self, upload_id: str, part_number: int) -> None:
        self.upload_id, self.part_number = upload_id, part_number
        self._lock = threading.Lock()
        self.former: PartClaim | None = None
        """Whose right this one is about to end."""
        self._lost = False
        self._writer: PartWriter | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep others from taking the part over for the length of the block. Raises PartTakenOverError."""
        with self._lock:
            if self._lost:
                raise PartTakenOverError(
                    f"part {self.part_number}: a newer stream writes it now",
                    upload_id=self.upload_id,
                    part_number=str(self.part_number),
                )
            yield

    def write_with(self, writer: PartWriter) -> None:
        """Note the writer, which losing the part discards. Call it while held."""
        self._writer = writer

    def lose(self) -> None:
        """End the right. Returns once nothing is being written under it any more, or under one before."""
        if (former := self.former) is not None:
            former.lose()
        with self._lock:
            self._lost = True
            if self._writer is not None:
                self._writer.discard()


class Claims:
    """All claims of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: dict[tuple[str, int], PartClaim] = {}
        self._streams: Counter[str] = Counter()

    def enter(self, upload_id: str) -> None:
        """Count a stream in. Raises TooManyUploadStreamsError."""
        with self._lock:
            if self._streams[upload_id] >= limits.STREAMS_PER_UPLOAD:
                raise TooManyUploadStreamsError(
                    f"upload {upload_id} has {limits.STREAMS_PER_UPLOAD} streams, which is all it may have",
                    upload_id=upload_id,
                )
            self._streams[upload_id] += 1

    def leave(self, upload_id: str) -> None:
        """Count a stream out."""
        with self._lock:
            self._streams[upload_id] -= 1
            if not self._streams[upload_id]:
                del self._streams[upload_id]

    def take(self, upload_id: str, part_number: int) -> PartClaim:
        """Take a part, from another stream if need be: waits until that one's chunk under way is dealt with."""
        claim = PartClaim(upload_id, part_number)
        with self._lock:
            claim.former = self._claims.get((upload_id, part_number))
            self._claims[upload_id, part_number] = claim
        if claim.former is not None:
            claim.former.lose()
            claim.former = None
        return claim

    def drop(self, claim: PartClaim) -> None:
        """Give a part up and discard what was written of it."""
        claim.lose()
        key = (claim.upload_id, claim.part_number)
        with self._lock:
            if self._claims.get(key) is claim:
                del self._claims[key]

    def drop_all(self, upload_id: str) -> None:
        """Take every part of an upload from its streams."""
        with self._lock:
            claims = [claim for claim in self._claims.values() if claim.upload_id == upload_id]
        for claim in claims:
            self.drop(claim)
