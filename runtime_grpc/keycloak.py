"""Keycloak: what a JWT's owner may is asked of its authorization services, as permissions on resources.

https://www.keycloak.org/docs/latest/authorization_services/#_service_obtaining_permissions
"""

from collections.abc import Iterator

from runtime_grpc.authentication import TokenInvalidError
from runtime_grpc.identity_provider import Answer, IdentityProvider, unusable

_OK, _BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN = 200, 400, 401, 403


class Keycloak:
    """One realm."""

    def __init__(self, provider: IdentityProvider, url: str, realm: str, client_id: str) -> None:
        """Ask as the resource server `client_id`. `url` is where the realms are, without `/realms`."""
        self._provider, self._client_id = provider, client_id
        self._protocol_url = f"{url.rstrip('/')}/realms/{realm}/protocol/openid-connect"

    def keys(self) -> Answer:
        """Fetch the realm's JWK set. Raises as `IdentityProvider.get`."""
        return self._provider.get(f"{self._protocol_url}/certs")

    def permissions(self, token: str) -> frozenset[str]:
        """Return the scopes, `resource.scope`, that the owner of a token has.

        Raises TokenInvalidError, IdentityProviderUnreachableError, IdentityProviderAnswerError.
        """
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:uma-ticket",
            "audience": self._client_id,
            "response_mode": "permissions",
        }
        answer = self._provider.post(f"{self._protocol_url}/token", form, bearer=token)
        refused = answer.status == _BAD_REQUEST and answer.member("error") == "invalid_grant"
        if answer.status == _UNAUTHORIZED or refused:
            raise TokenInvalidError("the identity provider does not know the token, or its session has ended")
        if answer.status == _FORBIDDEN and answer.member("error") in {"access_denied", "not_authorized"}:
            return frozenset()  # it has no permission at all; what anyone may do is left
        if answer.status != _OK or not isinstance(answer.body, list):
            raise unusable(answer, "no permissions")
        return frozenset(_scopes(answer.body))


def _scopes(permissions: list[object]) -> Iterator[str]:
    for permission in permissions:
        name = permission.get("rsname") if isinstance(permission, dict) else None
        scopes = permission.get("scopes") if isinstance(permission, dict) else None
        if isinstance(name, str) and isinstance(scopes, list):
            yield from (f"{name}.{scope}" for scope in scopes if isinstance(scope, str))
