"""Checked submissions become stored ones. Those of a study that come while one is being stored are stored together.

A transaction costs much, one more submission in it little. What is known is read once for all of them, each is
decided in its turn, seeing those before it, and only what is accepted is written.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from song_grpc.database import analyses, changes, entities, files, locks, requests
from song_grpc.database.engine import Connection, Database, DatabaseUnavailableError
from song_grpc.domain import duplicates, limits, matching
from song_grpc.domain.analysis import Analysis, AnalysisState, Donor, File, Sample, Specimen
from song_grpc.domain.analysis_type import AnalysisType
from song_grpc.domain.errors import ParameterError, SongError
from song_grpc.domain.history import Cause
from song_grpc.domain.matching import Known, Matched
from song_grpc.domain.payload import Submission
from song_grpc.domain.requests import RequestKey
from song_grpc.use_cases import untaken_ids

Outcome = str | Exception
"""The id of the analysis, or why there is none."""
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A submission that needs nothing more than to fit what is stored."""

    actor: str
    key: RequestKey | None
    allow_duplicates: bool
    analysis_type: AnalysisType
    submission: Submission
    own_files: Sequence[File]
    """By file name; they know the analysis' id."""

    @property
    def study_id(self) -> str:
        """The study it goes to."""
        return self.submission.study_id

    @property
    def analysis_id(self) -> str:
        """The id it gets."""
        return self.own_files[0].analysis_id

    @property
    def size_rows(self) -> int:
        """About how many rows it becomes, but for those that each has."""
        return len(self.own_files) + len(self.submission.samples)


def match(connection: Connection, prepared: Prepared) -> Matched:
    """Hold a submission against what is stored: no file twice, and the entities as they are known."""
    return _match(connection, prepared, *_read_known(connection, [prepared]))


def analysis_of(prepared: Prepared, matched: Matched, now: datetime) -> Analysis:
    """Return the analysis that a submission makes. Raises ParameterError where it is too large to be read again."""
    analysis = Analysis(
        analysis_id=prepared.analysis_id,
        study_id=prepared.study_id,
        state=AnalysisState.UNPUBLISHED,
        type_name=prepared.analysis_type.name,
        type_version=prepared.analysis_type.version,
        samples=matched.samples,
        files=prepared.own_files,
        data_json=prepared.submission.data_json,
        create_time=now,
        update_time=now,
    )
    if analysis.wire_bytes > limits.MAX_MESSAGE_BYTES:
        raise ParameterError("payload_json", f"makes an analysis of more than {limits.MAX_MESSAGE_BYTES} bytes")
    return analysis


@dataclass(slots=True)
class _Waiting:
    """A submission on its way."""

    prepared: Prepared
    outcome: Outcome | None = None


