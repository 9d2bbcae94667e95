from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from song.v1.study_pb2 import Study
from song.v1.study_service_pb2 import (
    CreateStudyRequest,
    CreateStudyResponse,
    GetStudyRequest,
    GetStudyResponse,
    ListStudiesRequest,
    ListStudiesResponse,
)
from song.v1.study_service_pb2_grpc import StudyServiceServicer, add_StudyServiceServicer_to_server
from song_score_client.connection import Connection, RetryPolicy
from song_score_client.errors import (
    DeadlineExceededError,
    ServiceError,
    ServiceUnavailableError,
    StudyNotFoundError,
    UnreachableError,
)
from song_score_client.song import SongClient

QUICK = RetryPolicy(max_tries=4, first_delay_seconds=0.01)


class FlakyStudies(StudyServiceServicer):
    """Fails as often as it is told to, then answers; remembers what it was sent."""

    def __init__(self) -> None:
        self.failures = 0
        self.code = grpc.StatusCode.UNAVAILABLE
        self.reason = "SERVICE_UNAVAILABLE"
        self.retry_after_seconds: float | None = 0.01
        self.sleep_seconds = 0.0
        self.request_ids: list[str] = []
        self.tokens: list[str | bytes | None] = []
        self.calls = 0

    def CreateStudy(self, request: CreateStudyRequest, context: grpc.ServicerContext) -> CreateStudyResponse:
        self.request_ids.append(request.request_id)
        self._fail(context)
        return CreateStudyResponse(study=request.study)

    def GetStudy(self, request: GetStudyRequest, context: grpc.ServicerContext) -> GetStudyResponse:
        self.tokens.append(dict(context.invocation_metadata()).get("authorization"))
        self._fail(context)
        time.sleep(self.sleep_seconds)
        return GetStudyResponse(study=Study(study_id=request.study_id))

    def ListStudies(self, request: ListStudiesRequest, context: grpc.ServicerContext) -> ListStudiesResponse:
        self._fail(context)
        page = int(request.page_token or "0")
        return ListStudiesResponse(
            studies=[Study(study_id=f"{page}-{number}") for number in range(2)],
            next_page_token=str(page + 1) if page < 2 else "",
        )

    def _fail(self, context: grpc.ServicerContext) -> None:
        self.calls += 1
        if self.failures:
            self.failures -= 1
            status = Status(code=self.code.value[0], message="not now")
            _pack(status, ErrorInfo(reason=self.reason, domain="song"))
            if self.retry_after_seconds is not None:
                nanos = round(self.retry_after_seconds * 1e9)
                _pack(status, RetryInfo(retry_delay=Duration(nanos=nanos)))
            context.abort_with_status(rpc_status.to_status(status))


def _pack(status: Status, detail: ErrorInfo | RetryInfo) -> None:
    packed = Any()
    packed.Pack(detail)
    status.details.append(packed)


@pytest.fixture
def studies() -> FlakyStudies:
    return FlakyStudies()  # type: ignore[abstract] # the rest is not asked for


class RunningStudies:
    """A real server; `address` is `host:port`."""

    def __init__(self, studies: FlakyStudies, address: str) -> None:
        self._server = grpc.server(ThreadPoolExecutor(2))
        add_StudyServiceServicer_to_server(studies, self._server)
        self.address = f"localhost:{self._server.add_insecure_port(address)}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def address(studies: FlakyStudies) -> Iterator[str]:
    server = RunningStudies(studies, "localhost:0")
    yield server.address
    server.stop()


@pytest.fixture
def client(address: str) -> Iterator[SongClient]:
    with SongClient(Connection("song", address, "top-secret", retry=QUICK)) as client:
        yield client


def test_a_call_is_repeated_until_it_succeeds(client: SongClient, studies: FlakyStudies) -> None:
    studies.failures = 3
    assert client.get_study("A").study_id == "A"
    assert studies.calls == 4


def test_tries_are_bounded(client: SongClient, studies: FlakyStudies) -> None:
    studies.failures = 100
    with pytest.raises(ServiceUnavailableError):
        client.get_study("A")
    assert studies.calls == QUICK.max_tries


def test_what_is_not_transient_is_not_repeated(client: SongClient, studies: FlakyStudies) -> None:
    studies.failures, studies.retry_after_seconds = 1, None
    studies.code, studies.reason = grpc.StatusCode.NOT_FOUND, "STUDY_ID_DOES_NOT_EXIST"
    with pytest.raises(StudyNotFoundError):
        client.get_study("A")
    assert studies.calls == 1


def test_a_status_with_retry_info_is_repeated_whatever_its_code_and_not_before(
    client: SongClient, studies: FlakyStudies
) -> None:
    studies.failures, studies.code, studies.retry_after_seconds = 1, grpc.StatusCode.RESOURCE_EXHAUSTED, 0.3
    started = time.monotonic()
    client.get_study("A")
    assert time.monotonic() - started >= 0.3


