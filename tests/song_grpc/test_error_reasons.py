"""Every reason of the contract, provoked through a real server: code, reason, domain, metadata."""

import inspect
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from song.v1 import (
    analysis_pb2,
    entity_service_pb2,
    error_reason_pb2,
    event_service_pb2,
    event_service_pb2_grpc,
    file_pb2,
    file_service_pb2,
    study_pb2,
    study_service_pb2,
    study_service_pb2_grpc,
)
from sqlalchemy import delete, update

from runtime_grpc import database as runtime_database
from song_grpc.database import tables
from song_grpc.domain import errors
from song_grpc.domain.limits import MAX_WATCHERS
from song_grpc.gateways import score as score_gateway
from song_grpc.transport.errors import ERRORS
from tests.servers.http_service import Answer, http_service
from tests.servers.identity import identity_server, token, write_public_key
from tests.song_grpc.world import SERVICE_TOKEN, World, file, payload, refusal, running, sample

ANY = "*"
SCHEMA = {"type": "object", "properties": {}}
Provoked = tuple[Callable[[], object], dict[str, str]]

SCENES: dict[str, tuple[grpc.StatusCode, Callable[[World, str], Provoked]]] = {}


def scene(code: grpc.StatusCode) -> Callable[[Callable[[World, str], Provoked]], Callable[[World, str], Provoked]]:
    """Register how a reason, the function's name in capitals, is provoked: the call, and the metadata it gives."""

    def register(function: Callable[[World, str], Provoked]) -> Callable[[World, str], Provoked]:
        SCENES[function.__name__.upper()] = (code, function)
        return function

    return register


INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
EXISTS, STATE_FIRST = grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.FAILED_PRECONDITION


@scene(NOT_FOUND)
def study_id_does_not_exist(world: World, _study_id: str) -> Provoked:
    request = study_service_pb2.GetStudyRequest(study_id="nowhere")
    return lambda: world.studies.GetStudy(request), {"study_id": "nowhere"}


@scene(EXISTS)
def study_already_exists(world: World, study_id: str) -> Provoked:
    request = study_service_pb2.CreateStudyRequest(study=study_pb2.Study(study_id=study_id))
    return lambda: world.studies.CreateStudy(request), {"study_id": study_id}


@scene(INVALID)
def study_id_mismatch(world: World, study_id: str) -> Provoked:
    facts = {"study_id": study_id, "payload_study_id": "other"}
    return lambda: world.submit(study_id, payload("other")), facts


@scene(INVALID)
def payload_parsing(world: World, study_id: str) -> Provoked:
    facts = {"line": "1", "column": "13", "position": "12"}
    return lambda: world.submit(study_id, '{"studyId": }'), facts


@scene(INVALID)
def schema_violation(world: World, study_id: str) -> Provoked:
    return lambda: world.submit(study_id, payload(study_id, files=[file(fileMd5sum="x")])), {"violation_count": "1"}


@scene(INVALID)
def malformed_json_schema(world: World, _study_id: str) -> Provoked:
    broken = {"type": "object", "properties": {"x": {"pattern": "[a"}}}
    return lambda: world.new_type(broken), {"pointer": "/properties/x/pattern"}


@scene(INVALID)
def malformed_parameter(world: World, study_id: str) -> Provoked:
    return lambda: world.list(study_id, page_size=-1), {"field": "page_size"}


@scene(INVALID)
def illegal_analysis_type_name(world: World, _study_id: str) -> Provoked:
    return lambda: world.register("registration", SCHEMA), {"name": "registration"}


@scene(NOT_FOUND)
def analysis_type_not_found(world: World, study_id: str) -> Provoked:
    wanted = {"name": "sequencingRead", "version": 7}
    facts = {"name": "sequencingRead", "version": "7", "latest": "1"}
    return lambda: world.submit(study_id, payload(study_id, analysisType=wanted)), facts


@scene(STATE_FIRST)
def analysis_type_incorrect_version(world: World, study_id: str) -> Provoked:
    name = world.new_type(SCHEMA)
    world.register(name, SCHEMA, force=True)
    wanted = {"name": name, "version": 1}
    facts = {"name": name, "version": "1", "latest": "2"}
    return lambda: world.submit(study_id, payload(study_id, analysisType=wanted)), facts


