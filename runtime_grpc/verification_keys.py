"""Public keys that signatures of JWTs are checked with: from a PEM file, or a JWK set that is fetched.

Which algorithms a key may be used with follows from the key, never from a token: a public key is no secret of HMAC.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from runtime_grpc.authentication import IdentityProviderAnswerError, IdentityProviderUnreachableError
from runtime_grpc.identity_provider import Answer, unusable

MIN_RSA_BITS = 2048
MAX_JWKS_KEYS = 100
JWKS_FRESH_SECONDS = 600.0
"""Then keys are fetched again, so that a withdrawn one goes."""
JWKS_KEPT_SECONDS = 3600.0
"""How long keys are used, at most, while they can't be fetched again."""
JWKS_REFETCH_SECONDS = 10.0
"""Between fetches, whatever tokens name: a key id that nobody knows costs the provider no more."""
JWKS_RETRY_SECONDS = 1.0
"""The same while there are no keys at all."""
JWKS_WAIT_SECONDS = 1.0
"""How long a call waits for a fetch that another one does."""

_OK = 200

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {"secp256r1": frozenset({"ES256"}), "secp384r1": frozenset({"ES384"}), "secp521r1": frozenset({"ES512"})}
_EDWARDS = frozenset({"EdDSA"})


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, and what it may verify."""

    key_id: str | None
    key: PublicKey
    algorithms: frozenset[str]
    """Names of JWS, never empty."""


class Keys(Protocol):
    """Where keys come from."""

    def fitting(self, key_id: str | None) -> Sequence[VerificationKey]:
        """Return the keys that may have signed a token which names this key, or none.

        Raises IdentityProviderUnreachableError, IdentityProviderAnswerError.
        """


def read_pem(text: bytes) -> VerificationKey:
    """Read a public key. Raises ValueError with a text for the operator."""
    try:
        key = load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it holds no public key in PEM, '-----BEGIN PUBLIC KEY-----'") from None
    algorithms = _algorithms(key)
    if not algorithms:
        raise ValueError(
            f"its key is of no use: give RSA of {MIN_RSA_BITS} bits or more, P-256, P-384, P-521 or Ed25519"
        )
    return VerificationKey(None, key, algorithms)  # type: ignore[arg-type]  # it has algorithms, so it is one of them


def read_jwks(document: object) -> list[VerificationKey]:
    """Return the keys of a JWK set that can verify signatures; others are passed over. Raises ValueError."""
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        raise ValueError("it is no JWK set")  # noqa: TRY004 - what came from outside is of the wrong value
    found = [key for member in members[:MAX_JWKS_KEYS] if isinstance(member, dict) and (key := _read_jwk(member))]
    if not found:
        raise ValueError("it has no public key for signatures")
    return found


def _read_jwk(member: dict[str, object]) -> VerificationKey | None:
    if member.get("use", "sig") != "sig" or member.get("kty") not in {"RSA", "EC", "OKP"}:
        return None
    try:
        key = jwt.PyJWK(member).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        return None
    algorithms = _algorithms(key)
    if "alg" in member:
        algorithms &= {str(member["alg"])}
    key_id = member.get("kid")
    return VerificationKey(str(key_id) if key_id is not None else None, key, algorithms) if algorithms else None


def _algorithms(key: object) -> frozenset[str]:
    if isinstance(key, RSAPublicKey):
        return _RSA if key.key_size >= MIN_RSA_BITS else frozenset()
    if isinstance(key, EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, frozenset())
    return _EDWARDS if isinstance(key, Ed25519PublicKey | Ed448PublicKey) else frozenset()


class FixedKey:
    """The one key of a file, whatever id a token names."""

    def __init__(self, key: VerificationKey) -> None:
        self._key = key

    def fitting(self, key_id: str | None) -> Sequence[VerificationKey]:
        """Return the key."""
        del key_id
        return [self._key]


class FetchedKeys:
    """The keys of a JWK set, fetched when a token needs them."""

    def __init__(self, fetch: Callable[[], Answer], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch, self._clock = fetch, clock
        self._lock = threading.Lock()
        self._keys: Sequence[VerificationKey] = []
        self._fetched = self._tried = float("-inf")
        self._failed = False

    def fitting(self, key_id: str | None) -> Sequence[VerificationKey]:
        """Return the keys with that id; all where the token names none."""
        known = self._known(key_id)
        age = self._clock() - self._fetched
        if known and age < JWKS_FRESH_SECONDS:
            return known
        try:
            self._fetch_again(0 if known else JWKS_WAIT_SECONDS)
        except (IdentityProviderUnreachableError, IdentityProviderAnswerError):
            if not known or age >= JWKS_KEPT_SECONDS:
                raise
        return self._known(key_id)

    def _known(self, key_id: str | None) -> Sequence[VerificationKey]:
        return [key for key in self._keys if key_id is None or key.key_id == key_id]

    def _fetch_again(self, wait_seconds: float) -> None:
        """Fetch, unless it was tried a moment ago. Raises as `fitting`."""
        asked = self._clock()
        if not self._lock.acquire(timeout=wait_seconds):
            raise IdentityProviderUnreachableError("the identity provider's keys are being fetched: retry")
        try:
            pause = JWKS_REFETCH_SECONDS if self._keys else JWKS_RETRY_SECONDS
            if self._fetched >= asked or self._clock() - self._tried < pause:
                if self._failed:
                    raise IdentityProviderUnreachableError("the identity provider's keys can't be fetched: retry")
                return
            self._tried, self._failed = self._clock(), True
            answer = self._fetch()
            if answer.status != _OK:
                raise unusable(answer, "no JWK set")
            try:
                self._keys = read_jwks(answer.body)
            except ValueError as error:
                raise unusable(answer, str(error)) from None
            self._fetched, self._failed = self._clock(), False
        finally:
            self._lock.release()
