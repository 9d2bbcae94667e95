"""Corrections, submissions, updates, patches and changes of state at the same time, on every database."""

import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from song.v1 import (
    analysis_service_pb2_grpc,
    entity_pb2,
    entity_service_pb2,
    entity_service_pb2_grpc,
    file_pb2,
    file_service_pb2,
    file_service_pb2_grpc,
)
from song.v1.analysis_service_pb2 import (
    GetAnalysisRequest,
    PatchAnalysisRequest,
    PublishAnalysisRequest,
    SubmitAnalysisRequest,
    UnpublishAnalysisRequest,
)
from sqlalchemy import select

from runtime_grpc.database import DatabaseUnavailableError
from song_grpc.database import locks, tables
from song_grpc.domain.analysis import Donor
from song_grpc.domain.errors import CallerLeftError
from song_grpc.domain.ids import entity_id
from song_grpc.transport.errors import ERRORS
from song_grpc.use_cases import entities
from tests.servers.postgresql import new_database
from tests.servers.processes import ServiceProcess
from tests.song_grpc.world import World, file, in_parallel, payload, running, sample

ROUNDS = 3
TRIES = 1000
LOST_A_RACE = {grpc.StatusCode.ABORTED, grpc.StatusCode.FAILED_PRECONDITION}
INFO = FieldMask(paths=["info_json"])


