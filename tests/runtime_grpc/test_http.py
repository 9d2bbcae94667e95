"""The bounded HTTP client, against a real server."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime_grpc import http
from runtime_grpc.http import HttpAnswer, HttpBounds, HttpClient, HttpRequest, NoHttpAnswerError
from tests.servers.http_service import Answer, Asked, HttpService, closed_port, http_service
from tests.servers.identity import write_certificate

BOUNDS = HttpBounds(try_seconds=0.5, tries=3, max_body_bytes=1000, max_connections=4)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HTTP_FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def service() -> Iterator[HttpService]:
    with http_service() as running:
        yield running


@pytest.fixture
def client() -> Iterator[HttpClient]:
    made = HttpClient(BOUNDS)
    yield made
    made.close()


def ask(client: HttpClient, url: str, seconds: float = 30) -> HttpAnswer:
    return client.ask(HttpRequest("GET", url), time.monotonic() + seconds)


def test_an_answer_comes_with_its_body_up_to_the_bound(client: HttpClient, service: HttpService) -> None:
    for size, shown in ((0, b""), (1000, b"x" * 1000), (1001, None)):
        service.answer = lambda _asked, size=size: Answer(200, b"x" * size)  # type: ignore[misc] # mypy can't infer such a lambda
        assert ask(client, service.url) == HttpAnswer(200, shown)


@pytest.mark.parametrize(("status", "tries"), [(200, 1), (404, 1), (302, 1), (429, 3), (500, 3), (503, 3)])
def test_only_answers_that_say_later_are_asked_for_again(
    client: HttpClient, service: HttpService, status: int, tries: int
) -> None:
    service.answer = lambda _asked: Answer(status)
    answer = ask(client, service.url)
    assert (answer.status, answer.is_success) == (status, status == 200)
    assert len(service.asked) == tries


def test_an_answer_that_comes_at_the_third_try_counts(client: HttpClient, service: HttpService) -> None:
    service.answer = lambda _asked: Answer(500 if len(service.asked) < 3 else 200)
    assert ask(client, service.url).is_success


def test_without_an_answer_the_error_says_why(client: HttpClient, service: HttpService) -> None:
    with closed_port() as url, pytest.raises(NoHttpAnswerError, match="can't be reached"):
        ask(client, url)

    def hang(_asked: Asked) -> Answer:
        service.stopped.wait(10)
        return Answer()

    service.answer = hang
    with pytest.raises(NoHttpAnswerError, match="did not answer in time"):
        ask(client, service.url)
    assert len(service.asked) == 3


def test_no_try_goes_beyond_the_deadline(client: HttpClient, service: HttpService) -> None:
    service.answer = lambda _asked: Answer(drips=True)
    begun = time.monotonic()
    with pytest.raises(NoHttpAnswerError, match="in time"):
        ask(client, service.url, seconds=0.2)
    assert time.monotonic() - begun < 2
    with pytest.raises(NoHttpAnswerError, match="in time"):
        ask(client, service.url, seconds=-1)


def test_an_answer_that_drips_ends_with_its_try(client: HttpClient, service: HttpService) -> None:
    service.answer = lambda _asked: Answer(drips=True)
    begun = time.monotonic()
    with pytest.raises(NoHttpAnswerError, match="in time"):
        ask(client, service.url)
    assert time.monotonic() - begun < 10


def test_a_certificate_must_be_of_a_known_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = write_certificate(tmp_path)
    with http_service(certificate) as service:
        stranger = HttpClient(BOUNDS)
        with pytest.raises(NoHttpAnswerError):
            ask(stranger, service.url)
        assert not service.asked
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        friend = HttpClient(BOUNDS)
        assert ask(friend, service.url).is_success
        for made in (stranger, friend):
            made.close()


def test_secrets_are_not_shown() -> None:
    request = HttpRequest("POST", "http://h", {"authorization": "hush"}, {"a": "hush"}, ("me", "hush"))
    assert "hush" not in repr(request)
