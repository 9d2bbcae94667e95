"""Gateways that answer in the place of Score for a while, by gRPC and by HTTP/1.1: what follows goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from song_score_client.commands.score import app as score_app
from song_score_client.connection import Connection, RetryPolicy
from song_score_client.errors import ObjectNotFoundError, UnknownError, UnreachableError
from song_score_client.score import ScoreClient
from song_score_client.transfer.download import download_object
from song_score_client.transfer.upload import upload_file
from song_score_client.transports import Transport
from typer.testing import CliRunner

from tests.servers.http1_proxy import HttpOneProxy
from tests.servers.http2_gateway import RESET, Http2Gateway
from tests.servers.raw_score import MIB
from tests.servers.registry_song import TOKEN
from tests.servers.score_world import PART, World, random_bytes

QUICK = RetryPolicy(first_delay_seconds=0.01, max_delay_seconds=0.5)
ID = "object-1"
SIZE = 2 * PART + MIB + 5
BAD_MOMENTS = [["500"], ["502"], ["503"], ["504"], ["520"], [RESET], ["502", "500", RESET, "504", "500"]]


@pytest.fixture
def world(open_world: Callable[..., World]) -> World:
    """A Score on the local store with an HTTP side."""
    return open_world(http_port=0)


@pytest.fixture
def file(world: World, tmp_path: Path) -> Path:
    """A registered file."""
    path = tmp_path / "reads.bam"
    path.write_bytes(world.register(ID, random_bytes(SIZE)))
    return path


@pytest.mark.parametrize("answers", BAD_MOMENTS, ids="-".join)
def test_a_call_outlasts_a_gateways_bad_moments(world: World, answers: list[str]) -> None:
    with Http2Gateway(world.score.address) as gateway:
        gateway.answers = list(answers)
        connection = Connection("score", gateway.address, retry=QUICK)
        with ScoreClient(connection) as score, pytest.raises(ObjectNotFoundError):
            score.get_object(ID)
        assert gateway.refused_total == len(answers)


@pytest.mark.parametrize("answer", ["502", RESET])
def test_a_deletion_without_an_answer_is_not_called_again(world: World, answer: str) -> None:
    """It may have been done, and what is there now may be another's."""
    world.store(ID, random_bytes(100))
    with Http2Gateway(world.score.address) as gateway:
        gateway.answers = [answer]
        with ScoreClient(Connection("score", gateway.address, TOKEN, retry=QUICK)) as score:
            with pytest.raises(UnreachableError):
                score.delete_object(ID, "a test")
            assert score.get_object(ID, allow_unpublished=True).generation == 1
            assert score.delete_object(ID, "a test").generation == 1


@pytest.mark.parametrize("answer", ["502", RESET])
def test_a_deletion_of_one_generation_is_called_again(world: World, answer: str) -> None:
    world.store(ID, random_bytes(100))
    with Http2Gateway(world.score.address) as gateway:
        gateway.answers = [answer]
        with ScoreClient(Connection("score", gateway.address, TOKEN, retry=QUICK)) as score:
            assert score.delete_object(ID, "a test", generation=1).generation == 1
            assert gateway.refused_total == 1
            with pytest.raises(ObjectNotFoundError):
                score.delete_object(ID, "a test", generation=1)


@pytest.mark.parametrize(
    ("answer", "error", "calls", "words"),
    [
        ("500", UnreachableError, 3, "what stands before it answers HTTP 500"),
        ("502", UnreachableError, 3, "what stands before it answers HTTP 502"),
        (RESET, UnreachableError, 3, "calls break off"),
        ("400", UnknownError, 1, "400"),
        ("413", UnknownError, 1, "413"),
        ("501", UnknownError, 1, "501"),
    ],
)
def test_tries_are_bounded_and_what_does_not_pass_is_not_tried_again(
    world: World, answer: str, error: type[Exception], calls: int, words: str
) -> None:
    with Http2Gateway(world.score.address) as gateway:
        gateway.answers = [answer] * 50
        retry = RetryPolicy(max_tries=3, first_delay_seconds=0.01)
        with ScoreClient(Connection("score", gateway.address, retry=retry)) as score:
            with pytest.raises(error, match=words) as raised:
                score.get_object(ID)
            assert gateway.address in str(raised.value)
        assert gateway.refused_total == calls


def test_a_request_that_cannot_be_made_is_not_made_again(world: World) -> None:
    heard: list[Exception] = []
    connection = Connection(
        "score", world.score.address, retry=QUICK, on_retry=lambda error, _failures, _delay: heard.append(error)
    )
    with ScoreClient(connection) as score, pytest.raises(UnknownError):
        connection.call(
            score.channel.unary_unary(
                "/score.v1.ObjectService/GetObject",
                request_serializer=lambda _: json.dumps(object()).encode(),
                response_deserializer=json.loads,
            ),
            object(),
        )
    assert heard == []


def test_a_transfer_by_streams_outlasts_a_gateways_bad_moments(world: World, file: Path, tmp_path: Path) -> None:
    with Http2Gateway(world.score.address) as gateway:
        with ScoreClient(Connection("score", gateway.address, retry=QUICK, transport=Transport.STREAM)) as score:
            gateway.answers = ["500", "502"]
            score.start_upload(ID)
            gateway.answers = ["500", "504", RESET]  # the streams have connections of their own
            result = upload_file(score, ID, file, state_dir=tmp_path / "state")
            assert result.sent_bytes == SIZE
            gateway.answers = ["502", "500", "500"]
            down = download_object(score, ID, tmp_path / "out.bam", allow_unpublished=True)
        assert gateway.answers == []
    assert hashlib.md5(down.path.read_bytes()).hexdigest() == result.stored_object.md5


def test_calls_and_signed_urls_outlast_a_proxys_bad_moments(open_world: Callable[..., World], tmp_path: Path) -> None:
    proxy = HttpOneProxy("")
    world = open_world(http_port=0, public_http_url=proxy.url)
    proxy.upstream = world.score.http_address
    data = world.register(ID, random_bytes(SIZE))
    file = tmp_path / "reads.bam"
    file.write_bytes(data)
    with proxy, ScoreClient(Connection("score", proxy.url, retry=QUICK)) as score:
        proxy.answers = [500, 502, 500]
        score.start_upload(ID)
        proxy.answers = [504, 500]
        result = upload_file(score, ID, file, state_dir=tmp_path / "state")
        assert result.stored_object.md5 == hashlib.md5(data).hexdigest()
        proxy.answers = [500, 504, 502, 500]
        down = download_object(score, ID, tmp_path / "out.bam", allow_unpublished=True)
        assert proxy.answers == []
    assert down.path.read_bytes() == data


def test_the_command_says_what_stands_before_score(world: World, tmp_path: Path) -> None:
    world.store(ID, b"reads")
    with Http2Gateway(world.score.address) as gateway:
        gateway.answers = ["500", "502"]
        environment = {"SCORE_URL": gateway.address, "XDG_CONFIG_HOME": str(tmp_path)}
        found = CliRunner().invoke(
            score_app, ["url", "--unpublished", "--object-id", ID], env=environment, prog_name="score"
        )
    assert found.exit_code == 0, found.output
    words = f"score: Score can't be reached at {gateway.address}: what stands before it answers HTTP 500"
    assert found.stderr.splitlines()[0] == f"{words}; trying again"
