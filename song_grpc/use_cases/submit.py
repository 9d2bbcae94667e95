"""Submit an analysis, or only check it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from song_grpc.database import requests, studies
from song_grpc.database.engine import Connection
from song_grpc.domain import access, ids, payload, violations
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.analysis_type import AnalysisType
from song_grpc.domain.errors import StudyIdMismatchError, StudyNotFoundError
from song_grpc.domain.json_text import JsonObject
from song_grpc.domain.payload import Submission
from song_grpc.domain.requests import RequestKey, request_key
from song_grpc.domain.violations import Violations
from song_grpc.domain.work import Work
from song_grpc.use_cases import external_checks, resolve_ids, wanted_types
from song_grpc.use_cases.environment import Environment
from song_grpc.use_cases.submission_writer import Prepared, analysis_of, match


@dataclass(frozen=True, slots=True)
class Submitted:
    """What to submit."""

    study_id: str
    payload_json: str
    allow_duplicates: bool
    is_wanted: Callable[[], bool] = field(default=lambda: True, compare=False)
    """Says whether the caller still waits."""


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A payload of a study that exists, and the type it is to be held against."""

    document: JsonObject
    analysis_type: AnalysisType


def submit(environment: Environment, principal: Principal, submitted: Submitted, request_id: str) -> str:
    """Submit an analysis in state UNPUBLISHED and return its id."""
    prepared = prepare(environment, principal, submitted, request_id)
    if isinstance(prepared, str):
        return prepared
    (outcome,) = environment.submissions.store([prepared])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def prepare(environment: Environment, principal: Principal, submitted: Submitted, request_id: str) -> Prepared | str:
    """Run every check that needs no lock. A request that came before gives the id of its analysis instead."""
    access.require(principal, Action.WRITE_STUDY, Facts(study_id=submitted.study_id))
    content: list[str | bool | list[str] | None] = [submitted.study_id, submitted.payload_json]
    key = request_key(principal.name, "SubmitAnalysis", request_id, [*content, submitted.allow_duplicates])
    with environment.database.read() as connection:
        answer = requests.find(connection, key)
        if answer is not None:
            return str(answer["analysis_id"])
        parsed = _parse(connection, submitted, enforce_latest=environment.enforce_latest)
    found = _check(environment, parsed, submitted)
    if found.total:
        raise violations.refuse("the payload breaks its schema", found)
    return _prepared(environment, parsed, submitted, principal, key)


def validate(environment: Environment, principal: Principal, submitted: Submitted) -> Violations:
    """Run every check of `submit`, return all violations of the schema, raise what else would refuse it."""
    access.require(principal, Action.WRITE_STUDY, Facts(study_id=submitted.study_id))
    with environment.database.read() as connection:
        parsed = _parse(connection, submitted, enforce_latest=environment.enforce_latest)
    found = _check(environment, parsed, submitted)
    if found.total:
        return found
    prepared = _prepared(environment, parsed, submitted, principal, None)
    with environment.database.read() as connection:
        matched = match(connection, prepared)
    analysis_of(prepared, matched, environment.now())
    return found


def _parse(connection: Connection, submitted: Submitted, *, enforce_latest: bool) -> _Parsed:
    """Say that the study exists, parse the payload and resolve its type, once."""
    if not ids.can_exist(submitted.study_id) or not studies.exists(connection, submitted.study_id):
        raise StudyNotFoundError(submitted.study_id)
    document = payload.read(submitted.payload_json)
    wanted = payload.wanted_type(document)
    return _Parsed(document, wanted_types.find(connection, wanted, enforce_latest=enforce_latest))


def _check(environment: Environment, parsed: _Parsed, submitted: Submitted) -> Violations:
    """Hold a payload against its schema; if it keeps it, ask the type's external sources."""
    document, analysis_type = parsed.document, parsed.analysis_type
    found = payload.violations(document, analysis_type, Work(submitted.is_wanted))
    if found.total:
        return found
    return external_checks.check(environment, submitted.study_id, document, analysis_type, submitted.is_wanted)


def _prepared(
    environment: Environment, parsed: _Parsed, submitted: Submitted, principal: Principal, key: RequestKey | None
) -> Prepared:
    """Return what a payload without violations says, under the id of its analysis to be."""
    submission = _read_submission(submitted.study_id, parsed)
    own_files = payload.read_files(parsed.document, submitted.study_id, ids.new_analysis_id())
    guarded = () if submitted.allow_duplicates else own_files
    return Prepared(
        actor=principal.name,
        key=key,
        allow_duplicates=submitted.allow_duplicates,
        analysis_type=parsed.analysis_type,
        submission=resolve_ids.resolve(environment, submission, guarded, submitted.is_wanted),
        own_files=own_files,
    )


def _read_submission(study_id: str, parsed: _Parsed) -> Submission:
    stated = parsed.document["studyId"]
    if stated != study_id:
        raise StudyIdMismatchError(
            f"the request names study '{study_id}', its payload '{stated[:100]}'",
            study_id=study_id,
            payload_study_id=stated,
        )
    return payload.read_submission(parsed.document, study_id, parsed.analysis_type.options.entity_model)