def test_every_page_has_tries_of_its_own(client: SongClient, studies: FlakyStudies) -> None:
    studies.failures = 2
    assert [study.study_id for study in client.list_studies()] == ["0-0", "0-1", "1-0", "1-1", "2-0", "2-1"]


def test_a_repetition_carries_the_same_request_id_and_the_next_call_another(
    client: SongClient, studies: FlakyStudies
) -> None:
    studies.failures = 2
    client.create_study(Study(study_id="A"))
    client.create_study(Study(study_id="B"))
    first, second, third, other = studies.request_ids
    assert first == second == third != other


def test_the_token_goes_with_every_call_and_is_never_printed(client: SongClient, studies: FlakyStudies) -> None:
    client.get_study("A")
    assert studies.tokens == ["Bearer top-secret"]
    assert "top-secret" not in repr(client.connection)


def test_a_listener_hears_of_each_failure(address: str, studies: FlakyStudies) -> None:
    heard: list[tuple[type[ServiceError], int]] = []
    connection = Connection(
        "song", address, retry=QUICK, on_retry=lambda error, failures, _delay: heard.append((type(error), failures))
    )
    studies.failures = 2
    with SongClient(connection) as client:
        client.get_study("A")
    assert heard == [(ServiceUnavailableError, 1), (ServiceUnavailableError, 2)]


def test_a_slow_answer_ends_at_the_deadline_and_is_not_repeated(address: str, studies: FlakyStudies) -> None:
    studies.sleep_seconds = 1
    connection = Connection("song", address)
    client = SongClient(connection)
    with pytest.raises(DeadlineExceededError, match=address):
        connection.call(client._studies.GetStudy, GetStudyRequest(study_id="A"), deadline_seconds=0.2)
    assert studies.calls == 1
    client.close()


def test_where_nothing_listens_the_error_names_the_address_and_the_way_out() -> None:
    with SongClient(Connection("song", "localhost:1", retry=QUICK)) as client:
        with pytest.raises(UnreachableError, match=r"Song can't be reached at localhost:1.*song-score serve"):
            client.get_study("A")
        assert not client.is_serving()


def test_a_call_outlasts_a_restart_of_the_server(studies: FlakyStudies) -> None:
    first = RunningStudies(studies, "localhost:0")
    with SongClient.open(first.address) as client:
        client.get_study("A")
        first.stop()
        restart = threading.Timer(0.5, lambda: servers.append(RunningStudies(studies, first.address)))
        servers: list[RunningStudies] = []
        restart.start()
        assert client.get_study("B").study_id == "B"
    restart.join()
    servers[0].stop()


def test_delays_double_up_to_the_cap_and_are_spread() -> None:
    policy = RetryPolicy()
    error = UnreachableError("x", service="song", code=grpc.StatusCode.UNAVAILABLE)
    for failures, limit in [(1, 0.1), (2, 0.2), (5, 1.6), (9, 25.6)]:
        delay = policy.delay_seconds(failures, error)
        assert delay is not None
        assert limit / 2 <= delay <= limit
    assert policy.delay_seconds(10, error) is None
    assert RetryPolicy(max_tries=100).delay_seconds(60, error) <= 30  # type: ignore[operator]  # not None
    assert len({policy.delay_seconds(1, error) for _ in range(10)}) > 1


def test_the_delay_a_service_asks_for_wins() -> None:
    asked = ServiceError("x", service="song", code=grpc.StatusCode.ABORTED, retry_after_seconds=40.0)
    delay = RetryPolicy().delay_seconds(1, asked)
    assert delay is not None
    assert 40 <= delay <= 48


def test_a_service_that_asks_for_no_delay_is_not_stormed() -> None:
    asked = ServiceError("x", service="score", code=grpc.StatusCode.UNAVAILABLE, retry_after_seconds=0.0)
    delays = [RetryPolicy().delay_seconds(failures, asked) for failures in range(1, 10)]
    assert sum(delay for delay in delays if delay) > 20


def test_a_service_that_is_unavailable_but_does_not_ask_for_repetition_is_left_alone() -> None:
    unusable = ServiceError("x", service="song", code=grpc.StatusCode.UNAVAILABLE, reason="STORAGE_SERVICE_ERROR")
    assert RetryPolicy().delay_seconds(1, unusable) is None


def test_a_child_process_can_go_on_after_a_fork(address: str) -> None:
    program = """
import os, sys
from song_score_client.song import SongClient
client = SongClient.open(sys.argv[1])
client.get_study("parent")
child = os.fork()
if child == 0:
    client.get_study("child")
    client.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
client.get_study("parent again")
"""
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}  # newer Pythons warn of forks with threads
    subprocess.run([sys.executable, "-c", program, address], check=True, timeout=60, env=environment)
