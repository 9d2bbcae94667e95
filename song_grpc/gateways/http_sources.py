"""External sources over HTTP: any 2xx permits. What was permitted is remembered for a minute, a refusal never is."""

from collections.abc import Callable, Collection, Mapping

from runtime_grpc.http import HttpBounds, HttpClient, HttpRequest, NoHttpAnswerError
from song_grpc.domain.errors import ValidationUnfinishedError
from song_grpc.domain.limits import (
    EXTERNAL_PERMISSION_SECONDS,
    EXTERNAL_SOURCES_SECONDS,
    MAX_EXTERNAL_PERMISSIONS,
    MAX_OUTBOUND_ANSWER_BYTES,
    OUTBOUND_CALLS,
    OUTBOUND_TRIES,
    OUTBOUND_TRY_SECONDS,
)
from song_grpc.gateways.answers_kept import AnswersKept
from song_grpc.gateways.askers import Askers, CallerGoneError, NoPlaceError

_PERMITTED = ""
_LATE = "did not answer in time"


class HttpSources:
    """Implements `ExternalSources`."""

    def __init__(self) -> None:
        self._client = HttpClient(
            HttpBounds(OUTBOUND_TRY_SECONDS, OUTBOUND_TRIES, MAX_OUTBOUND_ANSWER_BYTES, OUTBOUND_CALLS)
        )
        self._askers: Askers[str, str] = Askers(self._ask)
        self._permitted = AnswersKept(MAX_EXTERNAL_PERMISSIONS, EXTERNAL_PERMISSION_SECONDS)

    def ask(self, urls: Collection[str], is_wanted: Callable[[], bool]) -> Mapping[str, str]:
        """Ask each URL; see the port."""
        unknown = [url for url in urls if self._permitted.get(url) is None]
        try:
            answers = self._askers.ask_all(unknown, EXTERNAL_SOURCES_SECONDS, is_wanted)
        except (NoPlaceError, CallerGoneError):
            raise ValidationUnfinishedError from None
        refusals = {url: answers.get(url, _LATE) for url in unknown}
        return {url: reason for url, reason in refusals.items() if reason != _PERMITTED}

    def close(self) -> None:
        """Let go of connections."""
        self._askers.close()
        self._client.close()

    def _ask(self, url: str, deadline: float) -> str:
        """Return why the source does not permit; empty where it does."""
        try:
            answer = self._client.ask(HttpRequest("GET", url), deadline)
        except NoHttpAnswerError as error:
            return str(error)
        if not answer.is_success:
            return f"answered {answer.status}"
        self._permitted.put(url, _PERMITTED)
        return _PERMITTED
