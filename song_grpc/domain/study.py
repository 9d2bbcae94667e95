"""Studies."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from song_grpc.domain import etags, json_text
from song_grpc.domain.errors import ParameterError, PayloadParsingError
from song_grpc.domain.ids import check_study_id
from song_grpc.domain.limits import MAX_STUDY_DESCRIPTION_BYTES, MAX_STUDY_INFO_BYTES, MAX_STUDY_NAME_CHARS

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
    """Check a study to be created, and return it as it will be stored. Raises ParameterError, PayloadParsingError."""
    check_study_id(wanted.study_id)
    for field in ("name", "organization", "description"):
        text: str = getattr(wanted, field)
        if "\0" in text:
            raise ParameterError(f"study.{field}", "has a NUL character, which can't be stored")
        if field != "description" and len(text) > MAX_STUDY_NAME_CHARS:
            raise ParameterError(f"study.{field}", f"has more than {MAX_STUDY_NAME_CHARS} characters")
    if len(wanted.description.encode()) > MAX_STUDY_DESCRIPTION_BYTES:
        raise ParameterError("study.description", f"has more than {MAX_STUDY_DESCRIPTION_BYTES} bytes")
    if len(wanted.info_json.encode()) > MAX_STUDY_INFO_BYTES:
        raise ParameterError("study.info_json", f"has more than {MAX_STUDY_INFO_BYTES} bytes")
    info = _read_info(wanted.info_json) if wanted.info_json else ""
    return Study(wanted.study_id, wanted.name, wanted.organization, wanted.description, info, now, wanted.visibility)


def _read_info(text: str) -> str:
    try:
        return json_text.write_info(json_text.read_object(text, "info_json"))
    except PayloadParsingError as error:
        # The contract knows one error for a bad field of this request.
        raise ParameterError("study.info_json", str(error)) from None
