"""What Song says of a file: the facts that uploads and downloads are judged by."""

from dataclasses import dataclass
from enum import Enum


class AnalysisState(Enum):
    """Where the analysis stands in Song."""

    UNPUBLISHED = "UNPUBLISHED"
    PUBLISHED = "PUBLISHED"
    SUPPRESSED = "SUPPRESSED"


@dataclass(frozen=True, slots=True)
class Registration:
    """One file as registered in Song."""

    object_id: str
    study_id: str
    analysis_id: str
    analysis_state: AnalysisState
    file_name: str
    size_bytes: int
    md5: str
    """32 lower-case hexadecimal digits."""
    is_open: bool
    """Access `open`. Everything else, also what is unknown, is controlled."""
    is_publishing: bool = False
    """Song asks what Score holds, to publish the analysis: its objects must not change."""
