"""Score's own signed URLs, by plain HTTP/1.1."""

import http.client
from collections.abc import Callable, Mapping
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from score_grpc.domain.signed_requests import SignedRequest
from score_grpc.use_cases.own_urls import OwnUrls
from tests.servers.score_world import PART, World, random_bytes

SIZE = 2 * PART + 77
HOUR = timedelta(hours=1)
Answer = tuple[int, http.client.HTTPMessage, bytes]


@pytest.fixture
def http_world(open_world: Callable[..., World]) -> World:
    return open_world(http_port=0)


def send(
    request: SignedRequest, body: bytes | None = None, headers: Mapping[str, str] | None = None, method: str = ""
) -> Answer:
    url = urlsplit(request.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    sent = {**request.headers, **(headers or {})}
    connection.request(method or request.method, f"{url.path}?{url.query}", body, sent)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def urls(world: World) -> OwnUrls:
    found = world.score.environment.own_urls
    assert found is not None
    return found


def test_parts_put_to_signed_urls_become_an_object(http_world: World) -> None:
    data = http_world.register("object-1", random_bytes(SIZE))
    upload = http_world.start("object-1")
    import hashlib
    for n in (3, 1, 2):
        part = data[(n - 1) * PART : n * PART]
        md5 = hashlib.md5(part).hexdigest()
        status, headers, content = send(urls(http_world).sign_part(upload.upload_id, n, len(part), md5, HOUR), part)
        assert (status, headers["ETag"], content) == (200, f'"{md5}"', b"")
    assert http_world.complete(upload).stored_object.size_bytes == SIZE
    status, headers, content = send(urls(http_world).sign_read("object-1", 1, None, HOUR))
    assert (status, content) == (200, data)
