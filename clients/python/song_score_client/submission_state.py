"""What `song-score submit` remembers of a payload, so that it goes on where it was: which request, which analysis."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

from song_score_client.errors import LocalFileError
from song_score_client.whole_file import write_whole

FORMAT = 1
MAX_STATE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class SubmissionState:
    """One payload's way so far."""

    request_id: str
    """Sent with the submission: repeated, it finds the analysis that the first try made."""
    analysis_id: str = ""
    """Empty until Song said that it is submitted."""


class SubmissionFile:
    """Keeps the state of one payload, to one server and study. Its name comes from the payload's content."""

    def __init__(self, state_dir: Path, song_address: str, study_id: str, payload: str) -> None:
        digest = hashlib.sha256(json.dumps([song_address, study_id, payload]).encode()).hexdigest()
        self.path = state_dir / "submissions" / f"{digest}.json"

    def load(self) -> SubmissionState | None:
        """Return what is remembered; None where nothing is. Raises LocalFileError."""
        try:
            with self.path.open("rb") as file:
                document = json.loads(file.read(MAX_STATE_BYTES))
            if document.pop("format") != FORMAT:
                raise ValueError("another format")  # noqa: TRY301 - one kind, below
            return SubmissionState(**document)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LocalFileError(f"can't read {self.path}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise LocalFileError(f"{self.path} is no file that `song-score submit` wrote: remove it") from None

    def begin(self) -> SubmissionState:
        """Remember a submission that is about to be tried. Raises LocalFileError."""
        return self._save(SubmissionState(str(uuid4())))

    def submitted(self, state: SubmissionState, analysis_id: str) -> SubmissionState:
        """Remember what came of it. Raises LocalFileError."""
        return self._save(replace(state, analysis_id=analysis_id))

    def _save(self, state: SubmissionState) -> SubmissionState:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LocalFileError(f"can't make the folder {self.path.parent}: {error.strerror}") from None
        write_whole(json.dumps({"format": FORMAT, **asdict(state)}) + "\n", self.path)
        return state
