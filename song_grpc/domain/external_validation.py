"""What a type's external sources are asked about a payload, and what their answers mean."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from song_grpc.domain import json_paths, json_text, url_templates
from song_grpc.domain.analysis_type import ExternalValidation
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.limits import (
    MAX_EXTERNAL_VALIDATIONS,
    MAX_EXTERNAL_VALUE_CHARS,
    MAX_EXTERNAL_VALUES,
    MAX_JSON_PATH_CHARS,
    MAX_VIOLATION_MESSAGE_CHARS,
)
from song_grpc.domain.schema_tree import Path
from song_grpc.domain.validation import Found
from song_grpc.domain.violations import Violations, collect, violation
from song_grpc.domain.work import TooMuchWorkError, Work

KEYWORD = "externalValidations"
_FIELD = "options.external_validations"
_PLACES = ("study", "value")
_SHOWN_URL_CHARS = 200
_UNASKABLE = (
    f"is no string of 1 to {MAX_EXTERNAL_VALUE_CHARS} characters, no number and no boolean: its external source can't "
    "be asked about it"
)
_TOO_MANY = f"has more than {MAX_EXTERNAL_VALUES} values that external sources would be asked about"


@dataclass(frozen=True, slots=True)
class Question:
    """A value to ask about."""

    path: Path
    """Where the document has it."""
    template: str
    """Of the source."""
    url: str


@dataclass(frozen=True, slots=True)
class Questions:
    """What to ask about a document."""

    questions: Sequence[Question]
    refused: Sequence[Found]
    """Values that can't be asked about."""


def check(validations: Sequence[ExternalValidation]) -> None:
    """Raise ParameterError unless these can be a type's external validations."""
    if len(validations) > MAX_EXTERNAL_VALIDATIONS:
        raise ParameterError(_FIELD, f"has more than {MAX_EXTERNAL_VALIDATIONS} items")
    for index, one in enumerate(validations):
        problem = _url_problem(one.url)
        if problem:
            raise ParameterError(f"{_FIELD}.items[{index}].url", problem)
        if not 0 < len(one.json_path) <= MAX_JSON_PATH_CHARS:
            text = f"has 1 to {MAX_JSON_PATH_CHARS} characters"
            raise ParameterError(f"{_FIELD}.items[{index}].json_path", text)
        problem = json_paths.problem(one.json_path)
        if problem:
            raise ParameterError(f"{_FIELD}.items[{index}].json_path", problem)
    if len(set(validations)) < len(validations):
        raise ParameterError(_FIELD, "has one item twice")


def questions(
    study_id: str, document: json_text.JsonObject, validations: Sequence[ExternalValidation], work: Work
) -> Questions:
    """Return what to ask about a document that keeps its schema. Raises ValidationUnfinishedError."""
    asked: list[Question] = []
    refused: list[Found] = []
    try:
        for one in validations:
            for path, value in json_paths.find(one.json_path, document, work):
                text = _text(value)
                if text is None or not 0 < len(text) <= MAX_EXTERNAL_VALUE_CHARS:
                    if value is not None:
                        refused.append(_violation(path, _UNASKABLE))
                else:
                    url = url_templates.fill(one.url, {"study": study_id, "value": text})
                    asked.append(Question(path, one.url, url))
                if len(asked) + len(refused) > MAX_EXTERNAL_VALUES:
                    return Questions([], [_violation((), _TOO_MANY)])
    except TooMuchWorkError:
        return Questions([], [_violation((), "takes too much work to find what external sources are asked about")])
    return Questions(asked, refused)


def judge(asked: Questions, refusals: Mapping[str, str], document: json_text.JsonObject) -> Violations:
    """Return the violations; `refusals` says of URLs that do not permit, why."""
    return collect(_found(asked, refusals), document)


def _found(asked: Questions, refusals: Mapping[str, str]) -> Iterator[Found]:
    yield from asked.refused
    for question in asked.questions:
        reason = refusals.get(question.url)
        if reason is not None:
            shown = question.template
            if len(shown) > _SHOWN_URL_CHARS:
                shown = shown[: _SHOWN_URL_CHARS - 1] + "…"
            yield _violation(question.path, f"is not permitted: the external source {shown} {reason}")


def _url_problem(url: str) -> str:
    return url_templates.problem(url, _PLACES if "{study}" in url else _PLACES[1:])


def _text(value: object) -> str | None:
    """Return how a value is asked about, None where it can't be."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, Decimal)):
        return json_text.write(value)
    return None


def _violation(path: Path, message: str) -> Found:
    return path, violation(path, KEYWORD, message[:MAX_VIOLATION_MESSAGE_CHARS], ())
