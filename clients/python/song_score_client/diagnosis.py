"""What stands between this machine and Score: one finding after the other, each with its remedy."""

import base64
import binascii
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

import grpc
from score.v1.stored_object_pb2 import StoredObject

from song_score_client.connection import Connection, RetryPolicy
from song_score_client.errors import (
    AccessError,
    ClientError,
    LocalFileError,
    NotFoundError,
    ObjectNotFoundError,
    ServiceError,
    SongUnavailableError,
    UnreachableError,
    from_rpc_error,
)
from song_score_client.findings import Clocks, Finding, Verdict
from song_score_client.http_connections import HTTP_FAILURES, HttpRequest
from song_score_client.quantities import format_bytes
from song_score_client.score import ScoreClient
from song_score_client.signing_check import GET, PUT, SigningCheck
from song_score_client.song import SongClient
from song_score_client.transfer.object_reader import ObjectReader
from song_score_client.transports import Transport

CONNECT_TIMEOUT_SECONDS = 5.0
LITTLE_SPACE_BYTES = 1024**3
_PROBE_ID = "score-doctor-probe"
"""Registered by nobody."""
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Patient:
    """What is to be looked at."""

    score: Connection
    song: Connection
    state_dir: Path
    object_id: str | None = None
    """Of an object, to be read and signed for real; or to be sent a part of, if it is not stored."""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)


def diagnose(patient: Patient) -> Iterator[Finding]:
    """Yield findings, as they come; the whole takes seconds, a minute at most.

    Nothing is changed anywhere, but for a trial upload that is aborted: of an object that is registered and not stored.
    """
    once, clocks = RetryPolicy(max_tries=1), Clocks()
    score = replace(patient.score, retry=once, on_retry=None)
    song = replace(patient.song, retry=once, on_retry=None)
    yield _token(score)
    yield _proxies(patient)
    yield _encryption(score)
    reached = _reach(score)
    yield reached
    if reached.verdict is not Verdict.FAILED:
        yield _grpc(score)
    if score.http_url:
        yield _http(score, clocks)
    else:
        yield Finding(
            "HTTP", Verdict.SKIPPED, "no HTTP side is set: SCORE_HTTP names one, for where gRPC does not pass"
        )
    with ScoreClient(score) as client:
        try:
            way = score.channel  # chooses it
        except ClientError:
            way = None
        if way is not None and reached.verdict is not Verdict.FAILED:
            yield from _service(client, patient.object_id, clocks)
    yield clocks.finding()
    with SongClient(song) as song_client:
        yield _song(song_client, song.address)
    yield from _disks(patient.state_dir)


def _service(client: ScoreClient, object_id: str | None, clocks: Clocks) -> Iterator[Finding]:
    access = _acceptance(client)
    yield access
    if isinstance(access.error, ServiceError) and not access.error.reason:
        yield Finding("streams", Verdict.SKIPPED, "not tried, nor what follows: no call gets through")
        return
    yield _streams(client)
    yield _song_of_score(client)
    if object_id is None:
        text = "not tried: --object-id of a stored object has it read"
        yield Finding("reading", Verdict.SKIPPED, text)
        yield Finding(GET, Verdict.SKIPPED, text)
        yield Finding(
            PUT, Verdict.SKIPPED, "not tried: --object-id of a file that is registered, not stored, has it tried"
        )
        return
    signing = SigningCheck(client, clocks)
    try:
        stored = client.get_object(object_id, allow_unpublished=True)
    except ObjectNotFoundError as error:
        yield from _unstored(signing, object_id, error)
        return
    except ServiceError as error:
        yield Finding("reading", Verdict.FAILED, str(error), "the message says what to do", error)
        return
    yield _reading(client, stored)
    yield signing.get(stored)
    yield Finding(PUT, Verdict.SKIPPED, "not tried: the object is stored already")


def _unstored(signing: SigningCheck, object_id: str, missing: ServiceError) -> Iterator[Finding]:
    """Yield what there is to say of an object that is not stored."""
    try:
        sent = signing.put(object_id)
    except NotFoundError as error:
        yield Finding("reading", Verdict.FAILED, str(error), "the message says what to do", error)
    except ServiceError as error:
        yield Finding("reading", Verdict.FAILED, str(missing), "the message says what to do", missing)
        yield Finding(PUT, Verdict.SKIPPED, f"not tried: {error}")
    else:
        yield Finding("reading", Verdict.SKIPPED, "the object is registered, and not stored yet")
        yield sent


