"""Start an upload, join the live one, or find the bytes stored."""

import re
from contextlib import suppress
from datetime import UTC, datetime

from score_grpc.domain.access import Action, Principal
from score_grpc.domain.errors import (
    FieldInvalidError,
    Md5NotRegisteredError,
    ObjectExistsError,
    SizeNotRegisteredError,
    StoreFullError,
    StoreUnavailableError,
    UploadAbortedError,
    UploadConflictError,
    UploadNotOpenError,
)
from score_grpc.domain.parts import plan_parts
from score_grpc.domain.registrations import Registration
from score_grpc.domain.stored_objects import StoredObject, Verification
from score_grpc.domain.uploads import AbortReason, Upload, UploadState, new_upload
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.permission import permit, registration_of
from score_grpc.use_cases.staging import free, stage

_OBJECT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,34}[A-Za-z0-9]", re.ASCII)
_MD5 = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)
# Two callers may start at the same moment, and the winner's upload may end before the loser looks for it.
_ATTEMPTS = 5


def start_upload(
    environment: Environment,
    principal: Principal,
    object_id: str,
    size_bytes: int | None,
    expected_md5: str,
    part_size_hint_bytes: int,
    *,
    replace: bool = False,
) -> Upload | StoredObject:
    """Return the upload to write to, or the object if these bytes are stored and verified.

    With `replace` other bytes that are stored get a further generation, and a live upload of another size is aborted.
    One that has come too late, as other bytes than it was to replace are stored by now, is aborted without a word.

    Raises FieldInvalidError, ObjectNotRegisteredError, ScopeMissingError, AnalysisNotUnpublishedError,
    SizeNotRegisteredError, Md5NotRegisteredError, ObjectExistsError, UploadConflictError, StoreFullError,
    StoreUnavailableError, SongUnavailableError.
    """
    require_object_id(object_id)
    require_md5(expected_md5)
    ledger, store = environment.ledger, environment.store
    registration = registration_of(environment.registry, object_id, fresh=True)
    permit(principal, Action.MANAGE_UPLOAD, registration)
    require_registered(registration, size_bytes, expected_md5)
    stored = environment.objects([object_id]).get(object_id)
    if stored is None:  # what is stored needs no upload, whatever the state
        permit(principal, Action.UPLOAD, registration)
    plan = plan_parts(registration.size_bytes, part_size_hint_bytes)
    for _ in range(_ATTEMPTS):
        stored = ledger.objects([object_id]).get(object_id)
        if stored is not None:
            if stored.verification is Verification.VERIFIED and _is_registered(stored, registration):
                return stored
            permit(principal, _replacing_action(stored, registration, replace=replace), registration)
        live = ledger.live_upload(object_id)
        if live is not None and stored is not None and live.replaces_generation < stored.generation:
            _end(environment, live, only_late=True)  # it could never become visible
            continue
        if live is not None and live.size_bytes != registration.size_bytes:
            _end_conflict(environment, live, registration, replace=replace)
            continue
        if live is not None:
            joined = ledger.revisit(live.upload_id)
            if joined is not None and (staged := _staged(environment, joined)):
                return staged
            continue
        free_bytes = store.free_bytes()
        if free_bytes is not None and free_bytes < registration.size_bytes:
            raise StoreFullError(
                f"{registration.file_name} has {registration.size_bytes} bytes, the store has room for {free_bytes}: "
                "free some space, nothing was started"
            )
        # A key of its own for each attempt: what a dying attempt leaves behind can't be mistaken for this one's.
        attempt = ledger.count_uploads(object_id) + 1
        key = environment.layout.key(object_id, attempt)
        replaced = 0 if stored is None else stored.generation
        upload = new_upload(registration, plan, key, datetime.now(UTC), replaces_generation=replaced)
        if ledger.add_upload(upload) and (staged := _staged(environment, upload)):
            return staged
    raise StoreUnavailableError(f"uploads of {object_id} come and go too fast: retry")


