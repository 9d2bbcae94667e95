"""Every kind of token through a real Song, checked by a real identity provider."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from song.v1 import analysis_service_pb2 as analyses
from song.v1 import study_service_pb2 as studies
from sqlalchemy import select

from song_grpc.database import tables
from tests.servers.identity import (
    CLIENT_ID,
    CLIENT_SECRET,
    REALM,
    IdentityServer,
    identity_server,
    jwk,
    public_pem,
    rsa_key,
    token,
    write_public_key,
)
from tests.servers.postgresql import new_database
from tests.song_grpc.world import SERVICE_TOKEN, Refusal, World, payload, refusal, running

SCHEMA = {"type": "object", "properties": {}}
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityServer]:
    with identity_server() as server:
        yield server


@pytest.fixture(autouse=True)
def known(provider: IdentityServer) -> None:
    """Let the provider know nothing, and behave."""
    provider.instead = lambda _asked: None
    provider.keys[:] = [jwk(rsa_key(), "rsa")]
    provider.api_keys.clear()
    provider.permissions.clear()
    provider.asked.clear()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def own_url(request: pytest.FixtureRequest) -> str:
    return new_database(request) if request.param == "postgresql" else ""


@pytest.fixture(scope="module")
def song(provider: IdentityServer, own_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A Song that takes JWTs and API keys; who calls without one is anonymous."""
    with running(
        tmp_path_factory.mktemp("song"),
        own_url,
        auth="on",
        jwt_jwks_url=provider.jwks_url,
        api_key_url=provider.api_key_url,
        auth_client_id=CLIENT_ID,
        auth_client_secret=CLIENT_SECRET,
    ) as world:
        yield world


@pytest.fixture(scope="module")
def system(song: World) -> World:
    return song.calling_with(SERVICE_TOKEN)


def api_key(provider: IdentityServer, *scopes: str, **members: object) -> str:
    key = str(uuid4())
    provider.api_keys[key] = (200, {"user_id": "ada", "exp": 3600, "scope": list(scopes), **members})
    return key


def refused(world: World, study_id: str) -> Refusal:
    return refusal(lambda: world.submit(study_id, payload(study_id)))


@pytest.mark.parametrize("kind", ["JWT", "API key"])
def test_a_writer_of_one_study_writes_to_that_study_alone(
    kind: str, song: World, system: World, provider: IdentityServer
) -> None:
    mine, other = system.new_study(), system.new_study()
    scope = f"PROGRAMDATA-{mine}.WRITE"
    writer = song.calling_with(token(scope) if kind == "JWT" else api_key(provider, scope))
    analysis_id = writer.submit(mine, payload(mine))
    assert writer.get(mine, analysis_id).analysis_id == analysis_id
    denied = refused(writer, other)
    assert (denied.code, denied.reason) == (DENIED, "SCOPE_MISSING")
    assert denied.metadata == {"scope": f"PROGRAMDATA-{other}.WRITE"}
    assert refusal(lambda: writer.new_type(SCHEMA)).metadata == {"scope": "song.WRITE"}


def test_system_scopes_hold_for_every_study(song: World, provider: IdentityServer) -> None:
    writer = song.calling_with(token("song.WRITE"))
    study_id = writer.new_study()
    writer.new_type(SCHEMA)
    analysis_id = writer.submit(study_id, payload(study_id))
    reader = song.calling_with(api_key(provider, "song.READ"))
    assert reader.get(study_id, analysis_id).study_id == study_id
    assert refused(reader, study_id).code is DENIED


def test_who_brings_no_token_reads_what_is_published_and_is_asked_for_one_to_write(song: World, system: World) -> None:
    study_id = system.new_study()
    analysis = system.get(study_id, system.submit(study_id, payload(study_id)))
    hidden = refusal(lambda: song.get(study_id, analysis.analysis_id))
    assert (hidden.code, hidden.reason) == (grpc.StatusCode.NOT_FOUND, "ANALYSIS_ID_NOT_FOUND")
    assert not song.list(study_id, "state = UNPUBLISHED").analyses
    system.score.hold(analysis)
    system.publish(study_id, analysis.analysis_id)
    assert song.get(study_id, analysis.analysis_id).analysis_id == analysis.analysis_id
    assert song.studies.GetStudy(studies.GetStudyRequest(study_id=study_id)).study.study_id == study_id
    for call in (
        lambda: song.submit(study_id, payload(study_id)),
        lambda: song.suppress(study_id, analysis.analysis_id),
        lambda: song.new_type(SCHEMA),
        song.new_study,
    ):
        missing = refusal(call)
        assert (missing.code, missing.reason) == (UNAUTHENTICATED, "TOKEN_MISSING")


def test_where_reads_are_public_anyone_reads_what_is_not_published(folder: Path) -> None:
    with running(folder, auth="on", reads="public", jwt_public_key_file=write_public_key(folder)) as world:
        system = world.calling_with(SERVICE_TOKEN)
        study_id = system.new_study()
        analysis_id = system.submit(study_id, payload(study_id))
        assert world.get(study_id, analysis_id).analysis_id == analysis_id
        assert refused(world, study_id).reason == "TOKEN_MISSING"


def test_scopes_are_spelled_as_the_settings_say(folder: Path) -> None:
    spelled = {"scope_prefix": "song.", "scope_write_suffix": "-write", "system_write_scope": "admin"}
    with running(folder, auth="on", jwt_public_key_file=write_public_key(folder), **spelled) as world:
        study_id = world.calling_with(token("admin")).new_study()
        world.calling_with(token(f"song.{study_id}-write")).submit(study_id, payload(study_id))
        denied = refused(world.calling_with(token("song.WRITE", f"PROGRAMDATA-{study_id}.WRITE")), study_id)
        assert denied.metadata == {"scope": f"song.{study_id}-write"}
        world.calling_with(SERVICE_TOKEN).submit(study_id, payload(study_id))


