"""An upload that is aborted while it completes: what its assembly still brings is freed, whoever died over it."""

import time
from datetime import UTC, datetime

import pytest
from score.v1.upload_pb2 import UPLOAD_STATE_ABORTED
from score.v1.upload_service_pb2 import AbortUploadRequest, GetUploadRequest

from score_grpc.domain import limits
from score_grpc.domain.audit import Asker
from tests.servers.score_world import PART, World, random_bytes

SIZE = PART + 77
PATIENCE_SECONDS = 60


def test_bytes_assembled_after_the_abortion_by_a_process_that_died_then_are_collected(
    any_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, environment = any_world, any_world.score.environment
    monkeypatch.setattr(limits, "LEASE_SECONDS", 3.0)
    data = world.register("aborted-1", random_bytes(SIZE))
    upload = world.start("aborted-1")
    world.send(upload, data)
    key = environment.ledger.upload(upload.upload_id).staging_key
    # By this process, which then does nothing of it.
    assert environment.ledger.begin_completion(upload.upload_id, Asker("somebody"))
    world.raw.uploads.AbortUpload(AbortUploadRequest(upload_id=upload.upload_id))
    environment.store.put(key, [memoryview(data)])  # as the assembly that was under way
    deadline = time.monotonic() + PATIENCE_SECONDS
    while environment.store.stat(key) is not None:
        assert time.monotonic() < deadline, "nobody ever frees the key"
        world.score.collector.collect_expired(datetime.now(UTC))
        time.sleep(0.1)
    seen = world.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload.upload_id)).upload
    assert seen.state == UPLOAD_STATE_ABORTED
    assert world.score.collector.collect_expired(datetime.now(UTC)) == 0
