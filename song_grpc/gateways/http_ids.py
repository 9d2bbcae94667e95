"""The id service over HTTP: a GET whose body is the id. Ids are remembered for a while; that there is none never is."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from runtime_grpc.http import HttpAnswer, HttpBounds, HttpClient, HttpRequest, NoHttpAnswerError
from song_grpc.domain import entity_ids, url_templates
from song_grpc.domain.entity_ids import IdentifiedKind, WantedId
from song_grpc.domain.errors import IdNotFoundError, IdServiceAnswerError, IdServiceError
from song_grpc.domain.limits import (
    ID_SERVICE_SECONDS,
    MAX_OUTBOUND_ANSWER_BYTES,
    MAX_SERVICE_IDS,
    OUTBOUND_CALLS,
    OUTBOUND_TRIES,
    OUTBOUND_TRY_SECONDS,
    SERVICE_ID_SECONDS,
)
from song_grpc.gateways.answers_kept import AnswersKept
from song_grpc.gateways.askers import Askers, CallerGoneError, NoPlaceError
from song_grpc.gateways.id_service_tokens import ClientCredentials, FixedToken, GrantedTokens, Tokens

_OK, _UNAUTHORIZED, _NOT_FOUND = 200, 401, 404


@dataclass(frozen=True, slots=True)
class _Question:
    study_id: str
    wanted: WantedId


class HttpIds:
    """Implements `EntityIds`."""

    def __init__(self, templates: Mapping[IdentifiedKind, str], credentials: ClientCredentials | str) -> None:
        """Ask by these URLs with `{studyId}` and `{submitterId}`, with a token; an empty one is not sent."""
        self._templates = templates
        self._client = HttpClient(
            HttpBounds(OUTBOUND_TRY_SECONDS, OUTBOUND_TRIES, MAX_OUTBOUND_ANSWER_BYTES, OUTBOUND_CALLS)
        )
        self._tokens: Tokens = (
            FixedToken(credentials) if isinstance(credentials, str) else GrantedTokens(self._client, credentials)
        )
        self._askers: Askers[_Question, str] = Askers(self._ask)
        self._ids = AnswersKept(MAX_SERVICE_IDS, SERVICE_ID_SECONDS)

    def resolve(
        self, study_id: str, wanted: Collection[WantedId], is_wanted: Callable[[], bool]
    ) -> Mapping[WantedId, str]:
        """Return the id of each; see the port."""
        kept = {one: self._ids.get(_Question(study_id, one)) for one in wanted}
        unknown = [_Question(study_id, one) for one, identifier in kept.items() if identifier is None]
        try:
            answers = self._askers.ask_all(unknown, ID_SERVICE_SECONDS, is_wanted)
        except NoPlaceError:
            raise IdServiceError("too many submissions wait for the id service: nothing changed, retry") from None
        except CallerGoneError:
            raise IdServiceError("the caller did not wait for the id service's answer") from None
        if len(answers) < len(unknown):
            raise IdServiceError("the id service did not answer in time: nothing changed, retry")
        found = {question.wanted: identifier for question, identifier in answers.items()}
        return found | {one: identifier for one, identifier in kept.items() if identifier is not None}

    def close(self) -> None:
        """Let go of connections."""
        self._askers.close()
        self._client.close()

    def _ask(self, question: _Question, deadline: float) -> str:
        wanted = question.wanted
        values = {"studyId": question.study_id, "submitterId": wanted.submitter_id}
        url = url_templates.fill(self._templates[wanted.kind], values)
        token = self._tokens.current(deadline)
        answer = self._get(url, token, deadline)
        if answer.status == _UNAUTHORIZED and self._tokens.refused(token):
            answer = self._get(url, self._tokens.current(deadline), deadline)
        if answer.status == _NOT_FOUND:
            raise IdNotFoundError(wanted.kind.value, question.study_id, wanted.submitter_id)
        if answer.status != _OK:
            text = f"the id service answered {answer.status} for {wanted.kind.value} '{wanted.submitter_id}'"
            raise IdServiceError(f"{text}: nothing changed, retry", status=str(answer.status))
        identifier = _text(answer).strip()
        if not entity_ids.is_id(identifier):
            raise IdServiceAnswerError(
                f"the id service's answer for {wanted.kind.value} '{wanted.submitter_id}' is no id: nothing changed",
                kind=wanted.kind.value,
                submitter_id=wanted.submitter_id,
            )
        self._ids.put(question, identifier)
        return identifier

    def _get(self, url: str, token: str, deadline: float) -> HttpAnswer:
        headers = {"accept": "text/plain"} | ({"authorization": f"Bearer {token}"} if token else {})
        try:
            return self._client.ask(HttpRequest("GET", url, headers), deadline)
        except NoHttpAnswerError as error:
            raise IdServiceError(f"the id service {error}: nothing changed, retry") from None


def _text(answer: HttpAnswer) -> str:
    return "" if answer.body is None else answer.body.decode("ascii", "replace")
