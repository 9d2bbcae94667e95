"""Asks a type's external sources whether they permit the values of a payload. Never inside a transaction."""

from collections.abc import Callable

from song_grpc.domain import external_validation
from song_grpc.domain.analysis_type import AnalysisType
from song_grpc.domain.json_text import JsonObject
from song_grpc.domain.violations import Violations
from song_grpc.domain.work import Work
from song_grpc.use_cases.environment import Environment


def check(
    environment: Environment,
    study_id: str,
    document: JsonObject,
    analysis_type: AnalysisType,
    is_wanted: Callable[[], bool] = lambda: True,
) -> Violations:
    """Return what is not permitted in a document that keeps its schema, each value asked about once.

    Raises ValidationUnfinishedError where the server is too busy, or the caller waits no longer.
    """
    validations = analysis_type.options.external_validations
    if not validations:
        return Violations([], 0)
    asked = external_validation.questions(study_id, document, validations, Work(is_wanted))
    urls = dict.fromkeys(question.url for question in asked.questions)
    # Where the payload is refused anyway, nobody is asked.
    refusals = {} if asked.refused else environment.external_sources.ask(urls, is_wanted)
    return external_validation.judge(asked, refusals, document)
