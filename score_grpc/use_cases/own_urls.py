"""Signed URLs that this server itself serves: for stores that can't sign, and for networks that hide the store."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from score_grpc.domain.signatures import UrlKey, checked_facts, signed_query
from score_grpc.domain.signed_requests import SignedRequest

SIGNED_PATH = "/signed/v1"

_SIZE, _MD5, _GENERATION, _RANGE = "Size", "Md5", "Generation", "Range"


@dataclass(frozen=True, slots=True)
class PartGrant:
    """What a signed PUT may write."""

    upload_id: str
    part_number: int
    size_bytes: int
    md5: str
    """Of the body; 32 lower-case hexadecimal digits, or empty where none was bound."""


@dataclass(frozen=True, slots=True)
class ReadGrant:
    """What a signed GET may read."""

    object_id: str
    generation: int
    byte_range: tuple[int, int] | None
    """First byte and length; None for the whole."""


@dataclass(frozen=True, slots=True)
class OwnUrls:
    """Signs and checks. Who may, and what there is, is decided elsewhere: before signing, and again at use."""

    base_url: str
    """What a client reaches this server's HTTP by, without a slash at its end."""
    keys: Sequence[UrlKey]
    """The first signs, all are accepted."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def sign_part(
        self, upload_id: str, part_number: int, size_bytes: int, md5: str, lifetime: timedelta
    ) -> SignedRequest:
        """Sign a PUT of exactly these bytes. The part is recorded when they have arrived.

        `md5` is 32 lower-case hexadecimal digits; empty leaves the body's MD5 open.
        """
        facts = {_SIZE: str(size_bytes), _MD5: md5}
        return self._signed("PUT", f"{SIGNED_PATH}/uploads/{upload_id}/parts/{part_number}", facts, lifetime)

    def sign_read(
        self, object_id: str, generation: int, byte_range: tuple[int, int] | None, lifetime: timedelta
    ) -> SignedRequest:
        """Sign a GET of an object, or of a range of it (first byte, length).

        It is refused while the analysis is SUPPRESSED, whoever asked for it. A GET of the whole takes a Range header
        of the caller's own; one of a range may have one that lies within it, and needs none.
        """
        facts = {_GENERATION: str(generation)}
        if byte_range is not None:
            facts[_RANGE] = f"{byte_range[0]}+{byte_range[1]}"
        return self._signed("GET", f"{SIGNED_PATH}/objects/{object_id}", facts, lifetime)

    def part_grant(self, upload_id: str, part_number: int, query: str) -> PartGrant:
        """Return what the URL of a PUT grants. Raises SignatureInvalidError."""
        path = f"{SIGNED_PATH}/uploads/{upload_id}/parts/{part_number}"
        facts = checked_facts(self.keys, "PUT", path, query, self.now().timestamp())
        return PartGrant(upload_id, part_number, int(facts[_SIZE]), facts[_MD5])

    def read_grant(self, object_id: str, query: str) -> ReadGrant:
        """Return what the URL of a GET grants. Raises SignatureInvalidError."""
        facts = checked_facts(self.keys, "GET", f"{SIGNED_PATH}/objects/{object_id}", query, self.now().timestamp())
        byte_range = None
        if _RANGE in facts:
            first, _, length = facts[_RANGE].partition("+")
            byte_range = int(first), int(length)
        return ReadGrant(object_id, int(facts[_GENERATION]), byte_range)

    def _signed(self, method: str, path: str, facts: dict[str, str], lifetime: timedelta) -> SignedRequest:
        expires = math.ceil((self.now() + lifetime).timestamp())
        query = signed_query(self.keys[0], method, path, facts, expires)
        return SignedRequest(method, f"{self.base_url}{path}?{query}", {}, datetime.fromtimestamp(expires, UTC))
