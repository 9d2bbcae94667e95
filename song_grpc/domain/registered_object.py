"""What Song says about an object that Score may hold."""

from dataclasses import dataclass

from song_grpc.domain.analysis import AnalysisState, File, FileAccess


@dataclass(frozen=True, slots=True)
class RegisteredObject:
    """A file, with what its analysis allows."""

    file: File
    """Without its info."""
    state: AnalysisState
    """Of its analysis."""
    is_publishing: bool
    """Score is being asked about the objects of the analysis, in order to publish it."""


@dataclass(frozen=True, slots=True)
class ObjectConditions:
    """Which objects are listed; None means any."""

    study_id: str | None = None
    analysis_id: str | None = None
    file_name: str | None = None
    access: FileAccess | None = None

    def hold(self, found: RegisteredObject) -> bool:
        """Say whether an object is one of those wanted."""
        file = found.file
        return (
            self.study_id in {None, file.study_id}
            and self.analysis_id in {None, file.analysis_id}
            and self.file_name in {None, file.file_name}
            and self.access in {None, file.access}
        )
