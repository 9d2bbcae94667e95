"""An upload: its states, its parts, why it failed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from uuid import uuid4

from score_grpc.domain import limits
from score_grpc.domain.errors import UploadAbortedError, UploadNotOpenError
from score_grpc.domain.parts import PartPlan
from score_grpc.domain.registrations import Registration


class UploadState(Enum):
    """OPEN → COMPLETING → COMPLETED; COMPLETING → OPEN with a failure; OPEN or COMPLETING → ABORTED."""

    OPEN = "OPEN"
    COMPLETING = "COMPLETING"
    COMPLETED = "COMPLETED"
    ABORTED = "ABORTED"


class AbortReason(Enum):
    """Who or what ended an upload that is ABORTED."""

    CALLER = "CALLER"
    EXPIRED = "EXPIRED"
    SUPPRESSED = "SUPPRESSED"
    """Its analysis was, while it completed."""
    REPLACED = "REPLACED"
    """By another upload of the same object."""


LIVE = (UploadState.OPEN, UploadState.COMPLETING)


@dataclass(frozen=True, slots=True)
class UploadFailure:
    """Why a completion led back to OPEN."""

    reason: str
    """Name in the contract's ErrorReason."""
    message: str
    computed_md5: str = ""
    """For OBJECT_DIGEST_MISMATCH alone."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One attempt to give an object its bytes, as the ledger has it."""

    upload_id: str
    object_id: str
    study_id: str
    analysis_id: str
    file_name: str
    state: UploadState
    size_bytes: int
    expected_md5: str
    part_size_bytes: int
    staging_key: str
    """Where the object will be in the store."""
    staging_token: str
    """The store's own id of the staging."""
    persisted_part_total: int
    persisted_size_bytes: int
    hashed_size_bytes: int
    last_failure: UploadFailure | None
    create_time: datetime
    update_time: datetime
    """Of the last activity: a part persisted, a client that came back, a change of state."""
    abort_reason: AbortReason | None = None
    """Of an ABORTED upload; None where it was aborted before reasons were kept."""
    replaces_generation: int = 0
    """The generation whose place it takes; 0 where the object held nothing."""

    @property
    def plan(self) -> PartPlan:
        """How its bytes are cut."""
        return PartPlan(self.size_bytes, self.part_size_bytes)


def new_upload(
    registration: Registration, plan: PartPlan, staging_key: str, now: datetime, *, replaces_generation: int = 0
) -> Upload:
    """Return an OPEN upload of the registered file, without a staging and without parts."""
    return Upload(
        upload_id=str(uuid4()),
        object_id=registration.object_id,
        study_id=registration.study_id,
        analysis_id=registration.analysis_id,
        file_name=registration.file_name,
        state=UploadState.OPEN,
        size_bytes=plan.size_bytes,
        expected_md5=registration.md5,
        part_size_bytes=plan.part_size_bytes,
        staging_key=staging_key,
        staging_token="",
        persisted_part_total=0,
        persisted_size_bytes=0,
        hashed_size_bytes=0,
        last_failure=None,
        create_time=now,
        update_time=now,
        replaces_generation=replaces_generation,
    )


@dataclass(frozen=True, slots=True)
class UploadPart:
    """A persisted part."""

    part_number: int
    size_bytes: int
    xxh3_128: str
    """32 lower-case hexadecimal digits; empty where the server has not seen the bytes."""
    store_etag: str
    md5: str = ""
    """Of a part that came by a signed URL, 32 lower-case hexadecimal digits; else empty."""


@dataclass(frozen=True, slots=True)
class UploadFilter:
    """Which uploads are listed; empty texts mean any."""

    study_id: str = ""
    analysis_id: str = ""
    object_id: str = ""
    states: frozenset[UploadState] = frozenset()
    """At least one."""


_ABORTED_WORDS = {
    AbortReason.EXPIRED: "expired",
    AbortReason.SUPPRESSED: "was aborted when its analysis was suppressed",
    AbortReason.REPLACED: "was replaced by another one",
}


def require_open(upload: Upload) -> None:
    """Raise unless the upload takes chunks."""
    if upload.state is UploadState.ABORTED:
        reason = upload.abort_reason or AbortReason.CALLER
        raise UploadAbortedError(
            f"upload {upload.upload_id} of {upload.file_name} {_ABORTED_WORDS.get(reason, 'was aborted')} and its "
            "parts are gone: start a new one",
            upload_id=upload.upload_id,
            object_id=upload.object_id,
            abort_reason=reason.value,
        )
    if upload.state is not UploadState.OPEN:
        raise UploadNotOpenError(
            f"upload {upload.upload_id} of {upload.file_name} is {upload.state.value}: "
            "it takes chunks, and can be aborted, only before it is complete",
            upload_id=upload.upload_id,
            state=upload.state.value,
        )


def expire_time(upload: Upload, idle: timedelta) -> datetime | None:
    """Return when the upload expires unless something happens to it; None unless it is OPEN.

    `idle` is how long it may go without activity. What is complete, or on its way there, does not expire.
    """
    if upload.state is not UploadState.OPEN:
        return None
    return min(upload.update_time + idle, upload.create_time + timedelta(seconds=limits.UPLOAD_LIFETIME_SECONDS))


def expired_before(now: datetime, idle: timedelta) -> tuple[datetime, datetime]:
    """Return the moments before which an expired OPEN upload was last active, or else was started."""
    return now - idle, now - timedelta(seconds=limits.UPLOAD_LIFETIME_SECONDS)
