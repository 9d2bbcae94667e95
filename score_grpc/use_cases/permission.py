"""A permission: one decision, and its renewal while a long stream goes on."""

import time
from collections.abc import Callable

from score_grpc.domain import limits
from score_grpc.domain.access import Action, Facts, Principal, decide
from score_grpc.domain.errors import ObjectNotRegisteredError, SongUnavailableError
from score_grpc.domain.registrations import Registration
from score_grpc.gateways.registry import Registry


def registration_of(registry: Registry, object_id: str) -> Registration:
    """Return what is registered. Raises ObjectNotRegisteredError, SongUnavailableError."""
    registration = registry.resolve([object_id]).get(object_id)
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


class Permission:
    """Lets a long stream ask again and again whether it may still go on."""

    def __init__(
        self,
        registry: Registry,
        principal: Principal,
        action: Action,
        object_id: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Decide for the first time. Raises as `permit` and `registration_of`."""
        self._registry, self._principal, self._action, self._object_id = registry, principal, action, object_id
        self._clock = clock
        self.registration = self._decide()

    def renew(self) -> None:
        """Raise if the stream may not go on. Cheap: Song is asked again only when its last word is old.

        While Song can't be asked, its last word holds for DECISION_GRACE_SECONDS.
        """
        age = self._clock() - self._decided
        if age < limits.SONG_CACHE_SECONDS:
            return
        try:
            self.registration = self._decide()
        except SongUnavailableError:
            if age > limits.DECISION_GRACE_SECONDS:
                raise

    def _decide(self) -> Registration:
        registration = registration_of(self._registry, self._object_id)
        permit(self._principal, self._action, registration)
        self._decided = self._clock()
        return registration
