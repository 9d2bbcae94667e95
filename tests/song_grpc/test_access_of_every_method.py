"""No method of the contract is forgotten: each asks who is calling, and whatever writes asks for a scope."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from song.v1 import (
    analysis_service_pb2,
    analysis_type_service_pb2,
    entity_service_pb2,
    error_reason_pb2,
    event_service_pb2,
    file_service_pb2,
    study_service_pb2,
)

from tests.servers.identity import token, write_public_key
from tests.song_grpc.world import SERVICE_TOKEN, Refusal, World, refusal, running

MODULES: list[Any] = [
    analysis_service_pb2,
    analysis_type_service_pb2,
    entity_service_pb2,
    event_service_pb2,
    file_service_pb2,
    study_service_pb2,
]
METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
READ_PREFIXES = ("Get", "List", "Search", "Resolve", "Watch", "Export", "Compare")
BULK = "BulkSubmitAnalyses"
"""Refuses item by item."""
WRITES = sorted(name for name in METHODS if not name.startswith(READ_PREFIXES) and name != BULK)
DENIED = grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("song")
    with running(folder, auth="on", jwt_public_key_file=write_public_key(folder)) as world:
        yield world


def call(world: World, name: str, **fields: object) -> Any:  # noqa: ANN401 - the method's response, or a list of them
    """Call a method with the fields that its request has; end its stream."""
    method = METHODS[name]
    request_type, response_type = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    known = {field: value for field, value in fields.items() if field in method.input_type.fields_by_name}
    request = request_type(**known)
    for part in ("study", "file"):
        if part in method.input_type.fields_by_name:
            getattr(request, part).study_id = fields.get("study_id", "")
    path = f"/{method.containing_service.full_name}/{name}"
    write, read = request_type.SerializeToString, response_type.FromString
    if method.client_streaming:
        return list(world.channel.stream_stream(path, write, read)(iter([request]), timeout=20))
    if method.server_streaming:
        return list(world.channel.unary_stream(path, write, read)(request, timeout=20))
    return world.channel.unary_unary(path, write, read)(request, timeout=20)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_looks_at_the_token(name: str, guarded: World) -> None:
    stranger = guarded.calling_with("nobody's")
    assert refusal(lambda: call(stranger, name)).reason == "TOKEN_INVALID"


@pytest.mark.parametrize("name", WRITES)
def test_whatever_writes_asks_for_a_scope_before_anything_else(name: str, guarded: World) -> None:
    study_id = guarded.calling_with(SERVICE_TOKEN).new_study()

    def refused(world: World) -> Refusal:
        return refusal(lambda: call(world, name, study_id=study_id))

    missing = refused(guarded)
    assert (missing.code, missing.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
    assert missing.metadata["scope"] in {f"PROGRAMDATA-{study_id}.WRITE", "song.WRITE"}
    for scope in (f"PROGRAMDATA-{study_id}.READ", "song.READ", "PROGRAMDATA-other.WRITE"):
        lacking = refused(guarded.calling_with(token(scope)))
        assert (lacking.code, lacking.reason) == (DENIED, "SCOPE_MISSING")
        assert lacking.metadata == missing.metadata


def test_every_item_of_a_bulk_asks_for_a_scope(guarded: World) -> None:
    study_id = guarded.calling_with(SERVICE_TOKEN).new_study()
    for world, reason in (
        (guarded, "TOKEN_MISSING"),
        (guarded.calling_with(token(f"PROGRAMDATA-{study_id}.READ")), "SCOPE_MISSING"),
    ):
        (item,) = call(world, BULK, study_id=study_id, payload_json="{}")
        assert error_reason_pb2.ErrorReason.Name(item.error.reason) == f"ERROR_REASON_{reason}"
        assert item.error.metadata["scope"] == f"PROGRAMDATA-{study_id}.WRITE"
