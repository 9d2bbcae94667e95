"""Etags: opaque marks of a version. Who read one, and sends it with a change, overwrites nobody's."""

import hashlib
import json

from song_grpc.domain.errors import EtagMismatchError, ParameterError

ANY = "*"
"""Sent instead of an etag: overwrite whatever is there."""


def of_content(*parts: str | int | None) -> str:
    """Return the etag of something that consists of these parts: the same parts, the same etag."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def of_revision(revision: int) -> str:
    """Return the etag of something that counts its changes."""
    return f"r{revision}"


def require(given: str, field: str) -> None:
    """Raise ParameterError where a change that needs an etag brings none."""
    if not given:
        raise ParameterError(field, f"is required: give the etag that was read, or '{ANY}' to overwrite any")


def check(given: str, current: str, what: str) -> None:
    """Raise EtagMismatchError unless the given etag is the current one, or none, or any. `what` names the thing."""
    if given not in {"", ANY, current}:
        raise EtagMismatchError(what, current)
