"""Adopt objects that an Overture Score has left in the buckets: one when it is asked for, or all.

Only what the ledger has never heard of, Song has registered and the store holds. The store says the size, Song the
study, analysis and name, Overture's `.meta` the parts and their MD5s. Nothing of it has been read: an adopted object is
UNVERIFIED until VerifyObject has.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from score_grpc.database.adoptions import Adoptions
from score_grpc.domain import limits
from score_grpc.domain.overture import Specification, read_specification
from score_grpc.domain.registrations import Registration
from score_grpc.domain.stored_objects import new_object
from score_grpc.domain.uploads import UploadPart, UploadState, new_upload
from score_grpc.gateways.objects.former import FormerBuckets, FormerObject
from score_grpc.gateways.registry import CachedRegistry
from score_grpc.use_cases.start import is_object_id

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan is."""

    bucket: str
    seen: int = 0
    """Names that can be object ids."""
    known: int = 0
    """That the ledger knew."""
    adopted: int = 0
    unregistered: int = 0
    """That Song does not know."""
    passed_over: int = 0
    """Without `.meta` and not of the registered size, or gone: nothing says that they are whole."""


class Adoption:
    """Adopts. Used by many threads."""

    def __init__(self, adoptions: Adoptions, registry: CachedRegistry, buckets: FormerBuckets) -> None:
        self._adoptions, self._registry, self._buckets = adoptions, registry, buckets
        # A `.meta` takes ten times its size while it is read.
        self._reading = threading.Lock()

    def find(self, object_ids: Sequence[str]) -> Sequence[str]:
        """Adopt what can be of these ids; return the ids adopted, also by others meanwhile.

        Raises SongUnavailableError, StoreUnavailableError.
        """
        unknown = self._adoptions.unknown(object_ids)
        registrations = self._registry.resolve(unknown, fresh=True) if unknown else {}
        return self._adopt_all(registrations)

    def scan(self, ends: Callable[[], bool]) -> Iterator[Progress]:
        """Adopt everything in the buckets, and say how far it is after every page.

        What is adopted stays so: a scan that ended early is just started again. It ends early by itself once `ends`
        says so. Raises SongUnavailableError, StoreUnavailableError.
        """
        progress = Progress("")
        for bucket, names in self._buckets.names():
            if bucket != progress.bucket:
                progress = Progress(bucket)
            progress = self._scan_page(progress, [name for name in names if is_object_id(name)])
            yield progress
            if ends():
                return

    def unfinished(self) -> Iterator[str]:
        """Yield where Overture's unfinished uploads lie. None can be adopted: their parts are known to it alone."""
        return self._buckets.unfinished()

    def close(self) -> None:
        """Release the connections."""
        self._buckets.close()

    def _scan_page(self, progress: Progress, object_ids: Sequence[str]) -> Progress:
        unknown = self._adoptions.unknown(object_ids) if object_ids else []
        registrations = self._registry.resolve(unknown, fresh=True) if unknown else {}
        adopted = self._adopt_all(registrations)
        return replace(
            progress,
            seen=progress.seen + len(object_ids),
            known=progress.known + len(object_ids) - len(unknown),
            adopted=progress.adopted + len(adopted),
            unregistered=progress.unregistered + len(unknown) - len(registrations),
            passed_over=progress.passed_over + len(registrations) - len(adopted),
        )

    def _adopt_all(self, registrations: Mapping[str, Registration]) -> Sequence[str]:
        if len(registrations) < 2:  # noqa: PLR2004 - no threads for one
            done = [self._adopt(registration) for registration in registrations.values()]
        else:
            with ThreadPoolExecutor(limits.ADOPTIONS_AT_ONCE, "adopt") as pool:
                done = list(pool.map(self._adopt, registrations.values()))
        return [object_id for object_id, is_there in zip(registrations, done, strict=True) if is_there]

    def _adopt(self, registration: Registration) -> bool:
        """Adopt one object; True also where another process was faster."""
        object_id = registration.object_id
        found = self._buckets.find(object_id)
        if found is None or found.size_bytes > limits.OBJECT_MAX_BYTES:
            return False
        with self._reading:
            text = self._buckets.specification(object_id, limits.SPECIFICATION_MAX_BYTES)
            specification = read_specification(text or b"", object_id, found.size_bytes)
        # Overture writes it last: without it the bytes may be of an upload that came to no end.
        if text is None and found.size_bytes != registration.size_bytes:
            return False
        self._add(registration, found, specification)
        return True

    def _add(self, registration: Registration, found: FormerObject, specification: Specification) -> None:
        now, plan = datetime.now(UTC), specification.plan
        # Where nobody has said what the bytes are, they are to be what is registered: verification compares.
        md5 = specification.md5 or found.md5 or registration.md5
        upload = replace(new_upload(registration, plan, found.key, now), state=UploadState.COMPLETED, expected_md5=md5)
        stored = new_object(registration, upload, md5, found.version, now, is_verified=False)
        # All of them, in whatever it is cut: whoever verifies fills in what is not known.
        md5s = specification.part_md5s or [""] * plan.part_total
        parts = [UploadPart(number, plan.part_bytes(number), "", "", md5s[number - 1]) for number in plan.numbers()]
        if self._adoptions.add(upload, stored, parts):
            _log.info("object adopted", object_id=stored.object_id, size_bytes=stored.size_bytes, key=found.key)
