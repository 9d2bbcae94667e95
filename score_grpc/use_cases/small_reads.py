"""Read many small objects whole, one after the other: ledger and Song are asked about a batch of them at once."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from byte_path.digests import PartDigest
from score_grpc.domain import limits
from score_grpc.domain.access import Action, Principal
from score_grpc.domain.errors import DrainingError, FieldInvalidError, ScoreError
from score_grpc.domain.registrations import Registration
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.domain.uploads import UploadPart
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.permission import permit
from score_grpc.use_cases.read import ReadSession, object_not_found
from score_grpc.use_cases.start import is_object_id, require_object_id


@dataclass(frozen=True, slots=True)
class Whole:
    """An object has been read to its end, and is what it should be."""

    xxh3_128: str
    """Of all its bytes; empty for an empty object."""


Answer = StoredObject | memoryview | Whole | Exception
"""An object; then its bytes in order, each piece valid until the next answer is taken; then Whole. Or, instead of any
of these, why it can't be read."""


def read_small_objects(
    environment: Environment, principal: Principal, action: Action, object_ids: Sequence[str]
) -> Iterator[tuple[int, Answer]]:
    """Yield the objects in the order asked, each answer with the index of its id.

    Raises FieldInvalidError, SongUnavailableError, DrainingError.
    """
    if not 1 <= len(object_ids) <= limits.BATCH_OBJECTS_MAX:
        raise FieldInvalidError(
            "object_ids", f"{len(object_ids)} ids: ask for 1 to {limits.BATCH_OBJECTS_MAX} at a time"
        )

    def read(object_id: str, stored: StoredObject, parts: Sequence[UploadPart]) -> Iterator[Answer]:
        try:
            session = ReadSession(environment, principal, action, object_id, stored)
            yield stored
            yield from _read(session, parts)
        except ScoreError as error:
            yield error

    def found() -> Iterator[tuple[int, _Found]]:
        for start in range(0, len(object_ids), limits.SMALL_READS_BATCH):
            batch = object_ids[start : start + limits.SMALL_READS_BATCH]
            for index, object_id, one in _find(environment, principal, action, batch):
                size_bytes = 0 if isinstance(one, ScoreError) else one[0].size_bytes
                yield (
                    start + index,
                    _Found(size_bytes, iter([one]) if isinstance(one, ScoreError) else read(object_id, *one)),
                )

    # A local file is read in less time than it takes to have another thread do it.
    for index, answers in found() if environment.store.is_exclusive else _ahead(found()):
        if environment.draining.is_set():
            raise DrainingError("this server is shutting down: read the rest from another one")
        for answer in answers.answers:
            yield index, answer


@dataclass(frozen=True, slots=True)
class _Found:
    """What there is to say of one id; its bytes are read as they are asked for."""

    size_bytes: int
    answers: Iterator[Answer]

    def read(self) -> "_Found":
        """Return the same with its bytes read, and held."""
        held = [memoryview(bytes(one)) if isinstance(one, memoryview) else one for one in self.answers]
        return _Found(self.size_bytes, iter(held))


def _ahead(found: Iterator[tuple[int, _Found]]) -> Iterator[tuple[int, _Found]]:
    """Yield the same, with some objects read before it is their turn: each costs a round trip to the store."""
    waiting: deque[tuple[int, int, Future[_Found]]] = deque()
    held_bytes = 0
    with ThreadPoolExecutor(limits.SMALL_READS_AHEAD, "read ahead") as pool:
        for index, one in found:
            is_held = one.size_bytes <= limits.SMALL_OBJECT_HELD_BYTES
            while waiting and (
                not is_held
                or len(waiting) >= limits.SMALL_READS_AHEAD
                or held_bytes + one.size_bytes > limits.SMALL_OBJECTS_HELD_BYTES
            ):
                before, size_bytes, future = waiting.popleft()
                held_bytes -= size_bytes
                yield before, future.result()
            if is_held:
                held_bytes += one.size_bytes
                waiting.append((index, one.size_bytes, pool.submit(one.read)))
            else:
                yield index, one
        for before, _, future in waiting:
            yield before, future.result()