def forged(algorithm: str, secret: bytes) -> str:
    """Return a token that anybody could make."""

    def part(content: bytes) -> str:
        return urlsafe_b64encode(content).rstrip(b"=").decode()

    claims = {"sub": "x", "exp": time.time() + 100, "context": {"scope": ["song.WRITE"]}}
    text = f"{part(json.dumps({'alg': algorithm, 'kid': 'rsa'}).encode())}.{part(json.dumps(claims).encode())}"
    return f"{text}.{part(hmac.digest(secret, text.encode(), 'sha256') if secret else b'')}"


@pytest.mark.parametrize("source", ["JWK set", "file"])
def test_tokens_that_nobody_signed_open_nothing(source: str, song: World, folder: Path) -> None:
    tokens = {
        "wrong key": token("song.WRITE", key=rsa_key("other")),
        "alg none": forged("none", b""),
        "HS256 with the public key": forged("HS256", public_pem(rsa_key())),
        "service token and more": f"{SERVICE_TOKEN}x",
    }

    def check(world: World) -> None:
        for case, sent in tokens.items():
            answer = refusal(world.calling_with(sent).new_study)
            assert (answer.code, answer.reason) == (UNAUTHENTICATED, "TOKEN_INVALID"), case
            assert sent not in answer.message
        # A bad token is refused also where none is needed: its owner should know.
        reading = refusal(lambda: world.calling_with(forged("none", b"")).list("nowhere"))
        assert reading.reason == "TOKEN_INVALID"

    if source == "JWK set":
        check(song)
    else:
        with running(folder, auth="on", jwt_public_key_file=write_public_key(folder)) as world:
            check(world)


def test_expired_and_revoked_tokens_say_so(song: World, provider: IdentityServer) -> None:
    for sent, reason in (
        (token("song.WRITE", lasts_seconds=-60), "TOKEN_EXPIRED"),
        (api_key(provider, "song.WRITE", exp=0), "TOKEN_EXPIRED"),
        (api_key(provider, "song.WRITE", revoked=True), "TOKEN_INVALID"),
        (api_key(provider, "song.WRITE", valid=False), "TOKEN_INVALID"),
        (str(uuid4()), "TOKEN_INVALID"),
    ):
        answer = refusal(song.calling_with(sent).new_study)
        assert (answer.code, answer.reason) == (UNAUTHENTICATED, reason)


def test_an_identity_provider_that_is_down_or_errs_is_told_apart_from_a_bad_token(folder: Path) -> None:
    with identity_server() as provider, running(folder, auth="on", api_key_url=provider.api_key_url) as world:
        provider.instead = lambda _asked: (503, {})
        key = world.calling_with(str(uuid4()))
        answer = refusal(key.new_study)
        assert (answer.code, answer.reason) == (grpc.StatusCode.UNAVAILABLE, "BAD_REPLY_FROM_GATEWAY")
        provider.instead = lambda _asked: (200, {"scope": ["song.WRITE"]})
        key.new_study()
        later = world.calling_with(str(uuid4()))
        provider.stop()
        answer = refusal(later.new_study)
        assert (answer.code, answer.reason) == (grpc.StatusCode.UNAVAILABLE, "GATEWAY_IS_DOWN")
        assert answer.retry_seconds == 1.0
        key.new_study()  # known for a while
        world.calling_with(SERVICE_TOKEN).new_study()


def test_with_keycloak_permissions_are_scopes(folder: Path) -> None:
    with (
        identity_server() as provider,
        running(folder, auth="on", keycloak_url=provider.url, keycloak_realm=REALM, auth_client_id=CLIENT_ID) as world,
    ):
        study_id, other = (world.calling_with(SERVICE_TOKEN).new_study() for _ in range(2))
        sent = token("song.WRITE")
        provider.permissions[sent] = [{"rsname": f"PROGRAMDATA-{study_id}", "scopes": ["WRITE"]}]
        writer = world.calling_with(sent)
        writer.submit(study_id, payload(study_id))
        assert refused(writer, other).reason == "SCOPE_MISSING"
        assert len([path for path in provider.paths() if path.endswith("/token")]) == 1


def test_history_names_who_did_it(song: World, system: World, provider: IdentityServer) -> None:
    study_id = system.new_study()
    scope = f"PROGRAMDATA-{study_id}.WRITE"
    key = api_key(provider, scope, user_id="grace")
    analysis = song.calling_with(token(scope)).submit(study_id, payload(study_id))
    song.calling_with(key).suppress(study_id, analysis)
    (change,) = system.get(study_id, analysis).state_changes
    assert change.actor == "grace"
    with song.database.read() as connection:
        actors = connection.execute(select(tables.history.c.actor).where(tables.history.c.analysis_id == analysis))
        assert set(actors.scalars()) == {"ada@example.org (subject-1)", "grace"}


def test_a_request_id_belongs_to_one_caller(song: World, system: World) -> None:
    study_id = system.new_study()
    scope, sent = f"PROGRAMDATA-{study_id}.WRITE", payload(study_id)
    first = song.calling_with(token(scope)).submit(study_id, sent, request_id="one")
    again = song.calling_with(token(scope, jti="a newer token")).submit(study_id, sent, request_id="one")
    assert again == first
    other = song.calling_with(token(scope, sub="subject-2"))
    request = analyses.SubmitAnalysisRequest(
        study_id=study_id, payload_json=json.dumps(sent), request_id="one", allow_duplicates=True
    )
    assert other.analyses.SubmitAnalysis(request).analysis_id != first
