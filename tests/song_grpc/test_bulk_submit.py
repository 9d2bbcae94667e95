"""BulkSubmitAnalyses through real servers, on every database."""

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
from song.v1 import error_reason_pb2
from song.v1.analysis_service_pb2 import BulkSubmitAnalysesRequest, BulkSubmitAnalysesResponse
from song.v1.analysis_service_pb2_grpc import AnalysisServiceStub
from song.v1.error_reason_pb2 import ErrorReason
from sqlalchemy import Connection, select

from runtime_grpc.authentication import TokenInvalidError
from song_grpc.database import changes, locks, tables
from song_grpc.database.engine import DatabaseUnavailableError
from song_grpc.domain import limits
from song_grpc.domain.access import Principal
from song_grpc.domain.analysis import Analysis
from song_grpc.domain.history import Cause
from song_grpc.transport.caller import Callers
from tests.servers.identity import token, write_public_key
from tests.servers.processes import ServiceProcess
from tests.song_grpc.world import SERVICE_TOKEN, World, file, in_parallel, payload, refusal, running, sample


def request(study_id: str, sent: dict[str, Any] | str, **fields: Any) -> BulkSubmitAnalysesRequest:  # noqa: ANN401 - fields of the message
    text = sent if isinstance(sent, str) else json.dumps(sent)
    return BulkSubmitAnalysesRequest(study_id=study_id, payload_json=text, **fields)


def submit_all(world: World, requests: Iterable[BulkSubmitAnalysesRequest]) -> list[BulkSubmitAnalysesResponse]:
    return list(world.analyses.BulkSubmitAnalyses(iter(requests), timeout=60))


def reason(response: BulkSubmitAnalysesResponse) -> str:
    """Return why a payload was refused, empty where it was not."""
    if not response.HasField("error"):
        return ""
    return ErrorReason.Name(response.error.reason).removeprefix("ERROR_REASON_")


def stored_total(world: World, study_id: str) -> int:
    return len(world.list(study_id, "state = UNPUBLISHED", page_size=1000).analyses)


def test_every_payload_has_one_answer_in_the_order_sent(world: World, study_id: str) -> None:
    names = [f"file-{number}.bam" for number in range(200)]
    answers = submit_all(world, [request(study_id, payload(study_id, files=[file(name)])) for name in names])

    assert [answer.number for answer in answers] == list(range(1, 201))
    found = [world.get(study_id, answer.analysis_id) for answer in answers]
    assert [analysis.files[0].file_name for analysis in found] == names
    assert [event.action for answer in answers[::50] for event in world.events(answer.analysis_id)] == ["CREATE"] * 4


def test_lists_have_the_analyses_of_a_stream_in_the_order_sent(world: World, study_id: str) -> None:
    answers = submit_all(world, [request(study_id, payload(study_id)) for _ in range(100)])
    listed = world.list(study_id, "state = UNPUBLISHED", page_size=100).analyses
    assert [analysis.analysis_id for analysis in listed] == [answer.analysis_id for answer in answers]


def test_a_refused_payload_touches_no_other(world: World, study_id: str) -> None:
    wrong: Sequence[tuple[str, dict[str, Any] | str]] = [
        ("PAYLOAD_PARSING", '{"studyId": }'),
        ("SCHEMA_VIOLATION", payload(study_id, experiment={"libraryStrategy": "none such"})),
        ("STUDY_ID_MISMATCH", payload("another")),
        ("ANALYSIS_TYPE_NOT_FOUND", payload(study_id, analysisType={"name": "none-such"})),
        ("MISMATCHING_DONOR_DATA", payload(study_id, samples=[_with_gender("Male")])),
    ]
    requests = [request(study_id, payload(study_id, samples=[_with_gender("Female")]))]
    for _, sent in wrong:
        requests += [request(study_id, sent), request(study_id, payload(study_id))]

    answers = submit_all(world, requests)

    assert [reason(answer) for answer in answers[1::2]] == [expected for expected, _ in wrong]
    assert not [reason(answer) for answer in answers[::2] if reason(answer)]
    assert stored_total(world, study_id) == len(wrong) + 1


