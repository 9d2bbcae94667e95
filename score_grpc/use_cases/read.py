"""Read objects: what is there, its parts, its bytes."""

from collections.abc import Iterator, Sequence

from score_grpc.domain.access import Action, Principal
from score_grpc.domain.errors import (
    FieldInvalidError,
    GenerationChangedError,
    ObjectNotFoundError,
    ObjectNotRegisteredError,
    RangeInvalidError,
    StoredBytesCorruptError,
)
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.domain.uploads import UploadPart
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.permission import Permission
from score_grpc.use_cases.start import require_object_id


def read_action(*, allow_unpublished: bool) -> Action:
    """Return the action that a reader asks for."""
    return Action.READ_UNPUBLISHED if allow_unpublished else Action.READ


class ReadSession:
    """One stream that reads one generation of one object."""

    def __init__(
        self,
        environment: Environment,
        principal: Principal,
        action: Action,
        object_id: str,
        stored: StoredObject | None = None,
    ) -> None:
        """Find the object, unless the ledger was asked just now, and decide.

        Raises FieldInvalidError, ObjectNotFoundError, ScopeMissingError, AnalysisNotPublishedError,
        SongUnavailableError.
        """
        require_object_id(object_id)
        try:
            self._permission = Permission(environment.registry, principal, action, object_id)
        except ObjectNotRegisteredError:
            raise object_not_found(object_id) from None
        stored = stored or environment.objects([object_id]).get(object_id)
        if stored is None:
            raise object_not_found(object_id)
        self._ledger, self._store = environment.ledger, environment.store
        self.stored = stored

    def pin(self, generation: int) -> None:
        """Raise GenerationChangedError unless this is the generation asked for; 0 asks for any."""
        if generation < 0:
            raise FieldInvalidError("generation", f"{generation}: give 0 for the current one, or its number from 1")
        if generation not in {0, self.stored.generation}:
            raise GenerationChangedError(
                f"{self.stored.file_name}: generation {generation} is gone, {self.stored.generation} is: start anew",
                generation=str(self.stored.generation),
            )

    def parts(self, after: int, limit: int) -> Sequence[UploadPart]:
        """Return the object's parts with numbers above `after`, in order, at most `limit`."""
        return self._ledger.parts(self.stored.upload_id, after, limit)

    def read(self, offset: int, size_bytes: int | None) -> Iterator[tuple[int, memoryview]]:
        """Yield (offset, bytes) of the range, in order, without gaps, in pieces of at most PIECE_BYTES.

        A piece is valid until the next one is taken. Raises RangeInvalidError before the first byte, later
        StoredBytesCorruptError naming the part, GenerationChangedError where these bytes lost their place so long ago
        that they are gone, StoreUnavailableError, and when the caller may no longer read, what `decide` raises.
        """
        size = self.stored.size_bytes
        wanted = size - offset if size_bytes is None else size_bytes
        if not (0 <= offset <= size and 0 <= wanted <= size - offset):
            asked = "what is" if size_bytes is None else f"{size_bytes} bytes"
            raise RangeInvalidError(
                f"{self.stored.file_name} has {size} bytes: {asked} at offset {offset} does not lie in it",
                size_bytes=str(size),
            )
        self._permission.renew()
        damaged = self._damaged_part(offset, wanted)
        # What comes before a part that is known to be damaged is good.
        good = wanted if damaged is None else max(self.stored.plan.offset(damaged) - offset, 0)
        try:
            for piece in self._store.read(self.stored.store_key, self.stored.store_version, offset, good):
                yield offset, piece
                offset += piece.nbytes
                self._permission.renew()
        except StoredBytesCorruptError as error:
            self._require_current()
            raise self.corrupt(offset // self.stored.part_size_bytes + 1, str(error)) from error
        if damaged is not None:
            raise self.corrupt(damaged, "the last verification found other bytes there than were uploaded")

    def _damaged_part(self, offset: int, size_bytes: int) -> int | None:
        """Return the first part of the range that is known to be damaged."""
        if not size_bytes:
            return None
        part_bytes = self.stored.part_size_bytes
        first, last = offset // part_bytes + 1, (offset + size_bytes - 1) // part_bytes + 1
        return next((number for number in self.stored.damaged_parts if first <= number <= last), None)

    def _require_current(self) -> None:
        """Raise GenerationChangedError or ObjectNotFoundError where these bytes are no longer the object's."""
        stored = self._ledger.objects([self.stored.object_id]).get(self.stored.object_id)
        if stored is None:
            raise object_not_found(self.stored.object_id)
        if stored.generation != self.stored.generation:
            raise GenerationChangedError(
                f"{self.stored.file_name} was replaced while it was read: start anew", generation=str(stored.generation)
            )

    def corrupt(self, part_number: int, why: str) -> StoredBytesCorruptError:
        """Return the error that says of a part that its bytes are not those that were uploaded."""
        return StoredBytesCorruptError(
            f"{self.stored.file_name}: part {part_number} of object {self.stored.object_id} is damaged in the store "
            f"({why}): upload the file again to mend it",
            object_id=self.stored.object_id,
            part_numbers=str(part_number),
        )


def object_not_found(object_id: str) -> ObjectNotFoundError:
    """Return the error for an id without a visible object."""
    return ObjectNotFoundError(
        f"there is no object {object_id}: its upload is not complete, or the id is wrong", object_id=object_id
    )
