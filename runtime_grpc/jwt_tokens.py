"""JWTs: signature, times, issuer, audience; name and scopes from their claims."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jwt

from runtime_grpc.authentication import Identity, TokenExpiredError, TokenInvalidError
from runtime_grpc.user_tokens import Verified, principal_name
from runtime_grpc.verification_keys import Keys, VerificationKey

_FAR_FUTURE = 2**40  # seconds since 1970: no token has to be valid for longer
CLOCK_SKEW_SECONDS = 10.0
"""By how much the provider's clock and ours may differ."""

# What broken, hostile or strange tokens make the library and the standard library's JSON raise.
_BROKEN = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)

_REFUSALS: Mapping[type[Exception], str] = {
    jwt.InvalidAudienceError: "it was made for another audience",
    jwt.InvalidIssuerError: "another issuer made it",
    jwt.ImmatureSignatureError: "it is not valid yet: compare the clocks",
    jwt.MissingRequiredClaimError: "it lacks 'exp', 'sub', or the issuer or audience that this server wants",
}


class JwtVerifier:
    """Checks JWTs: `runtime_grpc.user_tokens.Verifier`."""

    def __init__(
        self, keys: Keys, issuer: str, audience: str, granted: Callable[[str], frozenset[str]] | None = None
    ) -> None:
        """Take any issuer and audience where these are empty; `granted` replaces the scopes of the claims."""
        self._keys, self._issuer, self._audience, self._granted = keys, issuer, audience, granted

    def verify(self, token: str) -> Verified:
        """Return whose token it is."""
        try:
            header = jwt.get_unverified_header(token)
        except _BROKEN:
            raise TokenInvalidError("the token is neither a JWT nor, as a UUID, an API key") from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str):
            raise TokenInvalidError("the token is not valid: it names no algorithm")
        fitting = [key for key in self._keys.fitting(key_id) if algorithm in key.algorithms]
        if not fitting:
            raise TokenInvalidError("none of the identity provider's keys fits the key id and algorithm of the token")
        claims = self._claims(token, fitting)
        if not claims["sub"]:
            raise TokenInvalidError("the token is not valid: its 'sub' is empty")
        name = principal_name(claims["sub"], _preferred(claims))
        scopes = frozenset(_scopes(claims)) if self._granted is None else self._granted(token)
        return Verified(Identity(name, scopes=scopes), min(int(claims["exp"]), _FAR_FUTURE) - time.time())

    def _claims(self, token: str, keys: list[VerificationKey]) -> dict[str, Any]:
        for key in keys:
            try:
                return jwt.decode(
                    token,
                    key.key,
                    sorted(key.algorithms),
                    {
                        "require": ["exp", "sub"],
                        "verify_aud": bool(self._audience),
                        "verify_iss": bool(self._issuer),
                    },
                    audience=self._audience or None,
                    issuer=self._issuer or None,
                    leeway=CLOCK_SKEW_SECONDS,
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError:
                raise TokenExpiredError("the token has expired: get a new one") from None
            except _BROKEN as error:
                why = _REFUSALS.get(type(error), "it is broken")
                raise TokenInvalidError(f"the token is not valid: {why}") from None
        raise TokenInvalidError("the token is not valid: its signature is wrong")


def _preferred(claims: Mapping[str, Any]) -> str:
    user = _member(_member(claims, "context"), "user")
    for name in (_member(user, "name"), claims.get("preferred_username")):
        if isinstance(name, str) and name:
            return name
    return ""


def _scopes(claims: Mapping[str, Any]) -> Iterator[str]:
    """Yield the scopes of `context.scope`, a list, and of `scope`, words in one text or a list."""
    for granted in (_member(_member(claims, "context"), "scope"), claims.get("scope")):
        if isinstance(granted, str):
            yield from granted.split()
        elif isinstance(granted, list):
            yield from (scope for scope in granted if isinstance(scope, str))


def _member(value: object, name: str) -> Any:  # noqa: ANN401 - JSON
    return value.get(name) if isinstance(value, Mapping) else None
