"""Delete objects."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import uuid4

from score_grpc.domain import limits
from score_grpc.domain.access import Action, Principal, require_system_write
from score_grpc.domain.audit import AuditEntry
from score_grpc.domain.errors import FieldInvalidError, GenerationChangedError
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.use_cases.changing import changing, require_not_publishing
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.permission import permit
from score_grpc.use_cases.read import object_not_found
from score_grpc.use_cases.start import require_object_id


def delete_object(
    environment: Environment,
    principal: Principal,
    object_id: str,
    reason: str,
    facts: Mapping[str, str],
    *,
    generation: int = 0,
) -> StoredObject:
    """Make an object invisible for good, with its entry in the audit; return it as it was.

    Its bytes leave the store once no stream reads them any more. An object that Song no longer knows may go as well.
    `generation` is the one to delete, 0 for the current one. Raises FieldInvalidError, ScopeMissingError,
    ObjectNotFoundError, GenerationChangedError, DeleteRefusedError, ChangingError, SongUnavailableError.
    """
    require_system_write(principal)
    require_object_id(object_id)
    if not (reason.strip() and len(reason) <= limits.DELETE_REASON_MAX_CHARS and "\0" not in reason):
        text = f"say why the object is deleted, in 1 to {limits.DELETE_REASON_MAX_CHARS} characters"
        raise FieldInvalidError("reason", text)
    stored = environment.objects([object_id]).get(object_id)
    if stored is None:
        raise object_not_found(object_id)
    if generation not in {0, stored.generation}:
        raise GenerationChangedError(
            f"object {object_id} has generation {stored.generation}, not {generation}: nothing was deleted"
        )
    changer = str(uuid4())
    with changing(environment, stored, changer):
        registration = environment.registry.resolve([object_id], fresh=True).get(object_id)
        if registration is not None:
            permit(principal, Action.DELETE, registration)
            require_not_publishing(registration)
        told = {"reason": reason, "generation": str(stored.generation), "md5": stored.md5, **facts}
        entry = AuditEntry(datetime.now(UTC), principal.name, "delete", object_id, stored.study_id, "OK", told)
        environment.generations.delete(stored, changer, entry)
    return stored
