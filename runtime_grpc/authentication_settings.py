"""Settings of a service that knows its users, and the authenticator they ask for."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from runtime_grpc.api_keys import ApiKeyVerifier
from runtime_grpc.authentication import Authenticator
from runtime_grpc.identity_provider import IdentityProvider, address_problem
from runtime_grpc.jwt_tokens import JwtVerifier
from runtime_grpc.keycloak import Keycloak
from runtime_grpc.settings import ServiceSettings
from runtime_grpc.user_tokens import VerifiedTokens
from runtime_grpc.verification_keys import FetchedKeys, FixedKey, Keys, VerificationKey, read_pem

_REALM = re.compile(r"[\w.~-]+")


class AuthenticationSettings(ServiceSettings):
    """Whose word about users a service takes. Which kinds of token it takes follows from what it is told."""

    auth: Literal["off", "on"] = Field("off", description="off: whoever calls may write to every study")
    jwt_jwks_url: str = Field("", description="where the keys that sign JWTs are published, as a JWK set")
    jwt_public_key_file: Path | None = Field(None, description="PEM file of the public key, in place of a JWK set")
    jwt_issuer: str = Field("", description="only JWTs of this issuer; empty: of any")
    jwt_audience: str = Field("", description="only JWTs made for this audience; empty: for any")
    keycloak_url: str = Field("", description="Keycloak: scopes are its permissions, not the claims of the JWT")
    keycloak_realm: str = ""
    api_key_url: str = Field("", description="where API keys are introspected")
    api_key_field: str = Field("apiKey", min_length=1, description="the form field that carries the API key there")
    auth_client_id: str = Field("", description="the service's own name at the identity provider")
    auth_client_secret: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Refuse what would only be found out by the first caller."""
        for name in ("jwt_jwks_url", "keycloak_url", "api_key_url"):
            url = getattr(self, name)
            problem = address_problem(url, allow_http=self.allow_insecure) if url else ""
            if problem:
                raise ValueError(f"{name}: {problem}")
        if self.jwt_jwks_url and self.jwt_public_key_file is not None:
            raise ValueError("give jwt_jwks_url or jwt_public_key_file, not both")
        if bool(self.keycloak_url) != bool(self.keycloak_realm):
            raise ValueError("keycloak_url and keycloak_realm belong together")
        if self.keycloak_realm and not _REALM.fullmatch(self.keycloak_realm):
            raise ValueError("keycloak_realm: a realm's name has letters, digits and any of . _ ~ -")
        if self.keycloak_url and not self.auth_client_id:
            raise ValueError("keycloak_url needs auth_client_id: the client whose permissions count")
        if self.auth_client_secret.get_secret_value() and not self.auth_client_id:
            raise ValueError("auth_client_secret belongs to auth_client_id, which is empty")
        if (self.jwt_issuer or self.jwt_audience) and not self._takes_jwts:
            raise ValueError("jwt_issuer and jwt_audience need jwt_jwks_url, jwt_public_key_file or keycloak_url")
        told = self._takes_jwts or bool(self.api_key_url)
        if self.auth == "on" and not told:
            raise ValueError(
                "auth is on, and nothing says how tokens are checked: give jwt_jwks_url, jwt_public_key_file, "
                "keycloak_url or api_key_url"
            )
        if self.auth == "off" and told:
            raise ValueError("auth is off, so nobody's token would be checked: set auth to on, or leave out the rest")
        if self.jwt_public_key_file is not None:
            _read_key(self.jwt_public_key_file)
        return self

    @property
    def _takes_jwts(self) -> bool:
        return bool(self.jwt_jwks_url or self.jwt_public_key_file or self.keycloak_url)

    def authenticator(self) -> Authenticator:
        """Return a new authenticator, to be closed. Asks nobody yet. Raises ValueError where the key file is gone."""
        service_token = self.service_token.get_secret_value()
        if self.auth == "off":
            return Authenticator(service_token)
        provider = IdentityProvider()
        return Authenticator(service_token, VerifiedTokens(provider, self._jwts(provider), self._api_keys(provider)))

    def _jwts(self, provider: IdentityProvider) -> JwtVerifier | None:
        if not self._takes_jwts:
            return None
        keycloak = Keycloak(provider, self.keycloak_url, self.keycloak_realm, self.auth_client_id)
        keys: Keys
        if self.jwt_public_key_file is not None:
            keys = FixedKey(_read_key(self.jwt_public_key_file))
        elif self.jwt_jwks_url:
            keys = FetchedKeys(lambda: provider.get(self.jwt_jwks_url))
        else:
            keys = FetchedKeys(keycloak.keys)
        granted = keycloak.permissions if self.keycloak_url else None
        return JwtVerifier(keys, self.jwt_issuer, self.jwt_audience, granted)

    def _api_keys(self, provider: IdentityProvider) -> ApiKeyVerifier | None:
        if not self.api_key_url:
            return None
        credentials = (self.auth_client_id, self.auth_client_secret.get_secret_value()) if self.auth_client_id else None
        return ApiKeyVerifier(provider, self.api_key_url, self.api_key_field, credentials)


def _read_key(path: Path) -> VerificationKey:
    try:
        return read_pem(path.read_bytes())
    except OSError:
        raise ValueError(f"jwt_public_key_file: {path} can't be read") from None
    except ValueError as error:
        raise ValueError(f"jwt_public_key_file: {path}: {error}") from None
