"""The tokens of users: what can be read as a UUID is an API key, anything else a JWT. Verdicts are kept briefly."""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from runtime_grpc.authentication import Identity, TokenInvalidError, TokenRefusedError
from runtime_grpc.identity_provider import IdentityProvider

IDENTITY_KEPT_SECONDS = 60.0
"""How long a token that was accepted is not looked at again; less where it expires earlier."""
REFUSAL_KEPT_SECONDS = 5.0
MAX_KEPT_IDENTITIES = 4096
MAX_KEPT_REFUSALS = 1024
"""Kept apart, so that guesses drive no good token out."""

Verdict = TypeVar("Verdict")


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that is good."""

    identity: Identity
    lasts_seconds: float
    """How much longer it is; infinite where nobody says."""


class Verifier(Protocol):
    """Checks one kind of token."""

    def verify(self, token: str) -> Verified:
        """Return whose token it is; raises as `UserTokens.identity_of` does."""


class VerdictCache(Generic[Verdict]):
    """The latest verdicts by token, each for a while. Holds hashes, no tokens."""

    def __init__(self, max_entries: int, clock: Callable[[], float]) -> None:
        self._max_entries, self._clock = max_entries, clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, tuple[Verdict, float]] = OrderedDict()

    def get(self, token: str) -> Verdict | None:
        """Return what is known about the token; None where that is nothing."""
        key = _hash(token)
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if found[1] <= self._clock():
                del self._kept[key]
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, token: str, verdict: Verdict, seconds: float) -> None:
        """Keep a verdict for so long; the one that was not asked for longest makes room."""
        if seconds <= 0:
            return
        with self._lock:
            self._kept[_hash(token)] = (verdict, self._clock() + seconds)
            self._kept.move_to_end(_hash(token))
            while len(self._kept) > self._max_entries:
                self._kept.popitem(last=False)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class VerifiedTokens:
    """Knows the tokens of users: `runtime_grpc.authentication.UserTokens`."""

    def __init__(
        self,
        provider: IdentityProvider,
        jwts: Verifier | None,
        api_keys: Verifier | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the kinds that have a verifier. The provider is closed with this."""
        self._provider, self._jwts, self._api_keys = provider, jwts, api_keys
        self._identities: VerdictCache[Identity] = VerdictCache(MAX_KEPT_IDENTITIES, clock)
        self._refusals: VerdictCache[tuple[type[TokenRefusedError], str]] = VerdictCache(MAX_KEPT_REFUSALS, clock)

    def identity_of(self, token: str) -> Identity:
        """Return whose token it is."""
        identity = self._identities.get(token)
        if identity is not None:
            return identity
        refusal = self._refusals.get(token)
        if refusal is not None:
            raise refusal[0](refusal[1])
        try:
            verified = self._verifier_of(token).verify(token)
        except TokenRefusedError as error:
            self._refusals.put(token, (type(error), str(error)), REFUSAL_KEPT_SECONDS)
            raise
        self._identities.put(token, verified.identity, min(verified.lasts_seconds, IDENTITY_KEPT_SECONDS))
        return verified.identity

    def close(self) -> None:
        """Let go of connections."""
        self._provider.close()

    def _verifier_of(self, token: str) -> Verifier:
        if _is_uuid(token):
            if self._api_keys is None:
                raise TokenInvalidError("this server takes no API keys: send a JWT")
            return self._api_keys
        if self._jwts is None:
            raise TokenInvalidError("this server takes no JWTs, only API keys, which are UUIDs")
        return self._jwts


def _is_uuid(token: str) -> bool:
    try:
        UUID(token)
    except ValueError:
        return False
    return True


def principal_name(subject: str, preferred: str = "") -> str:
    """Return the name of a caller, at most 255 characters: `preferred (subject)`, or the subject alone.

    The subject is what tells callers apart: one that is too long keeps its difference as a hash.
    """
    shown = _printable(subject)
    if len(shown) > _MAX_SUBJECT_CHARS or shown != subject:
        shown = f"{shown[:_KEPT_SUBJECT_CHARS]}~{hashlib.sha256(subject.encode('utf-8', 'replace')).hexdigest()[:16]}"
    preferred = _printable(preferred)[:_MAX_PREFERRED_CHARS]
    return f"{preferred} ({shown})" if preferred and preferred != shown else shown


_MAX_SUBJECT_CHARS, _KEPT_SUBJECT_CHARS, _MAX_PREFERRED_CHARS = 128, 96, 100


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