@scene(EXISTS)
def info_already_exists(world: World, study_id: str) -> Provoked:
    sent = payload(study_id, files=[file("a"), file("b")])
    first = world.submit(study_id, sent)
    counts = {"file_count": "2", "analysis_count": "1", "violation_count": "2"}
    facts = {"file_names": "a,b", "analysis_ids": first, **counts}
    return lambda: world.submit(study_id, sent), facts


@scene(NOT_FOUND)
def analysis_id_not_found(world: World, study_id: str) -> Provoked:
    return lambda: world.get(study_id, "nowhere"), {"study_id": study_id, "analysis_id": "nowhere"}


@scene(grpc.StatusCode.DATA_LOSS)
def analysis_missing_files(world: World, study_id: str) -> Provoked:
    analysis_id = world.submit(study_id, payload(study_id))
    with world.database.write() as connection:
        connection.execute(delete(tables.files).where(tables.files.c.analysis_id == analysis_id))
    return lambda: world.publish(study_id, analysis_id), {"analysis_id": analysis_id}


@scene(STATE_FIRST)
def suppressed_state_transition(world: World, study_id: str) -> Provoked:
    analysis_id = world.submit(study_id, payload(study_id))
    world.suppress(study_id, analysis_id)
    facts = {"analysis_id": analysis_id, "initial_state": "SUPPRESSED", "updated_state": "PUBLISHED"}
    return lambda: world.publish(study_id, analysis_id), facts


def submitted(world: World, study_id: str) -> tuple[analysis_pb2.Analysis, dict[str, str]]:
    analysis = world.get(study_id, world.submit(study_id, payload(study_id)))
    facts = {
        "analysis_id": analysis.analysis_id,
        "object_ids": analysis.files[0].object_id,
        "object_count": "1",
    }
    return analysis, facts


@scene(STATE_FIRST)
def missing_storage_objects(world: World, study_id: str) -> Provoked:
    analysis, facts = submitted(world, study_id)
    return lambda: world.publish(study_id, analysis.analysis_id), facts


@scene(grpc.StatusCode.ABORTED)
def changing_storage_objects(world: World, study_id: str) -> Provoked:
    analysis, facts = submitted(world, study_id)
    world.score.hold(analysis, is_changing=True)
    return lambda: world.publish(study_id, analysis.analysis_id), facts


@scene(STATE_FIRST)
def mismatching_storage_object_sizes(world: World, study_id: str) -> Provoked:
    analysis, facts = submitted(world, study_id)
    world.score.hold(analysis, size_bytes=1)
    return lambda: world.publish(study_id, analysis.analysis_id), facts


@scene(STATE_FIRST)
def mismatching_storage_object_checksums(world: World, study_id: str) -> Provoked:
    analysis, facts = submitted(world, study_id)
    world.score.hold(analysis, md5="0" * 32)
    return lambda: world.publish(study_id, analysis.analysis_id), facts


@scene(grpc.StatusCode.UNAVAILABLE)
def storage_service_error(world: World, study_id: str) -> Provoked:
    analysis, _ = submitted(world, study_id)
    world.score.hides_ids = True
    return lambda: world.publish(study_id, analysis.analysis_id), {}


@scene(grpc.StatusCode.UNAVAILABLE)
def gateway_is_down(world: World, study_id: str) -> Provoked:
    analysis, _ = submitted(world, study_id)
    world.song.use_score("127.0.0.1:1")
    return lambda: world.publish(study_id, analysis.analysis_id), {}


@scene(grpc.StatusCode.DEADLINE_EXCEEDED)
def gateway_timed_out(world: World, study_id: str) -> Provoked:
    analysis, _ = submitted(world, study_id)
    world.score.before_answer = lambda: time.sleep(1)
    return lambda: world.publish(study_id, analysis.analysis_id), {}


def contradiction(world: World, study_id: str, second: dict[str, object]) -> Provoked:
    world.submit(study_id, payload(study_id))
    return lambda: world.submit(study_id, payload(study_id, samples=[second])), {"violation_count": "1"}


@scene(INVALID)
def donor_id_is_corrupted(world: World, study_id: str) -> Provoked:
    return contradiction(world, study_id, sample(donor=sample()["donor"] | {"donorId": "mine"}))


@scene(INVALID)
def specimen_id_is_corrupted(world: World, study_id: str) -> Provoked:
    return contradiction(world, study_id, sample(specimenId="mine"))


