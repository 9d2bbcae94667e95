"""What a service is told about its users is checked when it starts, and its secrets stay secret."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runtime_grpc.authentication_settings import AuthenticationSettings
from tests.servers.identity import ec_key, private_pem, public_pem, rsa_key, write_public_key

JWKS = {"jwt_jwks_url": "https://id.example.org/jwks"}
KEYCLOAK = {"keycloak_url": "https://id.example.org", "keycloak_realm": "r", "auth_client_id": "song"}


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"auth": "on", **JWKS, "jwt_issuer": "https://id.example.org", "jwt_audience": "song"},
        {"auth": "on", **KEYCLOAK},
        {"auth": "on", **KEYCLOAK, **JWKS, "api_key_url": "http://localhost:8080/check"},
        {"auth": "on", "api_key_url": "http://[::1]:8080/check", "auth_client_id": "a", "auth_client_secret": "b"},
        {"auth": "on", "jwt_jwks_url": "http://keycloak:8080/jwks", "allow_insecure": True},
    ],
)
def test_what_serves_is_accepted(told: dict[str, Any]) -> None:
    AuthenticationSettings(**told).authenticator().close()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"auth": "on"}, "nothing says how tokens are checked"),
        ({"auth": "maybe"}, "'off' or 'on'"),
        (JWKS, "auth is off"),
        ({"auth": "on", "jwt_jwks_url": "http://id.example.org/jwks"}, "jwt_jwks_url: tokens and keys would travel"),
        ({"auth": "on", "jwt_jwks_url": "http://127.0.0.1.example.org/"}, "unprotected"),
        ({"auth": "on", "jwt_jwks_url": "ftp://id.example.org/jwks"}, "give http://HOST"),
        ({"auth": "on", "jwt_jwks_url": "https:///jwks"}, "give http://HOST"),
        ({"auth": "on", "api_key_url": "https://[x/"}, "api_key_url: is no URL"),
        ({"auth": "on", "api_key_url": "https://id.example.org:port/"}, "is no URL"),
        ({"auth": "on", "api_key_url": "https://a:hunter2@id.example.org/"}, "without user"),
        ({"auth": "on", **KEYCLOAK, "auth_client_id": ""}, "keycloak_url needs auth_client_id"),
        ({"auth": "on", **KEYCLOAK, "keycloak_realm": ""}, "belong together"),
        ({"auth": "on", **KEYCLOAK, "keycloak_realm": "a/../b"}, "keycloak_realm: "),
        ({"auth": "on", **JWKS, "auth_client_secret": "hunter2"}, "auth_client_id, which is empty"),
        ({"auth": "on", "api_key_url": "https://id.example.org", "jwt_issuer": "x"}, "jwt_issuer and jwt_audience"),
        ({"auth": "on", **JWKS, "jwt_public_key_file": "x.pem"}, "not both"),
        ({"auth": "on", "jwt_public_key_file": "/nowhere.pem"}, "/nowhere.pem can't be read"),
    ],
)
def test_what_would_not_serve_is_refused_with_the_way_out(told: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        AuthenticationSettings(service_token="hunter2", **told)  # type: ignore[arg-type] # as an environment gives it
    assert words in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"no key", private_pem(rsa_key()), public_pem(rsa_key("small", 1024))],
    ids=["empty", "text", "private", "small"],
)
def test_a_file_without_a_usable_public_key_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(ValidationError, match=r"jwt_public_key_file: .*key\.pem: it"):
        AuthenticationSettings(auth="on", jwt_public_key_file=path)  # type: ignore[call-arg] # the rest has defaults


def song_server(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SONG_")} | environment
    return subprocess.run(
        [sys.executable, "-m", "song_grpc", *arguments],
        env=own,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_song_takes_them_from_environment_and_file_and_shows_no_secret(tmp_path: Path) -> None:
    config = tmp_path / "song.toml"
    key = write_public_key(tmp_path, ec_key())
    config.write_text(f'auth = "on"\njwt_public_key_file = "{key}"\nreads = "public"\nscope_prefix = "song."\n')
    told = {
        "SONG_SERVER_CONFIG": str(config),
        "SONG_SERVER_API_KEY_URL": "https://id.example.org/check",
        "SONG_SERVER_AUTH_CLIENT_ID": "song",
        "SONG_SERVER_AUTH_CLIENT_SECRET": "hunter2",
        "SONG_SERVER_SERVICE_TOKEN": "hunter3",
    }
    shown = song_server(told, "config", "check")
    assert shown.returncode == 0, shown.stderr
    assert "hunter" not in shown.stdout + shown.stderr
    values = json.loads(shown.stdout)
    assert (values["auth"], values["reads"], values["scope_prefix"]) == ("on", "public", "song.")
    assert values["auth_client_secret"] == "**********"
    refused = song_server(told | {"SONG_SERVER_SCOPE_PREFIX": "song"}, "config", "check")
    assert refused.returncode == 2
    assert "scope_prefix: give" in refused.stderr
    assert "hunter" not in refused.stdout + refused.stderr
