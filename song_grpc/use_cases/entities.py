"""Get, list, correct and delete donors, specimens and samples."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic

from song_grpc.database import analyses, changes, corrections, entity_lists, locks, studies
from song_grpc.database.engine import Connection
from song_grpc.database.entity_lists import Listed
from song_grpc.domain import access, etags, history, ids, paging, update_masks
from song_grpc.domain import corrections as rules
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.analysis import Sample, Specimen
from song_grpc.domain.corrections import E, EntityKind
from song_grpc.domain.errors import (
    LISTED_IDS,
    CallerLeftError,
    EntityInUseError,
    NotRelatedToStudyError,
    StudyNotFoundError,
)
from song_grpc.domain.history import Cause
from song_grpc.domain.limits import MAX_CORRECTED_BATCH_BYTES
from song_grpc.use_cases.environment import Environment

_READ_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class EntityRef(Generic[E]):
    """Which entity."""

    kind: EntityKind[E]
    study_id: str
    entity_id: str

    @property
    def subject(self) -> str:
        """What the history calls it."""
        return f"{self.kind.name} {self.entity_id}"


@dataclass(frozen=True, slots=True)
class Children(Generic[E]):
    """Which entities."""

    kind: EntityKind[E]
    study_id: str
    parent_id: str = ""
    """Empty means those of every parent."""


@dataclass(frozen=True, slots=True)
class Correction(Generic[E]):
    """An entity with new values."""

    of: EntityRef[E]
    wanted: E
    etag: str
    fields: Sequence[str]
    """Which of the values to take: paths of the update mask, checked by nobody yet."""
    reason: str
    is_wanted: Callable[[], bool]
    """Says whether the caller still waits."""


def get(environment: Environment, principal: Principal, ref: EntityRef[E]) -> E:
    """Return an entity. Raises its not-found error, NotRelatedToStudyError."""
    if not _can_exist(ref):
        raise ref.kind.not_found(ref.study_id, ref.entity_id)
    with environment.database.read() as connection:
        found = entity_lists.find(connection, ref.kind, ref.entity_id)
        is_shown = found is not None and _may_see(connection, principal, ref, found[0])
    if found is None or not is_shown:
        raise ref.kind.not_found(ref.study_id, ref.entity_id)
    if found[0] != ref.study_id:
        raise NotRelatedToStudyError(ref.study_id, ref.entity_id)
    return found[1]


def list_page(
    environment: Environment, principal: Principal, of: Children[E], page: paging.PageRequest
) -> tuple[Sequence[E], str]:
    """Return a page of a study's entities of one kind, by submitter id, and the token of the next."""
    kind, listed = of.kind, Listed(of.study_id, of.parent_id)
    access.require(principal, Action.READ_ENTITIES, Facts(study_id=listed.study_id))
    limit = page.limit
    scope = (f"{kind.name}s", listed.study_id, listed.parent_id)
    after = paging.read_token(page.token, scope, (str,))
    if not ids.can_exist(listed.study_id):
        raise StudyNotFoundError(listed.study_id)
    if listed.parent_id and not ids.can_exist(listed.parent_id):
        return [], ""
    with environment.database.read() as connection:
        if not studies.exists(connection, listed.study_id):
            raise StudyNotFoundError(listed.study_id)
        rows = entity_lists.list_after(connection, kind, listed, None if after is None else str(after[0]), limit + 1)
        shown = paging.cut(rows, limit)
        keys = [str(row.key[0]) for row in shown]
        found = entity_lists.read_between(connection, kind, listed, keys[0], keys[-1]) if keys else []
    return found, paging.next_token(scope, rows, shown)


def correct(environment: Environment, principal: Principal, correction: Correction[E]) -> tuple[E, int]:
    """Correct an entity; return it, and how many analyses were told. Values as they are change nothing."""
    ref, kind = correction.of, correction.of.kind
    access.require(principal, Action.WRITE_STUDY, Facts(study_id=ref.study_id))
    fields = update_masks.read(correction.fields, kind.correctable)
    etags.require(correction.etag, f"{kind.name}.etag")
    history.check_reason(correction.reason)
    with environment.database.write() as connection:
        known = _lock_and_find(connection, ref)
        etags.check(correction.etag, known.etag, f"{kind.name} '{ref.entity_id}'")
        corrected = rules.correct(kind, known, correction.wanted, fields)
        if corrected == known:
            return known, 0
        rules.check(corrected)
        if isinstance(corrected, Specimen) and rules.may_break_samples(known, corrected):
            rules.check_samples(corrected, _samples_of(connection, correction, corrected))
        corrections.save(connection, kind, ref.entity_id, corrected)
        return corrected, _tell_analyses(environment, principal, connection, correction)