@scene(INVALID)
def sample_id_is_corrupted(world: World, study_id: str) -> Provoked:
    return contradiction(world, study_id, sample(sampleId=7))


@scene(STATE_FIRST)
def mismatching_donor_data(world: World, study_id: str) -> Provoked:
    return contradiction(world, study_id, sample(donor=sample()["donor"] | {"gender": "Male"}))


@scene(STATE_FIRST)
def mismatching_specimen_data(world: World, study_id: str) -> Provoked:
    return contradiction(world, study_id, sample(specimen=sample()["specimen"] | {"extra": 1}))


@scene(STATE_FIRST)
def mismatching_sample_data(world: World, study_id: str) -> Provoked:
    return contradiction(world, study_id, sample(sampleType="ctDNA"))


@scene(STATE_FIRST)
def specimen_to_donor_id_mismatch(world: World, study_id: str) -> Provoked:
    return contradiction(world, study_id, sample(donor=sample(2)["donor"]))


@scene(STATE_FIRST)
def sample_to_specimen_id_mismatch(world: World, study_id: str) -> Provoked:
    return contradiction(world, study_id, sample(specimen=sample(2)["specimen"]))


@scene(NOT_FOUND)
def file_not_found(world: World, study_id: str) -> Provoked:
    request = file_service_pb2.GetFileRequest(study_id=study_id, object_id="nowhere")
    return lambda: world.files.GetFile(request), {"study_id": study_id, "object_id": "nowhere"}


@scene(NOT_FOUND)
def donor_does_not_exist(world: World, study_id: str) -> Provoked:
    request = entity_service_pb2.GetDonorRequest(study_id=study_id, donor_id="nowhere")
    return lambda: world.entities.GetDonor(request), {"study_id": study_id, "entity_id": "nowhere"}


@scene(NOT_FOUND)
def specimen_does_not_exist(world: World, study_id: str) -> Provoked:
    request = entity_service_pb2.GetSpecimenRequest(study_id=study_id, specimen_id="nowhere")
    return lambda: world.entities.GetSpecimen(request), {"study_id": study_id, "entity_id": "nowhere"}


@scene(NOT_FOUND)
def sample_does_not_exist(world: World, study_id: str) -> Provoked:
    request = entity_service_pb2.GetSampleRequest(study_id=study_id, sample_id="nowhere")
    return lambda: world.entities.GetSample(request), {"study_id": study_id, "entity_id": "nowhere"}


@scene(NOT_FOUND)
def entity_not_related_to_study(world: World, study_id: str) -> Provoked:
    analysis, _ = submitted(world, study_id)
    facts = {"study_id": world.new_study(), "entity_id": analysis.samples[0].donor.donor_id}
    request = entity_service_pb2.GetDonorRequest(study_id=facts["study_id"], donor_id=facts["entity_id"])
    return lambda: world.entities.GetDonor(request), facts


@scene(STATE_FIRST)
def entity_in_use(world: World, study_id: str) -> Provoked:
    analysis, _ = submitted(world, study_id)
    donor_id = analysis.samples[0].donor.donor_id
    request = entity_service_pb2.DeleteDonorRequest(study_id=study_id, donor_id=donor_id)
    facts = {"entity_id": donor_id, "analysis_ids": analysis.analysis_id, "analysis_count": "1"}
    return lambda: world.entities.DeleteDonor(request), facts


def file_update(analysis: analysis_pb2.Analysis, size_bytes: int) -> file_service_pb2.UpdateFileRequest:
    known = analysis.files[0]
    wanted = file_pb2.File(study_id=known.study_id, object_id=known.object_id, etag="*", size_bytes=size_bytes)
    return file_service_pb2.UpdateFileRequest(file=wanted, update_mask=FieldMask(paths=["size_bytes"]))


@scene(INVALID)
def invalid_file_update_request(world: World, study_id: str) -> Provoked:
    analysis, _ = submitted(world, study_id)
    request = file_update(analysis, -1)
    return lambda: world.files.UpdateFile(request), {"object_id": analysis.files[0].object_id}


