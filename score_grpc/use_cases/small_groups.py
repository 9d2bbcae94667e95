"""Small objects, stored in groups: each step is taken for all of a group before the next one.

    Song's word of the announcement → keys in the ledger → the store, several at once
        → Song's word, asked fresh → visible, in one transaction

A crash at any point leaves nothing visible, and nothing in the store that the ledger does not know. An object with an
upload of its own under way, or with other bytes stored, is sent through such an upload instead, one at a time.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

import structlog

from score_grpc.domain import limits
from score_grpc.domain.access import Action, Principal
from score_grpc.domain.errors import (
    DrainingError,
    ObjectDigestMismatchError,
    ObjectNotRegisteredError,
    ScoreError,
    StoreUnavailableError,
)
from score_grpc.domain.parts import PartPlan
from score_grpc.domain.registrations import Registration
from score_grpc.domain.stored_objects import StoredObject, Verification, new_object
from score_grpc.domain.uploads import Upload, new_upload
from score_grpc.gateways.objects.port import StoredBytes
from score_grpc.use_cases.complete import Completions
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.permission import permit
from score_grpc.use_cases.small_memory import SmallObject, SmallObjectMemory
from score_grpc.use_cases.start import require_registered
from score_grpc.use_cases.whole_upload import WholeUpload

_log = structlog.get_logger()


class SmallObjectStorer:
    """Stores the groups of all streams of this process."""

    def __init__(self, environment: Environment, completions: Completions) -> None:
        self._environment, self._completions = environment, completions
        self._small_objects = environment.small_objects
        self._groups = ThreadPoolExecutor(limits.SMALL_GROUPS_AT_ONCE, "small")
        self._puts = ThreadPoolExecutor(limits.SMALL_PUTS_AT_ONCE, "put")
        self.memory = SmallObjectMemory(environment.draining)

    def submit(self, principal: Principal, group: Sequence[SmallObject]) -> "Future[None]":
        """Store a group of different objects, soon: each has its outcome when the future is done.

        The future raises what concerns all of them: SongUnavailableError, DrainingError, DatabaseUnavailableError.
        Objects without an outcome are not stored then. What is held of any of them is let go. Raises DrainingError.
        """
        try:
            return self._groups.submit(self._store_and_let_go, principal, group)
        except RuntimeError:  # closed
            raise DrainingError("this server is shutting down: send the object to another one") from None

    def open_upload(self, principal: Principal, item: SmallObject) -> WholeUpload:
        """Begin an upload of its own for an object. Raises as `start_upload`, and DrainingError."""
        return WholeUpload(
            self._environment,
            self._completions,
            principal,
            item.object_id,
            item.size_bytes,
            item.expected_md5,
            replace=item.replace,
            call_facts=item.asker.facts,
        )

    def close(self) -> None:
        """Stop, after what is under way; `draining` is set."""
        self._groups.shutdown(cancel_futures=True)
        self._puts.shutdown(cancel_futures=True)

    def _store_and_let_go(self, principal: Principal, group: Sequence[SmallObject]) -> None:
        try:
            self._store(principal, group)
        finally:
            self.memory.let_go(group)

    def _store(self, principal: Principal, group: Sequence[SmallObject]) -> None:
        stored = self._environment.objects([item.object_id for item in group])
        new, others = [], []
        for item in self._permitted(principal, group, stored):
            there = stored.get(item.object_id)
            if there is None:
                new.append(item)
            elif there.verification is Verification.VERIFIED and there.holds(item.size_bytes, item.md5):
                item.outcome = there
            else:
                others.append(item)
        others += self._store_new(principal, new)
        for item in others:
            self._store_alone(principal, item)

    def _permitted(
        self, principal: Principal, group: Sequence[SmallObject], stored: Mapping[str, StoredObject]
    ) -> Sequence[SmallObject]:
        """Return those that may be stored, the others have an outcome. A no is not given from memory."""
        doubtful = [item for item in group if _refusal(principal, item, item.registration, stored) is not None]
        self._decide(principal, doubtful, stored)
        return [item for item in group if item.outcome is None]

    def _decide(self, principal: Principal, items: Sequence[SmallObject], stored: Mapping[str, StoredObject]) -> None:
        """Ask Song about these now, and end those that are refused."""
        if not items:
            return
        registry = self._environment.registry
        registrations = registry.resolve([item.object_id for item in items], fresh=True)
        for item in items:
            item.registration = registrations.get(item.object_id)
            refusal = _refusal(principal, item, item.registration, stored)
            if refusal is not None:
                item.outcome = refusal

    def _store_new(self, principal: Principal, new: Sequence[SmallObject]) -> Sequence[SmallObject]:
        """Store objects that hold nothing so far; return those whose object has an upload, or bytes, by now."""
        reserved = {upload.object_id: upload for upload in self._small_objects.reserve(list(map(_upload, new)))}
        # Nobody else knows these uploads: what does not come to be visible is given up.
        given_up = {upload.upload_id for upload in reserved.values()}
        visible: Mapping[str, StoredObject] = {}
        try:
            held = [item for item in new if item.object_id in reserved]
            found = self._put(held, reserved)
            # Without an answer the store may yet store it: that key is another's to free when the lease has run out.
            given_up -= {
                reserved[item.object_id].upload_id for item in held if isinstance(item.outcome, StoreUnavailableError)
            }
            put = [item for item in held if item.outcome is None]
            self._decide(principal, put, {})
            kept = [item for item in put if item.outcome is None]
            made = [(_object(item, reserved[item.object_id], found[item.object_id]), item.part) for item in kept]
            visible = self._small_objects.complete(made, kept[0].asker) if kept else {}
            given_up -= {stored.upload_id for stored in visible.values()}
        finally:
            if given_up:
                self._small_objects.release(given_up)
        for item in kept:
            if item.object_id in visible:
                item.outcome = visible[item.object_id]
        if visible:
            size_bytes = sum(stored.size_bytes for stored in visible.values())
            _log.info("small objects visible", objects=len(visible), size_bytes=size_bytes)
        return [item for item in new if item.outcome is None]

    def _put(self, items: Sequence[SmallObject], reserved: Mapping[str, Upload]) -> Mapping[str, StoredBytes]:
        """Store the bytes, several objects at once; those that the store refuses have an outcome."""
        put = self._environment.store.put
        running = [(item, self._puts.submit(put, reserved[item.object_id].staging_key, item.pieces)) for item in items]
        found = {}
        for item, future in running:
            # All of them, whatever one comes to: nothing may still be written under a key that is given up.
            error = future.exception()
            if error is None:
                found[item.object_id] = future.result()
            else:
                item.outcome = error if isinstance(error, Exception) else RuntimeError(repr(error))
        return found

    def _store_alone(self, principal: Principal, item: SmallObject) -> None:
        try:
            upload = self.open_upload(principal, item)
            try:
                for piece in item.pieces:
                    upload.write(piece)
                item.outcome = upload.finish()
            finally:
                upload.close()
        except DrainingError:
            raise
        except ScoreError as error:
            item.outcome = error


def _refusal(
    principal: Principal, item: SmallObject, registration: Registration | None, stored: Mapping[str, StoredObject]
) -> ScoreError | None:
    """Return why this object may not be stored now, None if it may."""
    try:
        if registration is None:
            raise ObjectNotRegisteredError(
                f"Song knows no file with object id {item.object_id!r}: submit its analysis first",
                object_id=item.object_id,
            )
        permit(principal, Action.MANAGE_UPLOAD, registration)
        require_registered(registration, item.size_bytes, item.expected_md5)
        if item.object_id not in stored:  # what is stored needs no upload, whatever the state
            permit(principal, Action.UPLOAD, registration)
        if item.md5 != registration.md5:
            raise ObjectDigestMismatchError(
                f"{registration.file_name}: the bytes that were sent have MD5 {item.md5}, {registration.md5} is "
                "registered in Song: choose the right file, or submit this one in a new analysis",
                computed_md5=item.md5,
                registered_md5=registration.md5,
            )
    except ScoreError as refusal:
        return refusal
    return None


def _registered(item: SmallObject) -> Registration:
    if item.registration is None:
        raise AssertionError("what is not registered is refused before")
    return item.registration


def _upload(item: SmallObject) -> Upload:
    plan = PartPlan(item.size_bytes, limits.PART_DEFAULT_BYTES)
    return new_upload(_registered(item), plan, "", datetime.now(UTC))


def _object(item: SmallObject, upload: Upload, found: StoredBytes) -> StoredObject:
    return new_object(_registered(item), upload, item.md5, found.version, datetime.now(UTC), is_verified=True)