class Caller:
    """The stubs of one server."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.analyses = analysis_service_pb2_grpc.AnalysisServiceStub(channel)
        self.files = file_service_pb2_grpc.FileServiceStub(channel)
        self.entities = entity_service_pb2_grpc.EntityServiceStub(channel)


@dataclass(frozen=True, slots=True)
class Study:
    """What the callers fight about."""

    study_id: str
    object_id: str
    """Of the file that is updated."""
    file_owner_id: str
    """Its analysis, which is patched."""
    state_id: str
    """Of the analysis whose state changes."""


def until_it_counts(change: Callable[[], object]) -> None:
    """Make a change some times; whoever was overtaken reads again and repeats. Any other error is one."""
    done = 0
    for _ in range(TRIES):
        try:
            change()
        except grpc.RpcError as error:
            if error.code() not in LOST_A_RACE:
                raise
        else:
            done += 1
        if done == ROUNDS:
            return
    raise AssertionError(f"only {done} of {ROUNDS} changes in {TRIES} tries")


def counted(info_json: str) -> str:
    return json.dumps({"count": count(info_json) + 1})


def count(info_json: str) -> int:
    return int(json.loads(info_json or "{}").get("count", 0))


def correct_donor(caller: Caller, study: Study) -> None:
    key = entity_id(study.study_id, "donor-1")
    known = caller.entities.GetDonor(entity_service_pb2.GetDonorRequest(study_id=study.study_id, donor_id=key)).donor
    wanted = entity_pb2.Donor(donor_id=key, info_json=counted(known.info_json), etag=known.etag)
    request = entity_service_pb2.UpdateDonorRequest(study_id=study.study_id, donor=wanted, update_mask=INFO)
    caller.entities.UpdateDonor(request)


def correct_sample(caller: Caller, study: Study) -> None:
    key = entity_id(study.study_id, "sample-1")
    get = entity_service_pb2.GetSampleRequest(study_id=study.study_id, sample_id=key)
    known = caller.entities.GetSample(get).sample
    wanted = entity_pb2.Sample(sample_id=key, info_json=counted(known.info_json), etag=known.etag)
    request = entity_service_pb2.UpdateSampleRequest(study_id=study.study_id, sample=wanted, update_mask=INFO)
    caller.entities.UpdateSample(request)


def update_file(caller: Caller, study: Study) -> None:
    get = file_service_pb2.GetFileRequest(study_id=study.study_id, object_id=study.object_id)
    known = caller.files.GetFile(get).file
    wanted = file_pb2.File(study_id=study.study_id, object_id=study.object_id, etag=known.etag)
    wanted.info_json = counted(known.info_json)
    caller.files.UpdateFile(file_service_pb2.UpdateFileRequest(file=wanted, update_mask=INFO))


def submit(caller: Caller, study: Study) -> None:
    """Submit with the shared sample as it is; it may be corrected meanwhile."""
    key = entity_id(study.study_id, "sample-1")
    get = entity_service_pb2.GetSampleRequest(study_id=study.study_id, sample_id=key)
    known = caller.entities.GetSample(get).sample
    stated = sample(1, info=json.loads(known.info_json or "{}"))
    stated["donor"]["info"] = json.loads(known.donor.info_json or "{}")
    sent = json.dumps(payload(study.study_id, samples=[stated]))
    caller.analyses.SubmitAnalysis(SubmitAnalysisRequest(study_id=study.study_id, payload_json=sent))


def patch(caller: Caller, study: Study) -> None:
    get = GetAnalysisRequest(study_id=study.study_id, analysis_id=study.file_owner_id)
    known = caller.analyses.GetAnalysis(get).analysis
    request = PatchAnalysisRequest(study_id=study.study_id, analysis_id=study.file_owner_id, etag=known.etag)
    request.patch_json = counted(known.data_json)
    caller.analyses.PatchAnalysis(request)


def change_state(caller: Caller, study: Study) -> None:
    study_id, analysis_id = study.study_id, study.state_id
    caller.analyses.PublishAnalysis(PublishAnalysisRequest(study_id=study_id, analysis_id=analysis_id))
    caller.analyses.UnpublishAnalysis(UnpublishAnalysisRequest(study_id=study_id, analysis_id=analysis_id))


def prepare(world: World) -> Study:
    study_id = world.new_study()
    first = world.get(study_id, world.submit(study_id, payload(study_id, files=[file("a"), file("b")])))
    second = world.get(study_id, world.submit(study_id, payload(study_id)))
    world.score.hold(second)
    return Study(study_id, first.files[0].object_id, first.analysis_id, second.analysis_id)


def fight(callers: Sequence[Caller], publisher: Caller, study: Study) -> None:
    """Let 16 threads change what belongs together."""
    changes: list[Callable[[Caller, Study], None]] = []
    for change, threads in ((correct_donor, 4), (correct_sample, 3), (update_file, 3), (submit, 2), (patch, 2)):
        changes += [change] * threads
    calls = [partial(change, callers[number % len(callers)], study) for number, change in enumerate(changes)]
    calls += [partial(change_state, publisher, study)] * 2
    with ThreadPoolExecutor(len(calls)) as pool:
        for outcome in [pool.submit(until_it_counts, call) for call in calls]:
            outcome.result()


def check(world: World, study: Study) -> None:
    """No change was lost, and every analysis has told each of its changes, in order, with the data of then."""
    donor_id, sample_id = entity_id(study.study_id, "donor-1"), entity_id(study.study_id, "sample-1")
    with world.database.read() as connection:
        donor = connection.scalar(select(tables.donors.c.info_json).where(tables.donors.c.donor_id == donor_id))
        own = connection.scalar(select(tables.samples.c.info_json).where(tables.samples.c.sample_id == sample_id))
        updated = connection.scalar(select(tables.files.c.info_json).where(tables.files.c.object_id == study.object_id))
        owner = tables.analyses.c.analysis_id == study.file_owner_id
        patched = connection.scalar(select(tables.analyses.c.data_json).where(owner))
        of_study = tables.analyses.c.study_id == study.study_id
        revisions: dict[str, int] = {
            row.analysis_id: row.revision
            for row in connection.execute(
                select(tables.analyses.c.analysis_id, tables.analyses.c.revision).where(of_study)
            )
        }
    assert [count(text or "") for text in (donor, own, updated, patched)] == [n * ROUNDS for n in (4, 3, 3, 2)]
    assert len(revisions) == 2 + 2 * ROUNDS
    for analysis_id, revision in revisions.items():
        events = [json.loads(event.analysis_json) for event in world.events(analysis_id)]
        assert len(events) == revision
        assert revisions_told(world, analysis_id) == list(range(1, revision + 1))
        told = [(_count(event["samples"][0]["donor"]), _count(event["samples"][0])) for event in events]
        assert told == sorted(told)
        assert told[-1] == (4 * ROUNDS, 3 * ROUNDS)


def revisions_told(world: World, analysis_id: str) -> list[int]:
    columns = tables.history.c
    with world.database.read() as connection:
        query = select(columns.revision).where(columns.analysis_id == analysis_id)
        return list(connection.scalars(query.order_by(columns.revision)))


def _count(told: dict[str, Any]) -> int:
    return int(told.get("info", {}).get("count", 0))


def test_of_parallel_changes_none_is_lost(world: World) -> None:
    study = prepare(world)
    caller = Caller(world.channel)
    fight([caller], caller, study)
    check(world, study)


def test_of_parallel_changes_through_two_processes_none_is_lost(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = new_database(request)
    with running(tmp_path, url) as world:
        study = prepare(world)
        arguments = ["-m", "song_grpc", "--port", "0", "--data-dir", str(tmp_path), "--database-url", url]
        other = ServiceProcess(arguments, tmp_path / "log")
        with grpc.insecure_channel(other.address) as channel:
            grpc.channel_ready_future(channel).result(30)
            callers = [Caller(world.channel), Caller(channel)]
            fight(callers, callers[0], study)
        assert other.terminate() == 0
        check(world, study)


def test_of_parallel_deletions_of_files_the_last_file_is_left(world: World, study_id: str) -> None:
    names = [f"file-{number}" for number in range(8)]
    analysis = world.get(study_id, world.submit(study_id, payload(study_id, files=[file(name) for name in names])))
    calls = [
        partial(
            world.files.DeleteFiles,
            file_service_pb2.DeleteFilesRequest(
                study_id=study_id, analysis_id=analysis.analysis_id, object_ids=[known.object_id]
            ),
        )
        for known in analysis.files
    ]
    answers = in_parallel(calls)
    refused = [answer for answer in answers if isinstance(answer, grpc.RpcError)]
    assert [answer.code() for answer in refused] == [grpc.StatusCode.FAILED_PRECONDITION]
    assert len(world.get(study_id, analysis.analysis_id).files) == 1
    assert len(world.events(analysis.analysis_id)) == 8


def test_a_correction_whose_caller_has_left_changes_nothing(
    world: World, study_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis_ids = [world.submit(study_id, payload(study_id)) for _ in range(3)]
    begun, refused = threading.Event(), queue.Queue[str]()
    check_wanted = entities._check_wanted

    def wait_until_unwanted(correction: entities.Correction[Donor]) -> None:
        begun.set()
        deadline = time.monotonic() + 30
        while correction.is_wanted() and time.monotonic() < deadline:
            time.sleep(0.01)  # nothing tells that the server has heard of it
        try:
            check_wanted(correction)
        except CallerLeftError as error:
            refused.put(str(error))
            raise

    monkeypatch.setattr(entities, "_check_wanted", wait_until_unwanted)
    donor = entity_pb2.Donor(donor_id=entity_id(study_id, "donor-1"), gender="Other", etag="*")
    mask = FieldMask(paths=["gender"])
    request = entity_service_pb2.UpdateDonorRequest(study_id=study_id, donor=donor, update_mask=mask)
    call = world.entities.UpdateDonor.future(request)
    assert begun.wait(30)
    call.cancel()
    assert "nothing changed" in refused.get(timeout=60)

    monkeypatch.setattr(entities, "_check_wanted", check_wanted)
    request.donor.gender = "Male"
    assert world.entities.UpdateDonor(request).touched_analysis_total == 3
    for analysis_id in analysis_ids:
        told = [json.loads(event.analysis_json) for event in world.events(analysis_id)]
        assert [one["samples"][0]["donor"]["gender"] for one in told] == ["Female", "Male"]


def test_a_deadlock_is_something_to_retry(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    # No two transactions of Song wait for each other in a circle; those of somebody else's may.
    url = new_database(request)
    with running(tmp_path, url) as world:
        studies = [world.new_study(), world.new_study()]
        barrier = threading.Barrier(2)

        def lock_both(first: str, second: str) -> str:
            try:
                with world.database.write() as connection:
                    locks.lock_study(connection, first)
                    barrier.wait(30)
                    locks.lock_study(connection, second)
            except DatabaseUnavailableError:
                return "unavailable"
            return "done"

        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(lock_both, studies, reversed(studies)))
    assert sorted(outcomes) == ["done", "unavailable"]
    entry = ERRORS.entries[DatabaseUnavailableError]
    assert (entry.reason, entry.retry_after_seconds is not None) == ("SERVICE_UNAVAILABLE", True)