def _with_gender(gender: str) -> dict[str, Any]:
    return sample("one", donor={"submitterDonorId": "one", "gender": gender})


def test_the_error_of_an_item_is_that_of_a_call_of_its_own(world: World, study_id: str) -> None:
    broken = payload(study_id, experiment={"libraryStrategy": 1, "insertSize": "x"})
    (answer,) = submit_all(world, [request(study_id, broken)])
    alone = refusal(lambda: world.submit(study_id, broken))

    error = answer.error
    assert (error.code, error.message, dict(error.metadata)) == (alone.code.value[0], alone.message, alone.metadata)
    assert error.reason == error_reason_pb2.ERROR_REASON_SCHEMA_VIOLATION
    assert error.violation_total == len(error.violations) == world.validate(study_id, broken).violation_total
    assert error.violations == world.validate(study_id, broken).violations
    assert not error.retryable


def test_an_item_has_its_first_hundred_violations(world: World, study_id: str) -> None:
    broken = payload(study_id, files=[{"fileName": f"{number}"} for number in range(50)])
    (answer,) = submit_all(world, [request(study_id, broken)])
    assert answer.error.violation_total == 50 * 5
    assert len(answer.error.violations) == limits.MAX_ITEM_VIOLATIONS


def test_the_duplicate_guard_holds_within_a_stream(world: World, study_id: str) -> None:
    same = file()
    requests = [request(study_id, payload(study_id, files=[same])) for _ in range(20)]
    requests += [request(study_id, payload(study_id, files=[same]), allow_duplicates=True)]

    answers = submit_all(world, requests)

    assert [reason(answer) for answer in answers] == ["", *["INFO_ALREADY_EXISTS"] * 19, ""]
    assert answers[1].error.metadata["analysis_ids"] == answers[0].analysis_id


def test_a_donor_that_one_payload_brings_is_known_to_the_next(world: World, study_id: str) -> None:
    answers = submit_all(
        world, [request(study_id, payload(study_id, samples=[sample(number % 3)])) for number in range(60)]
    )
    found = [world.get(study_id, answer.analysis_id).samples[0] for answer in answers]
    assert len({(one.donor.donor_id, one.specimen.specimen_id, one.sample_id) for one in found}) == 3


def test_a_request_id_gives_the_first_answer_again_in_a_stream_and_in_a_call(world: World, study_id: str) -> None:
    sent = [json.dumps(payload(study_id)) for _ in range(10)]
    requests = [request(study_id, text, request_id=f"{study_id}-{number}") for number, text in enumerate(sent)]

    first = submit_all(world, [*requests, *requests])
    again = submit_all(world, requests)
    alone = [world.submit(study_id, text, request_id=f"{study_id}-{number}") for number, text in enumerate(sent)]

    ids = [answer.analysis_id for answer in first]
    assert ids == [answer.analysis_id for answer in again] * 2 == alone * 2
    assert len(set(ids)) == stored_total(world, study_id) == 10
    (other,) = submit_all(world, [request(study_id, payload(study_id), request_id=f"{study_id}-0")])
    assert reason(other) == "REQUEST_ID_REUSED"


def test_one_request_id_for_two_contents_within_a_stream_is_refused_the_second_time(
    world: World, study_id: str
) -> None:
    answers = submit_all(world, [request(study_id, payload(study_id), request_id=f"{study_id}-x") for _ in range(2)])
    assert [reason(answer) for answer in answers] == ["", "REQUEST_ID_REUSED"]


def test_one_stream_submits_to_many_studies(world: World) -> None:
    studies = [world.new_study() for _ in range(5)]
    answers = submit_all(world, [request(studies[number % 5], payload(studies[number % 5])) for number in range(50)])
    assert not [reason(answer) for answer in answers if reason(answer)]
    assert [stored_total(world, study_id) for study_id in studies] == [10] * 5


