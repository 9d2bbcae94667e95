"""Parallel callers, on every database."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from song.v1.analysis_service_pb2 import SubmitAnalysisRequest
from song.v1.analysis_service_pb2_grpc import AnalysisServiceStub

from song_grpc.domain.limits import PUBLISH_ATTEMPTS
from tests.servers.postgresql import new_database
from tests.servers.processes import ServiceProcess
from tests.song_grpc.world import World, file, in_parallel, payload, running, sample


def test_of_parallel_submitters_of_the_same_bytes_one_wins(world: World, study_id: str) -> None:
    same = file()

    answers = in_parallel(
        [lambda n=n: world.submit(study_id, payload(study_id, files=[same], samples=[sample(n)])) for n in range(16)]  # type: ignore[misc] # mypy can't infer such a lambda
    )

    winners = [answer for answer in answers if isinstance(answer, str)]
    assert len(winners) == 1
    assert {answer.code() for answer in answers if not isinstance(answer, str)} == {grpc.StatusCode.ALREADY_EXISTS}
    stored = world.list(study_id, "state = UNPUBLISHED").analyses
    assert [analysis.analysis_id for analysis in stored] == winners
    assert len(world.events(winners[0])) == 1


def test_parallel_repetitions_of_one_request_make_one_analysis(world: World, study_id: str) -> None:
    sent = payload(study_id)
    answers = in_parallel([lambda: world.submit(study_id, sent, request_id="once")] * 16)
    assert len(set(answers)) == 1
    assert len(world.list(study_id, "state = UNPUBLISHED").analyses) == 1


def test_parallel_submitters_share_new_donors(world: World, study_id: str) -> None:
    answers = in_parallel(
        [lambda n=n: world.submit(study_id, payload(study_id, samples=[sample(n % 3)])) for n in range(16)]  # type: ignore[misc] # mypy can't infer such a lambda
    )
    assert all(isinstance(answer, str) for answer in answers)
    found = world.list(study_id, "state = UNPUBLISHED").analyses
    assert len({analysis.samples[0].donor.donor_id for analysis in found}) == 3


def test_parallel_changes_of_state_leave_a_history_without_gaps(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    world.score.hold(world.get(study_id, analysis_id))
    calls = [lambda: world.publish(study_id, analysis_id), lambda: world.unpublish(study_id, analysis_id)] * 8

    answers = in_parallel(calls)

    changes = world.get(study_id, analysis_id).state_changes
    assert len(changes) == sum(answer.changed for answer in answers)
    states = [change.updated_state for change in changes]
    assert states == [(2, 1)[position % 2] for position in range(len(states))]
    actions = [event.action for event in world.events(analysis_id)]
    assert actions == ["CREATE", *(("PUBLISH", "UNPUBLISH")[position % 2] for position in range(len(states)))]
    assert PUBLISH_ATTEMPTS > 1


def test_of_two_processes_on_one_database_one_submits_the_same_bytes(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = new_database(request)
    with running(tmp_path, url) as world:
        study_id = world.new_study()
        # The other one, a process of its own.
        arguments = ["-m", "song_grpc", "--port", "0", "--data-dir", str(tmp_path), "--database-url", url]
        other = ServiceProcess(arguments, tmp_path / "log")
        with grpc.insecure_channel(other.address) as channel:
            stubs = [world.analyses, AnalysisServiceStub(channel)]
            stubs[1].SubmitAnalysis(_submission(study_id, payload(study_id)), wait_for_ready=True)
            rounds = [
                in_parallel(
                    [
                        partial(stub.SubmitAnalysis, _submission(study_id, payload(study_id, files=[same])))
                        for stub in stubs
                        for _ in range(4)
                    ]
                )
                for same in (file() for _ in range(5))
            ]
        assert other.terminate() == 0

        for answers in rounds:
            refused = [answer for answer in answers if isinstance(answer, grpc.RpcError)]
            assert len(refused) == 7
            assert {answer.code() for answer in refused} == {grpc.StatusCode.ALREADY_EXISTS}
        assert len(world.list(study_id, "state = UNPUBLISHED").analyses) == 6


def test_two_processes_on_one_database_share_new_donors_and_answers_to_requests(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = new_database(request)
    with running(tmp_path, url) as world:
        study_id = world.new_study()
        arguments = ["-m", "song_grpc", "--port", "0", "--data-dir", str(tmp_path), "--database-url", url]
        other = ServiceProcess(arguments, tmp_path / "log")
        with grpc.insecure_channel(other.address) as channel:
            stubs = [world.analyses, AnalysisServiceStub(channel)]
            sent = [
                _submission(study_id, payload(study_id, samples=[sample("shared")]), request_id=f"r{n}")
                for n in range(6)
            ]
            stubs[1].SubmitAnalysis(sent[0], wait_for_ready=True)
            responses = in_parallel([partial(stub.SubmitAnalysis, one) for one in sent for stub in stubs])
        answers = [response.analysis_id for response in responses]
        assert other.terminate() == 0

        assert answers[::2] == answers[1::2]
        found = world.list(study_id, "state = UNPUBLISHED").analyses
        assert {analysis.analysis_id for analysis in found} == set(answers)
        assert len({analysis.samples[0].donor.donor_id for analysis in found}) == 1


def _submission(study_id: str, sent: dict[str, Any], request_id: str = "") -> SubmitAnalysisRequest:
    return SubmitAnalysisRequest(study_id=study_id, payload_json=json.dumps(sent), request_id=request_id)
