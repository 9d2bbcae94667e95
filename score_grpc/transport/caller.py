"""From a call's metadata to the domain's principal."""

import grpc

from runtime_grpc.authentication import Authenticator
from score_grpc.domain.access import SYSTEM_READ, SYSTEM_WRITE, Principal


class Callers:
    """Tells who a call is from. Raises TokenInvalidError."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def of(self, context: grpc.ServicerContext) -> Principal:
        """Return the caller."""
        identity = self._authenticator.identify(context.invocation_metadata())
        if identity.is_service:
            return Principal(identity.name, frozenset({SYSTEM_READ, SYSTEM_WRITE}))
        return Principal(identity.name, writes_every_study=True)


def call_facts(context: grpc.ServicerContext) -> dict[str, str]:
    """Return where a call comes from, and what the client says it is: for the audit."""
    agent = next((value for key, value in context.invocation_metadata() if key == "user-agent"), "")
    return {"address": context.peer(), "client": agent if isinstance(agent, str) else agent.decode("latin-1")}
