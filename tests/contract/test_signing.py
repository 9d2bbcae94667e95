"""What the port promises of signed requests, sent by plain HTTP."""

import hashlib
import time
import urllib.error
import urllib.request
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from score_grpc.domain.errors import StagingLostError
from score_grpc.domain.signed_requests import SignedRequest
from score_grpc.gateways.objects.azure import AzureObjectStore
from score_grpc.gateways.objects.local import LocalObjectStore
from score_grpc.gateways.objects.port import StagedPart, Staging
from tests.contract.stores import StoreUnderTest
from tests.contract.test_object_store import CONTENT, SPANS, md5, put, write_parts

SIGN_PARTS = ["s3", "s3, rclone", "s3, several buckets"]
SIGN_READS = [*SIGN_PARTS, "azure"]
LIFETIME = timedelta(minutes=5)
REFUSED = {400, 403}
"""An expired signature: 403, but rclone says 400."""
TIMEOUT_SECONDS = 60


@pytest.fixture
def key() -> str:
    return f"data/{uuid.uuid4()}"


def send(request: SignedRequest, body: bytes | None = None, **headers: str) -> tuple[int, str, bytes]:
    """Return status, ETag and body of the answer."""
    sent = urllib.request.Request(request.url, body, dict(request.headers) | headers, method=request.method)
    try:
        with urllib.request.urlopen(sent, timeout=TIMEOUT_SECONDS) as answer:
            return answer.status, answer.headers.get("ETag", ""), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, "", b""


def part_bytes(number: int) -> bytes:
    offset, size_bytes = SPANS[number - 1]
    return CONTENT[offset : offset + size_bytes]


def signed(under_test: StoreUnderTest, staging: Staging, number: int, lifetime: timedelta = LIFETIME) -> SignedRequest:
    """Sign a part of CONTENT."""
    content = part_bytes(number)
    request = under_test.store.sign_part(staging, number, len(content), hashlib.md5(content).hexdigest(), lifetime)
    assert request is not None
    return request


