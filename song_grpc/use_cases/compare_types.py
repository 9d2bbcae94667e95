"""Compare two versions of a type, and hold the analyses of the first against the second."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from song_grpc.database import analyses, analyses_of_type, analysis_types, studies
from song_grpc.database.analyses_of_type import AnalysisRow
from song_grpc.domain import access, export, ids, json_text, paging, payload, schema_difference
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.analysis import Analysis, AnalysisState
from song_grpc.domain.analysis_type import TYPE_NAME, AnalysisType, not_found
from song_grpc.domain.errors import ParameterError, StudyNotFoundError
from song_grpc.domain.limits import COMPARED_TOGETHER, DEFAULT_COMPARED_ANALYSES, MAX_COMPARED_ANALYSES
from song_grpc.domain.schema_difference import Differences
from song_grpc.domain.violations import Violations
from song_grpc.domain.work import Work
from song_grpc.use_cases.environment import Environment


@dataclass(frozen=True, slots=True)
class Compared:
    """What to compare."""

    name: str
    from_version: int
    """0: the one before the other."""
    to_version: int
    """0: the latest."""
    study_id: str
    """Empty: analyses of all studies are checked."""
    max_analyses: int
    """0: 10 000."""
    is_wanted: Callable[[], bool]
    """Says whether the caller still waits."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs."""

    before: AnalysisType
    after: AnalysisType
    differences: Differences


@dataclass(frozen=True, slots=True)
class Checked:
    """An analysis that was held against the second version."""

    analysis_id: str
    study_id: str
    violations: Violations


@dataclass(frozen=True, slots=True)
class Summary:
    """The end."""

    checked_total: int
    incompatible_total: int
    truncated: bool


def compare(
    environment: Environment, principal: Principal, compared: Compared
) -> Iterator[Comparison | Checked | Summary | None]:
    """Yield the comparison, every analysis that was checked, by id, and the summary; None where that takes a while.

    Raises AnalysisTypeNotFoundError, StudyNotFoundError,
    ParameterError, ValidationUnfinishedError.
    """
    access.require(principal, Action.READ_CATALOGUE, Facts())
    limit = _limit(compared)
    before, after = _find(environment, compared)
    schemas = (json_text.read_stored(one.schema_json) for one in (before, after))
    yield Comparison(before, after, schema_difference.compare(*schemas))
    checked = incompatible = 0
    readable = _readable(environment, principal, before, compared.study_id)
    for analysis in readable:
        if analysis is None:
            yield None
            continue
        if checked == limit:
            yield Summary(checked, incompatible, truncated=True)
            return
        found = payload.violations(export.payload_of(analysis), after, Work(compared.is_wanted))
        checked += 1
        incompatible += bool(found.total)
        yield Checked(analysis.analysis_id, analysis.study_id, found)
    yield Summary(checked, incompatible, truncated=False)


def _limit(compared: Compared) -> int:
    for field in ("from_version", "to_version"):
        if getattr(compared, field) < 0:
            raise ParameterError(field, "counts from 1")
    if not 0 <= compared.max_analyses <= MAX_COMPARED_ANALYSES:
        text = f"give 1 to {MAX_COMPARED_ANALYSES}, or 0 for {DEFAULT_COMPARED_ANALYSES}"
        raise ParameterError("max_analyses", text)
    return compared.max_analyses or DEFAULT_COMPARED_ANALYSES


def _find(environment: Environment, compared: Compared) -> tuple[AnalysisType, AnalysisType]:
    """Return both versions. Raises, too, where the study does not exist."""
    name, study_id = compared.name, compared.study_id
    if TYPE_NAME.fullmatch(name) is None:
        raise not_found(name)
    with environment.database.read() as connection:
        latest = analysis_types.latest_version(connection, name)
        if latest is None:
            raise not_found(name)
        to_version = compared.to_version or latest
        from_version = compared.from_version or to_version - 1
        if not from_version:
            raise ParameterError("from_version", "there is no version before 1: name both versions")
        versions = (from_version, to_version)
        unknown = next((version for version in versions if version > latest), None)
        if unknown is not None:
            raise not_found(name, unknown, latest)
        before, after = (analysis_types.find(connection, name, version) for version in versions)
        if study_id and not (ids.can_exist(study_id) and studies.exists(connection, study_id)):
            raise StudyNotFoundError(study_id)
    if before is None or after is None:
        raise not_found(name)
    return before, after


def _readable(
    environment: Environment, principal: Principal, version: AnalysisType, study_id: str
) -> Iterator[Analysis | None]:
    """Yield the analyses that the caller may read whole, by id, and None now and then.

    No transaction is open between them.
    """
    last = ""
    while True:
        with environment.database.read() as connection:
            rows = analyses_of_type.list_after(
                connection, version.name, version.version, study_id, last, COMPARED_TOGETHER
            )
        if not rows:
            return
        last = rows[-1].analysis_id
        shown = [row for row in rows if _may_check(principal, row)]
        while shown:
            batch = _cut(shown)
            with environment.database.read() as connection:
                found = analyses.read(connection, [row.analysis_id for row in batch])
            yield from found
            shown = shown[len(batch) :]
        yield None


def _cut(rows: Sequence[AnalysisRow]) -> Sequence[AnalysisRow]:
    """Return the first rows: those that are read together."""
    sizes = [paging.Row((row.analysis_id,), row.wire_bytes) for row in rows]
    return rows[: len(paging.cut(sizes, len(sizes)))]


def _may_check(principal: Principal, row: AnalysisRow) -> bool:
    facts = Facts(study_id=row.study_id, state=row.state, visibility=row.visibility)
    return (
        row.state is not AnalysisState.SUPPRESSED
        and access.decide(principal, Action.READ_ANALYSIS, facts).allowed
        and access.may_see_data(principal, row.study_id, row.visibility)
    )
