"""A completion that led back to OPEN has ended: who asked while it was under way does not begin it again."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from score.v1.upload_pb2 import UPLOAD_STATE_COMPLETING, UPLOAD_STATE_OPEN
from score.v1.upload_service_pb2 import CompleteUploadRequest, GetUploadRequest

from score_grpc.domain.registrations import Registration
from score_grpc.gateways.registry import CachedRegistry
from score_grpc.use_cases.complete import Completions
from score_grpc.use_cases.completion import CompletionJob
from tests.servers.score_world import PART, World, random_bytes

PATIENCE_SECONDS = 60


def test_a_call_that_saw_it_under_way_leaves_it_open_once_it_has_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.register("object-1", random_bytes(2 * PART))
    upload = world.start("object-1")
    world.send(upload, bytes(2 * PART))
    request = CompleteUploadRequest(upload_id=upload.upload_id)
    may_run, has_ended = threading.Event(), threading.Event()
    jobs: list[str] = []
    run, work, resolve = CompletionJob.run, Completions._work, CachedRegistry.resolve

    def run_later(job: CompletionJob, upload_id: str) -> None:
        jobs.append(upload_id)
        assert may_run.wait(PATIENCE_SECONDS)
        run(job, upload_id)

    def work_and_say(completions: Completions, upload_id: str) -> None:
        work(completions, upload_id)
        has_ended.set()

    def answer_late(registry: CachedRegistry, ids: Sequence[str], *, fresh: bool) -> Mapping[str, Registration]:
        if threading.current_thread().name.startswith("complete"):
            return resolve(registry, ids, fresh=fresh)
        found = resolve(registry, ids, fresh=fresh)
        may_run.set()
        assert has_ended.wait(PATIENCE_SECONDS)
        return found

    monkeypatch.setattr(CompletionJob, "run", run_later)
    monkeypatch.setattr(Completions, "_work", work_and_say)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(world.raw.uploads.CompleteUpload, request)
        assert first.result(PATIENCE_SECONDS).upload.state == UPLOAD_STATE_COMPLETING
        monkeypatch.setattr(CachedRegistry, "resolve", answer_late)
        second = pool.submit(world.raw.uploads.CompleteUpload, request)
        assert second.result(PATIENCE_SECONDS).upload.state == UPLOAD_STATE_OPEN
    monkeypatch.setattr(CachedRegistry, "resolve", resolve)
    seen = world.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload.upload_id)).upload
    assert (seen.state, seen.last_failure.reason) == (UPLOAD_STATE_OPEN, "OBJECT_DIGEST_MISMATCH")
    assert jobs == [upload.upload_id]
