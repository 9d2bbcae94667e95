"""Analyses with their files, samples and life cycle, as they are stored and read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from song_grpc.domain import etags

# Of a message's tags, lengths and numbers; see `wire_bytes`.
_ANALYSIS_OVERHEAD_BYTES = 512
_FILE_OVERHEAD_BYTES = 160
_SAMPLE_OVERHEAD_BYTES = 320
STATE_CHANGE_BYTES = 160
"""Without its reason."""


class AnalysisState(Enum):
    """Where an analysis stands in its life cycle."""

    UNPUBLISHED = "UNPUBLISHED"
    PUBLISHED = "PUBLISHED"
    SUPPRESSED = "SUPPRESSED"


class FileAccess(Enum):
    """Who may read a file's bytes."""

    OPEN = "open"
    CONTROLLED = "controlled"


@dataclass(frozen=True, slots=True)
class Donor:
    """Who the material comes from."""

    donor_id: str
    study_id: str
    submitter_donor_id: str
    gender: str
    info_json: str

    @property
    def etag(self) -> str:
        """Mark of this version."""
        return etags.of_content(self.donor_id, self.gender, self.info_json)


@dataclass(frozen=True, slots=True)
class Specimen:
    """What was taken from the donor."""

    specimen_id: str
    donor_id: str
    submitter_specimen_id: str
    tumour_normal_designation: str
    specimen_tissue_source: str
    specimen_type: str
    info_json: str

    @property
    def etag(self) -> str:
        """Mark of this version."""
        return etags.of_content(
            *(self.specimen_id, self.tumour_normal_designation, self.specimen_tissue_source),
            *(self.specimen_type, self.info_json),
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """What was sequenced, with what it comes from."""

    sample_id: str
    specimen_id: str
    submitter_sample_id: str
    sample_type: str
    matched_normal_submitter_sample_id: str | None
    info_json: str
    specimen: Specimen
    donor: Donor

    @property
    def etag(self) -> str:
        """Mark of this version of the sample itself."""
        return etags.of_content(
            self.sample_id, self.sample_type, self.matched_normal_submitter_sample_id, self.info_json
        )


@dataclass(frozen=True, slots=True)
class File:
    """What an analysis says about one file."""

    object_id: str
    study_id: str
    analysis_id: str
    file_name: str
    size_bytes: int
    file_type: str
    md5: str
    """32 lower-case hexadecimal digits."""
    access: FileAccess
    data_type: str
    info_json: str

    @property
    def etag(self) -> str:
        """Mark of this version."""
        return etags.of_content(
            self.object_id, self.size_bytes, self.md5, self.access.value, self.data_type, self.info_json
        )

    @property
    def wire_bytes(self) -> int:
        """At least what its message takes."""
        return _FILE_OVERHEAD_BYTES + sum(
            len(text.encode())
            for text in (self.study_id, self.file_name, self.file_type, self.data_type, self.info_json)
        )


@dataclass(frozen=True, slots=True)
class StateChange:
    """One change of state."""

    initial_state: AnalysisState
    updated_state: AnalysisState
    time: datetime
    actor: str
    """Name of the principal who asked for it."""
    reason: str = ""
    """As given; empty where none was."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """A submitted document with its files and samples."""

    analysis_id: str
    study_id: str
    state: AnalysisState
    type_name: str
    type_version: int
    samples: Sequence[Sample]
    """In the order of the payload."""
    files: Sequence[File]
    """By file name."""
    data_json: str
    """The dynamic data: a JSON object."""
    create_time: datetime
    update_time: datetime
    state_changes: Sequence[StateChange] = field(default=())
    """Oldest first."""
    revision: int = 1
    """Counts its changes, from 1."""

    @property
    def etag(self) -> str:
        """Mark of this version."""
        return etags.of_revision(self.revision)

    @property
    def first_publish_time(self) -> datetime | None:
        """When it was first published."""
        return next((change.time for change in self.state_changes if _publishes(change)), None)

    @property
    def publish_time(self) -> datetime | None:
        """When it was last published."""
        return next((change.time for change in reversed(self.state_changes) if _publishes(change)), None)

    @property
    def wire_bytes(self) -> int:
        """At least what its message takes."""
        return (
            _ANALYSIS_OVERHEAD_BYTES
            + len(self.data_json.encode())
            + sum(file.wire_bytes for file in self.files)
            + _samples_bytes(self.samples)
            + sum(STATE_CHANGE_BYTES + len(change.reason.encode()) for change in self.state_changes)
        )


def _publishes(change: StateChange) -> bool:
    return change.updated_state is AnalysisState.PUBLISHED


def _samples_bytes(samples: Sequence[Sample]) -> int:
    """Measure samples; what many of them share is looked at once, for it may be long."""
    shared: dict[int, int] = {}
    total = 0
    for sample in samples:
        specimen, donor = sample.specimen, sample.donor
        if id(specimen) not in shared:
            texts = (specimen.submitter_specimen_id, specimen.specimen_tissue_source, specimen.specimen_type)
            shared[id(specimen)] = _bytes_of(*texts, specimen.info_json)
        if id(donor) not in shared:
            shared[id(donor)] = _bytes_of(donor.submitter_donor_id, donor.info_json)
        own = (sample.submitter_sample_id, sample.matched_normal_submitter_sample_id or "", sample.info_json)
        total += _SAMPLE_OVERHEAD_BYTES + _bytes_of(*own) + shared[id(specimen)] + shared[id(donor)]
    return total


def _bytes_of(*texts: str) -> int:
    return sum(len(text.encode()) for text in texts)
