"""Who is calling: the service token, API keys by introspection, what is kept, and a provider that hangs."""

import json
import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from runtime_grpc import identity_provider
from runtime_grpc.authentication import (
    ANONYMOUS,
    DEVELOPMENT,
    SERVICE,
    Authenticator,
    Identity,
    IdentityProviderAnswerError,
    IdentityProviderUnreachableError,
    TokenExpiredError,
    TokenInvalidError,
)
from runtime_grpc.authentication_settings import AuthenticationSettings
from runtime_grpc.identity_provider import IDENTITY_CALLS, IdentityProvider
from runtime_grpc.user_tokens import VerdictCache, Verified, VerifiedTokens
from tests.servers.identity import (
    CLIENT_ID,
    CLIENT_SECRET,
    Asked,
    IdentityServer,
    Reply,
    identity_server,
    token,
    write_certificate,
)


def authenticator(**settings: Any) -> Authenticator:  # noqa: ANN401 - settings
    return AuthenticationSettings(**settings).authenticator()


@pytest.fixture
def provider() -> Iterator[IdentityServer]:
    with identity_server() as server:
        yield server


@pytest.fixture
def checked(provider: IdentityServer) -> Iterator[Authenticator]:
    """An authenticator that takes API keys of the provider."""
    made = authenticator(
        auth="on",
        service_token="of the sister",
        api_key_url=provider.api_key_url,
        auth_client_id=CLIENT_ID,
        auth_client_secret=CLIENT_SECRET,
    )
    yield made
    made.close()


def identify(checked: Authenticator, value: str) -> Identity:
    return checked.identify([("other", "x"), ("authorization", f"Bearer {value}")])


def test_without_authentication_only_the_service_token_is_known() -> None:
    checked = authenticator(service_token="of the sister")
    assert checked.identify([]) == DEVELOPMENT
    assert identify(checked, "of the sister") == SERVICE
    for value in (token(), str(uuid4()), "of the sister's", ""):
        with pytest.raises(TokenInvalidError, match="authentication is off"):
            identify(checked, value)
    with pytest.raises(TokenInvalidError):
        identify(authenticator(), "")  # no service token is nobody's


def test_with_authentication_who_brings_no_token_is_anonymous_and_the_sister_is_known(checked: Authenticator) -> None:
    assert checked.identify([("other", "x")]) == ANONYMOUS
    assert checked.identify([("authorization", "bearer  of the sister ")]) == SERVICE


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic YTpi", "of the sister", "Bearer,of the sister"])
def test_what_is_no_bearer_token_is_invalid(value: str, checked: Authenticator) -> None:
    with pytest.raises(TokenInvalidError, match="Bearer <token>"):
        checked.identify([("authorization", value)])


def test_two_tokens_in_one_call_are_refused(checked: Authenticator) -> None:
    with pytest.raises(TokenInvalidError, match="not one value"):
        checked.identify([("authorization", "Bearer of the sister"), ("authorization", "Bearer of the sister")])


def test_an_api_key_is_introspected_once_a_minute(checked: Authenticator, provider: IdentityServer) -> None:
    key = str(uuid4())
    provider.api_keys[key] = (200, {"user_id": "ada", "client_id": "x", "exp": 3600, "scope": ["a.READ", "b.WRITE"]})
    for _ in range(3):
        assert identify(checked, key) == Identity("ada", scopes=frozenset({"a.READ", "b.WRITE"}))
    (asked,) = provider.asked
    assert (asked.path, asked.form, asked.basic) == ("/introspect", {"apiKey": key}, f"{CLIENT_ID}:{CLIENT_SECRET}")


def test_the_form_field_is_the_one_that_the_setting_names(provider: IdentityServer) -> None:
    provider.instead = lambda asked: (207, {"client_id": 7, "user": dict(asked.form)})
    checked = authenticator(auth="on", api_key_url=provider.api_key_url, api_key_field="token")
    key = str(uuid4())
    assert identify(checked, key) == Identity("7")
    assert provider.asked == [Asked("/introspect", {"token": key}, "")]
    checked.close()