def _staged(environment: Environment, upload: Upload) -> Upload | None:
    """Return the live upload with a staging in the store: begun now, where nobody came so far. None if it is over."""
    if upload.staging_token:
        return upload
    try:
        stage(environment, upload.upload_id, upload.staging_key, upload.staging_token)
    except (UploadAbortedError, UploadNotOpenError):
        return None
    return environment.ledger.live_upload(upload.object_id)


def is_object_id(text: str) -> bool:
    """Whether the text can be an object id."""
    return _OBJECT_ID.fullmatch(text) is not None


def require_object_id(object_id: str) -> None:
    """Raise FieldInvalidError unless the text can be an object id."""
    if not is_object_id(object_id):
        raise FieldInvalidError(
            "object_id", f"{object_id[:100]!r}: an object id has 3 to 36 letters, digits, '-' and '_' (often a UUID)"
        )


def require_md5(expected_md5: str) -> None:
    """Raise FieldInvalidError unless the text is an MD5 in any case, or empty."""
    if expected_md5 and not _MD5.fullmatch(expected_md5):
        raise FieldInvalidError("expected_md5", f"{expected_md5[:100]!r}: an MD5 has 32 hexadecimal digits")


def require_registered(registration: Registration, size_bytes: int | None, expected_md5: str) -> None:
    """Raise SizeNotRegisteredError or Md5NotRegisteredError where the file is another than the registered one."""
    if size_bytes is not None and size_bytes != registration.size_bytes:
        raise SizeNotRegisteredError(
            f"{registration.file_name}: this file has {size_bytes} bytes, {registration.size_bytes} are registered in "
            "Song: choose the right file, or submit this one in a new analysis",
            registered=str(registration.size_bytes),
            given=str(size_bytes),
        )
    md5 = expected_md5.lower()
    if md5 and md5 != registration.md5:
        raise Md5NotRegisteredError(
            f"{registration.file_name}: this file has MD5 {md5}, {registration.md5} is registered in Song: choose the "
            "right file, or submit this one in a new analysis",
            registered=registration.md5,
            given=md5,
        )


def _is_registered(stored: StoredObject, registration: Registration) -> bool:
    return stored.holds(registration.size_bytes, registration.md5)


def _replacing_action(stored: StoredObject, registration: Registration, *, replace: bool) -> Action:
    """Return what an upload in the place of what is stored asks for. Raises ObjectExistsError."""
    if not _is_registered(stored, registration):
        if replace:
            return Action.UPLOAD
        text = (
            f"holds other bytes, MD5 {stored.md5}: start the upload with 'replace' to put these in their place, or "
            "submit the file in a new analysis"
        )
    elif stored.is_damaged or replace:
        return Action.MEND
    else:
        text = "holds bytes with this MD5 that were never read: verify it (VerifyObject), or start with 'replace'"
    raise ObjectExistsError(
        f"{registration.file_name}: object {stored.object_id} {text}",
        object_id=stored.object_id,
        stored_md5=stored.md5,
    )


def _end_conflict(environment: Environment, live: Upload, registration: Registration, *, replace: bool) -> None:
    """Abort a live upload of another size. Raises UploadConflictError unless it is to be replaced."""
    if not replace:
        raise UploadConflictError(
            f"{registration.file_name}: an upload of {live.size_bytes} bytes is under way, {registration.size_bytes} "
            "are registered in Song now: abort it, or start with 'replace', and its parts are lost",
            upload_id=live.upload_id,
            size_bytes=str(live.size_bytes),
        )
    _end(environment, live)


def _end(environment: Environment, live: Upload, *, only_late: bool = False) -> None:
    with suppress(UploadNotOpenError):  # it was completed meanwhile: then its object is what is stored
        ended = environment.ledger.abort(live.upload_id, AbortReason.REPLACED, only_late=only_late)
        if ended.state is UploadState.ABORTED:  # else what it came too late for was deleted meanwhile
            free(environment, ended)