def _token(score: Connection) -> Finding:
    if score.token is None:
        return Finding("token", Verdict.OK, "none is set: only what needs none is possible (SCORE_ACCESS_TOKEN)")
    claims = _claims(score.token)
    if claims is None:
        return Finding("token", Verdict.OK, "an opaque one is set; only the server knows what it is good for")
    context = claims.get("context")
    listed = context.get("scope") if isinstance(context, dict) else None
    scopes = f", scopes {', '.join(map(str, listed))}" if isinstance(listed, list) else ""
    expires = claims.get("exp")
    if not isinstance(expires, int | float):
        return Finding("token", Verdict.OK, f"a JWT that does not expire{scopes}")
    left = expires - time.time()
    if left <= 0:
        error = AccessError("the token has expired", service="score", code=grpc.StatusCode.UNAUTHENTICATED)
        return Finding("token", Verdict.FAILED, f"the JWT expired {-left:.0f} s ago", "get a new token", error)
    return Finding("token", Verdict.OK, f"a JWT that expires in {left / 3600:.1f} h{scopes}")


def _claims(token: str) -> dict[str, Any] | None:
    """Return what a JWT says; nothing is verified, that is the server's to do. None where it is none."""
    pieces = token.split(".")
    try:
        text = base64.urlsafe_b64decode(pieces[1] + "=" * (-len(pieces[1]) % 4))
        claims = json.loads(text)
    except (IndexError, ValueError, binascii.Error):
        return None
    return claims if len(pieces) == 3 and isinstance(claims, dict) else None  # noqa: PLR2004 - head, claims, signature


def _proxies(patient: Patient) -> Finding:
    named = sorted({name for name in _PROXIES if patient.environment.get(name)})
    if not named:
        return Finding("proxy", Verdict.OK, "none is set in the environment")
    host = _host_and_port(patient.score.address)[0]
    exempt = patient.environment.get("no_proxy") or patient.environment.get("NO_PROXY") or "nothing"
    return Finding(
        "proxy",
        Verdict.WARNING,
        f"{', '.join(named)} is set, and no_proxy exempts {exempt}",
        f"if {host} is to be reached directly, add it to no_proxy",
    )


def _encryption(score: Connection) -> Finding:
    host, _ = _host_and_port(score.address)
    if score.address.startswith("https://"):
        return Finding("TLS", Verdict.OK, f"{score.address} is spoken to by TLS")
    if host in _LOOPBACK:
        return Finding("TLS", Verdict.OK, f"{host} is this machine: none is needed")
    return Finding(
        "TLS",
        Verdict.WARNING,
        f"what goes to {host} is not encrypted, the token neither",
        "use a tunnel, or Score's HTTP side behind a proxy with TLS",
    )


def _reach(score: Connection) -> Finding:
    host, port = _host_and_port(score.address)
    began = time.monotonic()
    try:
        with socket.create_connection((host, port), CONNECT_TIMEOUT_SECONDS):
            seconds = time.monotonic() - began
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding(
            "network",
            Verdict.FAILED,
            f"nothing answers at {host}, port {port}: {reason}",
            "is Score running there, is the address right (SCORE_URL), does a firewall stand between?",
            UnreachableError(reason, service="score", code=grpc.StatusCode.UNAVAILABLE),
        )
    return Finding("network", Verdict.OK, f"{host}, port {port}, answers within {seconds * 1000:.1f} ms")


def _grpc(score: Connection) -> Finding:
    if score.address.startswith(("http://", "https://")):
        return Finding("gRPC", Verdict.SKIPPED, f"{score.address} is an HTTP address")
    connection = replace(score, http_url="", transport=Transport.STREAM)
    with ScoreClient(connection) as client:
        try:
            client.get_object(_PROBE_ID)
        except ServiceError as error:
            if not error.reason:
                details = error.metadata.get("details") or error
                return Finding(
                    "gRPC",
                    Verdict.WARNING if score.http_url else Verdict.FAILED,
                    f"something listens at {score.address}, and does not speak gRPC: {details}",
                    "it may be Score's HTTP port, or a proxy that speaks HTTP/1.1 alone may stand between: name "
                    "Score's HTTP side (SCORE_HTTP)",
                    None if score.http_url else error,
                )
        is_serving = client.is_serving()
        seconds = connection.round_trip_seconds
    if not is_serving:
        return Finding(
            "gRPC",
            Verdict.FAILED,
            f"Score at {score.address} answers, and says that it can't work",
            "its log says why: its database or its store",
            UnreachableError("not serving", service="score", code=grpc.StatusCode.UNAVAILABLE),
        )
    return Finding("gRPC", Verdict.OK, f"Score serves at {score.address}; a call takes {seconds * 1000:.1f} ms")


def _http(score: Connection, clocks: Clocks) -> Finding:
    try:
        with score.http.exchange(HttpRequest("GET", score.http_url), timeout_seconds=CONNECT_TIMEOUT_SECONDS) as answer:
            answer.read()
            clocks.tell_date("Score's", answer.headers.get("Date"))
    except HTTP_FAILURES as error:
        text = f"nothing answers at {score.http_url}: {getattr(error, 'strerror', None) or error}"
        remedy = "is it Score's HTTP side (SCORE_HTTP), and its certificate trusted (SCORE_CA_FILE)?"
        if isinstance(error, HTTPException):
            text = f"something listens at {score.http_url}, and does not speak HTTP/1.1"
            remedy = "it may be Score's gRPC port: SCORE_URL names that without http://, SCORE_HTTP the HTTP side"
        return Finding(
            "HTTP",
            Verdict.FAILED,
            text,
            remedy,
            UnreachableError(str(error), service="score", code=grpc.StatusCode.UNAVAILABLE),
        )
    return Finding("HTTP", Verdict.OK, f"{score.http_url} answers")


