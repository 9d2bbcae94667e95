"""A signed request: what a client sends straight to a store, or to this server's HTTP, without a credential."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """An HTTP request that needs no credential until it expires."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """Part of the signature: to be sent exactly so."""
    expire_time: datetime
