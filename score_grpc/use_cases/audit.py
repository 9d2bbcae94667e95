"""The audit's writer: entries are kept a moment later, many at once, so that no call and no byte waits for them."""

import queue
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from score_grpc.database.audit import AuditLog
from score_grpc.domain import limits
from score_grpc.domain.audit import AuditEntry

_log = structlog.get_logger()


class Audit:
    """Takes entries from any thread."""

    def __init__(self, log: AuditLog, kept: timedelta) -> None:
        """Older entries than `kept` are forgotten."""
        self._audit_log, self._kept = log, kept
        self._entries: queue.Queue[AuditEntry] = queue.Queue(limits.AUDIT_QUEUE_ENTRIES)
        self._closing = threading.Event()
        self._prune_due = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        """Write, and prune from time to time."""
        self._thread.start()

    def note(self, entry: AuditEntry) -> None:
        """Keep an entry soon. Where too many wait, because the database is away, it waits a little, then is logged."""
        # Thousands may wait, and callers choose how long what they name is.
        most = limits.AUDIT_FACT_MAX_CHARS
        entry = replace(
            entry, object_id=entry.object_id[:most], study_id=entry.study_id[:most], facts=entry.cut_facts()
        )
        try:
            self._entries.put(entry, timeout=limits.AUDIT_WAIT_SECONDS)
        except queue.Full:
            _log_entry(entry)

    def close(self) -> None:
        """Write what waits, and stop: no call is under way any more."""
        self._closing.set()
        self._thread.join(limits.AUDIT_CLOSE_SECONDS)
        for entry in self._waiting():  # the database did not take them
            _log_entry(entry)

    def _run(self) -> None:
        unwritten: list[AuditEntry] = []
        while True:
            is_closing = self._closing.wait(limits.AUDIT_RETRY_SECONDS if unwritten else limits.AUDIT_PERIOD_SECONDS)
            try:
                while unwritten := unwritten or self._waiting():
                    self._audit_log.add(unwritten)
                    unwritten = []
                if not is_closing:
                    self._prune()
            except Exception as error:  # noqa: BLE001 - the database may be away; there is a next time
                _log.warning("writing the audit paused", error=str(error), entries=len(unwritten))
            if is_closing:
                for entry in unwritten:
                    _log_entry(entry)
                return

    def _waiting(self) -> list[AuditEntry]:
        found: list[AuditEntry] = []
        with suppress(queue.Empty):
            while len(found) < limits.AUDIT_BATCH:
                found.append(self._entries.get_nowait())
        return found

    def _prune(self) -> None:
        if time.monotonic() < self._prune_due:
            return
        while self._audit_log.prune(datetime.now(UTC) - self._kept, limits.AUDIT_BATCH) == limits.AUDIT_BATCH:
            if self._closing.is_set():
                return
        self._prune_due = time.monotonic() + limits.AUDIT_PRUNE_SECONDS


def _log_entry(entry: AuditEntry) -> None:
    """Let the log have what the database could not take."""
    _log.error(
        "audit entry not kept",
        time=entry.time.isoformat(),
        principal=entry.principal,
        action=entry.action,
        object_id=entry.object_id,
        study_id=entry.study_id,
        result=entry.result,
        **{f"fact_{name}": value for name, value in entry.cut_facts().items()},
    )