def _acceptance(client: ScoreClient) -> Finding:
    try:
        client.get_object(_PROBE_ID)
    except AccessError as error:
        if error.code is grpc.StatusCode.UNAUTHENTICATED:
            return Finding(
                "access",
                Verdict.FAILED,
                f"the token is refused: {error}",
                "unset SCORE_ACCESS_TOKEN where the message asks for none, else get a token that this server accepts",
                error,
            )
    except ServiceError as error:
        if not error.reason:
            return Finding("access", Verdict.FAILED, str(error), "see the lines above", error)
    return Finding("access", Verdict.OK, "Score takes calls of this caller")


def _streams(client: ScoreClient) -> Finding:
    connection = client.connection
    if not connection.carries_streams:
        return Finding("streams", Verdict.SKIPPED, "bytes go by signed URLs")
    from score.v1.download_service_pb2 import OpenObject, ReadObjectRequest  # noqa: PLC0415 - only here
    from score.v1.download_service_pb2_grpc import DownloadServiceStub  # noqa: PLC0415 - only here

    request = ReadObjectRequest(open=OpenObject(object_id=_PROBE_ID))
    call = DownloadServiceStub(client.channel).ReadObject(
        iter([request]), metadata=connection.metadata, timeout=CONNECT_TIMEOUT_SECONDS
    )
    try:
        for _ in call:
            pass
    except grpc.RpcError as raised:
        error = from_rpc_error(raised, connection.service, connection.address)
        if not error.reason:
            return Finding(
                "streams",
                Verdict.FAILED,
                f"calls get through, and streams do not: {error}",
                "a proxy holds them back: --transport signed goes around it",
                error,
            )
    return Finding("streams", Verdict.OK, "streams pass in both directions")


def _song_of_score(client: ScoreClient) -> Finding:
    try:
        client.start_upload(_PROBE_ID)
    except SongUnavailableError as error:
        return Finding(
            "Score's Song",
            Verdict.FAILED,
            f"Score can't reach Song: {error}",
            "tell those who run Score; until then it can decide nothing new",
            error,
        )
    except ServiceError as error:
        if not error.reason:
            return Finding("Score's Song", Verdict.FAILED, str(error), "see the lines above", error)
    return Finding("Score's Song", Verdict.OK, "Score reaches its Song")


def _reading(client: ScoreClient, stored: StoredObject) -> Finding:
    try:
        list(ObjectReader(client, stored, allow_unpublished=True).chunks(0, min(1, stored.size_bytes)))
    except ClientError as error:
        return Finding("reading", Verdict.FAILED, str(error), "the message says what to do", error)
    return Finding("reading", Verdict.OK, f"{stored.file_name}, {format_bytes(stored.size_bytes)}, can be read")


def _song(client: SongClient, address: str) -> Finding:
    if client.is_serving():
        return Finding("Song", Verdict.OK, f"Song serves at {address}")
    return Finding(
        "Song",
        Verdict.WARNING,
        f"Song at {address} can't be reached, or can't work",
        "only --analysis-id and `song` need it from here (SONG_URL)",
    )


def _disks(state_dir: Path) -> Iterator[Finding]:
    places: list[tuple[str, Path, Callable[[Path], object]]] = [
        ("state folder", state_dir, lambda path: path.mkdir(parents=True, exist_ok=True)),
        ("temporary folder", Path(tempfile.gettempdir()), lambda _path: None),
        ("current folder", Path.cwd(), lambda _path: None),
    ]
    for name, path, prepare in places:
        try:
            prepare(path)
            with tempfile.TemporaryFile(dir=path):
                free = shutil.disk_usage(path).free
        except OSError as error:
            text = f"{path} can't be written: {error.strerror}"
            yield Finding(name, Verdict.FAILED, text, "name another one, or make it writable", LocalFileError(text))
            continue
        if free < LITTLE_SPACE_BYTES:
            yield Finding(
                name, Verdict.WARNING, f"{path} has {format_bytes(free)} left", "make room for what is to come"
            )
        else:
            yield Finding(name, Verdict.OK, f"{path} has {format_bytes(free)} left")


def _host_and_port(address: str) -> tuple[str, int]:
    plain = address.rsplit("://", maxsplit=1)[-1].rstrip("/")
    host, _, port = plain.rpartition(":")
    if not port.isdigit():
        host, port = plain, "443" if address.startswith("https") else "80"
    return host.strip("[]"), int(port)
