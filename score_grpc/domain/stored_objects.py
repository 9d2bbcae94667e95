"""A stored object: one visible, immutable generation of bytes."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from score_grpc.domain.parts import PartPlan


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

    @property
    def plan(self) -> PartPlan:
        """How its bytes are cut."""
        return PartPlan(self.size_bytes, self.part_size_bytes)
