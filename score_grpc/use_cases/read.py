"""Read objects: what is there, its parts, its bytes."""

from collections.abc import Iterator, Sequence

from score_grpc.domain import limits
from score_grpc.domain.access import Action, Principal
from score_grpc.domain.errors import (
    FieldInvalidError,
    GenerationChangedError,
    ObjectNotFoundError,
    ObjectNotRegisteredError,
    RangeInvalidError,
)
from score_grpc.domain.registrations import Registration
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.domain.uploads import UploadPart
from score_grpc.gateways.registry import CachedRegistry
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.permission import REFUSALS, Permission, permit
from score_grpc.use_cases.start import is_object_id, require_object_id


def read_action(*, allow_unpublished: bool) -> Action:
    """Return the action that a reader asks for."""
    return Action.READ_UNPUBLISHED if allow_unpublished else Action.READ


class ReadSession:
    """One stream that reads one generation of one object."""

    def __init__(self, environment: Environment, principal: Principal, action: Action, object_id: str) -> None:
        """Find the object and decide.

        Raises FieldInvalidError, ObjectNotFoundError, ScopeMissingError, AnalysisNotPublishedError,
        SongUnavailableError.
        """
        require_object_id(object_id)
        try:
            self._permission = Permission(environment.registry, principal, action, object_id)
        except ObjectNotRegisteredError:
            raise _not_found(object_id) from None
        stored = environment.ledger.objects([object_id]).get(object_id)
        if stored is None:
            raise _not_found(object_id)
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
        StoredBytesCorruptError, StoreUnavailableError, and when the caller may no longer read, what `decide` raises.
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
        for piece in self._store.read(self.stored.store_key, self.stored.store_version, offset, wanted):
            yield offset, piece
            offset += piece.nbytes
            self._permission.renew()


def batch_get_objects(
    environment: Environment, principal: Principal, action: Action, object_ids: Sequence[str]
) -> Sequence[StoredObject]:
    """Return the objects that are there and that the principal may read, in the order asked.

    Raises FieldInvalidError, SongUnavailableError.
    """
    if not 1 <= len(object_ids) <= limits.BATCH_OBJECTS_MAX:
        raise FieldInvalidError(
            "object_ids", f"{len(object_ids)} ids: ask for 1 to {limits.BATCH_OBJECTS_MAX} at a time"
        )
    known = [object_id for object_id in object_ids if is_object_id(object_id)]
    found, registry = environment.ledger.objects(known), environment.registry
    if not principal.is_system:
        permitted = _permitted(registry, principal, action, list(found), fresh=False)
        # A no never comes from memory.
        refused = [object_id for object_id in found if object_id not in permitted]
        permitted |= _permitted(registry, principal, action, refused, fresh=True) if refused else set()
        found = {object_id: stored for object_id, stored in found.items() if object_id in permitted}
    return [found[object_id] for object_id in dict.fromkeys(object_ids) if object_id in found]


def _permitted(
    registry: CachedRegistry, principal: Principal, action: Action, object_ids: Sequence[str], *, fresh: bool
) -> set[str]:
    registrations = registry.resolve(object_ids, fresh=fresh)
    return {object_id for object_id in registrations if _may(principal, action, registrations[object_id])}


def _may(principal: Principal, action: Action, registration: Registration) -> bool:
    try:
        permit(principal, action, registration)
    except REFUSALS:
        return False
    return True


def _not_found(object_id: str) -> ObjectNotFoundError:
    return ObjectNotFoundError(
        f"there is no object {object_id}: its upload is not complete, or the id is wrong", object_id=object_id
    )
