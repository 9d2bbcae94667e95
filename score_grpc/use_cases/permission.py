"""A permission: one decision, and its renewal while a long stream goes on."""

import time
from collections.abc import Callable

from score_grpc.database.ledger import Ledger
from score_grpc.domain import limits
from score_grpc.domain.access import Action, Facts, Principal, decide
from score_grpc.domain.errors import (
    AnalysisNotPublishedError,
    AnalysisNotUnpublishedError,
    ObjectNotRegisteredError,
    ScopeMissingError,
    SongUnavailableError,
)
from score_grpc.domain.registrations import Registration
from score_grpc.domain.uploads import Upload
from score_grpc.gateways.registry import CachedRegistry

REFUSALS = (ObjectNotRegisteredError, ScopeMissingError, AnalysisNotPublishedError, AnalysisNotUnpublishedError)


def registration_of(registry: CachedRegistry, object_id: str, *, fresh: bool = False) -> Registration:
    """Return what is registered. Raises ObjectNotRegisteredError, SongUnavailableError."""
    registration = registry.resolve([object_id], fresh=fresh).get(object_id)
    if registration is None:
        raise ObjectNotRegisteredError(
            f"Song knows no file with object id {object_id!r}: submit its analysis first", object_id=object_id
        )
    return registration


def permit(principal: Principal, action: Action, registration: Registration) -> None:
    """Return if the principal may do this to the registered file; otherwise raise as `decide`."""
    facts = Facts(
        study_id=registration.study_id,
        analysis_id=registration.analysis_id,
        analysis_state=registration.analysis_state,
        is_open=registration.is_open,
    )
    decide(principal, action, facts)


def permit_object(registry: CachedRegistry, principal: Principal, action: Action, object_id: str) -> Registration:
    """Return what is registered if the principal may. Raises as `permit` and `registration_of`.

    A yes may come from memory; a no never does: what was just published can be downloaded at once.
    """
    try:
        registration = registration_of(registry, object_id)
        permit(principal, action, registration)
    except REFUSALS:
        registration = registration_of(registry, object_id, fresh=True)
        permit(principal, action, registration)
    return registration


def sending_action(ledger: Ledger, upload: Upload) -> Action:
    """Return what whoever sends bytes of this upload asks for: MEND where the same bytes are stored, but damaged."""
    if not upload.replaces_generation:
        return Action.UPLOAD
    stored = ledger.objects([upload.object_id]).get(upload.object_id)
    mends = stored is not None and stored.holds(upload.size_bytes, upload.expected_md5)
    return Action.MEND if mends else Action.UPLOAD


class Permission:
    """Lets a long stream ask again and again whether it may still go on."""

    def __init__(
        self,
        registry: CachedRegistry,
        principal: Principal,
        action: Action,
        object_id: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Decide for the first time. Raises as `permit_object`."""
        self._registry, self._principal, self._action, self._object_id = registry, principal, action, object_id
        self._clock = clock
        self._decide()

    def renew(self) -> None:
        """Raise if the stream may not go on. Cheap: Song is asked again only when its last word is old.

        While Song can't be asked, its last word holds for DECISION_GRACE_SECONDS.
        """
        age = self._clock() - self._decided
        if age < limits.SONG_CACHE_SECONDS:
            return
        try:
            self._decide()
        except SongUnavailableError:
            if age > limits.DECISION_GRACE_SECONDS:
                raise

    def _decide(self) -> None:
        permit_object(self._registry, self._principal, self._action, self._object_id)
        self._decided = self._clock()
