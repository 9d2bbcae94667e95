"""JWTs, checked with the keys of a real identity provider on loopback."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from runtime_grpc.authentication import (
    Authenticator,
    Identity,
    IdentityProviderAnswerError,
    IdentityProviderUnreachableError,
    TokenExpiredError,
    TokenInvalidError,
    TokenRefusedError,
)
from runtime_grpc.authentication_settings import AuthenticationSettings
from runtime_grpc.identity_provider import Answer
from runtime_grpc.verification_keys import JWKS_FRESH_SECONDS, JWKS_KEPT_SECONDS, FetchedKeys, read_jwks
from tests.servers.identity import (
    CLIENT_ID,
    REALM,
    IdentityServer,
    ec_key,
    ed25519_key,
    identity_server,
    jwk,
    public_pem,
    rsa_key,
    token,
    write_public_key,
)


@pytest.fixture
def provider() -> Iterator[IdentityServer]:
    with identity_server() as server:
        server.keys = [jwk(rsa_key(), "rsa"), jwk(ec_key(), "ec"), jwk(ed25519_key(), "ed")]
        yield server


def authenticator(**settings: Any) -> Authenticator:  # noqa: ANN401 - settings
    return AuthenticationSettings(auth="on", **settings).authenticator()


def identify(checked: Authenticator, value: str) -> Identity:
    return checked.identify([("authorization", f"Bearer {value}")])


def encoded(document: object) -> str:
    return urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def test_the_keys_of_a_jwk_set_are_told_apart_by_id_and_kind(provider: IdentityServer) -> None:
    checked = authenticator(jwt_jwks_url=provider.jwks_url)
    for key, algorithm, key_id in (
        (rsa_key(), "RS256", "rsa"),
        (rsa_key(), "PS512", "rsa"),
        (ec_key(), "ES256", "ec"),
        (ed25519_key(), "EdDSA", "ed"),
        (ec_key(), "ES256", None),
    ):
        identity = identify(checked, token("a.READ", key=key, algorithm=algorithm, key_id=key_id))
        assert identity == Identity("ada@example.org (subject-1)", scopes=frozenset({"a.READ"}))
    assert provider.paths() == ["/jwks"]
    checked.close()


@pytest.mark.parametrize("make_key", [rsa_key, ec_key, ed25519_key])
def test_a_public_key_in_a_file_checks_whatever_key_id_a_token_names(make_key: Any, tmp_path: Path) -> None:  # noqa: ANN401 - one of three
    algorithm = {rsa_key: "RS384", ec_key: "ES256", ed25519_key: "EdDSA"}[make_key]
    checked = authenticator(jwt_public_key_file=write_public_key(tmp_path, make_key()))
    for key_id in ("any", None):
        assert identify(checked, token(key=make_key(), algorithm=algorithm, key_id=key_id)).name
    other = ec.generate_private_key(ec.SECP256R1()) if make_key is ec_key else rsa_key("other")
    with pytest.raises(TokenInvalidError):
        identify(checked, token(key=other, algorithm="ES256" if make_key is ec_key else "RS384"))
    checked.close()


ISSUER = "https://id.example.org"


def ours(**changes: Any) -> str:  # noqa: ANN401 - claims
    return token(**({"iss": ISSUER, "aud": ["score", "song"]} | changes))


def hostile() -> dict[str, tuple[str, type[TokenRefusedError]]]:
    good = ours()
    head, body, signature = good.split(".")
    forged = encoded(
        {"sub": "x", "iss": ISSUER, "aud": "song", "exp": time.time() + 100, "context": {"scope": ["song.WRITE"]}}
    )
    confused = f"{encoded({'alg': 'HS256', 'kid': 'rsa', 'typ': 'JWT'})}.{forged}"
    mac = urlsafe_b64encode(hmac.digest(public_pem(rsa_key()), confused.encode(), "sha256")).rstrip(b"=").decode()
    return {
        "wrong key": (ours(key=rsa_key("other")), TokenInvalidError),
        "wrong payload": (f"{head}.{forged}.{signature}", TokenInvalidError),
        "alg none": (f"{encoded({'alg': 'none', 'kid': 'rsa'})}.{forged}.", TokenInvalidError),
        "no signature": (f"{head}.{body}.", TokenInvalidError),
        "HMAC with the public key": (f"{confused}.{mac}", TokenInvalidError),
        "another kind than the key's": (ours(key=ec_key(), algorithm="ES256"), TokenInvalidError),
        "unknown key id": (ours(key_id="nobody"), TokenInvalidError),
        "expired": (ours(lasts_seconds=-60), TokenExpiredError),
        "without exp": (ours(exp=None), TokenInvalidError),
        "not yet": (ours(nbf=int(time.time()) + 600), TokenInvalidError),
        "without sub": (ours(sub=None), TokenInvalidError),
        "empty sub": (ours(sub=""), TokenInvalidError),
        "exp in words": (ours(exp="tomorrow"), TokenInvalidError),
        "other issuer": (ours(iss="https://elsewhere.example.org"), TokenInvalidError),
        "other audience": (ours(aud="score"), TokenInvalidError),
        "no audience": (ours(aud=None), TokenInvalidError),
        "no JWT": ("abc", TokenInvalidError),
        "dots": ("..", TokenInvalidError),
        "deep header": (
            f"{urlsafe_b64encode(b'[' * 5000).rstrip(b'=').decode()}.{body}.{signature}",
            TokenInvalidError,
        ),
        "strange algorithm": (f"{encoded({'alg': ['RS256'], 'kid': 'rsa'})}.{body}.{signature}", TokenInvalidError),
        "strange key id": (f"{encoded({'alg': 'RS256', 'kid': {'a': 1}})}.{body}.{signature}", TokenInvalidError),
        "API key": ("8b0a1c9e-4f5d-4f0e-9b1c-0123456789ab", TokenInvalidError),
    }


@pytest.mark.parametrize("case", hostile())
def test_a_token_that_is_not_what_it_should_be_is_refused(case: str, provider: IdentityServer) -> None:
    sent, refusal = hostile()[case]
    checked = authenticator(jwt_jwks_url=provider.jwks_url, jwt_issuer=ISSUER, jwt_audience="song")
    with pytest.raises(TokenRefusedError) as raised:
        identify(checked, sent)
    assert type(raised.value) is refusal
    assert sent not in str(raised.value)
    assert identify(checked, ours()).name == "ada@example.org (subject-1)"
    checked.close()


def test_a_token_for_ever_is_a_token(tmp_path: Path) -> None:
    checked = authenticator(jwt_public_key_file=write_public_key(tmp_path))
    assert identify(checked, token("a.READ", exp=10**400)).scopes == {"a.READ"}


def test_scopes_come_from_both_claims_and_names_from_what_there_is(tmp_path: Path) -> None:
    checked = authenticator(jwt_public_key_file=write_public_key(tmp_path))
    identity = identify(checked, token("a.READ", scope="openid b.WRITE"))
    assert identity.scopes == {"a.READ", "openid", "b.WRITE"}
    plain = identify(checked, token(context=None, scope=["c.READ", 7], preferred_username="bob"))
    assert plain == Identity("bob (subject-1)", scopes=frozenset({"c.READ"}))
    strange = identify(checked, token(context=["scope"], scope={"a": 1}))
    assert strange == Identity("subject-1")
    long = identify(checked, token(sub="s" * 5000, context={"user": {"name": "n\n" * 5000}}))
    other = identify(checked, token(sub="s" * 5001, context={"user": {"name": "n\n" * 5000}}))
    assert len(long.name) <= 255
    assert long.name.isprintable()
    assert long.name != other.name
    checked.close()


def test_an_unknown_key_id_has_the_keys_fetched_again_at_most_every_ten_seconds() -> None:
    now, fetched = [1000.0], [0]
    published = [jwk(rsa_key(), "old")]

    def fetch() -> Answer:
        fetched[0] += 1
        return Answer(200, {"keys": published})

    keys = FetchedKeys(fetch, lambda: now[0])
    assert [key.key_id for key in keys.fitting("old")] == ["old"]
    published.append(jwk(rsa_key("new"), "new"))
    assert not keys.fitting("new")
    now[0] += 9
    assert not keys.fitting("new")
    assert fetched == [1]
    now[0] += 2
    assert [key.key_id for key in keys.fitting("new")] == ["new"]
    assert fetched == [2]
    now[0] += JWKS_FRESH_SECONDS
    del published[0]
    assert not keys.fitting("old")
    assert fetched == [3]


def test_keys_outlive_the_identity_provider_for_an_hour() -> None:
    now, is_up = [1000.0], [False]

    def fetch() -> Answer:
        if not is_up[0]:
            raise IdentityProviderUnreachableError("down")
        return Answer(200, {"keys": [jwk(rsa_key(), "rsa")]})

    keys = FetchedKeys(fetch, lambda: now[0])
    for _ in range(2):
        with pytest.raises(IdentityProviderUnreachableError):
            keys.fitting("rsa")
    is_up[0] = True
    now[0] += 1
    assert keys.fitting("rsa")
    is_up[0] = False
    now[0] += JWKS_FRESH_SECONDS + 1
    for _ in range(2):
        assert keys.fitting("rsa")
        with pytest.raises(IdentityProviderUnreachableError):
            keys.fitting("unknown")  # nobody can say
    now[0] += JWKS_KEPT_SECONDS
    with pytest.raises(IdentityProviderUnreachableError):
        keys.fitting("rsa")


def test_keys_that_are_of_no_use_are_passed_over() -> None:
    good = jwk(rsa_key(), "good")
    members: list[object] = [
        good,
        jwk(rsa_key("small", 1024), "small"),
        jwk(rsa_key(), "for encryption", use="enc"),
        jwk(rsa_key(), "for HMAC", alg="HS256"),
        jwk(ec_key(), "broken") | {"x": "!"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "alg": "HS256"},
        {"kid": "nothing"},
        "text",
    ]
    assert [key.key_id for key in read_jwks({"keys": members})] == ["good"]
    (only,) = read_jwks({"keys": [good | {"alg": "RS512"}]})
    assert only.algorithms == {"RS512"}
    documents: list[object] = [{"keys": members[1:]}, {"keys": []}, {"keys": {}}, [], None]
    for document in documents:
        with pytest.raises(ValueError, match="it "):
            read_jwks(document)


@pytest.mark.parametrize(
    "reply",
    [(500, {"error": "x"}), (302, {}), (200, b"<html>"), (200, {"keys": []}), (200, b" " * (1024 * 1024 + 1))],
    ids=["500", "redirect", "no JSON", "no keys", "too long"],
)
def test_a_bad_answer_with_keys_says_nothing_about_the_token(
    reply: tuple[int, object], provider: IdentityServer
) -> None:
    provider.instead = lambda _asked: reply
    checked = authenticator(jwt_jwks_url=provider.jwks_url)
    with pytest.raises(IdentityProviderAnswerError):
        identify(checked, token())
    assert provider.paths() == ["/jwks"]  # redirects are not followed
    checked.close()


def test_a_provider_that_is_down_is_unreachable() -> None:
    with identity_server() as gone:
        url = gone.jwks_url
    checked = authenticator(jwt_jwks_url=url)
    with pytest.raises(IdentityProviderUnreachableError):
        identify(checked, token())
    checked.close()


def keycloak(provider: IdentityServer) -> Authenticator:
    return authenticator(keycloak_url=f"{provider.url}/", keycloak_realm=REALM, auth_client_id=CLIENT_ID)


def test_with_keycloak_the_scopes_are_its_permissions_alone(provider: IdentityServer) -> None:
    checked, sent = keycloak(provider), token("song.WRITE", scope="song.READ")
    provider.permissions[sent] = [
        {"rsid": "1", "rsname": "PROGRAMDATA-ABC", "scopes": ["WRITE", "READ"]},
        {"rsid": "2", "rsname": "no scopes"},
        {"rsid": "3", "rsname": "song", "scopes": ["READ"]},
    ]
    for _ in range(2):
        identity = identify(checked, sent)
        assert identity.scopes == {"PROGRAMDATA-ABC.WRITE", "PROGRAMDATA-ABC.READ", "song.READ"}
        assert identity.name == "ada@example.org (subject-1)"
    base = f"/realms/{REALM}/protocol/openid-connect"
    assert provider.paths() == [f"{base}/certs", f"{base}/token"]
    assert identify(checked, token("song.WRITE", jti="nothing granted")).scopes == frozenset()
    checked.close()


def test_keycloak_is_never_asked_about_a_token_whose_signature_is_wrong(provider: IdentityServer) -> None:
    checked = keycloak(provider)
    with pytest.raises(TokenInvalidError):
        identify(checked, token(key=rsa_key("other")))
    assert not [path for path in provider.paths() if path.endswith("/token")]
    checked.close()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((401, {"error": "invalid_grant"}), TokenInvalidError),
        ((400, {"error": "invalid_grant"}), TokenInvalidError),
        ((400, {"error": "invalid_resource"}), IdentityProviderAnswerError),
        ((403, b"a firewall"), IdentityProviderAnswerError),
        ((404, {}), IdentityProviderAnswerError),
        ((500, {}), IdentityProviderAnswerError),
        ((200, {"access_token": "x"}), IdentityProviderAnswerError),
    ],
)
def test_what_keycloak_answers_otherwise(
    reply: tuple[int, object], error: type[Exception], provider: IdentityServer
) -> None:
    provider.instead = lambda asked: reply if asked.path.endswith("/token") else None
    checked = keycloak(provider)
    with pytest.raises(error):
        identify(checked, token())
    checked.close()
