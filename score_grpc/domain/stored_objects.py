"""A stored object: one visible, immutable generation of bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from score_grpc.domain.parts import PartPlan
from score_grpc.domain.registrations import Registration
from score_grpc.domain.uploads import Upload, UploadPart


class Verification(Enum):
    """What the server knows of the bytes."""

    VERIFIED = "VERIFIED"
    UNVERIFIED = "UNVERIFIED"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the ledger has it."""

    object_id: str
    generation: int
    upload_id: str
    """The upload that brought the bytes; its parts are the object's parts."""
    study_id: str
    analysis_id: str
    file_name: str
    size_bytes: int
    md5: str
    verification: Verification
    part_size_bytes: int
    store_key: str
    store_version: str
    create_time: datetime
    verify_time: datetime | None = None
    """When all bytes were last read and compared; None for never."""
    verify_start_time: datetime | None = None
    """When the verification under way was asked for; None where there is none."""
    verified_size_bytes: int = 0
    """How far it is."""
    damaged_parts: Sequence[int] = ()
    """Numbers of the parts that the last verification found damaged."""
    is_changing: bool = False
    """Whether it is being replaced or deleted at this moment."""

    @property
    def plan(self) -> PartPlan:
        """How its bytes are cut."""
        return PartPlan(self.size_bytes, self.part_size_bytes)

    @property
    def is_damaged(self) -> bool:
        """Whether its bytes were read, and found to be others than they should be."""
        return self.verification is Verification.UNVERIFIED and self.verify_time is not None

    def holds(self, size_bytes: int, md5: str) -> bool:
        """Whether its bytes have this size and MD5: others of the same can only mend it."""
        return (self.size_bytes, self.md5) == (size_bytes, md5)


def new_object(
    registration: Registration, upload: Upload, md5: str, store_version: str, now: datetime, *, is_verified: bool
) -> StoredObject:
    """Return the object that an upload brings, as it is registered now; the ledger numbers its generation.

    `is_verified` says whether the server has just seen all bytes, and `md5` is theirs.
    """
    return StoredObject(
        object_id=upload.object_id,
        generation=0,
        upload_id=upload.upload_id,
        study_id=registration.study_id,
        analysis_id=registration.analysis_id,
        file_name=registration.file_name,
        size_bytes=upload.size_bytes,
        md5=md5,
        verification=Verification.VERIFIED if is_verified else Verification.UNVERIFIED,
        part_size_bytes=upload.part_size_bytes,
        store_key=upload.staging_key,
        store_version=store_version,
        create_time=now,
        verify_time=now if is_verified else None,
    )


@dataclass(frozen=True, slots=True)
class Findings:
    """What a verification found."""

    is_verified: bool
    md5: str
    """Of the whole; as it was where parts are damaged."""
    damaged_parts: Sequence[int]
    read_parts: Sequence[UploadPart]
    """Parts that are good, with the xxh3_128 of what was read."""


@dataclass(frozen=True, slots=True)
class ObjectFilter:
    """Which objects are listed; empty texts and None mean any."""

    study_id: str = ""
    analysis_id: str = ""
    verification: Verification | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
