"""What every process of Score is put together of: one that serves, and one that only works."""

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

from byte_path.allocator import tune_allocator
from runtime_grpc.database import Database
from score_grpc.database.generations import Generations
from score_grpc.database.ledger import Ledger
from score_grpc.database.lists import Lists
from score_grpc.database.signed_parts import SignedParts
from score_grpc.database.small_objects import SmallObjects
from score_grpc.gateways.objects.port import ObjectStore
from score_grpc.gateways.registry import CachedRegistry
from score_grpc.settings import ScoreSettings
from score_grpc.use_cases.claims import Claims
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.hashing import Hashing
from score_grpc.use_cases.own_urls import OwnUrls

MIGRATIONS = "score_grpc.database:migrations"

Made = TypeVar("Made")


def open_ledger(database: Database) -> Ledger:
    """Open the ledger in the name of this process."""
    return Ledger(database, owner=str(uuid4()))


def open_and_make(
    settings: ScoreSettings,
    open_store: Callable[[ScoreSettings], ObjectStore],
    open_ledger: Callable[[Database], Ledger],
    make: Callable[[ScoreSettings, ObjectStore, Database, Ledger], Made],
) -> Made:
    """Open the database, migrated, and the store, and make a process of them. Raises START_REFUSALS."""
    tune_allocator()
    database = Database(settings.sql_url)
    store: ObjectStore | None = None
    try:
        database.claim()
        if settings.migrate:
            database.upgrade(MIGRATIONS)
        database.check(MIGRATIONS)
        store = open_store(settings)
        return make(settings, store, database, open_ledger(database))
    except BaseException:
        if store is not None:
            store.close()
        database.close()
        raise


def make_environment(
    settings: ScoreSettings,
    store: ObjectStore,
    database: Database,
    ledger: Ledger,
    registry: CachedRegistry,
    draining: threading.Event,
    own_urls: OwnUrls | None = None,
    adopt: Callable[[Sequence[str]], Sequence[str]] | None = None,
) -> Environment:
    """Return what use cases work with."""
    return Environment(
        ledger=ledger,
        generations=Generations(database),
        lists=Lists(database),
        signed_parts=SignedParts(database),
        small_objects=SmallObjects(database, str(uuid4()), settings.layout),
        store=store,
        layout=settings.layout,
        registry=registry,
        adopt=adopt,
        claims=Claims(),
        hashing=Hashing(ledger, store, draining),
        upload_expiry=timedelta(hours=settings.upload_expiry_hours),
        draining=draining,
        own_urls=own_urls,
        prefers_own_urls=settings.signed_urls == "score",
    )
