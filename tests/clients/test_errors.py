from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from score.v1 import error_reason_pb2 as score_reasons
from song.v1 import error_reason_pb2 as song_reasons
from song_score_client import errors
from song_score_client.errors import (
    ClientError,
    DeadlineExceededError,
    IntegrityError,
    ServiceError,
    StoredBytesCorruptError,
    UnavailableError,
    UnimplementedError,
    UnreachableError,
    from_rpc_error,
)

ADDRESS = "localhost:1"
PREFIX = "ERROR_REASON_"
REASONS = {
    name.removeprefix(PREFIX)
    for enum in (song_reasons.ErrorReason, score_reasons.ErrorReason)
    for name, number in enum.items()
    if number
}


class Fail(Protocol):
    """Makes a real call fail, and returns what grpc raises."""

    def __call__(
        self, code: grpc.StatusCode, details: str, *parts: ErrorInfo | BadRequest | RetryInfo
    ) -> grpc.RpcError: ...


@pytest.fixture(scope="module")
def fail() -> Iterator[Fail]:
    wanted: list[Status] = []

    def abort(_request: object, context: grpc.ServicerContext) -> bytes:
        status = wanted.pop()
        if status.details:
            context.abort_with_status(rpc_status.to_status(status))
        code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
        context.abort(code, status.message)

    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Fail": grpc.unary_unary_rpc_method_handler(abort)}
    server = grpc.server(ThreadPoolExecutor(1), handlers=[grpc.method_handlers_generic_handler("x.X", handlers)])
    port = server.add_insecure_port("localhost:0")
    server.start()
    channel = grpc.insecure_channel(f"localhost:{port}")

    def call(code: grpc.StatusCode, details: str, *parts: ErrorInfo | BadRequest | RetryInfo) -> grpc.RpcError:
        status = Status(code=code.value[0], message=details)
        for part in parts:
            packed = Any()
            packed.Pack(part)
            status.details.append(packed)
        wanted.append(status)
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/x.X/Fail")
        with pytest.raises(grpc.RpcError) as caught:
            method(b"")
        return caught.value

    yield call
    channel.close()
    server.stop(None).wait()


def test_every_reason_of_both_contracts_has_exactly_one_class() -> None:
    assert set(ServiceError.reasons) == REASONS
    assert len(set(ServiceError.reasons.values())) == len(REASONS)


def test_a_second_class_for_a_reason_is_refused() -> None:
    with pytest.raises(TypeError, match="has a class already"):
        type("Another", (ServiceError,), {}, reason="STORE_FULL")
    assert ServiceError.reasons["STORE_FULL"] is errors.StoreFullError


def test_the_tree_in_the_documentation_names_every_class() -> None:
    classes = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, ClientError)}
    assert set(re.findall(r"\w+Error\b", errors.__doc__ or "")) == classes


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_a_status_becomes_the_class_of_its_reason(fail: Fail, reason: str) -> None:
    call = fail(grpc.StatusCode.NOT_FOUND, "why", ErrorInfo(reason=reason, domain="score"))
    error = from_rpc_error(call, "song", ADDRESS)
    assert type(error) is ServiceError.reasons[reason]
    assert (str(error), error.reason, error.service) == ("why", reason, "score")


def test_all_details_are_decoded(fail: Fail) -> None:
    call = fail(
        grpc.StatusCode.INVALID_ARGUMENT,
        "2 violations",
        RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)),
        ErrorInfo(reason="SCHEMA_VIOLATION", domain="song", metadata={"violation_count": "2"}),
        BadRequest(field_violations=[BadRequest.FieldViolation(field="/files/0", description="is missing")]),
    )
    error = from_rpc_error(call, "song", ADDRESS)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.metadata == {"violation_count": "2"}
    assert error.violations == [("/files/0", "is missing")]
    assert error.retry_after_seconds == 1.5
    assert error.is_transient


def test_a_reason_this_sdk_does_not_know_gets_the_parent_of_its_code(fail: Fail) -> None:
    call = fail(grpc.StatusCode.DATA_LOSS, "new", ErrorInfo(reason="FROM_THE_FUTURE", domain="score"))
    error = from_rpc_error(call, "score", ADDRESS)
    assert type(error) is IntegrityError
    assert error.reason == "FROM_THE_FUTURE"
    assert isinstance(error, StoredBytesCorruptError.__mro__[1])


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, UnreachableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceededError),
        (grpc.StatusCode.UNIMPLEMENTED, UnimplementedError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, UnavailableError),
        (grpc.StatusCode.CANCELLED, ServiceError),
    ],
)
def test_where_no_service_spoke_the_error_names_the_address(
    fail: Fail, code: grpc.StatusCode, kind: type[ServiceError]
) -> None:
    error = from_rpc_error(fail(code, "text of the library"), "song", ADDRESS)
    assert type(error) is kind
    assert ADDRESS in str(error)
    assert error.reason == ""