@scene(grpc.StatusCode.ABORTED)
def etag_mismatch(world: World, study_id: str) -> Provoked:
    analysis, _ = submitted(world, study_id)
    world.patch(study_id, analysis.analysis_id, {"x": 1}, analysis.etag)
    now = world.get(study_id, analysis.analysis_id).etag
    return lambda: world.patch(study_id, analysis.analysis_id, {"x": 2}, analysis.etag), {"etag": now}


@scene(STATE_FIRST)
def illegal_analysis_update_request(world: World, study_id: str) -> Provoked:
    analysis, _ = submitted(world, study_id)
    world.suppress(study_id, analysis.analysis_id)
    facts = {"analysis_id": analysis.analysis_id, "state": "SUPPRESSED"}
    return lambda: world.patch(study_id, analysis.analysis_id, {"x": 2}), facts


@scene(STATE_FIRST)
def illegal_file_update_request(world: World, study_id: str) -> Provoked:
    analysis, _ = submitted(world, study_id)
    world.score.hold(analysis)
    world.publish(study_id, analysis.analysis_id)
    facts = {"object_id": analysis.files[0].object_id, "analysis_id": analysis.analysis_id}
    request = file_update(analysis, 7)
    return lambda: world.files.UpdateFile(request), facts | {"state": "PUBLISHED", "required_state": "UNPUBLISHED"}


@scene(STATE_FIRST)
def illegal_file_delete_request(world: World, study_id: str) -> Provoked:
    analysis, _ = submitted(world, study_id)
    request = file_service_pb2.DeleteFilesRequest(
        study_id=study_id, analysis_id=analysis.analysis_id, object_ids=[analysis.files[0].object_id]
    )
    facts = {"analysis_id": analysis.analysis_id, "state": "UNPUBLISHED"}
    return lambda: world.files.DeleteFiles(request), facts


@scene(INVALID)
def request_id_reused(world: World, study_id: str) -> Provoked:
    world.submit(study_id, payload(study_id), request_id=study_id)
    return lambda: world.submit(study_id, payload(study_id), request_id=study_id), {"request_id": study_id}


@scene(grpc.StatusCode.UNAUTHENTICATED)
def token_invalid(world: World, study_id: str) -> Provoked:
    request = study_service_pb2.GetStudyRequest(study_id=study_id)
    return lambda: world.studies.GetStudy(request, metadata=(("authorization", "Bearer wrong"),)), {}


IDENTIFIED = {
    *("ID_NOT_FOUND", "ID_SERVICE_ERROR", "REST_CLIENT_UNEXPECTED_RESPONSE"),
    *("DONOR_ALREADY_EXISTS", "SPECIMEN_ALREADY_EXISTS", "SAMPLE_ALREADY_EXISTS"),
}
"""Provoked on a Song with an id service: it gives submitter ids as ids, and answers as they say."""
ID_ANSWERS = {"missing": Answer(404), "broken": Answer(400), "empty": Answer(200)}


def answer_of(submitter_id: str) -> Answer:
    return ID_ANSWERS.get(submitter_id, Answer(200, submitter_id.encode()))


@contextmanager
def identified(folder: Path) -> Iterator[World]:
    """Run a Song that asks an id service."""
    with http_service() as service:
        service.answer = lambda asked: answer_of(asked.path.rpartition("/")[2])
        url = f"{service.url}/{{studyId}}/{{submitterId}}"
        urls = {f"id_service_{kind}_url": url for kind in ("donor", "specimen", "sample")}
        with running(folder, **urls) as world:
            yield world


def of_donor(world: World, study_id: str, submitter_id: str) -> Callable[[], object]:
    donor = {"submitterDonorId": submitter_id, "gender": "Other"}
    return lambda: world.submit(study_id, payload(study_id, samples=[sample(donor=donor)]))


@scene(NOT_FOUND)
def id_not_found(world: World, study_id: str) -> Provoked:
    facts = {"kind": "donor", "study_id": study_id, "submitter_id": "missing"}
    return of_donor(world, study_id, "missing"), facts


@scene(grpc.StatusCode.UNAVAILABLE)
def id_service_error(world: World, study_id: str) -> Provoked:
    return of_donor(world, study_id, "broken"), {"status": "400"}


@scene(grpc.StatusCode.UNAVAILABLE)
def rest_client_unexpected_response(world: World, study_id: str) -> Provoked:
    return of_donor(world, study_id, "empty"), {"kind": "donor", "submitter_id": "empty"}