SOON, PAST = int(time.time()) + 10**6, 1_600_000_000
GOOD = {"user_id": "ada", "scope": ["a"]}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ((200, GOOD), None),
        ((207, GOOD | {"exp": 1, "revoked": False, "valid": True, "error": None}), None),
        ((200, GOOD | {"exp": SOON}), None),
        ((200, GOOD | {"exp": 0}), TokenExpiredError),
        ((200, GOOD | {"exp": -5, "valid": False}), TokenExpiredError),
        ((200, GOOD | {"exp": PAST}), TokenExpiredError),
        ((200, GOOD | {"revoked": True, "exp": 0}), TokenInvalidError),
        ((200, GOOD | {"valid": False}), TokenInvalidError),
        ((200, {"active": False}), TokenInvalidError),
        ((207, GOOD | {"error": "unknown key"}), TokenInvalidError),
        ((400, {}), TokenInvalidError),
        ((401, b""), TokenInvalidError),
        ((404, b"<html>"), TokenInvalidError),
        ((429, {}), IdentityProviderAnswerError),
        ((201, GOOD), IdentityProviderAnswerError),
        ((302, GOOD), IdentityProviderAnswerError),
        ((500, GOOD), IdentityProviderAnswerError),
        ((200, b"<html>"), IdentityProviderAnswerError),
        ((200, [GOOD]), IdentityProviderAnswerError),
        ((200, GOOD | {"exp": "soon"}), IdentityProviderAnswerError),
        ((200, GOOD | {"scope": {"a": 1}}), IdentityProviderAnswerError),
        ((200, b"[" * 100_000), IdentityProviderAnswerError),
        ((200, json.dumps(GOOD | {"x": "x" * 2**20}).encode()), IdentityProviderAnswerError),
    ],
)
def test_what_an_introspection_says(
    reply: Reply, expected: type[Exception] | None, checked: Authenticator, provider: IdentityServer
) -> None:
    key = str(uuid4())
    provider.api_keys[key] = reply
    if expected is None:
        assert identify(checked, key) == Identity("ada", scopes=frozenset({"a"}))
    else:
        with pytest.raises(expected) as raised:
            identify(checked, key)
        assert type(raised.value) is expected
        assert key not in str(raised.value)
    assert provider.paths() == ["/introspect"]


def test_a_key_without_scopes_or_owner_has_a_name_that_is_not_the_key(
    checked: Authenticator, provider: IdentityServer
) -> None:
    one, other = str(uuid4()), str(uuid4())
    provider.api_keys |= {one: (200, {}), other: (200, {"user_id": "", "scope": "a b"})}
    first, second = identify(checked, one), identify(checked, other)
    assert not first.scopes
    assert second.scopes == {"a", "b"}
    assert first.name != second.name
    assert first.name.startswith("API key ")
    assert one[:8] not in first.name


def test_refusals_are_kept_and_failures_are_not(checked: Authenticator, provider: IdentityServer) -> None:
    key, refused = str(uuid4()), str(uuid4())
    provider.api_keys[key] = (500, {})
    with pytest.raises(IdentityProviderAnswerError):
        identify(checked, key)
    provider.api_keys[key] = (200, GOOD)
    assert identify(checked, key).name == "ada"
    for _ in range(3):
        with pytest.raises(TokenInvalidError):
            identify(checked, refused)
    assert [asked.form["apiKey"] for asked in provider.asked] == [key, key, refused]


def test_a_kind_of_token_that_is_not_taken_is_said_so(checked: Authenticator, provider: IdentityServer) -> None:
    with pytest.raises(TokenInvalidError, match="only API keys"):
        identify(checked, token())
    assert not provider.asked


def test_verdicts_are_kept_for_a_while_and_the_least_used_go_first() -> None:
    now = [0.0]
    cache: VerdictCache[str] = VerdictCache(2, lambda: now[0])
    cache.put("a", "A", 10)
    cache.put("b", "B", 20)
    assert cache.get("a") == "A"
    cache.put("c", "C", 30)
    assert [cache.get(name) for name in "abc"] == ["A", None, "C"]
    now[0] = 10.0
    assert [cache.get(name) for name in "abc"] == [None, None, "C"]
    cache.put("gone already", "D", 0)
    assert cache.get("gone already") is None
    assert not [key for key in cache._kept if key == b"c"]


