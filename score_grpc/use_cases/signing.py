"""Signed URLs: bytes that go straight between client and store, and the record of parts that came so.

Who signs is the store itself where it can, else this server for its own HTTP. A signed PUT fences nothing: whoever
writes a part last has written it. So a part counts only once it is recorded, after a look at what the store holds.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from score_grpc.domain import limits
from score_grpc.domain.access import Action, Principal
from score_grpc.domain.errors import (
    FieldInvalidError,
    PartsMissingError,
    RangeInvalidError,
    SigningUnsupportedError,
    StagingLostError,
)
from score_grpc.domain.signed_requests import SignedRequest
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.domain.uploads import Upload, UploadPart, UploadState, require_open
from score_grpc.gateways.objects.port import Staging, StorePart
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.own_urls import OwnUrls
from score_grpc.use_cases.permission import permit_object, sending_action
from score_grpc.use_cases.staging import stage

_MD5 = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)
_ETAG_CHARS = 1024

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PartToSign:
    """A part to be PUT."""

    part_number: int
    md5: str
    """32 hexadecimal digits in any case."""
    replaces: bool = False
    """Whether it is sent again where it is persisted."""


@dataclass(frozen=True, slots=True)
class PartToRecord:
    """A part that was PUT."""

    part_number: int
    md5: str
    """What it was signed with."""
    store_etag: str
    """What the store answered."""


def signs_parts(environment: Environment) -> bool:
    """Whether parts can go by signed URLs."""
    return environment.own_urls is not None or environment.store.signs_parts


def sign_parts(
    environment: Environment, principal: Principal, upload_id: str, wanted: Sequence[PartToSign], lifetime_seconds: int
) -> tuple[Sequence[tuple[int, SignedRequest]], Sequence[UploadPart]]:
    """Return a request for each part that is to be sent, by its number, and the parts that are persisted already.

    Raises UploadNotFoundError, ScopeMissingError, AnalysisNotUnpublishedError, FieldInvalidError, UploadNotOpenError,
    UploadAbortedError, SigningUnsupportedError, SongUnavailableError, StoreUnavailableError, StoreFullError.
    """
    upload = environment.ledger.upload(upload_id)
    permit_object(environment.registry, principal, sending_action(environment.ledger, upload), upload.object_id)
    require_open(upload)
    lifetime = _lifetime(lifetime_seconds, limits.SIGNED_PART_SECONDS, limits.SIGNED_PART_MAX_SECONDS)
    _require_numbers(upload, [part.part_number for part in wanted])
    for part in wanted:
        _require_md5(part.md5)
    own_urls = _own_urls(environment, is_store_able=environment.store.signs_parts)
    if own_urls is None:
        upload = _with_staging(environment, upload)
    known = environment.signed_parts.known(upload_id, [part.part_number for part in wanted])
    replaced = {part.part_number for part in wanted if part.replaces and part.part_number in known}
    if replaced:
        # Before anybody can overwrite them.
        environment.signed_parts.withdraw(upload_id, replaced)
        environment.hashing.restart(upload_id)
    kept = [known[part.part_number] for part in wanted if part.part_number in known.keys() - replaced]
    sent = [part for part in wanted if part.part_number not in known.keys() - replaced]
    return [(part.part_number, _signed_part(environment, own_urls, upload, part, lifetime)) for part in sent], kept


def record_parts(
    environment: Environment, principal: Principal, upload_id: str, wanted: Sequence[PartToRecord]
) -> Sequence[UploadPart | PartsMissingError]:
    """Return what became of each part: it is persisted, or why it is not.

    Raises UploadNotFoundError, ScopeMissingError, FieldInvalidError, UploadNotOpenError, UploadAbortedError,
    SongUnavailableError, StoreUnavailableError.
    """
    upload = environment.ledger.upload(upload_id)
    permit_object(environment.registry, principal, Action.MANAGE_UPLOAD, upload.object_id)
    require_open(upload)
    _require_numbers(upload, [part.part_number for part in wanted])
    for part in wanted:
        _require_md5(part.md5)
        if not 1 <= len(part.store_etag) <= _ETAG_CHARS:
            raise FieldInvalidError("parts.store_etag", "give the ETag of the store's answer to the PUT")
    # The epoch comes before the look at the store: what a newer stream records meanwhile, it knows better.
    upload, epoch = environment.ledger.join(upload_id)
    known = environment.signed_parts.known(upload_id, [part.part_number for part in wanted])
    persisted = {part.part_number: known[part.part_number] for part in wanted if _is_recorded(part, known)}
    fresh = [part for part in wanted if part.part_number not in persisted]
    if fresh:
        persisted |= _record(environment, upload, epoch, fresh, known.keys())
    return [persisted.get(part.part_number) or _missing(upload, part.part_number) for part in wanted]


def unrecorded_parts(
    environment: Environment, upload: Upload, after: int, recorded: Sequence[UploadPart], *, is_last_page: bool
) -> Sequence[StorePart]:
    """Return the parts that the store holds and nobody recorded, with the numbers of one page of recorded parts.

    `recorded` is that page, of parts with numbers above `after`. None unless the upload is OPEN. Raises
    StoreUnavailableError.
    """
    if upload.state is not UploadState.OPEN or not upload.staging_token:
        return []
    last = limits.PARTS_MAX if is_last_page or not recorded else recorded[-1].part_number
    try:
        held = _listed(environment, upload, after, last)
    except StagingLostError:  # whoever asks for signatures next begins anew
        return []
    numbers = {part.part_number for part in recorded}
    return [part for part in held if part.part_number not in numbers]


def sign_reads(
    environment: Environment, stored: StoredObject, ranges: Sequence[tuple[int, int]], lifetime_seconds: int
) -> Sequence[SignedRequest]:
    """Return a request for each range (first byte, length) of an object that the caller may read; of none, the whole.

    Raises FieldInvalidError, RangeInvalidError, SigningUnsupportedError, StoreUnavailableError.
    """
    lifetime = _lifetime(lifetime_seconds, limits.SIGNED_READ_SECONDS, limits.SIGNED_READ_MAX_SECONDS)
    if len(ranges) > limits.SIGNED_AT_ONCE:
        raise FieldInvalidError("ranges", f"{len(ranges)} ranges: ask for at most {limits.SIGNED_AT_ONCE} at a time")
    for first, length in ranges:
        if length < 1:
            raise FieldInvalidError("ranges.size_bytes", f"{length}: a range has at least 1 byte")
        if not 0 <= first <= stored.size_bytes - length:
            raise RangeInvalidError(
                f"{stored.file_name} has {stored.size_bytes} bytes: {length} bytes at offset {first} do not lie in it",
                size_bytes=str(stored.size_bytes),
            )
    if not ranges:
        return [_signed_read(environment, stored, None, lifetime)]
    return [_signed_read(environment, stored, wanted, lifetime) for wanted in ranges]


def _signed_part(
    environment: Environment, own_urls: OwnUrls | None, upload: Upload, part: PartToSign, lifetime: timedelta
) -> SignedRequest:
    number, size_bytes, md5 = part.part_number, upload.plan.part_bytes(part.part_number), part.md5.lower()
    if own_urls is not None:
        return own_urls.sign_part(upload.upload_id, number, size_bytes, md5, lifetime)
    staging = Staging(upload.staging_key, upload.staging_token)
    return _supported(environment.store.sign_part(staging, number, size_bytes, md5, lifetime))


def _signed_read(
    environment: Environment, stored: StoredObject, wanted: tuple[int, int] | None, lifetime: timedelta
) -> SignedRequest:
    request = None
    if not environment.prefers_own_urls:
        request = environment.store.sign_read(stored.store_key, stored.store_version, wanted, lifetime)
    if request is None and environment.own_urls is not None:
        request = environment.own_urls.sign_read(stored.object_id, stored.generation, wanted, lifetime)
    return _supported(request)


def _own_urls(environment: Environment, *, is_store_able: bool) -> OwnUrls | None:
    """Return what signs in the store's place; None where the store does. Raises SigningUnsupportedError."""
    if is_store_able and not environment.prefers_own_urls:
        return None
    if environment.own_urls is None:
        raise _unsupported()
    return environment.own_urls


