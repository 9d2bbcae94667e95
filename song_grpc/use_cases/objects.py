"""What is registered about objects: the questions of Score, and of whoever compares the two."""

from collections.abc import Sequence

from song_grpc.database import files
from song_grpc.domain import access, ids, limits, paging
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.limits import MAX_EXAMINED_OBJECTS
from song_grpc.domain.registered_object import ObjectConditions, RegisteredObject
from song_grpc.use_cases.environment import Environment

_BATCH_OBJECTS = 1000


def resolve(
    environment: Environment, principal: Principal, object_ids: Sequence[str]
) -> tuple[Sequence[RegisteredObject], Sequence[str]]:
    """Return what is registered under these object ids, in the order asked, and the ids that are missing."""
    if not 0 < len(object_ids) <= limits.MAX_RESOLVED_OBJECTS:
        raise ParameterError("object_ids", f"give 1 to {limits.MAX_RESOLVED_OBJECTS} ids")
    now = environment.now()
    with environment.database.read() as connection:
        known = files.resolve(connection, [object_id for object_id in object_ids if ids.can_exist(object_id)], now)
    visible = {object_id: found for object_id, found in known.items() if _may_see(principal, found)}
    found = [visible[object_id] for object_id in object_ids if object_id in visible]
    return found, [object_id for object_id in object_ids if object_id not in visible]


def list_page(
    environment: Environment, principal: Principal, wanted: ObjectConditions, page: paging.PageRequest
) -> tuple[Sequence[RegisteredObject], str]:
    """Return a page of registered objects, in the order of their ids, and the token of the next.

    A page looks at 10 000 objects at most: where few of them fit, it holds few or none, and has a next one.
    """
    limit = page.limit
    access_text = "" if wanted.access is None else wanted.access.value
    texts = (wanted.study_id, wanted.analysis_id, wanted.file_name)
    scope = ("objects", *(text or "" for text in texts), access_text)
    after = paging.read_token(page.token, scope, (str,))
    if any(text is not None and "\0" in text for text in texts):
        return [], ""
    last = None if after is None else str(after[0])
    shown: list[RegisteredObject] = []
    now = environment.now()
    with environment.database.read() as connection:
        size, examined = limit + 1, 0
        while examined < MAX_EXAMINED_OBJECTS:
            batch = files.list_objects_after(connection, wanted, last, size, now)
            for found in batch:
                fits = wanted.hold(found) and _may_see(principal, found)
                if fits and len(shown) == limit:
                    return shown, paging.make_token(scope, (shown[-1].file.object_id,))
                if fits:
                    shown.append(found)
            if len(batch) < size:
                return shown, ""
            last = batch[-1].file.object_id
            size, examined = _BATCH_OBJECTS, examined + len(batch)
    return shown, paging.make_token(scope, (last or "",))


def _may_see(principal: Principal, found: RegisteredObject) -> bool:
    facts = Facts(study_id=found.file.study_id, state=found.state)
    return access.decide(principal, Action.READ_ANALYSIS, facts).allowed
