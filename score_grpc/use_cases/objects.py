"""See which objects there are: a batch by id, and lists."""

from collections.abc import Sequence

from score_grpc.database.rows import microseconds
from score_grpc.domain import limits
from score_grpc.domain.access import Action, Principal, require_all_studies
from score_grpc.domain.errors import FieldInvalidError
from score_grpc.domain.paging import PageRequest, page_end
from score_grpc.domain.registrations import Registration
from score_grpc.domain.stored_objects import ObjectFilter, StoredObject
from score_grpc.gateways.registry import CachedRegistry
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.permission import REFUSALS, permit
from score_grpc.use_cases.start import is_object_id

_FILTER_MAX_CHARS = 255


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
    found = environment.objects(known)
    permitted = readable_ids(environment.registry, principal, action, list(found))
    wanted = dict.fromkeys(object_ids)
    return [found[object_id] for object_id in wanted if object_id in found and object_id in permitted]


def list_objects(
    environment: Environment, principal: Principal, action: Action, wanted: ObjectFilter, page: PageRequest
) -> tuple[Sequence[StoredObject], str]:
    """Return a page of the objects that the principal may read, newest first, and where it ended: empty on the last.

    What it may not read is left out, so a page may hold fewer, or none, and end where it may not look.

    Raises FieldInvalidError, PageTokenInvalidError, ScopeMissingError, SongUnavailableError.
    """
    require_filter("study_id", wanted.study_id)
    require_filter("analysis_id", wanted.analysis_id)
    if not wanted.study_id:
        require_all_studies(principal, "list objects")
    bounds = (wanted.created_from, wanted.created_before)
    kind = "" if wanted.verification is None else wanted.verification.value
    query = ["objects", wanted.study_id, wanted.analysis_id, kind, *(str(bound or "") for bound in bounds), action.name]
    limit = page.limit
    found = environment.lists.objects(wanted, page.after(query), limit + 1)
    shown = found[:limit]
    permitted = readable_ids(environment.registry, principal, action, [stored.object_id for stored in shown])
    readable = [stored for stored in shown if stored.object_id in permitted]
    if len(found) <= limit:
        return readable, ""
    return readable, page_end(query, (microseconds(shown[-1].create_time), shown[-1].object_id))


def require_filter(field: str, value: str) -> None:
    """Raise FieldInvalidError unless the text can be an id to filter by."""
    if len(value) > _FILTER_MAX_CHARS or (value and not value.isprintable()):
        raise FieldInvalidError(field, f"{value[:100]!r} can't be an id")


def readable_ids(registry: CachedRegistry, principal: Principal, action: Action, object_ids: Sequence[str]) -> set[str]:
    """Return those of the ids that the principal may read: all, and without Song, where it is a system.

    Raises SongUnavailableError.
    """
    if principal.is_system:
        return set(object_ids)
    permitted = _permitted(registry, principal, action, object_ids, fresh=False)
    # A no never comes from memory.
    refused = [object_id for object_id in object_ids if object_id not in permitted]
    return permitted | (_permitted(registry, principal, action, refused, fresh=True) if refused else set())


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