def _supported(request: SignedRequest | None) -> SignedRequest:
    if request is None:
        raise _unsupported()
    return request


def _unsupported() -> SigningUnsupportedError:
    return SigningUnsupportedError(
        "this server's store signs no URLs, and the server itself has no HTTP: use WriteUpload and ReadObject"
    )


def _with_staging(environment: Environment, upload: Upload) -> Upload:
    """Return the upload with a staging that the store knows: nobody would hear otherwise why each PUT is refused."""
    try:
        if upload.staging_token:
            _listed(environment, upload, limits.PARTS_MAX, 0)  # none: a list of those there are takes long
            return upload
    except StagingLostError:
        pass
    _restage(environment, upload)
    return environment.ledger.upload(upload.upload_id)


def _restage(environment: Environment, upload: Upload) -> None:
    """Begin again with no part: the store has lost the staging with all that was in it."""
    if upload.staging_token:
        _log.error("staging lost, all its parts are asked for again", upload_id=upload.upload_id)
    if stage(environment, upload.upload_id, upload.staging_key, upload.staging_token):
        environment.hashing.restart(upload.upload_id)


def _record(
    environment: Environment, upload: Upload, epoch: int, wanted: Sequence[PartToRecord], known: Collection[int]
) -> dict[int, UploadPart]:
    """Record those parts that the store holds as they were PUT; return them by number."""
    numbers = [part.part_number for part in wanted]
    try:
        held = {_mark_of(part): part for part in _listed(environment, upload, min(numbers) - 1, max(numbers))}
    except StagingLostError:
        _restage(environment, upload)
        return {}
    found: list[UploadPart] = []
    for part in wanted:
        size_bytes = upload.plan.part_bytes(part.part_number)
        store_part = held.get((part.part_number, size_bytes, part.store_etag.strip('"')))
        if store_part is not None:
            found.append(UploadPart(part.part_number, size_bytes, "", store_part.etag, part.md5.lower()))
    recorded = environment.signed_parts.record(upload.upload_id, found, epoch, upload.staging_token) if found else []
    if set(recorded) & set(known):
        environment.hashing.restart(upload.upload_id)
    else:
        environment.hashing.follow(upload.upload_id)
    return {part.part_number: part for part in found if part.part_number in recorded}


