"""Signed URLs of our own: which text is signed, and how a signature is checked.

HMAC-SHA256 over the method, the path and every parameter of the query but the signature itself, in order of their
names: nothing can be altered, added or left out. `HEAD` counts as `GET`. Two keys may be valid at once, so that one
can be replaced while URLs of the other are on their way.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

from score_grpc.domain import limits
from score_grpc.domain.errors import SignatureInvalidError

# Overture's client reads `Expires`, and wants names that differ when lower-cased.
_EXPIRES, _KEY_ID, _SIGNATURE = "Expires", "KeyId", "Signature"
_AGAIN = "ask for a new one"


@dataclass(frozen=True, slots=True)
class UrlKey:
    """A key that signs URLs."""

    key_id: str
    """Shown in every URL it signs."""
    secret: bytes = field(repr=False)


def signed_query(key: UrlKey, method: str, path: str, facts: Mapping[str, str], expires: int) -> str:
    """Return the query of a URL that holds until `expires`, in seconds since 1970; `facts` are bound to it."""
    parameters = {**facts, _EXPIRES: str(expires), _KEY_ID: key.key_id}
    return urlencode({**parameters, _SIGNATURE: _signature(key, method, path, parameters)})


def checked_facts(keys: Sequence[UrlKey], method: str, path: str, query: str, now: float) -> Mapping[str, str]:
    """Return what was bound to a URL that is as we signed it and has not expired. Raises SignatureInvalidError."""
    parameters = _parameters(query)
    signature = parameters.pop(_SIGNATURE, "")
    key_id = parameters.get(_KEY_ID, "")
    key = next((key for key in keys if key.key_id == key_id), None)
    # As bytes: the digits of a stranger may be any characters.
    if key is None or not hmac.compare_digest(signature.encode(), _signature(key, method, path, parameters).encode()):
        raise SignatureInvalidError(f"this URL was altered, or its key is no longer valid: {_AGAIN}")
    # Only now: what is signed is what we wrote.
    expires = int(parameters.pop(_EXPIRES))
    if now >= expires:
        raise SignatureInvalidError(f"this URL has expired: {_AGAIN}", expires=str(expires))
    del parameters[_KEY_ID]
    return parameters


def _parameters(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query,
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=limits.SIGNED_URL_PARAMETERS_MAX,
        )
    except ValueError:
        raise SignatureInvalidError(f"this URL is not signed: {_AGAIN}") from None
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise SignatureInvalidError(f"this URL has a parameter twice: {_AGAIN}")
    return parameters


def _signature(key: UrlKey, method: str, path: str, parameters: Mapping[str, str]) -> str:
    signed_method = "GET" if method == "HEAD" else method
    text = "\n".join([signed_method, path, urlencode(sorted(parameters.items()))])
    return hmac.new(key.secret, text.encode(), hashlib.sha256).hexdigest()