def test_parallel_streams_and_calls_to_one_study_all_arrive(world: World, study_id: str) -> None:
    streams = [
        lambda: submit_all(world, [request(study_id, payload(study_id, samples=[sample(1)])) for _ in range(40)])
    ] * 4
    calls = [lambda: world.submit(study_id, payload(study_id, samples=[sample(1)]))] * 8

    answers = in_parallel([*streams, *calls])

    assert not [reason(answer) for stream in answers[:4] for answer in stream if reason(answer)]
    assert all(isinstance(answer, str) for answer in answers[4:])
    assert stored_total(world, study_id) == 4 * 40 + 8


def test_an_empty_stream_has_no_answers(world: World) -> None:
    assert submit_all(world, []) == []


def test_no_more_than_its_bound_is_read_while_no_answer_is_taken(world: World, study_id: str) -> None:
    sent, done = [0], threading.Event()

    def requests() -> Iterator[BulkSubmitAnalysesRequest]:
        large = payload(study_id, experiment={"libraryStrategy": "WGS", "note": "x" * 2**20})
        text = json.dumps(large)
        while not done.is_set():
            sent[0] += 1
            yield request(study_id, text, allow_duplicates=True)

    call = world.analyses.BulkSubmitAnalyses(requests())
    first = next(call)
    call.cancel()
    done.set()

    assert first.number == 1
    assert sent[0] < 4 * limits.MAX_BULK_PAYLOADS, "the client was held back, beyond what buffers take"


