"""Parallel changes of the same analyses: none is lost, none is half there, each has one entry and one event."""

import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from sqlalchemy import select

from runtime_grpc.database import Database
from song_grpc.database import tables
from tests.servers.postgresql import new_database
from tests.servers.processes import ServiceProcess
from tests.song_grpc.world import SERVICE_TOKEN, World, file, in_parallel, payload, running

EVENT_OF = {"SUBMIT": "CREATE", "PATCH": "UPDATE"}
INCREMENTS = 4
TYPE = {"name": "sequencingRead"}
READ = {"libraryStrategy": "WGS"}


def submit_counter(world: World, study_id: str) -> str:
    analysis_id = world.submit(study_id, payload(study_id, counter=0))
    world.score.hold(world.get(study_id, analysis_id))
    return analysis_id


def counter_of(world: World, study_id: str, analysis_id: str) -> int:
    return int(json.loads(world.get(study_id, analysis_id).data_json)["counter"])


def add_one(world: World, study_id: str, analysis_id: str, *, patches: bool) -> str:
    """Add one to the counter, on top of what was read, until nobody comes between; return the new etag."""
    while True:
        analysis = world.get(study_id, analysis_id)
        counter = json.loads(analysis.data_json)["counter"] + 1
        try:
            if patches:
                return world.patch(study_id, analysis_id, {"counter": counter}, analysis.etag).etag
            whole = {"analysisType": TYPE, "experiment": READ, "counter": counter}
            return world.update(study_id, analysis_id, whole, analysis.etag).etag
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ABORTED:
                raise


def increments(world: World, study_id: str, analysis_ids: Sequence[str], number: int) -> list[tuple[str, str]]:
    """Return analysis and new etag of each increment."""
    done = []
    for step in range(INCREMENTS):
        analysis_id = analysis_ids[(number + step) % len(analysis_ids)]
        done.append((analysis_id, add_one(world, study_id, analysis_id, patches=number % 3 > 0)))
    return done


def turns(world: World, study_id: str, analysis_ids: Sequence[str], number: int) -> list[tuple[str, str]]:
    """Publish and take back; whoever meets updates that keep coming may be told to retry."""
    for step in range(INCREMENTS):
        analysis_id = analysis_ids[(number + step) % len(analysis_ids)]
        try:
            (world.publish if step % 2 else world.unpublish)(study_id, analysis_id, reason=f"turn {number}.{step}")
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
    return []


def check_records(database: Database, analysis_id: str) -> list[Any]:
    """Check that an analysis, its history and its events agree; return the events, oldest first."""
    with database.read() as connection:
        analysis = connection.execute(select(tables.analyses).where(tables.analyses.c.analysis_id == analysis_id)).one()
        entries = connection.execute(
            select(tables.history)
            .where(tables.history.c.analysis_id == analysis_id)
            .order_by(tables.history.c.revision)
        ).all()
        events = connection.execute(
            select(tables.outbox).where(tables.outbox.c.analysis_id == analysis_id).order_by(tables.outbox.c.number)
        ).all()
    assert [entry.revision for entry in entries] == list(range(1, analysis.revision + 1))
    assert [event.action for event in events] == [EVENT_OF.get(entry.action, entry.action) for entry in entries]
    assert [event.state for event in events] == [entry.state for entry in entries]
    assert [event.time for event in events] == [entry.time for entry in entries]
    last = json.loads(events[-1].analysis_json)
    assert (last["analysisState"], last["counter"]) == (analysis.state, json.loads(analysis.data_json)["counter"])
    return list(events)


def check_counters(world: World, study_id: str, done: Sequence[tuple[str, str]], analysis_ids: Sequence[str]) -> None:
    """Check that every increment that was answered is there, on top of the one before."""
    assert len(set(done)) == len(done)  # one winner per etag
    for analysis_id in analysis_ids:
        events = check_records(world.database, analysis_id)
        counted = [json.loads(event.analysis_json)["counter"] for event in events if event.action == "UPDATE"]
        assert counted == list(range(1, len(counted) + 1))
        etags = {f"r{place}" for place, event in enumerate(events, 1) if event.action == "UPDATE"}
        assert {etag for one, etag in done if one == analysis_id} == etags
        assert counter_of(world, study_id, analysis_id) == len(counted)