@pytest.mark.parametrize("under_test", SIGN_PARTS, indirect=True)
def test_parts_put_to_signed_urls_become_the_object(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    parts = []
    for number, (offset, size_bytes) in enumerate(SPANS, start=1):
        request = signed(under_test, staging, number)
        assert request.method == "PUT"
        status, etag, _ = send(request, part_bytes(number))
        assert status == 200
        parts.append(StagedPart(number, offset, size_bytes, etag))
    held = list(store.list_parts(staging))
    assert [(part.part_number, part.size_bytes, part.etag.strip('"')) for part in held] == [
        (part.part_number, part.size_bytes, part.etag.strip('"')) for part in parts
    ]
    assert [part.part_number for part in store.list_parts(staging, after=1)] == [2, 3]
    assert not list(store.list_parts(staging, after=3))
    store.assemble(staging, parts)
    assert md5(under_test.plain_bytes(key)) == md5(CONTENT)


@pytest.mark.parametrize(
    "body", [part_bytes(3)[::-1], part_bytes(3) + b"x", part_bytes(3)[:-1], b""], ids=["other", "long", "short", "no"]
)
@pytest.mark.parametrize("under_test", SIGN_PARTS, indirect=True)
def test_another_body_than_the_signed_one_is_refused(under_test: StoreUnderTest, key: str, body: bytes) -> None:
    store = under_test.store
    staging = store.begin(key)
    request = signed(under_test, staging, 3)
    assert 400 <= send(request, body)[0] < 500
    assert not list(store.list_parts(staging))
    # Nor another MD5 beside the URL.
    other = {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    assert 400 <= send(request, body, **other)[0] < 500
    assert send(request, part_bytes(3))[0] == 200
    store.abort(staging)


@pytest.mark.parametrize("under_test", SIGN_PARTS, indirect=True)
def test_a_signature_holds_for_its_part_alone(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    request = signed(under_test, staging, 3)
    moved = request.url.replace("partNumber=3", "partNumber=2")
    assert moved != request.url
    assert send(SignedRequest("PUT", moved, request.headers, request.expire_time), part_bytes(3))[0] == 403
    store.abort(staging)


@pytest.mark.parametrize("under_test", SIGN_PARTS, indirect=True)
def test_a_signature_ends_when_it_says(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    request = signed(under_test, staging, 3, timedelta(seconds=1))
    while datetime.now(UTC) < request.expire_time + timedelta(seconds=1.5):
        time.sleep(0.1)
    assert send(request, part_bytes(3))[0] in REFUSED
    assert not list(store.list_parts(staging))
    store.abort(staging)


@pytest.mark.parametrize("under_test", SIGN_PARTS, indirect=True)
def test_an_aborted_staging_takes_no_signed_part_and_lists_none(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    request = signed(under_test, staging, 3)
    store.abort(staging)
    assert send(request, part_bytes(3))[0] == 404
    with pytest.raises(StagingLostError):
        list(store.list_parts(staging))


def test_a_store_that_signs_no_parts_may_list_none(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    staging = store.begin(key)
    parts = write_parts(store, staging)
    held = [part.part_number for part in store.list_parts(staging)]
    assert held == ([part.part_number for part in parts] if store.signs_parts else [])
    store.abort(staging)


def test_a_store_that_can_not_sign_says_so(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    assert store.signs_parts != isinstance(store, LocalObjectStore | AzureObjectStore)
    staging = store.begin(key)
    assert (store.sign_part(staging, 1, 10, "0" * 32, LIFETIME) is not None) == store.signs_parts
    assert (store.sign_read(key, "version", None, LIFETIME) is None) == isinstance(store, LocalObjectStore)
    store.abort(staging)


@pytest.mark.parametrize("under_test", SIGN_READS, indirect=True)
def test_an_object_is_read_by_a_signed_url(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    version = put(store, key, CONTENT)
    request = store.sign_read(key, version, None, LIFETIME)
    assert request is not None
    assert (request.method, dict(request.headers)) == ("GET", {})
    assert abs(request.expire_time - datetime.now(UTC) - LIFETIME) < timedelta(minutes=1)
    status, _, body = send(request)
    assert (status, body) == (200, CONTENT)
    # By a Range of the caller's own, whatever the status: one store answers a range with 200.
    status, _, body = send(request, Range="bytes=5-99")
    assert (status in {200, 206}, body) == (True, CONTENT[5:100])
    # Past the end the emulator of Azure answers 206 with nothing.
    status, _, body = send(request, Range=f"bytes={len(CONTENT)}-")
    assert (status in {206, 416}, body) == (True, b"")


@pytest.mark.parametrize("byte_range", [(0, 1), (1_000_000, 3_000_000), (len(CONTENT) - 1, 1), (0, len(CONTENT))])
@pytest.mark.parametrize("under_test", SIGN_READS, indirect=True)
def test_a_range_is_read_by_a_signed_url(under_test: StoreUnderTest, key: str, byte_range: tuple[int, int]) -> None:
    store = under_test.store
    version = put(store, key, CONTENT)
    request = store.sign_read(key, version, byte_range, LIFETIME)
    assert request is not None
    first, length = byte_range
    status, _, body = send(request)
    assert (status in {200, 206}, body) == (True, CONTENT[first : first + length])


@pytest.mark.parametrize("under_test", SIGN_READS, indirect=True)
def test_an_altered_url_reads_nothing(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    version = put(store, key, CONTENT)
    other = f"data/{uuid.uuid4()}"
    put(store, other, CONTENT[::-1])
    request = store.sign_read(key, version, None, LIFETIME)
    assert request is not None
    moved = SignedRequest("GET", request.url.replace(key, other), {}, request.expire_time)
    assert send(moved)[0] == 403


@pytest.mark.parametrize("under_test", SIGN_READS, indirect=True)
def test_a_signed_read_ends_when_it_says(under_test: StoreUnderTest, key: str) -> None:
    store = under_test.store
    request = store.sign_read(key, put(store, key, CONTENT[:10]), None, timedelta(seconds=1))
    assert request is not None
    while datetime.now(UTC) < request.expire_time + timedelta(seconds=1.5):
        time.sleep(0.1)
    assert send(request)[0] in REFUSED


@pytest.mark.parametrize("under_test", SIGN_READS, indirect=True)
def test_a_signed_request_shows_no_secret(under_test: StoreUnderTest, key: str) -> None:
    request = under_test.store.sign_read(key, "version", (0, 1), LIFETIME)
    assert request is not None
    assert "http" not in repr(request)
    assert key not in repr(request)