def taken(world: World, study_id: str, kind: str, second: dict[str, object]) -> Provoked:
    other = world.new_study()
    world.submit(other, payload(other))
    facts = {"submitter_id": f"{kind}-1", "entity_id": f"{kind}-1"}
    return lambda: world.submit(study_id, payload(study_id, samples=[second])), facts


@scene(EXISTS)
def donor_already_exists(world: World, study_id: str) -> Provoked:
    return taken(world, study_id, "donor", sample())


@scene(EXISTS)
def specimen_already_exists(world: World, study_id: str) -> Provoked:
    return taken(world, study_id, "specimen", sample(donor=sample(2)["donor"]))


@scene(EXISTS)
def sample_already_exists(world: World, study_id: str) -> Provoked:
    second = sample(2)
    return taken(world, study_id, "sample", sample(specimen=second["specimen"], donor=second["donor"]))


GUARDED = {"SCOPE_MISSING", "TOKEN_MISSING", "TOKEN_EXPIRED", "BAD_REPLY_FROM_GATEWAY"}
"""Provoked on a Song with authentication."""


@contextmanager
def guarded(folder: Path) -> Iterator[World]:
    """Run a Song that takes JWTs, and API keys of a provider which says 500 to who is not its client."""
    with (
        identity_server() as provider,
        running(
            folder, auth="on", jwt_public_key_file=write_public_key(folder), api_key_url=provider.api_key_url
        ) as world,
    ):
        yield world


@scene(grpc.StatusCode.PERMISSION_DENIED)
def scope_missing(world: World, study_id: str) -> Provoked:
    caller = world.calling_with(token("PROGRAMDATA-other.WRITE"))
    return lambda: caller.submit(study_id, payload(study_id)), {"scope": f"PROGRAMDATA-{study_id}.WRITE"}


@scene(grpc.StatusCode.UNAUTHENTICATED)
def token_missing(world: World, study_id: str) -> Provoked:
    return lambda: world.submit(study_id, payload(study_id)), {"scope": f"PROGRAMDATA-{study_id}.WRITE"}


@scene(grpc.StatusCode.UNAUTHENTICATED)
def token_expired(world: World, study_id: str) -> Provoked:
    caller = world.calling_with(token(f"PROGRAMDATA-{study_id}.WRITE", lasts_seconds=-60))
    return lambda: caller.submit(study_id, payload(study_id)), {}


@scene(grpc.StatusCode.UNAVAILABLE)
def bad_reply_from_gateway(world: World, study_id: str) -> Provoked:
    caller = world.calling_with(str(uuid4()))
    return lambda: caller.submit(study_id, payload(study_id)), {}