def _find(
    environment: Environment, principal: Principal, action: Action, object_ids: Sequence[str]
) -> Iterator[tuple[int, str, tuple[StoredObject, Sequence[UploadPart]] | ScoreError]]:
    """Yield each id by its index with the object and its parts, or why it can't be read."""
    known = [object_id for object_id in dict.fromkeys(object_ids) if is_object_id(object_id)]
    refusals = _refusals(environment, principal, action, known)
    objects = environment.objects([object_id for object_id in known if object_id not in refusals])
    small = [stored for stored in objects.values() if stored.size_bytes <= limits.SMALL_OBJECT_MAX_BYTES]
    parts = environment.small_objects.parts([stored.upload_id for stored in small])
    for index, object_id in enumerate(object_ids):
        try:
            require_object_id(object_id)
            if object_id in refusals:
                raise refusals[object_id]
            if object_id not in objects:
                raise object_not_found(object_id)
            stored = objects[object_id]
            if stored.upload_id not in parts:
                raise FieldInvalidError(
                    "object_ids",
                    f"{stored.file_name}: object {object_id} has {stored.size_bytes} bytes, at most "
                    f"{limits.SMALL_OBJECT_MAX_BYTES} go this way: read it by ReadObject",
                )
        except ScoreError as error:
            yield index, object_id, error
        else:
            yield index, object_id, (stored, parts[stored.upload_id])


def _refusals(
    environment: Environment, principal: Principal, action: Action, object_ids: Sequence[str]
) -> Mapping[str, ScoreError]:
    """Return why some of these may not be read, by object id. A no is not given from memory."""

    def refused(registrations: Mapping[str, Registration], asked: Sequence[str]) -> dict[str, ScoreError]:
        found = {object_id: _refusal(principal, action, object_id, registrations.get(object_id)) for object_id in asked}
        return {object_id: error for object_id, error in found.items() if error is not None}

    registrations = environment.registry.resolve(object_ids)
    refusals = refused(registrations, object_ids)
    # What is unknown was asked for just now.
    doubtful = [object_id for object_id in refusals if object_id in registrations]
    if doubtful:
        again = refused(environment.registry.resolve(doubtful, fresh=True), doubtful)
        refusals = {object_id: error for object_id, error in refusals.items() if object_id not in doubtful} | again
    return refusals


def _refusal(
    principal: Principal, action: Action, object_id: str, registration: Registration | None
) -> ScoreError | None:
    if registration is None:
        return object_not_found(object_id)
    try:
        permit(principal, action, registration)
    except ScoreError as error:
        return error
    return None


def _read(session: ReadSession, parts: Sequence[UploadPart]) -> Iterator[memoryview | Whole]:
    """Yield an object's bytes, the last piece of a part only when the part is proven, and the digest of the whole."""
    whole, part_digest, rest = PartDigest(), PartDigest(), list(reversed(parts))
    stored = session.stored
    for offset, piece in session.read(0, None):
        whole.update(piece)
        part_digest.update(piece)
        end = offset + piece.nbytes
        # Parts are whole pieces, but for the last one.
        if rest and end == stored.plan.offset(rest[-1].part_number) + rest[-1].size_bytes:
            part = rest.pop()
            if part.xxh3_128 and part.xxh3_128 != part_digest.hexdigest():
                raise session.corrupt(part.part_number, "it has other bytes there than were uploaded")
            part_digest = PartDigest()
        for start in range(0, piece.nbytes, limits.SMALL_READ_DATA_BYTES):
            yield piece[start : start + limits.SMALL_READ_DATA_BYTES]
    yield Whole(whole.hexdigest() if stored.size_bytes else "")
