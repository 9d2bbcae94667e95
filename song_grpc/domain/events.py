"""Events: what they tell, how they look in Kafka, which ones a watcher wants, and where it goes on."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from song_grpc.domain import ids, json_text
from song_grpc.domain.analysis import AnalysisState
from song_grpc.domain.errors import ParameterError
from song_grpc.domain.limits import MAX_RESUME_TOKEN_CHARS, MAX_WATCHED_STUDIES, MAX_WATCHED_TYPES
from song_grpc.domain.states import EventAction

MAX_POSITION = 2**63 - 1
_TOKEN_VERSION = 1
_KEYS_WITHOUT_DATA = (
    *("analysisId", "studyId", "analysisState", "createdAt", "updatedAt", "firstPublishedAt", "publishedAt"),
    *("analysisStateHistory", "files", "analysisType"),
)


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one analysis."""

    position: int
    """Its place in the one order of all events, from 1."""
    event_id: str
    action: EventAction
    analysis_id: str
    study_id: str
    type_name: str
    state: AnalysisState
    """Right after the change."""
    time: datetime
    analysis_json: str
    """The analysis right after the change, canonical; empty where it is not wanted."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a watcher wants: those that fit every part; an empty part fits all."""

    study_ids: Sequence[str] = ()
    type_names: Sequence[str] = ()
    actions: Sequence[EventAction] = ()

    def check(self) -> None:
        """Raise ParameterError for ids that can't be, and for too many."""
        for field, values, most in (
            ("study_ids", self.study_ids, MAX_WATCHED_STUDIES),
            ("analysis_type_names", self.type_names, MAX_WATCHED_TYPES),
        ):
            if len(values) > most:
                raise ParameterError(field, f"give {most} at most")
            for at, value in enumerate(values):
                if not value or "\0" in value or (field == "study_ids" and not ids.can_exist(value)):
                    raise ParameterError(f"{field}[{at}]", "is empty, too long, or has NUL")


@dataclass(frozen=True, slots=True)
class EventFormat:
    """How events look in Kafka."""

    server_id: str
    """Tells readers which Song they come from; Maestro's repository code."""
    overture_actions: bool = False
    """UPDATE is called PUBLISH, as Overture's Song calls it."""


@dataclass(frozen=True, slots=True)
class EventMessage:
    """An event as a broker takes it."""

    key: bytes
    """Events with one key keep their order."""
    value: bytes
    headers: Sequence[tuple[str, bytes]]


def message_of(event: Event, form: EventFormat) -> EventMessage:
    """Return the message of an event: Overture's keys and no others, since some readers refuse others."""
    renamed = form.overture_actions and event.action is EventAction.UPDATE
    action = EventAction.PUBLISH if renamed else event.action
    fields = {
        "analysisId": event.analysis_id,
        "studyId": event.study_id,
        "state": event.state.value,
        "action": action.value,
        "songServerId": form.server_id,
    }
    head = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    # The analysis goes in as it was stored: no number is read and written again.
    value = f'{head[:-1]},"analysis":{event.analysis_json}}}'
    headers = [("event_id", event.event_id.encode()), ("time", event.time.isoformat(timespec="microseconds").encode())]
    return EventMessage(event.analysis_id.encode(), value.encode(), headers)


def without_data(analysis_json: str) -> str:
    """Return a canonical analysis without its samples and its dynamic data."""
    document = json_text.read_stored(analysis_json)
    return json_text.write({key: document[key] for key in _KEYS_WITHOUT_DATA})


def make_token(position: int) -> str:
    """Return the token with which a watcher goes on after this position, whatever its filter."""
    return base64.urlsafe_b64encode(f"{_TOKEN_VERSION}:{position}".encode()).decode()


def read_token(token: str) -> int:
    """Return the position a token stands for. Raises ParameterError."""
    broken = token_error()
    if len(token) > MAX_RESUME_TOKEN_CHARS:
        raise broken
    try:
        version, _, position = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).partition(b":")
    except (UnicodeError, binascii.Error, ValueError):
        raise broken from None
    if version != str(_TOKEN_VERSION).encode() or not position.isdigit() or int(position) > MAX_POSITION:
        raise broken
    return int(position)


def token_error() -> ParameterError:
    """Return what is wrong with a token that nobody gave out."""
    return ParameterError("resume_token", "is not one that WatchEvents of this Song gave out")