@scene(grpc.StatusCode.UNAVAILABLE)
def service_unavailable(world: World, _study_id: str) -> Provoked:
    # Another writer holds the SQLite file for longer than Song waits.
    other = sqlite3.connect(world.database.url.database or "", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return lambda: world.new_study(), {}  # noqa: PLW0108 - as the other scenes


@scene(grpc.StatusCode.OUT_OF_RANGE)
def resume_token_expired(world: World, study_id: str) -> Provoked:
    stub = event_service_pb2_grpc.EventServiceStub(world.channel)
    token = next(stub.WatchEvents(event_service_pb2.WatchEventsRequest(until_now=True))).resume_token
    world.submit(study_id, payload(study_id))
    list(stub.WatchEvents(event_service_pb2.WatchEventsRequest(until_now=True)))
    with world.database.write() as connection:  # as if it had grown old
        connection.execute(delete(tables.outbox))
        connection.execute(update(tables.relay).values(pruned_position=tables.relay.c.last_position))
    return lambda: list(stub.WatchEvents(event_service_pb2.WatchEventsRequest(resume_token=token))), {}


@scene(STATE_FIRST)
def event_broker_missing(world: World, _study_id: str) -> Provoked:
    stub = event_service_pb2_grpc.EventServiceStub(world.channel)
    return lambda: stub.ReplayEvents(event_service_pb2.ReplayEventsRequest(from_event_id="x")), {}


@scene(grpc.StatusCode.RESOURCE_EXHAUSTED)
def too_many_streams(world: World, _study_id: str) -> Provoked:
    stub = event_service_pb2_grpc.EventServiceStub(world.channel)
    streams = [stub.WatchEvents(event_service_pb2.WatchEventsRequest()) for _ in range(MAX_WATCHERS)]
    for stream in streams:
        next(stream)
    return lambda: [*stub.WatchEvents(event_service_pb2.WatchEventsRequest()), *streams], {}


@scene(grpc.StatusCode.INTERNAL)
def unknown_error(world: World, study_id: str) -> Provoked:
    analysis_id = world.submit(study_id, payload(study_id))
    with world.database.write() as connection:
        broken = update(tables.analyses).where(tables.analyses.c.analysis_id == analysis_id)
        connection.execute(broken.values(state="BROKEN"))
    return lambda: world.get(study_id, analysis_id), {"error_id": ANY}


@pytest.mark.parametrize("reason", sorted(SCENES))
def test_each_reason_comes_with_its_code_and_metadata(
    reason: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_gateway, "SCORE_DEADLINE_SECONDS", 0.3)
    if reason == "SERVICE_UNAVAILABLE":  # other scenes wait for the writes of the server's own threads
        monkeypatch.setattr(runtime_database, "SQLITE_BUSY_TIMEOUT_SECONDS", 0)
    code, provoke = SCENES[reason]
    run = guarded if reason in GUARDED else identified if reason in IDENTIFIED else running
    with run(folder) as world:
        study_id = world.calling_with(SERVICE_TOKEN).new_study()
        call, metadata = provoke(world, study_id)
        _check(refusal(call), reason, code, metadata)


def _check(refused: object, reason: str, code: grpc.StatusCode, metadata: dict[str, str]) -> None:
    assert (refused.code, refused.reason, refused.domain) == (code, reason, "song")  # type: ignore[attr-defined] # a Refusal
    shown = {key: ANY if metadata.get(key) == ANY else value for key, value in refused.metadata.items()}  # type: ignore[attr-defined] # a Refusal
    assert shown == metadata


def test_no_reason_is_forgotten() -> None:
    declared = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - an enum of the contract is no dict
    assert set(SCENES) == declared


def test_the_table_maps_every_error_and_uses_every_reason() -> None:
    declared = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - an enum of the contract is no dict
    used = {entry.reason for entry in ERRORS.entries.values()} | {ERRORS.unknown.reason}
    assert used == declared
    families = {errors.SongError, errors.EntityError, errors.StorageError}
    families |= {errors.EntityNotFoundError, errors.EntityExistsError}
    raised = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Exception) and kind not in families
    }
    assert raised <= set(ERRORS.entries)
    codes: dict[str, set[grpc.StatusCode]] = {}
    for entry in ERRORS.entries.values():
        codes.setdefault(entry.reason, set()).add(entry.code)
    assert all(len(found) == 1 for found in codes.values())


def test_nothing_of_a_defect_reaches_the_caller(folder: Path) -> None:
    with running(folder) as world:
        study_id = world.new_study()
        refused = refusal(unknown_error(world, study_id)[0])
    assert refused.metadata["error_id"] in refused.message
    assert "BROKEN" not in refused.message
    assert "Traceback" not in refused.message


def test_the_contents_of_a_payload_never_reach_a_message(world: World, study_id: str) -> None:
    secret = "do-not-repeat-me"
    broken = payload(study_id, files=[file(fileMd5sum=secret, fileAccess=secret, fileSize=secret)], experiment=secret)
    found = world.validate(study_id, broken)
    assert found.violation_total == 4
    assert secret not in str(found)
    for text in (
        f'{{"a": "{secret}" x',
        f'{{"a": "{secret}\\ud800"}}',
        f'["{secret}"]',
        f'{{"{secret}": {"9" * 5000}}}',
    ):
        refused = refusal(lambda text=text: world.submit(study_id, text))  # type: ignore[misc] # mypy can't infer such a lambda
        assert refused.reason == "PAYLOAD_PARSING"
        assert secret not in refused.message
        assert int(refused.metadata["column"]) >= 1


def test_a_server_that_drains_is_unavailable(folder: Path) -> None:
    with running(folder) as world:
        address = world.song.address
        study_id = world.new_study()
    with grpc.insecure_channel(address) as channel:
        stub = study_service_pb2_grpc.StudyServiceStub(channel)
        request = study_service_pb2.GetStudyRequest(study_id=study_id)
        assert refusal(lambda: stub.GetStudy(request)).code is grpc.StatusCode.UNAVAILABLE
