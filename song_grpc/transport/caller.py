"""From a call's metadata to the principal that use cases know."""

import grpc

from runtime_grpc.authentication import Authenticator
from song_grpc.domain.access import SYSTEM_READ, SYSTEM_WRITE, Principal


class Callers:
    """Tells who calls."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def principal_of(self, context: grpc.ServicerContext) -> Principal:
        """Return the principal of a call. Raises TokenInvalidError."""
        identity = self._authenticator.identify(context.invocation_metadata())
        if identity.is_service:
            return Principal(identity.name, frozenset({SYSTEM_READ, SYSTEM_WRITE}))
        return Principal(identity.name, is_development=True)