def _is_recorded(part: PartToRecord, known: dict[int, UploadPart]) -> bool:
    """Whether just this is persisted already: recorded by a call before, or on its arrival at this server."""
    recorded, etag = known.get(part.part_number), part.store_etag.strip('"').lower()
    if recorded is None:
        return False
    # This server's own answer to a PUT has the MD5 as ETag, whatever the store's is.
    is_own_answer = etag == recorded.md5 == part.md5.lower()
    return is_own_answer or etag == recorded.store_etag.strip('"').lower()


def _listed(environment: Environment, upload: Upload, after: int, last: int) -> Sequence[StorePart]:
    """Return what the store holds of the parts with numbers above `after`, up to `last`. Raises StagingLostError."""
    staging = Staging(upload.staging_key, upload.staging_token)
    held: list[StorePart] = []
    for part in environment.store.list_parts(staging, after):
        if part.part_number > last:
            break
        held.append(part)
    return held


def _mark_of(part: StorePart) -> tuple[int, int, str]:
    # Some answers quote an etag, some don't.
    return part.part_number, part.size_bytes, part.etag.strip('"')


def _missing(upload: Upload, part_number: int) -> PartsMissingError:
    return PartsMissingError(
        f"{upload.file_name}: the store does not hold part {part_number}, or with another size or ETag: send it again",
        [part_number],
        upload_id=upload.upload_id,
    )


def _lifetime(seconds: int, default: int, longest: int) -> timedelta:
    if not 0 <= seconds <= longest:
        raise FieldInvalidError("lifetime_seconds", f"{seconds}: give 1 to {longest} seconds, or 0 for {default}")
    return timedelta(seconds=seconds or default)


def _require_numbers(upload: Upload, numbers: Sequence[int]) -> None:
    if not 1 <= len(numbers) <= limits.SIGNED_AT_ONCE:
        raise FieldInvalidError("parts", f"{len(numbers)} parts: give 1 to {limits.SIGNED_AT_ONCE} at a time")
    if len(set(numbers)) < len(numbers):
        raise FieldInvalidError("parts.part_number", "a part is named twice")
    for number in numbers:
        if not 1 <= number <= upload.plan.part_total:
            raise FieldInvalidError(
                "parts.part_number", f"part {number}: this upload has the parts 1 to {upload.plan.part_total}"
            )


def _require_md5(md5: str) -> None:
    if not _MD5.fullmatch(md5):
        raise FieldInvalidError("parts.md5", f"{md5[:40]!r}: an MD5 has 32 hexadecimal digits")
