"""What use cases work with: the ledger, the store, Song's word, and this process' own bookkeeping."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from score_grpc.database.generations import Generations
from score_grpc.database.ledger import Ledger
from score_grpc.database.lists import Lists
from score_grpc.database.signed_parts import SignedParts
from score_grpc.database.small_objects import SmallObjects
from score_grpc.domain.layout import Layout
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.gateways.objects.port import ObjectStore
from score_grpc.gateways.registry import CachedRegistry
from score_grpc.use_cases.claims import Claims
from score_grpc.use_cases.hashing import Hashing
from score_grpc.use_cases.own_urls import OwnUrls


@dataclass(frozen=True, slots=True)
class Environment:
    """Made once by the composition root."""

    ledger: Ledger
    generations: Generations
    lists: Lists
    signed_parts: SignedParts
    small_objects: SmallObjects
    store: ObjectStore
    layout: Layout
    """Where new objects go in it."""
    registry: CachedRegistry
    """Song's word: of the last half minute for what looks, reads or goes on; `fresh` for what starts or completes."""
    claims: Claims
    hashing: Hashing
    upload_expiry: timedelta
    """How long an upload may go without activity."""
    draining: threading.Event
    """Set once this process is to end."""
    own_urls: OwnUrls | None = None
    """Signs URLs that this server itself serves; None where it has no HTTP."""
    prefers_own_urls: bool = False
    """Whether they are handed out also where the store could sign."""
    adopt: Callable[[Sequence[str]], Sequence[str]] | None = None
    """Looks for objects of these ids that are in the store and not in the ledger, and returns the ids of those that now
    are; None where nothing is to be looked for. Raises SongUnavailableError, StoreUnavailableError."""

    def objects(self, object_ids: Sequence[str]) -> dict[str, StoredObject]:
        """Return the visible objects among these ids, adopted ones with them. Raises as `adopt`."""
        found = self.ledger.objects(object_ids)
        missing = [object_id for object_id in object_ids if object_id not in found]
        if missing and self.adopt is not None and (adopted := self.adopt(missing)):
            found |= self.ledger.objects(adopted)
        return found
