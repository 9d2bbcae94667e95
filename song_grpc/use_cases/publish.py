"""Publish an analysis once Score holds every file.

Score is asked outside any transaction, while the analysis is marked as publishing: Score then replaces none of its
objects. Then, under the analysis' lock, it must still be what was asked about.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from song_grpc.database import analyses, analysis_types, changes
from song_grpc.database.engine import Connection
from song_grpc.domain import etags, history, publishing, states
from song_grpc.domain.access import Principal
from song_grpc.domain.analysis import Analysis, AnalysisState
from song_grpc.domain.errors import AnalysisBusyError, AnalysisNotFoundError, TypeVersionNotLatestError
from song_grpc.domain.history import Cause
from song_grpc.domain.limits import PUBLISH_ATTEMPTS, PUBLISHING_SECONDS
from song_grpc.use_cases.change_state import StateRequest, check_may_change
from song_grpc.use_cases.environment import Environment

_PUBLISHED = AnalysisState.PUBLISHED


@dataclass(frozen=True, slots=True)
class _Mark:
    """A mark as publishing."""

    until: datetime
    before: datetime | None
    """The mark of another publish that this one took the place of."""


def publish(environment: Environment, principal: Principal, request: StateRequest) -> bool:
    """Publish an analysis; return whether it was UNPUBLISHED."""
    _check_request(principal, request)
    for _ in range(PUBLISH_ATTEMPTS):
        asked, mark = _begin(environment, request)
        if mark is None:
            return False
        published: bool | None = None
        try:
            _ask_score(environment, asked)
            published = _finish(environment, principal, request, asked, mark)
        finally:
            if published is None:
                _take_back(environment, request.analysis_id, mark)
        if published is not None:
            return published
    raise AnalysisBusyError(
        f"the files of analysis '{request.analysis_id}' changed while Score was asked about them: retry",
        analysis_id=request.analysis_id,
    )


def check(environment: Environment, principal: Principal, request: StateRequest) -> AnalysisState:
    """Make every check of `publish`, of a PUBLISHED analysis too; return the state, which stays as it is."""
    _check_request(principal, request)
    with environment.database.read() as connection:
        asked = _read(connection, request)
        if asked.state is not _PUBLISHED:
            states.is_change(asked.analysis_id, asked.state, _PUBLISHED)
        _check_publishable(environment, connection, asked)
    _ask_score(environment, asked)
    return asked.state


def _check_request(principal: Principal, request: StateRequest) -> None:
    check_may_change(principal, request.study_id, request.analysis_id)
    history.check_reason(request.reason)


def _begin(environment: Environment, request: StateRequest) -> tuple[Analysis, _Mark | None]:
    """Return the analysis and its new mark as publishing; no mark where it is PUBLISHED already."""
    # The mark outlives a crash of the process; a power loss takes it and this publish alike.
    with environment.database.write(durable=False) as connection:
        asked = _read(connection, request, lock=True)
        if not states.is_change(asked.analysis_id, asked.state, _PUBLISHED):
            return asked, None
        _check_publishable(environment, connection, asked)
        before = changes.find_mark(connection, asked.analysis_id)
        until = environment.now() + timedelta(seconds=PUBLISHING_SECONDS)
        if before is not None and before >= until:  # each publish has a mark of its own
            until = before + timedelta(microseconds=1)
        changes.mark_publishing(connection, asked.analysis_id, until)
    return asked, _Mark(until, before)


def _ask_score(environment: Environment, asked: Analysis) -> None:
    stored = environment.stored_objects.find([file.object_id for file in asked.files])
    publishing.check_stored(asked.analysis_id, asked.files, stored)


def _take_back(environment: Environment, analysis_id: str, mark: _Mark) -> None:
    """Take a mark back, but none of another publish that still asks."""
    with environment.database.write(durable=False) as connection:
        changes.unmark_publishing(connection, analysis_id, mark.until, mark.before)


def _finish(
    environment: Environment, principal: Principal, request: StateRequest, asked: Analysis, mark: _Mark
) -> bool | None:
    """Publish what Score was asked about; None where it is something else by now."""
    with environment.database.write() as connection:
        revision = changes.lock(connection, request.study_id, request.analysis_id)
        current = asked if revision == asked.revision else _read(connection, request)
        if not states.is_change(current.analysis_id, current.state, _PUBLISHED):
            return False
        _check_publishable(environment, connection, current)
        now = environment.now()
        stands = changes.find_mark(connection, current.analysis_id)
        was_guarded = stands is not None and stands >= mark.until > now
        if current.files != asked.files or not was_guarded:
            return None
        changes.record_state(connection, current, _PUBLISHED, Cause(principal.name, now, request.reason))
        return True


def _read(connection: Connection, request: StateRequest, *, lock: bool = False) -> Analysis:
    found = analyses.find(connection, request.study_id, request.analysis_id, lock=lock)
    if found is None:
        raise AnalysisNotFoundError(request.study_id, request.analysis_id)
    etags.check(request.etag, found.etag, f"analysis '{request.analysis_id}'")
    return found


def _check_publishable(environment: Environment, connection: Connection, analysis: Analysis) -> None:
    """Check what Score need not be asked about."""
    latest = analysis_types.latest_version(connection, analysis.type_name)
    if environment.enforce_latest and latest is not None and latest != analysis.type_version:
        raise TypeVersionNotLatestError(analysis.type_name, analysis.type_version, latest)
    publishing.check_has_files(analysis.analysis_id, analysis.files)
