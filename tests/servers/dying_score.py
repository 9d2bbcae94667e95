"""Score as it dies: the real composition root, with a store and a ledger that kill the process at one place.

Run as a program: `dying_score.py PLACE COUNT SETTINGS [LIMITS]`, both as JSON. At the COUNT-th time that the place is
reached the process sends itself SIGKILL. LIMITS are other values of constants of `limits.py`, shorter leases for
example. Failpoints live here, not in the product: they are decorators of its ports.
"""

import json
import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from runtime_grpc.command_line import serve_until_told
from runtime_grpc.database import Database
from runtime_grpc.logs import configure_logs
from score_grpc import assembly
from score_grpc.__main__ import start_score
from score_grpc.assembly import open_ledger
from score_grpc.database.generations import Generations
from score_grpc.database.ledger import Ledger
from score_grpc.database.signed_parts import SignedParts
from score_grpc.database.small_objects import SmallObjects
from score_grpc.domain import limits
from score_grpc.domain.audit import Asker, AuditEntry
from score_grpc.domain.signed_requests import SignedRequest
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.domain.uploads import Upload, UploadPart
from score_grpc.gateways.objects.port import ObjectStore, PartWriter, StagedPart, Staging, StoredBytes
from score_grpc.settings import ScoreSettings
from score_grpc.stores import open_store

PLACES = (
    "before the staging is begun",
    "after the staging is begun",
    "in the middle of a part",
    "before the part is committed to the store",
    "after the part is committed to the store",
    "before the part is in the ledger",
    "after the part is in the ledger",
    "after completion has begun",
    "before assembly",
    "after assembly",
    "before the object is in the ledger",
    "after the object is in the ledger",
)
"""Of uploads."""
SMALL_OBJECT_PLACES = (
    "before keys are reserved",
    "after keys are reserved",
    "before a small object is put",
    "after a small object is put",
    "before the group is in the ledger",
    "after the group is in the ledger",
)
"""Of many small objects over one stream."""
SIGNED_PLACES = (
    "after a part is signed",
    "before signed parts are recorded",
    "after signed parts are recorded",
    "after completion has begun",
    "before assembly",
    "after assembly",
    "before digests are filled in",
    "before the object is in the ledger",
    "after the object is in the ledger",
)
"""Of uploads whose parts go by signed URLs of the store."""
COLLECTION_PLACES = (
    "before the staging is freed",
    "after the staging is freed",
    "before the upload is noted as freed",
)
"""Of collecting what was abandoned."""


class Death:
    """Waits for its place."""

    def __init__(self, place: str, count: int) -> None:
        self._place, self._left = place, count

    def reach(self, place: str) -> None:
        """Die here if it is time."""
        if place == self._place:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class DyingWriter:
    """A part writer that may kill the process."""

    def __init__(self, writer: PartWriter, death: Death) -> None:
        self._writer, self._death = writer, death
        self._written = 0

    def write(self, data: memoryview) -> None:
        self._writer.write(data)
        self._written += 1
        if self._written == 2:
            self._death.reach("in the middle of a part")

    def commit(self) -> str:
        self._death.reach("before the part is committed to the store")
        etag = self._writer.commit()
        self._death.reach("after the part is committed to the store")
        return etag

    def discard(self) -> None:
        self._writer.discard()


class DyingStore:
    """A store that may kill the process; everything else is the real one's."""

    def __init__(self, store: ObjectStore, death: Death) -> None:
        self._store, self._death = store, death

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def begin(self, key: str) -> Staging:
        self._death.reach("before the staging is begun")
        staging = self._store.begin(key)
        self._death.reach("after the staging is begun")
        return staging

    def abort(self, staging: Staging) -> None:
        self._death.reach("before the staging is freed")
        self._store.abort(staging)
        self._death.reach("after the staging is freed")

    def open_part(self, staging: Staging, part_number: int, offset: int, size_bytes: int) -> PartWriter:
        return DyingWriter(self._store.open_part(staging, part_number, offset, size_bytes), self._death)

    def assemble(self, staging: Staging, parts: Sequence[StagedPart]) -> StoredBytes:
        self._death.reach("before assembly")
        stored = self._store.assemble(staging, parts)
        self._death.reach("after assembly")
        return stored

    def sign_part(self, *asked: Any) -> SignedRequest | None:  # noqa: ANN401 - passed on
        request = self._store.sign_part(*asked)
        self._death.reach("after a part is signed")
        return request

    def put(self, key: str, data: Sequence[memoryview]) -> StoredBytes:
        self._death.reach("before a small object is put")
        stored = self._store.put(key, data)
        self._death.reach("after a small object is put")
        return stored


