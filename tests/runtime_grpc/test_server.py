"""A server that nobody can stop by waiting on it."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from song.v1 import study_service_pb2 as pb
from song.v1.study_service_pb2_grpc import StudyServiceServicer, StudyServiceStub, add_StudyServiceServicer_to_server

from runtime_grpc.admission import DrainingError, TooManyStreamsError
from runtime_grpc.errors import Entry, ErrorTable
from runtime_grpc.server import CONTROL_WORKERS, RunningServer, ServerOptions, Service


class SlowStudies(StudyServiceServicer):
    """Answers GetStudy when it is let go, and ListStudies at once."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()

    def CreateStudy(self, request: pb.CreateStudyRequest, context: grpc.ServicerContext) -> pb.CreateStudyResponse:
        raise NotImplementedError

    def GetStudy(self, request: pb.GetStudyRequest, context: grpc.ServicerContext) -> pb.GetStudyResponse:
        self.entered.set()
        self.go.wait(30)
        return pb.GetStudyResponse()

    def ListStudies(self, request: pb.ListStudiesRequest, context: grpc.ServicerContext) -> pb.ListStudiesResponse:
        return pb.ListStudiesResponse()

    def GetStudyTree(
        self, request: pb.GetStudyTreeRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.GetStudyTreeResponse]:
        yield pb.GetStudyTreeResponse()


@pytest.fixture
def studies() -> SlowStudies:
    return SlowStudies()  # type: ignore[abstract] # the rest is not asked for


def serve(studies: SlowStudies, drain_seconds: float) -> RunningServer:
    errors = ErrorTable(
        "test",
        {
            TooManyStreamsError: Entry(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", 1.0),
            DrainingError: Entry(grpc.StatusCode.UNAVAILABLE, "DRAINING", 0.0),
        },
        Entry(grpc.StatusCode.INTERNAL, "UNKNOWN_ERROR"),
    )
    service = Service("song.v1.StudyService", add_StudyServiceServicer_to_server, studies)
    options = ServerOptions("127.0.0.1:0", 4 * 1024 * 1024, drain_seconds=drain_seconds)
    return RunningServer(options, [service], errors, threading.Event(), lambda: None)


@pytest.fixture
def channel(studies: SlowStudies) -> Iterator[grpc.Channel]:
    server = serve(studies, 0.1)
    with grpc.insecure_channel(server.address) as channel:
        yield channel
    studies.go.set()
    server.stop()


def test_idle_reflection_streams_hold_up_no_call(channel: grpc.Channel) -> None:
    release = threading.Event()

    def silent() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        release.wait(30)

    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    streams = [stub.ServerReflectionInfo(silent()) for _ in range(3 * CONTROL_WORKERS)]
    try:
        answered = [_first(stream) for stream in streams]
        assert answered.count("RESOURCE_EXHAUSTED") == 3 * CONTROL_WORKERS - 8
        StudyServiceStub(channel).ListStudies(pb.ListStudiesRequest(), timeout=10)
    finally:
        release.set()


def _first(stream: Iterator[reflection_pb2.ServerReflectionResponse]) -> str:
    try:
        next(stream)
    except grpc.RpcError as error:
        return error.code().name if isinstance(error, grpc.Call) else str(error)
    return "OK"


def test_health_answers_while_every_worker_waits(channel: grpc.Channel, studies: SlowStudies) -> None:
    stub = StudyServiceStub(channel)
    waiting = [stub.GetStudy.future(pb.GetStudyRequest(), timeout=30) for _ in range(2 * CONTROL_WORKERS)]
    health: Any = health_pb2_grpc.HealthStub(channel)
    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    studies.go.set()
    for call in waiting:
        call.result()


def test_calls_whose_callers_have_left_are_not_worked_on(channel: grpc.Channel, studies: SlowStudies) -> None:
    stub = StudyServiceStub(channel)
    blocking = [stub.GetStudy.future(pb.GetStudyRequest(), timeout=30) for _ in range(CONTROL_WORKERS)]
    left = [stub.GetStudy.future(pb.GetStudyRequest(), timeout=0.2) for _ in range(CONTROL_WORKERS)]
    for call in left:
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    started = time.monotonic()
    studies.go.set()
    for call in blocking:
        call.result()
    stub.ListStudies(pb.ListStudiesRequest(), timeout=10)
    assert time.monotonic() - started < 10


def test_a_stream_whose_request_never_comes_whole_gives_its_slot_back(channel: grpc.Channel) -> None:
    raw: Any = channel.stream_stream("/song.v1.StudyService/GetStudyTree")
    released = threading.Event()

    def waits() -> Iterator[bytes]:
        released.wait(30)
        yield from ()

    for number in range(3 * ServerOptions("", 0).max_streams):
        match number % 3:
            case 0:
                call = raw(iter([b"\xff\xff no message"]))
            case 1:
                call = raw(iter([]))
            case _:
                call = raw(waits())
                call.cancel()
        assert call.code() is not grpc.StatusCode.OK
    released.set()
    deadline = time.monotonic() + 20  # what was cancelled may still be on its way out
    while (answered := _tree(channel)) == "RESOURCE_EXHAUSTED" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answered == "OK"


def _tree(channel: grpc.Channel) -> str:
    call: Any = StudyServiceStub(channel).GetStudyTree(pb.GetStudyTreeRequest(), timeout=10)
    return _first(call)


def test_a_server_that_drains_is_not_there_for_a_new_connection_and_says_so_to_who_watches(
    studies: SlowStudies,
) -> None:
    server = serve(studies, 60.0)
    with grpc.insecure_channel(server.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watched = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        held = StudyServiceStub(channel).GetStudy.future(pb.GetStudyRequest())
        assert studies.entered.wait(30)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
        deadline = time.monotonic() + 25
        while _accepts(server.address):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert not held.done()
        studies.go.set()
        assert held.result() == pb.GetStudyResponse()
        watched.cancel()
    stopping.join()


def _accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except ConnectionRefusedError:
        return False
    return True
