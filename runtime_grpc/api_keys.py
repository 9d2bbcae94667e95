"""API keys: what they are worth is asked of the identity provider, which knows them, by introspection."""

import hashlib
import math
import time

from runtime_grpc.authentication import Identity, TokenExpiredError, TokenInvalidError
from runtime_grpc.identity_provider import Answer, IdentityProvider, unusable
from runtime_grpc.user_tokens import Verified, principal_name

_GOOD = {200, 207}
_CLIENT_ERRORS = range(400, 500)
_BUSY = {408, 429}
"""These say nothing about the key."""
_UNIX_TIMES_FROM = 1_000_000_000
"""`exp` is in seconds from now with some providers, a Unix time with others; no key lasts 31 years."""


class ApiKeyVerifier:
    """Checks API keys: `runtime_grpc.user_tokens.Verifier`."""

    def __init__(
        self, provider: IdentityProvider, url: str, form_field: str, credentials: tuple[str, str] | None
    ) -> None:
        """Post to the URL, with these credentials, client id and secret, of our own."""
        self._provider, self._url, self._form_field, self._credentials = provider, url, form_field, credentials

    def verify(self, token: str) -> Verified:
        """Return whose key it is."""
        answer = self._provider.post(self._url, {self._form_field: token}, basic=self._credentials)
        if answer.status in _CLIENT_ERRORS and answer.status not in _BUSY:
            raise TokenInvalidError("the identity provider does not know this API key")
        if answer.status not in _GOOD or not isinstance(answer.body, dict):
            raise unusable(answer, "no introspection")
        if answer.member("error") or answer.member("revoked") is True:
            raise TokenInvalidError("the API key was revoked, or the identity provider refuses it")
        lasts_seconds = _lasts_seconds(answer)
        if lasts_seconds <= 0:
            raise TokenExpiredError("the API key has expired: get a new one")
        if answer.member("valid") is False or answer.member("active") is False:
            raise TokenInvalidError("the API key is not valid")
        return Verified(Identity(_name(answer, token), scopes=_scopes(answer)), lasts_seconds)


def _lasts_seconds(answer: Answer) -> float:
    exp = answer.member("exp")
    if exp is None:
        return math.inf
    if isinstance(exp, bool) or not isinstance(exp, int | float) or math.isnan(exp):
        raise unusable(answer, "'exp' is no number")
    return exp - time.time() if exp >= _UNIX_TIMES_FROM else exp


def _scopes(answer: Answer) -> frozenset[str]:
    scopes = answer.member("scope")
    if scopes is None:
        return frozenset()
    if isinstance(scopes, str):
        return frozenset(scopes.split())
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise unusable(answer, "'scope' is no list of texts")
    return frozenset(scopes)


def _name(answer: Answer, token: str) -> str:
    for member in ("user_id", "client_id"):
        value = answer.member(member)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return principal_name(str(value))
    return f"API key {hashlib.sha256(token.encode()).hexdigest()[:12]}"
