"""Collect what uploads leave behind that nobody comes back to.

    expired        an OPEN upload without activity, or too old: ABORTED in the ledger, then freed in the store
    not freed      an upload was aborted, and the process died, or the store was away, before the store was rid of it
    retired        bytes of an object that was replaced or deleted, which no stream reads any more
    orphan         a staging in the store that no live upload knows: a process died between store and ledger

Each step finds what the step before left, also when that was in another process, and repeating one changes nothing.
So several replicas collect at once: a lease only keeps them from doing the same work.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import structlog

from score_grpc.database.leftovers import Leftovers
from score_grpc.database.retired import RetiredKeys
from score_grpc.domain import limits
from score_grpc.domain.uploads import expired_before
from score_grpc.gateways.objects.port import Staging
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.staging import free

_log = structlog.get_logger()


class Collector:
    """The collection of this process."""

    def __init__(self, environment: Environment, leftovers: Leftovers, retired: RetiredKeys) -> None:
        self._environment, self._leftovers, self._retired = environment, leftovers, retired
        self._draining = environment.draining
        self._thread = threading.Thread(target=self._run, name="collect", daemon=True)

    def start(self) -> None:
        """Collect, now and from time to time."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the step under way; `draining` is set."""
        self._thread.join(limits.COLLECT_PERIOD_SECONDS)

    def collect_expired(self, now: datetime) -> int:
        """Abort and free what has expired by `now`, and free what was aborted before. Returns how many were freed.

        Raises StoreUnavailableError: what could not be freed is tried again once its lease is over.
        """
        freed = 0
        idle_before, started_before = expired_before(now, self._environment.upload_expiry)
        while not self._draining.is_set():
            taken = self._leftovers.take(idle_before, started_before, limits.COLLECT_BATCH)
            for upload in taken:
                free(self._environment, upload)
                freed += 1
                _log.info("upload collected", upload_id=upload.upload_id, object_id=upload.object_id)
            if len(taken) < limits.COLLECT_BATCH:
                break
        return freed

    def collect_retired(self, now: datetime) -> int:
        """Delete the bytes whose time has come by `now`. Returns of how many keys.

        Raises StoreUnavailableError: what could not be deleted is tried again once its lease is over.
        """
        deleted = 0
        while not self._draining.is_set():
            taken = self._retired.take(now, limits.COLLECT_BATCH)
            for key in taken:
                self._environment.store.delete(key)
                self._retired.forget(key)
                deleted += 1
                _log.info("retired bytes deleted", key=key)
            if len(taken) < limits.COLLECT_BATCH:
                break
        return deleted

    def collect_orphans(self, now: datetime) -> int:
        """Free stagings that no live upload knows and that are old enough by `now`. Returns how many were freed.

        Raises StoreUnavailableError.
        """
        freed, store = 0, self._environment.store
        found = store.stagings(self._environment.layout.prefix, now - timedelta(seconds=limits.ORPHAN_AGE_SECONDS))
        for batch in _batches(found, limits.ORPHAN_BATCH):
            known = [(staging.key, staging.token) for staging in batch]
            for key, token in self._leftovers.orphans_among(known, is_exclusive=store.is_exclusive):
                if self._draining.is_set():
                    return freed
                store.abort(Staging(key, token))
                freed += 1
                _log.info("orphan collected", key=key)
        return freed

    def _run(self) -> None:
        orphans_due = time.monotonic()
        while not self._draining.is_set():
            try:
                now = datetime.now(UTC)
                self.collect_expired(now)
                self.collect_retired(now)
                if time.monotonic() >= orphans_due:
                    self.collect_orphans(now)
                    orphans_due = time.monotonic() + limits.ORPHAN_PERIOD_SECONDS
            except Exception as error:  # noqa: BLE001 - store or database may be away; there is a next time
                _log.warning("collecting paused", error=str(error))
            self._draining.wait(limits.COLLECT_PERIOD_SECONDS)


def _batches(stagings: Iterable[Staging], size: int) -> Iterator[list[Staging]]:
    rest = iter(stagings)
    while batch := list(islice(rest, size)):
        yield batch
