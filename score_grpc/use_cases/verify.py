"""Verify objects: read all bytes again, and compare them with the parts' digests and the registered MD5.

A verification is a job in the ledger under a lease, as a completion is: it goes on when the client leaves; when this
process dies, the next one, or a replica, takes it up from the first byte.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

from byte_path.digests import PartDigest
from byte_path.md5 import new_md5
from score_grpc.database.verifications import Verifications
from score_grpc.domain import limits
from score_grpc.domain.access import Action, Principal
from score_grpc.domain.errors import ObjectNotRegisteredError, StoredBytesCorruptError
from score_grpc.domain.stored_objects import Findings, StoredObject, Verification
from score_grpc.domain.uploads import UploadPart
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.permission import permit_object
from score_grpc.use_cases.read import object_not_found
from score_grpc.use_cases.start import require_object_id

_log = structlog.get_logger()


class _StoppedError(Exception):
    """The verification is no longer this process's, or it shuts down: stop, and change nothing more."""


class VerificationJob:
    """Reads one object whose lease this process holds."""

    def __init__(self, environment: Environment, verifications: Verifications, stored: StoredObject) -> None:
        self._environment, self._verifications, self._stored = environment, verifications, stored
        self._renewed = time.monotonic()
        self._md5 = new_md5()

    def run(self) -> None:
        """Read, compare, and record what was found. Raises _StoppedError; anything else may be tried again."""
        findings = self._compare()
        if not self._verifications.record(self._stored, findings):
            raise _StoppedError
        _log.info(
            "object verified",
            object_id=self._stored.object_id,
            is_verified=findings.is_verified,
            damaged_parts=len(findings.damaged_parts),
        )

    def _compare(self) -> Findings:
        stored, ledger = self._stored, self._environment.ledger
        known = {part.part_number: part for part in ledger.parts(stored.upload_id, 0, limits.PARTS_MAX)}
        damaged: list[int] = []
        good: list[UploadPart] = []
        unsure: list[UploadPart] = []
        for number in stored.plan.numbers():
            part = known.get(number) or UploadPart(number, stored.plan.part_bytes(number), "", "")
            found = self._read(part)
            if found is None:
                damaged.append(number)
            elif part.xxh3_128 or part.md5:
                good.append(found)
            else:
                unsure.append(found)
        return self._judge(damaged, good, unsure)

    def _read(self, part: UploadPart) -> UploadPart | None:
        """Return the part with its digest; None where its bytes are gone or are not those of its known digest."""
        stored, offset = self._stored, self._stored.plan.offset(part.part_number)
        digest, md5 = PartDigest(), new_md5()
        needs_md5 = not part.xxh3_128 and bool(part.md5)
        try:
            for piece in self._environment.store.read(stored.store_key, stored.store_version, offset, part.size_bytes):
                self._md5.update(piece)
                digest.update(piece)
                if needs_md5:
                    md5.update(piece)
                offset += piece.nbytes
                self._renew(offset)
        except StoredBytesCorruptError as error:
            _log.warning("part damaged", object_id=stored.object_id, part_number=part.part_number, error=str(error))
            return None
        is_other = part.xxh3_128 != digest.hexdigest() if part.xxh3_128 else needs_md5 and md5.hexdigest() != part.md5
        if is_other:
            _log.warning("part damaged", object_id=stored.object_id, part_number=part.part_number)
            return None
        return UploadPart(part.part_number, part.size_bytes, digest.hexdigest(), part.store_etag, part.md5)

    def _judge(self, damaged: list[int], good: list[UploadPart], unsure: list[UploadPart]) -> Findings:
        stored, md5 = self._stored, self._md5.hexdigest()
        kept = self._environment.store.stat(stored.store_key)
        is_whole = kept is not None and kept.size_bytes == stored.size_bytes
        if damaged or not is_whole:
            return Findings(is_verified=False, md5=stored.md5, damaged_parts=damaged, read_parts=good)
        if stored.md5 and md5 != stored.md5:  # among the parts without a digest of their own, as all others are good
            wrong = [part.part_number for part in unsure] or list(stored.plan.numbers())
            return Findings(is_verified=False, md5=stored.md5, damaged_parts=wrong, read_parts=good)
        # What was VERIFIED had Song's MD5 then; a registration that was changed since is a matter of publishing.
        is_verified = stored.verification is Verification.VERIFIED or self._is_registered(md5)
        return Findings(is_verified=is_verified, md5=md5, damaged_parts=(), read_parts=[*good, *unsure])

    def _is_registered(self, md5: str) -> bool:
        registration = self._environment.registry.resolve([self._stored.object_id], fresh=True).get(
            self._stored.object_id
        )
        found = (self._stored.size_bytes, md5)
        return registration is not None and found == (registration.size_bytes, registration.md5)

    def _renew(self, verified_size_bytes: int) -> None:
        """Keep the lease, from time to time. Raises _StoppedError where the work must stop."""
        if self._environment.draining.is_set():
            raise _StoppedError
        if time.monotonic() - self._renewed < limits.COMPLETION_PROGRESS_SECONDS:
            return
        self._renewed = time.monotonic()
        if not self._verifications.renew(self._stored, verified_size_bytes):
            raise _StoppedError


