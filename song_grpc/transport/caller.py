"""From a call's metadata to the principal that use cases know."""

import grpc

from runtime_grpc.authentication import Authenticator
from song_grpc.domain.access import Policy, Principal


class Callers:
    """Tells who calls."""

    def __init__(self, authenticator: Authenticator, policy: Policy) -> None:
        self._authenticator, self._policy = authenticator, policy

    def principal_of(self, context: grpc.ServicerContext) -> Principal:
        """Return the principal of a call. May ask the identity provider: never inside a transaction.

        Raises TokenInvalidError, TokenExpiredError, IdentityProviderUnreachableError, IdentityProviderAnswerError.
        """
        identity = self._authenticator.identify(context.invocation_metadata())
        policy = self._policy
        if identity.is_service:
            system = frozenset({policy.system_read_scope, policy.system_write_scope})
            return Principal(identity.name, system, policy=policy)
        if identity.is_anonymous:
            return Principal(identity.name, is_anonymous=True, policy=policy)
        if identity.is_development:
            return Principal(identity.name, is_development=True, policy=policy)
        return Principal(identity.name, identity.scopes, policy=policy)