def change_in_parallel(callers: Sequence[World], study_id: str, analysis_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Let 16 threads increment and turn; return all increments."""
    calls: list[Callable[[], list[tuple[str, str]]]] = [
        partial(
            turns if number % 4 == 3 else increments, callers[number % len(callers)], study_id, analysis_ids, number
        )
        for number in range(16)
    ]
    answers = in_parallel(calls)
    failed = [answer for answer in answers if isinstance(answer, grpc.RpcError)]
    assert not failed
    return [one for answer in answers for one in answer]


def test_no_change_of_sixteen_threads_is_lost(world: World, study_id: str) -> None:
    analysis_ids = [submit_counter(world, study_id) for _ in range(3)]
    done = change_in_parallel([world], study_id, analysis_ids)
    assert len(done) == 12 * INCREMENTS
    check_counters(world, study_id, done, analysis_ids)


def test_no_change_of_two_processes_is_lost(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = new_database(request)
    with running(tmp_path, url) as world:
        score = {"SONG_SERVER_SCORE_ADDRESS": world.song._score._address, "SONG_SERVER_SERVICE_TOKEN": SERVICE_TOKEN}
        arguments = ["-m", "song_grpc", "--port", "0", "--data-dir", str(tmp_path), "--database-url", url]
        other = ServiceProcess(arguments, tmp_path / "log", score)
        second = World(SimpleNamespace(address=other.address), url, world.score)  # type: ignore[arg-type] # of a Song, only its address
        try:
            study_id = world.new_study()
            analysis_ids = [submit_counter(world, study_id) for _ in range(3)]
            done = change_in_parallel([world, second], study_id, analysis_ids)
            assert len(done) == 12 * INCREMENTS
            check_counters(world, study_id, done, analysis_ids)
        finally:
            second.close()
            other.kill()


def test_of_parallel_updates_with_one_etag_one_wins(world: World, study_id: str) -> None:
    analysis_id = submit_counter(world, study_id)
    for step in range(3):
        etag = world.get(study_id, analysis_id).etag
        answers = in_parallel(
            [partial(world.patch, study_id, analysis_id, {"counter": f"{step}.{n}"}, etag) for n in range(16)]
        )
        refused = [answer for answer in answers if isinstance(answer, grpc.RpcError)]
        assert len(refused) == 15
        assert {answer.code() for answer in refused} == {grpc.StatusCode.ABORTED}
        (winner,) = [n for n, answer in enumerate(answers) if not isinstance(answer, grpc.RpcError)]
        assert json.loads(world.get(study_id, analysis_id).data_json)["counter"] == f"{step}.{winner}"
    assert len(check_records(world.database, analysis_id)) == 4


def test_nothing_changes_after_the_suppression(world: World, study_id: str) -> None:
    analysis_id = submit_counter(world, study_id)
    calls: list[Callable[[], Any]] = [partial(world.suppress, study_id, analysis_id) for _ in range(3)]
    calls += [partial(world.patch, study_id, analysis_id, {"counter": n}) for n in range(1, 10)]
    calls += [partial(world.publish, study_id, analysis_id), partial(world.unpublish, study_id, analysis_id)]

    answers = in_parallel(calls)

    assert sorted(answer.changed for answer in answers[:3]) == [False, False, True]
    codes = {answer.code() for answer in answers if isinstance(answer, grpc.RpcError)}
    assert codes <= {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE}
    events = check_records(world.database, analysis_id)
    assert [event.action == "SUPPRESS" for event in events] == [False] * (len(events) - 1) + [True]


def test_updates_whatever_is_there_are_all_applied_or_told_to_retry(world: World, study_id: str) -> None:
    analysis_id = submit_counter(world, study_id)

    answers = in_parallel([partial(world.patch, study_id, analysis_id, {f"k{n}": n}) for n in range(8)])

    applied = {f"k{n}" for n, answer in enumerate(answers) if not isinstance(answer, grpc.RpcError)}
    told = {answer.code() for answer in answers if isinstance(answer, grpc.RpcError)}
    assert told <= {grpc.StatusCode.UNAVAILABLE}
    data = json.loads(world.get(study_id, analysis_id).data_json)
    assert {key for key in data if key.startswith("k")} == applied
    assert len(check_records(world.database, analysis_id)) == 1 + len(applied)


def test_every_acknowledged_change_survives_kill_nine(folder: Path, own_database_url: str, tmp_path: Path) -> None:
    with running(folder, own_database_url) as world:
        study_id = world.new_study()
        analysis_ids = [world.submit(study_id, payload(study_id, files=[file()], counter=0)) for _ in range(4)]
        url, score = world.url, world.score
    arguments = ["-m", "song_grpc", "--port", "0", "--data-dir", str(folder), "--database-url", own_database_url]
    acknowledged: dict[str, list[str]] = {analysis_id: [] for analysis_id in analysis_ids}
    enough = threading.Semaphore(0)

    server = ServiceProcess(arguments, tmp_path / "first log")
    caller = World(SimpleNamespace(address=server.address), url, score)  # type: ignore[arg-type] # of a Song, only its address

    def count(analysis_id: str) -> None:
        while True:  # until the server is gone
            acknowledged[analysis_id].append(add_one(caller, study_id, analysis_id, patches=True))
            enough.release()

    threads = [threading.Thread(target=_until_refused, args=(partial(count, one),)) for one in analysis_ids]
    for thread in threads:
        thread.start()
    try:
        for _ in range(40):
            assert enough.acquire(timeout=30)
    finally:
        server.kill()
        for thread in threads:
            thread.join(30)
        caller.close()

    with running(folder, own_database_url) as again:
        for analysis_id, etags in acknowledged.items():
            events = check_records(again.database, analysis_id)
            assert etags == [f"r{revision}" for revision in range(2, len(etags) + 2)]
            assert len(etags) <= len(events) - 1 <= len(etags) + 1  # the last one may have lost its answer
            counted = [json.loads(event.analysis_json)["counter"] for event in events]
            assert counted == list(range(len(events)))
            add_one(again, study_id, analysis_id, patches=False)
            assert counter_of(again, study_id, analysis_id) == len(events)


def _until_refused(call: Callable[[], None]) -> None:
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - in a thread