def delete(environment: Environment, principal: Principal, ref: EntityRef[E], etag: str) -> int:
    """Delete an entity with what is below it; return how many entities that were. Raises EntityInUseError."""
    access.require(principal, Action.WRITE_STUDY, Facts(study_id=ref.study_id))
    with environment.database.write() as connection:
        known = _lock_and_find(connection, ref)
        etags.check(etag, known.etag, f"{ref.kind.name} '{ref.entity_id}'")
        referring = corrections.find_referring(connection, ref.kind, ref.entity_id, "", LISTED_IDS)
        if referring:
            total = corrections.count_referring(connection, ref.kind, ref.entity_id)
            raise EntityInUseError(ref.kind.name, ref.entity_id, referring, total)
        return corrections.remove(connection, ref.kind, ref.entity_id)


def _can_exist(ref: EntityRef[E]) -> bool:
    return ids.can_exist(ref.study_id) and ids.can_exist(ref.entity_id)


def _may_see(connection: Connection, principal: Principal, ref: EntityRef[E], study_id: str) -> bool:
    """Say whether the caller may see an entity of this study, which need not be the one it asked about."""
    if access.decide(principal, Action.READ_ENTITIES, Facts(study_id=study_id)).allowed:
        return True
    study = studies.find(connection, study_id)
    if study is None:
        return False
    facts = Facts(study_id=study_id, visibility=study.visibility, is_published=True)
    is_for_linked = access.decide(principal, Action.READ_ENTITIES, facts).allowed
    return is_for_linked and corrections.is_published(connection, ref.kind, ref.entity_id)


def _lock_and_find(connection: Connection, ref: EntityRef[E]) -> E:
    """Return an entity of the study, to which no analysis begins to refer until the transaction ends."""
    missing = ref.kind.not_found(ref.study_id, ref.entity_id)
    if not _can_exist(ref) or not studies.exists(connection, ref.study_id):
        raise missing
    locks.lock_study(connection, ref.study_id)
    found = entity_lists.find(connection, ref.kind, ref.entity_id)
    if found is None or found[0] != ref.study_id:
        raise missing
    return found[1]


def _samples_of(connection: Connection, correction: Correction[E], specimen: Specimen) -> Iterator[Sample]:
    after = ""
    while found := corrections.read_samples_after(connection, specimen, after, _READ_AT_ONCE):
        _check_wanted(correction)
        yield from found
        after = found[-1].submitter_sample_id


def _tell_analyses(
    environment: Environment, principal: Principal, connection: Connection, correction: Correction[E]
) -> int:
    """Give every analysis that refers to the corrected entity its history and event, in the order of ids."""
    ref, total, after = correction.of, 0, ""
    while found := corrections.find_referring(connection, ref.kind, ref.entity_id, after, _READ_AT_ONCE):
        locked = corrections.lock(connection, found)
        cause = Cause(principal.name, environment.now(), correction.reason)
        for batch in _batches(locked):
            _check_wanted(correction)
            corrected = analyses.read(connection, batch)
            for analysis in corrected:
                rules.check_fits(ref.kind, analysis)
            changes.record_corrections(connection, corrected, cause, ref.subject)
        total, after = total + len(found), found[-1]
    return total


def _batches(rows: Sequence[paging.Row]) -> Iterator[list[str]]:
    """Yield the ids of rows in batches that memory takes."""
    batch: list[str] = []
    used = 0
    for row in rows:
        if batch and used + row.wire_bytes > MAX_CORRECTED_BATCH_BYTES:
            yield batch
            batch, used = [], 0
        batch.append(str(row.key[0]))
        used += row.wire_bytes
    if batch:
        yield batch


def _check_wanted(correction: Correction[E]) -> None:
    if not correction.is_wanted():
        raise CallerLeftError
