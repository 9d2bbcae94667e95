"""Complete uploads: start or attach to the work, and take up what others left unfinished.

A completion is a job in the ledger under a lease. It goes on when the client leaves; when this process dies, the
next one, or a replica, takes it up again. What one completion does is in `completion.py`.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

import structlog

from score_grpc.domain import limits
from score_grpc.domain.access import Action, Principal
from score_grpc.domain.audit import Asker
from score_grpc.domain.errors import DrainingError
from score_grpc.domain.registrations import Registration
from score_grpc.domain.stored_objects import StoredObject
from score_grpc.domain.uploads import Upload, UploadFailure, UploadState, require_open
from score_grpc.use_cases.completion import DIGEST_MISMATCH, CompletionJob, NotOursError, require_parts
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.permission import permit, registration_of

_log = structlog.get_logger()


class Completions:
    """The completions of this process."""

    def __init__(self, environment: Environment, *, works: bool = True) -> None:
        """`works` false leaves the work to other processes on the same ledger and store."""
        self._works = works
        self._environment, self._ledger, self._draining = environment, environment.ledger, environment.draining
        self._workers = ThreadPoolExecutor(limits.COMPLETIONS_AT_ONCE, "complete")
        self._waiters = threading.Semaphore(limits.COMPLETION_WAITERS)
        self._lock = threading.Lock()
        self._running: dict[str, Future[None]] = {}
        """By upload, also those that wait for a worker."""
        self._working: set[str] = set()
        self._failures: Counter[str] = Counter()
        """Unexpected ends of completions that are still to be made."""
        self._sweeper = threading.Thread(target=self._sweep, name="sweep", daemon=True)

    def start(self) -> None:
        """Take up what others left unfinished, now and from time to time."""
        if not self._works:
            return
        if self._environment.store.is_exclusive:
            self._ledger.release_all()  # no other process can be at work on this store
        self._sweeper.start()

    def complete(
        self, principal: Principal, upload_id: str, call_facts: Mapping[str, str]
    ) -> tuple[Upload, StoredObject | None]:
        """Start or attach to the completion; return what it has come to within COMPLETION_WAIT_SECONDS.

        `call_facts` go into the audit with the end of a completion that this starts.

        Raises UploadNotFoundError, UploadAbortedError, ScopeMissingError, PartsMissingError, SongUnavailableError,
        ObjectNotRegisteredError, DrainingError.
        """
        upload = self._ledger.upload(upload_id)
        registration = registration_of(self._environment.registry, upload.object_id, fresh=True)
        permit(principal, Action.MANAGE_UPLOAD, registration)
        if upload.state is UploadState.ABORTED:
            require_open(upload)
        if upload.state is UploadState.OPEN:
            require_parts(upload, self._ledger.parts(upload_id, 0, limits.PARTS_MAX))
            if _is_settled(upload, registration):
                return upload, None
            if self._draining.is_set():
                raise DrainingError(f"this server is shutting down: complete {upload.file_name} at another one")
            # Before any worker is free: what is answered as begun is in the ledger.
            asker = Asker(principal.name, call_facts)
            if self._ledger.begin_completion(upload_id, asker) and not self._works:
                self._ledger.release(upload_id)  # for whoever works to take
        if upload.state is not UploadState.COMPLETED:
            self._wait_for(self._run(upload_id))
        return self.state_of(self._ledger.upload(upload_id))

    def state_of(self, upload: Upload) -> tuple[Upload, StoredObject | None]:
        """Return the upload with the object it brought, if it has."""
        if upload.state is not UploadState.COMPLETED:
            return upload, None
        return upload, self._ledger.objects([upload.object_id]).get(upload.object_id)

    def close(self) -> None:
        """Stop; `draining` is set. What is unfinished is given back."""
        self._workers.shutdown(cancel_futures=True)

    def _run(self, upload_id: str) -> "Future[None] | None":
        with self._lock:
            running = self._running.get(upload_id)
            if running is None and self._works and not self._draining.is_set():
                running = self._running[upload_id] = self._workers.submit(self._work, upload_id)
            return running

    def _wait_for(self, running: "Future[None] | None") -> None:
        if running is not None and self._waiters.acquire(blocking=False):
            try:
                wait([running], timeout=limits.COMPLETION_WAIT_SECONDS)
            finally:
                self._waiters.release()

    def _sweep(self) -> None:
        while True:
            try:
                with self._lock:
                    working = list(self._working)
                for upload_id in working:  # one step, a large part or an assembly, may outlast a lease
                    self._ledger.renew(upload_id)
                for upload_id in self._ledger.abandoned_completions(limits.COMPLETIONS_AT_ONCE):
                    self._run(upload_id)
            except Exception as error:  # noqa: BLE001 - the database may be away; there is a next time
                _log.warning("looking for abandoned completions failed", error=str(error))
            if self._draining.wait(limits.SWEEP_PERIOD_SECONDS):
                return

    def _work(self, upload_id: str) -> None:
        try:
            if self._ledger.resume_completion(upload_id):
                with self._lock:
                    self._working.add(upload_id)
                self._environment.claims.drop_all(upload_id)
                CompletionJob(self._environment).run(upload_id)
        except NotOursError:
            with suppress(Exception):
                self._ledger.release(upload_id)
        except Exception as error:  # noqa: BLE001 - the lease runs out, and the sweep tries again
            _log.error("completion failed", upload_id=upload_id, exc_info=error)
            with suppress(Exception):
                self._give_up_after_some(upload_id)
        else:
            self._failures.pop(upload_id, None)
        finally:
            with self._lock:
                self._working.discard(upload_id)
                self._running.pop(upload_id, None)
        with suppress(Exception):  # the sweep finds it too, once the lease has run out
            self._go_on_if_begun_again(upload_id)

    def _go_on_if_begun_again(self, upload_id: str) -> None:
        """Work for a call that began the completion anew while the last one was just ending, and waits for that one."""
        if not self._failures[upload_id] and self._ledger.completion(upload_id) is not None:
            self._run(upload_id)

    def _give_up_after_some(self, upload_id: str) -> None:
        """Let the sweep try a completion again that ended unexpectedly; after some tries, lead it back to OPEN."""
        self._failures[upload_id] += 1
        upload = self._ledger.completion(upload_id)
        if upload is None or self._failures[upload_id] < limits.COMPLETION_TRIES:
            return
        del self._failures[upload_id]
        text = f"{upload.file_name} could not be completed, the server's log says why: every part is kept, try again"
        failure = UploadFailure("STORE_UNAVAILABLE", text)
        self._ledger.reopen(upload, failure, upload.staging_token, self._ledger.parts(upload_id, 0, limits.PARTS_MAX))


def _is_settled(upload: Upload, registration: Registration) -> bool:
    """Whether completing again would only find the same mismatch: no part and no registration has changed."""
    failure = upload.last_failure
    return failure is not None and failure.reason == DIGEST_MISMATCH and failure.computed_md5 != registration.md5