class DyingSmallObjects(SmallObjects):
    """The ledger of small objects, which may kill the process around its commits."""

    death: Death

    def reserve(self, uploads: Sequence[Upload]) -> Sequence[Upload]:
        self.death.reach("before keys are reserved")
        reserved = super().reserve(uploads)
        self.death.reach("after keys are reserved")
        return reserved

    def complete(
        self, objects: Sequence[tuple[StoredObject, UploadPart | None]], asker: Asker
    ) -> Mapping[str, StoredObject]:
        self.death.reach("before the group is in the ledger")
        visible = super().complete(objects, asker)
        self.death.reach("after the group is in the ledger")
        return visible


class DyingSignedParts(SignedParts):
    """The ledger of signed parts, which may kill the process around its commits."""

    death: Death

    def record(self, upload_id: str, parts: Sequence[UploadPart], epoch: int, staging_token: str) -> Collection[int]:
        self.death.reach("before signed parts are recorded")
        recorded = super().record(upload_id, parts, epoch, staging_token)
        self.death.reach("after signed parts are recorded")
        return recorded

    def fill_digests(self, upload_id: str, parts: Sequence[UploadPart]) -> None:
        self.death.reach("before digests are filled in")
        super().fill_digests(upload_id, parts)


class DyingLedger(Ledger):
    """A ledger that may kill the process around its commits."""

    def __init__(self, database: Database, death: Death) -> None:
        super().__init__(database, owner=f"dying {os.getpid()}")
        self._death = death

    def add_part(self, upload_id: str, part: UploadPart, epoch: int, staging_token: str) -> None:
        self._death.reach("before the part is in the ledger")
        super().add_part(upload_id, part, epoch, staging_token)
        self._death.reach("after the part is in the ledger")

    def note_freed(self, upload_id: str) -> None:
        self._death.reach("before the upload is noted as freed")
        super().note_freed(upload_id)

    def begin_completion(self, upload_id: str, asker: Asker) -> bool:
        begun = super().begin_completion(upload_id, asker)
        self._death.reach("after completion has begun")
        return begun

    def complete(self, stored: StoredObject) -> bool:
        self._death.reach("before the object is in the ledger")
        completed = super().complete(stored)
        self._death.reach("after the object is in the ledger")
        return completed


class DyingGenerations(Generations):
    """Generations that may kill the process around their commits."""

    death: Death

    def mark(self, stored: StoredObject, changer: str) -> None:
        self.death.reach("before the object is marked")
        super().mark(stored, changer)
        self.death.reach("after the object is marked")

    def delete(self, stored: StoredObject, changer: str, entry: AuditEntry) -> None:
        self.death.reach("before the object is deleted")
        super().delete(stored, changer, entry)
        self.death.reach("after the object is deleted")


def await_death(place: str, count: int) -> Death:
    """Have the parts of the ledger that the composition root makes itself die there; return what the others need."""
    death = DyingSmallObjects.death = DyingSignedParts.death = DyingGenerations.death = Death(place, count)
    vars(assembly)["SmallObjects"] = DyingSmallObjects
    vars(assembly)["Generations"] = DyingGenerations
    assembly.SignedParts = DyingSignedParts  # type: ignore[attr-defined]  # as that
    return death


def main() -> None:
    place, count, settings = sys.argv[1], int(sys.argv[2]), ScoreSettings.model_validate(json.loads(sys.argv[3]))
    for name, value in json.loads(sys.argv[4]).items() if len(sys.argv) > 4 else ():
        assert hasattr(limits, name)
        setattr(limits, name, value)
    configure_logs(settings.log_level)
    if place == "nowhere":
        serve_until_told(lambda: start_score(settings, open_store, open_ledger))
        return
    death = await_death(place, count)
    serve_until_told(
        lambda: start_score(
            settings,
            lambda given: DyingStore(open_store(given), death),  # type: ignore[arg-type,return-value]  # the rest is passed on
            lambda database: DyingLedger(database, death),
        )
    )


if __name__ == "__main__":
    main()