@dataclass(slots=True)
class _Line:
    """The submissions to one study that wait to be stored, in the order they came."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    callers: int = 0
    is_busy: bool = False
    """One of the callers is storing."""


class SubmissionWriter:
    """Stores submissions, one transaction at a time for each study."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        """Store in this database; no thread runs but those of the callers."""
        self._database, self._now = database, now
        self._changed = threading.Condition()
        self._lines: dict[str, _Line] = {}

    def store(self, prepared: Iterable[Prepared]) -> list[Outcome]:
        """Store submissions, each whole or not at all; return their outcomes, in order, once they are committed.

        The studies must exist.
        """
        entries = [_Waiting(one) for one in prepared]
        by_study: dict[str, list[_Waiting]] = {}
        for entry in entries:
            by_study.setdefault(entry.prepared.study_id, []).append(entry)
        for study_id, of_study in by_study.items():
            self._store(study_id, of_study)
        return [entry.outcome for entry in entries if entry.outcome is not None]

    def _store(self, study_id: str, entries: Sequence[_Waiting]) -> None:
        """Wait in line until all are stored: by another caller, or at the head of the line by this one."""
        with self._changed:
            line = self._lines.setdefault(study_id, _Line())
            line.callers += 1
            line.waiting.extend(entries)
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: entries[-1].outcome is not None or not line.is_busy)
                    if entries[-1].outcome is not None:
                        return
                    line.is_busy = True
                    together = _take(line.waiting)
                try:
                    self._write(together)
                finally:
                    with self._changed:
                        line.is_busy = False
                        self._changed.notify_all()
        finally:
            with self._changed:
                line.callers -= 1
                if not line.callers:
                    del self._lines[study_id]

    def _write(self, together: Sequence[_Waiting]) -> None:
        """Give each its outcome. What spoils the transaction of all is told to the one that is to blame."""
        try:
            outcomes = self._write_together([entry.prepared for entry in together])
        except DatabaseUnavailableError as error:
            outcomes = [error] * len(together)
        except Exception as error:  # noqa: BLE001 - raised again by the caller whose submission it is
            if len(together) > 1:
                for entry in together:
                    self._write([entry])
                return
            outcomes = [error]
        for entry, outcome in zip(together, outcomes, strict=True):
            entry.outcome = outcome

    def _write_together(self, together: Sequence[Prepared]) -> list[Outcome]:
        study_id = together[0].study_id
        with self._database.write() as connection:
            locks.lock_study(connection, study_id)
            accepted = _Accepted(connection, together)
            now = self._now()
            # A microsecond apart, so that lists by time keep their order.
            outcomes = [accepted.decide(one, now + position * _TICK) for position, one in enumerate(together)]
            accepted.save(now)
        return outcomes


def _take(waiting: deque[_Waiting]) -> list[_Waiting]:
    """Take as many as one transaction may store, one at least."""
    taken = [waiting.popleft()]
    rows = taken[0].prepared.size_rows
    while waiting and len(taken) < limits.STORED_TOGETHER:
        rows += waiting[0].prepared.size_rows
        if rows > limits.STORED_TOGETHER_ROWS:
            break
        taken.append(waiting.popleft())
    return taken


class _Accepted:
    """What a transaction accepts, on top of what is stored."""

    def __init__(self, connection: Connection, together: Sequence[Prepared]) -> None:
        """Read what concerns these submissions, all to one study."""
        self._connection, self._study_id = connection, together[0].study_id
        if any(one.submission.ids_are_external for one in together):
            locks.lock_new_entities(connection)
        keys = [one.key for one in together if one.key is not None]
        self._answers = requests.find_all(connection, keys) if keys else {}
        self._holders, self._known = _read_known(connection, together)
        self._donors: list[Donor] = []
        self._specimens: list[Specimen] = []
        self._samples: list[Sample] = []
        self._analyses: list[tuple[Analysis, Cause]] = []
        self._answered: list[tuple[RequestKey, requests.Answer]] = []

    def decide(self, prepared: Prepared, time: datetime) -> Outcome:
        """Accept a submission, refuse it, or find that it came before."""
        key = prepared.key
        try:
            answer = requests.answer_to(key, self._answers)
            if answer is not None:
                return str(answer["analysis_id"])
            matched = _match(self._connection, prepared, self._holders, self._known)
            analysis = analysis_of(prepared, matched, time)
        except SongError as error:
            return error
        self._note(matched)
        self._analyses.append((analysis, Cause(prepared.actor, time)))
        for file in analysis.files:
            self._holders.setdefault(file.md5, set()).add(analysis.analysis_id)
        if key is not None:
            answer = {"analysis_id": analysis.analysis_id}
            self._answers[key.identity] = (key.digest, answer)
            self._answered.append((key, answer))
        return analysis.analysis_id

    def save(self, now: datetime) -> None:
        """Store all that was accepted."""
        if self._analyses:
            new = Matched(self._donors, self._specimens, self._samples, [])
            entities.add(self._connection, self._study_id, new)
            analyses.add_all(self._connection, [analysis for analysis, _ in self._analyses])
            changes.record_submissions(self._connection, self._analyses)
            requests.add_all(self._connection, self._answered, now)

    def _note(self, matched: Matched) -> None:
        self._donors += matched.new_donors
        self._specimens += matched.new_specimens
        self._samples += matched.new_samples
        self._known.donors |= {donor.submitter_donor_id: donor for donor in matched.new_donors}
        self._known.specimens |= {part.submitter_specimen_id: part for part in matched.new_specimens}
        self._known.samples |= {sample.submitter_sample_id: sample for sample in matched.new_samples}


def _read_known(connection: Connection, together: Sequence[Prepared]) -> tuple[dict[str, set[str]], Known]:
    """Return the holders of files with the same bytes, by MD5, and the entities known under the submitter ids."""
    study_id = together[0].study_id
    guarded = [file.md5 for one in together if not one.allow_duplicates for file in one.own_files]
    holders = files.find_holders(connection, study_id, guarded)
    samples = [sample for one in together for sample in one.submission.samples]
    return holders, entities.find_known(connection, study_id, samples)


def _match(connection: Connection, prepared: Prepared, holders: dict[str, set[str]], known: Known) -> Matched:
    if not prepared.allow_duplicates:
        duplicates.check_duplicates(prepared.own_files, holders)
    matched = matching.match(prepared.submission.samples, prepared.submission.given_ids, known)
    if prepared.submission.ids_are_external:
        untaken_ids.check(connection, matched, known)
    return matched
