"""Repeated requests: a request id gives the first answer again."""

import hashlib
import json
from dataclasses import dataclass

from song_grpc.domain.errors import ParameterError, RequestIdReusedError
from song_grpc.domain.limits import MAX_REQUEST_ID_CHARS


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Which request: ids are the caller's own, per method."""

    actor: str
    method: str
    request_id: str
    digest: str
    """Of the request's content."""

    @property
    def identity(self) -> tuple[str, str, str]:
        """The key without the content."""
        return self.actor, self.method, self.request_id


def request_key(
    actor: str, method: str, request_id: str, content: list[str | bool | list[str] | None]
) -> RequestKey | None:
    """Return the key of a request, None for one without id. Raises ParameterError."""
    if not request_id:
        return None
    if len(request_id) > MAX_REQUEST_ID_CHARS or "\0" in request_id:
        raise ParameterError("request_id", f"has more than {MAX_REQUEST_ID_CHARS} characters, or NUL")
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return RequestKey(actor, method, request_id, digest)


def reused(request_id: str) -> RequestIdReusedError:
    """Return the error for an id that came before with other content."""
    return RequestIdReusedError(
        f"request_id '{request_id}' came before with other content: use a new one", request_id=request_id
    )
