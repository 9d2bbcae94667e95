"""Submit an analysis, or only check it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from song_grpc.database import analyses, changes, entities, files, locks, requests, studies
from song_grpc.database.engine import Connection, Database
from song_grpc.domain import access, duplicates, ids, limits, matching, payload, violations
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.analysis import Analysis, AnalysisState, File
from song_grpc.domain.analysis_type import AnalysisType
from song_grpc.domain.errors import (
    ParameterError,
    StudyIdMismatchError,
    StudyNotFoundError,
)
from song_grpc.domain.history import Cause
from song_grpc.domain.json_text import JsonObject
from song_grpc.domain.matching import Matched
from song_grpc.domain.payload import Submission
from song_grpc.domain.requests import request_key
from song_grpc.domain.violations import Violations
from song_grpc.domain.work import Work
from song_grpc.use_cases import wanted_types
from song_grpc.use_cases.environment import Environment


@dataclass(frozen=True, slots=True)
class Submitted:
    """What to submit."""

    study_id: str
    payload_json: str
    allow_duplicates: bool
    is_wanted: Callable[[], bool] = field(default=lambda: True, compare=False)
    """Says whether the caller still waits."""


@dataclass(frozen=True, slots=True)
class _Checked:
    """A payload that needs nothing more than to fit what is stored."""

    document: JsonObject
    analysis_type: AnalysisType
    violations: Violations


def submit(environment: Environment, principal: Principal, submitted: Submitted, request_id: str) -> str:
    """Submit an analysis in state UNPUBLISHED and return its id."""
    access.require(principal, Action.WRITE_STUDY, Facts(study_id=submitted.study_id))
    content: list[str | bool | list[str] | None] = [submitted.study_id, submitted.payload_json]
    key = request_key(principal.name, "SubmitAnalysis", request_id, [*content, submitted.allow_duplicates])
    if key is not None:
        with environment.database.read() as connection:
            answer = requests.find(connection, key)
        if answer is not None:
            return str(answer["analysis_id"])
    checked = _check(environment, submitted)
    if checked.violations.total:
        raise violations.refuse("the payload breaks its schema", checked.violations)
    submission = _read_submission(submitted.study_id, checked)
    analysis_id = ids.new_analysis_id()
    own_files = payload.read_files(checked.document, submitted.study_id, analysis_id)
    with environment.database.write() as connection:
        locks.lock_study(connection, submitted.study_id)
        answer = requests.find(connection, key)
        if answer is not None:
            return str(answer["analysis_id"])
        matched = _match(connection, submitted, submission, own_files)
        now = environment.now()
        analysis = _analysis(checked, submission, matched, own_files, now)
        entities.add(connection, submitted.study_id, matched)
        analyses.add(connection, analysis)
        changes.record_submission(connection, analysis, Cause(principal.name, now))
        requests.add(connection, key, {"analysis_id": analysis_id}, now)
    return analysis_id


def validate(environment: Environment, principal: Principal, submitted: Submitted) -> Violations:
    """Run every check of `submit`, return all violations of the schema, raise what else would refuse it."""
    access.require(principal, Action.WRITE_STUDY, Facts(study_id=submitted.study_id))
    checked = _check(environment, submitted)
    if checked.violations.total:
        return checked.violations
    submission = _read_submission(submitted.study_id, checked)
    own_files = payload.read_files(checked.document, submitted.study_id, ids.new_analysis_id())
    with environment.database.read() as connection:
        matched = _match(connection, submitted, submission, own_files)
    _analysis(checked, submission, matched, own_files, environment.now())
    return checked.violations


def _check(environment: Environment, submitted: Submitted) -> _Checked:
    """Do what needs no lock: the study exists, the payload parses, its type resolves, once, and its schema holds."""
    _check_study(environment.database, submitted.study_id)
    document = payload.read(submitted.payload_json)
    analysis_type = wanted_types.resolve(environment, payload.wanted_type(document))
    return _Checked(document, analysis_type, payload.violations(document, analysis_type, Work(submitted.is_wanted)))


def _match(connection: Connection, submitted: Submitted, submission: Submission, own_files: Sequence[File]) -> Matched:
    """Hold a submission against what is stored: no file twice, and the entities as they are known."""
    if not submitted.allow_duplicates:
        holders = files.find_holders(connection, submitted.study_id, (file.md5 for file in own_files))
        duplicates.check_duplicates(own_files, holders)
    known = entities.find_known(connection, submitted.study_id, submission.samples)
    return matching.match(submission.samples, submission.given_ids, known)


def _check_study(database: Database, study_id: str) -> None:
    if not ids.can_exist(study_id):
        raise StudyNotFoundError(study_id)
    with database.read() as connection:
        if not studies.exists(connection, study_id):
            raise StudyNotFoundError(study_id)


def _read_submission(study_id: str, checked: _Checked) -> Submission:
    stated = checked.document["studyId"]
    if stated != study_id:
        raise StudyIdMismatchError(
            f"the request names study '{study_id}', its payload '{stated[:100]}'",
            study_id=study_id,
            payload_study_id=stated,
        )
    return payload.read_submission(checked.document, study_id, checked.analysis_type.options.entity_model)


def _analysis(
    checked: _Checked, submission: Submission, matched: Matched, own_files: Sequence[File], now: datetime
) -> Analysis:
    """Return the analysis that a payload makes. Raises ParameterError where it is too large to be read again."""
    analysis = Analysis(
        analysis_id=own_files[0].analysis_id,
        study_id=submission.study_id,
        state=AnalysisState.UNPUBLISHED,
        type_name=checked.analysis_type.name,
        type_version=checked.analysis_type.version,
        samples=matched.samples,
        files=own_files,
        data_json=submission.data_json,
        create_time=now,
        update_time=now,
    )
    if analysis.wire_bytes > limits.MAX_MESSAGE_BYTES:
        raise ParameterError("payload_json", f"makes an analysis of more than {limits.MAX_MESSAGE_BYTES} bytes")
    return analysis