class VerificationRuns:
    """The verifications of this process."""

    def __init__(self, environment: Environment, verifications: Verifications, *, works: bool = True) -> None:
        """`works` false leaves the work to other processes on the same ledger and store."""
        self._environment, self._verifications, self._works = environment, verifications, works
        self._workers = ThreadPoolExecutor(limits.VERIFICATIONS_AT_ONCE, "verify")
        self._lock = threading.Lock()
        self._working: dict[str, StoredObject] = {}
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="verifications", daemon=True)

    def start(self) -> None:
        """Take up what waits, now and whenever there is more."""
        if not self._works:
            return
        if self._environment.store.is_exclusive:
            self._verifications.release_all()  # no other process can be at work on this store
        self._thread.start()

    def verify(self, principal: Principal, object_id: str) -> StoredObject:
        """Ask for a verification, or attach to the one under way; return the object as it is now.

        Raises FieldInvalidError, ObjectNotFoundError, ScopeMissingError, SongUnavailableError, StoreUnavailableError.
        """
        require_object_id(object_id)
        if not principal.is_system:
            try:
                permit_object(self._environment.registry, principal, Action.INSPECT, object_id)
            except ObjectNotRegisteredError:
                raise object_not_found(object_id) from None
        is_there = object_id in self._environment.objects([object_id])
        stored = self._verifications.ask(object_id) if is_there else None
        if stored is None:
            raise object_not_found(object_id)
        self._wake.set()
        return stored

    def close(self) -> None:
        """Stop; `draining` is set. What is unfinished is given back."""
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(limits.SWEEP_PERIOD_SECONDS)
        self._workers.shutdown(cancel_futures=True)

    def _run(self) -> None:
        while not self._environment.draining.is_set():
            try:
                for stored in self._working_now():  # one read that stalls may outlast a lease
                    self._verifications.renew(stored)
                if free := limits.VERIFICATIONS_AT_ONCE - len(self._working_now()):
                    for stored in self._verifications.take(free):
                        with self._lock:
                            self._working[stored.object_id] = stored
                        self._workers.submit(self._work, stored)
            except Exception as error:  # noqa: BLE001 - the database may be away; there is a next time
                _log.warning("looking for verifications failed", error=str(error))
            self._wake.wait(limits.SWEEP_PERIOD_SECONDS)
            self._wake.clear()

    def _working_now(self) -> Sequence[StoredObject]:
        with self._lock:
            return list(self._working.values())

    def _work(self, stored: StoredObject) -> None:
        try:
            VerificationJob(self._environment, self._verifications, stored).run()
        except _StoppedError:
            with suppress(Exception):
                self._verifications.release(stored)
        except Exception as error:  # noqa: BLE001 - the lease runs out, and it is tried again
            _log.warning("verification paused", object_id=stored.object_id, error=str(error))
        finally:
            with self._lock:
                if self._working.get(stored.object_id) is stored:  # else a further generation's work has begun
                    del self._working[stored.object_id]
            self._wake.set()