@dataclass(slots=True)
class Counting:
    """A verifier that says how long its tokens last, or refuses them, and counts."""

    lasts_seconds: float = math.inf
    refuses: bool = False
    count: int = 0

    def verify(self, token: str) -> Verified:
        self.count += 1
        if self.refuses:
            raise TokenInvalidError("no")
        return Verified(Identity(token[:1]), self.lasts_seconds)


@pytest.mark.parametrize(
    ("verifier", "kept_seconds"),
    [
        (Counting(), 60),
        (Counting(1000), 60),
        (Counting(10), 10),
        (Counting(0.5), 0.5),
        (Counting(-3), 0),
        (Counting(refuses=True), 5),
    ],
)
def test_a_verdict_is_kept_no_longer_than_the_token_lasts(verifier: Counting, kept_seconds: float) -> None:
    now = [100.0]
    tokens = VerifiedTokens(IdentityProvider(), verifier, None, lambda: now[0])

    def ask() -> None:
        with suppress(TokenInvalidError):
            assert tokens.identity_of("t.t.t") == Identity("t")

    ask()
    if kept_seconds:
        now[0] += kept_seconds - 0.01
        ask()
        assert verifier.count == 1
        now[0] += 0.02
    ask()
    assert verifier.count == 2
    tokens.close()


def test_a_provider_that_hangs_holds_few_callers_and_not_for_long(
    checked: Authenticator, provider: IdentityServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_provider, "IDENTITY_PLACE_SECONDS", 0.1)
    held: list[str] = []
    release = threading.Event()

    def hang(asked: Asked) -> Reply:
        held.append(asked.form["apiKey"])
        release.wait(30)
        return 200, GOOD

    provider.instead = hang

    def ask(_number: int) -> Any:  # noqa: ANN401 - a name or an error
        try:
            return identify(checked, str(uuid4())).name
        except IdentityProviderUnreachableError as error:
            return error

    with ThreadPoolExecutor(IDENTITY_CALLS + 4) as pool:
        asked = [pool.submit(ask, number) for number in range(IDENTITY_CALLS + 4)]
        while sum(call.done() for call in asked) < 4:
            time.sleep(0.01)
        release.set()
        answers = [call.result() for call in asked]
    refused = [error for error in answers if isinstance(error, IdentityProviderUnreachableError)]
    assert len(refused) == 4
    assert len(held) == IDENTITY_CALLS
    assert answers.count("ada") == IDENTITY_CALLS
    assert "wait for the identity provider" in str(refused[0])


def test_an_answer_that_drips_ends(
    checked: Authenticator, provider: IdentityServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_provider, "IDENTITY_TIMEOUT_SECONDS", 0)
    provider.instead = lambda _asked: (200, GOOD)
    with pytest.raises(IdentityProviderUnreachableError, match="too slow"):
        identify(checked, str(uuid4()))


def test_nothing_secret_is_logged(
    checked: Authenticator, provider: IdentityServer, capfd: pytest.CaptureFixture[str]
) -> None:
    key = str(uuid4())
    provider.api_keys[key] = (500, {"you": "sent me this key"})
    with pytest.raises(IdentityProviderAnswerError):
        identify(checked, key)
    logged = "".join(capfd.readouterr())
    assert key not in logged
    assert CLIENT_SECRET not in logged
    assert "sent me this key" not in logged
    assert key not in repr(checked) + repr(vars(checked))


def test_a_provider_with_tls_must_have_a_certificate_of_a_known_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = write_certificate(tmp_path)
    with identity_server(certificate) as provider:
        provider.instead = lambda _asked: (200, GOOD)
        stranger = authenticator(auth="on", api_key_url=provider.api_key_url)
        with pytest.raises(IdentityProviderUnreachableError):
            identify(stranger, str(uuid4()))
        assert not provider.asked
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        friend = authenticator(auth="on", api_key_url=provider.api_key_url)
        assert identify(friend, str(uuid4())).name == "ada"
        for made in (stranger, friend):
            made.close()
