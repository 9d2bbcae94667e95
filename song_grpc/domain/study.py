"""Studies."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from song_grpc.domain import etags, info
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.ids import check_study_id
from song_grpc.domain.limits import MAX_STUDY_DESCRIPTION_BYTES, MAX_STUDY_INFO_BYTES, MAX_STUDY_NAME_CHARS

UPDATABLE = ("name", "organization", "description", "info_json", "visibility")
"""The fields that a study's owner may change."""
_OVERHEAD_BYTES = 64  # of a message's tags, lengths and timestamp


class StudyVisibility(Enum):
    """Who may see what of a study's published analyses."""

    OPEN = "OPEN"
    CONTROLLED = "CONTROLLED"


@dataclass(frozen=True, slots=True)
class Study:
    """A study owns donors, specimens, samples and analyses."""

    study_id: str
    name: str
    organization: str
    description: str
    info_json: str
    """A JSON object without null-valued keys, or empty."""
    create_time: datetime
    visibility: StudyVisibility = StudyVisibility.OPEN

    @property
    def etag(self) -> str:
        """Mark of this version."""
        texts = (self.study_id, self.name, self.organization, self.description, self.info_json)
        return etags.of_content(*texts, self.visibility.value)

    @property
    def wire_bytes(self) -> int:
        """At least what its message takes."""
        texts = (self.study_id, self.name, self.organization, self.description, self.info_json)
        return _OVERHEAD_BYTES + sum(len(text.encode()) for text in texts)


def create_study(wanted: Study, now: datetime) -> Study:
    """Check a study to be created, and return it as it will be stored. Raises ParameterError."""
    check_study_id(wanted.study_id)
    return replace(_checked(wanted), create_time=now)


def update_study(study: Study, wanted: Study, fields: Collection[str]) -> Study:
    """Return a study with these fields, some of `UPDATABLE`, as wanted. Raises ParameterError."""
    return _checked(replace(study, **{field: getattr(wanted, field) for field in fields}))


def _checked(study: Study) -> Study:
    for field in ("name", "organization", "description"):
        text: str = getattr(study, field)
        if "\0" in text:
            raise ParameterError(f"study.{field}", "has a NUL character, which can't be stored")
        if field != "description" and len(text) > MAX_STUDY_NAME_CHARS:
            raise ParameterError(f"study.{field}", f"has more than {MAX_STUDY_NAME_CHARS} characters")
    if len(study.description.encode()) > MAX_STUDY_DESCRIPTION_BYTES:
        raise ParameterError("study.description", f"has more than {MAX_STUDY_DESCRIPTION_BYTES} bytes")
    return replace(study, info_json=info.read(study.info_json, "study.info_json", MAX_STUDY_INFO_BYTES))