def test_what_the_database_refuses_in_a_batch_spoils_no_other_payload(
    world: World, study_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = changes.record_submissions

    def refuse_some(connection: Connection, submitted: Sequence[tuple[Analysis, Cause]]) -> None:
        if any(analysis.files[0].file_name == "refused.bam" for analysis, _ in submitted):
            raise RuntimeError("as a constraint would")
        record(connection, submitted)

    monkeypatch.setattr(changes, "record_submissions", refuse_some)
    names = ["refused.bam" if number % 7 == 3 else f"{number}.bam" for number in range(40)]
    answers = submit_all(world, [request(study_id, payload(study_id, files=[file(name)])) for name in names])

    assert [reason(answer) for answer in answers] == [
        "UNKNOWN_ERROR" if name == "refused.bam" else "" for name in names
    ]
    assert stored_total(world, study_id) == 40 - names.count("refused.bam")
    assert all(len(world.events(answer.analysis_id)) == 1 for answer in answers if answer.analysis_id)


def test_a_database_that_is_busy_is_told_to_each_payload_to_be_sent_again(
    world: World, study_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lock_no_study(_connection: Connection, _study_id: str) -> None:
        raise DatabaseUnavailableError("the database is busy; retry")

    with monkeypatch.context() as patch:
        patch.setattr(locks, "lock_study", lock_no_study)
        answers = submit_all(world, [request(study_id, payload(study_id)) for _ in range(5)])
    assert [(reason(answer), answer.error.retryable) for answer in answers] == [("SERVICE_UNAVAILABLE", True)] * 5
    assert stored_total(world, study_id) == 0


def test_a_caller_writes_to_the_studies_of_its_scopes_alone(folder: Path, tmp_path: Path) -> None:
    with running(folder, auth="on", jwt_public_key_file=write_public_key(tmp_path)) as world:
        system = world.calling_with(SERVICE_TOKEN)
        studies = [system.new_study(), system.new_study()]
        scoped = world.calling_with(token(f"PROGRAMDATA-{studies[0]}.WRITE"))
        answers = submit_all(scoped, [request(study_id, payload(study_id)) for study_id in studies])
    assert [reason(answer) for answer in answers] == ["", "SCOPE_MISSING"]


def test_a_stream_ends_once_its_caller_has_lost_the_rights(
    world: World, study_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    principal_of, asked = Callers.principal_of, count(1)

    def lose_rights(self: Callers, context: grpc.ServicerContext) -> Principal:
        if next(asked) > 5:
            raise TokenInvalidError("the token has expired")
        return principal_of(self, context)

    monkeypatch.setattr(limits, "BULK_RIGHTS_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Callers, "principal_of", lose_rights)
        call = world.analyses.BulkSubmitAnalyses(request(study_id, payload(study_id)) for _ in range(10))
        answers = [next(call) for _ in range(4)]
        refused = refusal(lambda: next(call))
    assert not [reason(answer) for answer in answers if reason(answer)]
    assert refused.reason == "TOKEN_INVALID"


def test_a_caller_that_leaves_frees_the_stream_and_leaves_nothing_half_done(world: World, study_id: str) -> None:
    never = threading.Event()

    def requests() -> Iterator[BulkSubmitAnalysesRequest]:
        for _ in range(20):
            yield request(study_id, payload(study_id))
        never.wait()

    call = world.analyses.BulkSubmitAnalyses(requests())
    acknowledged = [next(call).analysis_id for _ in range(10)]
    call.cancel()
    never.set()

    found = world.list(study_id, "state = UNPUBLISHED", page_size=100).analyses
    assert set(acknowledged) <= {analysis.analysis_id for analysis in found}
    assert all(len(world.events(analysis.analysis_id)) == 1 for analysis in found)
    answers = submit_all(world, [request(study_id, payload(study_id))])
    assert reason(answers[0]) == ""


def test_a_server_that_drains_answers_what_it_has_read_and_sends_the_caller_elsewhere(
    folder: Path, own_database_url: str, tmp_path: Path
) -> None:
    study_id, server = _server_with_study(folder, own_database_url, tmp_path)
    never = threading.Event()

    def requests() -> Iterator[BulkSubmitAnalysesRequest]:
        for _ in range(20):
            yield request(study_id, payload(study_id))
        never.wait()

    with grpc.insecure_channel(server.address) as channel:
        call = AnalysisServiceStub(channel).BulkSubmitAnalyses(requests(), wait_for_ready=True)
        answers = [next(call)]
        server.process.terminate()
        with pytest.raises(grpc.RpcError) as raised:  # noqa: PT012 - it breaks while answers come
            while True:
                answers.append(next(call))
        never.set()
    assert server.process.wait(30) == 0
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not [reason(answer) for answer in answers if reason(answer)]
    with running(folder, own_database_url) as world:
        assert stored_total(world, study_id) == len(answers)


def test_acknowledged_analyses_of_a_killed_server_are_there_and_repetitions_make_no_second_ones(
    folder: Path, own_database_url: str, tmp_path: Path
) -> None:
    study_id, server = _server_with_study(folder, own_database_url, tmp_path)
    requests = [
        request(study_id, payload(study_id, samples=[sample(number)]), request_id=f"r{number}") for number in range(300)
    ]
    acknowledged: list[str] = []
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError):  # noqa: PT012 - it breaks while answers come
        for answer in AnalysisServiceStub(channel).BulkSubmitAnalyses(iter(requests), wait_for_ready=True):
            acknowledged.append(answer.analysis_id)
            if len(acknowledged) == 70:
                server.kill()

    with running(folder, own_database_url) as world:
        answers = submit_all(world, requests)
        ids = [answer.analysis_id for answer in answers]
        assert ids[: len(acknowledged)] == acknowledged
        assert len(acknowledged) >= 70
        with world.database.read() as connection:
            events = connection.execute(select(tables.outbox.c.analysis_id)).scalars().all()
            stored = connection.execute(select(tables.analyses.c.analysis_id)).scalars().all()
    assert sorted(events) == sorted(stored) == sorted(ids)


def _server_with_study(folder: Path, url: str, logs: Path) -> tuple[str, ServiceProcess]:
    """Start a server of its own process; return it, and a study that it has."""
    with running(folder, url) as world:
        study_id = world.new_study()
    arguments = ["-m", "song_grpc", "--port", "0", "--data-dir", str(folder), "--database-url", url]
    return study_id, ServiceProcess(arguments, logs / "log")
