"""Ids of donors, specimens and samples from an id service, through a real Song with a real service."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import grpc
import pytest
from pydantic import ValidationError
from song.v1 import analysis_pb2, analysis_service_pb2

from song_grpc.domain import ids
from song_grpc.gateways import http_ids
from tests.servers.http_service import Answer, Asked, HttpService, closed_port, http_service, json_answer
from tests.song_grpc.world import World, file, in_parallel, payload, refusal, running, sample, song_settings


def place(asked: Asked) -> tuple[str, str, str]:
    """Return kind, study id and submitter id of a question."""
    parts = urlsplit(asked.path)
    query = parse_qs(parts.query)
    return parts.path.strip("/"), query["programId"][0], query["submitterId"][0]


def numbered(asked: Asked) -> Answer:
    """Answer with an id made of kind and submitter id, as `DO-donor-1`."""
    kind, study_id, submitter_id = place(asked)
    return Answer(200, f" {kind[:2].upper()}-{study_id}-{submitter_id}\n".encode())


def settings(service_url: str, **more: str) -> dict[str, str]:
    kinds = ("donor", "specimen", "sample")
    form = "programId={studyId}&submitterId={submitterId}"
    return {f"id_service_{kind}_url": f"{service_url}/{kind}?{form}" for kind in kinds} | more


@pytest.fixture
def service() -> Iterator[HttpService]:
    with http_service() as running_service:
        running_service.answer = numbered
        yield running_service


@pytest.fixture
def world(folder: Path, own_database_url: str, service: HttpService) -> Iterator[World]:
    """A Song that asks the service."""
    with running(folder, own_database_url, **settings(service.url)) as own:
        yield own


def entity_ids(analysis: analysis_pb2.Analysis, at: int = 0) -> tuple[str, str, str]:
    found = analysis.samples[at]
    return found.donor.donor_id, found.specimen.specimen_id, found.sample_id


def test_new_entities_get_the_ids_of_the_service_and_are_asked_about_once(world: World, service: HttpService) -> None:
    study_id = world.new_study()
    one = world.get(study_id, world.submit(study_id, payload(study_id)))
    assert entity_ids(one) == (f"DO-{study_id}-donor-1", f"SP-{study_id}-specimen-1", f"SA-{study_id}-sample-1")
    assert one.samples[0].specimen.donor_id == f"DO-{study_id}-donor-1"
    assert one.samples[0].specimen_id == f"SP-{study_id}-specimen-1"
    assert len(service.asked) == 3
    assert {asked.authorization for asked in service.asked} == {""}
    both = payload(study_id, samples=[sample(), sample(2, donor=sample()["donor"])])
    world.submit(study_id, both)
    assert {place(asked)[2] for asked in service.asked[3:]} == {"specimen-2", "sample-2"}


def test_stored_entities_keep_their_ids_whatever_the_service_says(
    folder: Path, own_database_url: str, service: HttpService
) -> None:
    with running(folder, own_database_url) as world:
        study_id = world.new_study()
        world.submit(study_id, payload(study_id))
    with running(folder, own_database_url, **settings(service.url)) as world:
        again = world.get(study_id, world.submit(study_id, payload(study_id)))
        assert entity_ids(again)[0] == ids.entity_id(study_id, "donor-1")
        assert not service.asked
        world.submit(study_id, payload(study_id, samples=[sample(2)]))
    with running(folder, own_database_url) as world:
        kept = world.get(study_id, world.submit(study_id, payload(study_id, samples=[sample(2)])))
        assert entity_ids(kept)[2] == f"SA-{study_id}-sample-2"


def test_a_given_id_must_be_the_one_that_is_resolved(world: World) -> None:
    study_id = world.new_study()
    right = sample(donor=sample()["donor"] | {"donorId": f"DO-{study_id}-donor-1"}, sampleId=f"SA-{study_id}-sample-1")
    wrong = sample(donor=sample()["donor"] | {"donorId": ids.entity_id(study_id, "donor-1")})
    for _ in range(2):  # new, then stored
        refused = refusal(lambda: world.submit(study_id, payload(study_id, samples=[wrong])))
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "DONOR_ID_IS_CORRUPTED")
        assert f"DO-{study_id}-donor-1" in refused.violations[0][1]
        world.submit(study_id, payload(study_id, samples=[right]))


def test_what_is_not_found_is_asked_again(world: World, service: HttpService) -> None:
    study_id = world.new_study()
    service.answer = lambda asked: Answer(404) if place(asked)[0] == "specimen" else numbered(asked)
    refused = refusal(lambda: world.submit(study_id, payload(study_id)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "ID_NOT_FOUND")
    assert refused.metadata == {"kind": "specimen", "study_id": study_id, "submitter_id": "specimen-1"}
    service.answer = numbered
    service.asked.clear()
    assert world.submit(study_id, payload(study_id))
    assert ("specimen", study_id, "specimen-1") in map(place, service.asked)


@pytest.mark.parametrize(
    ("status", "tries"),
    [(500, 3), (503, 3), (429, 3), (400, 1), (401, 1), (403, 1), (302, 1), (204, 1), (201, 1)],
)
def test_other_answers_are_errors_of_the_service(folder: Path, service: HttpService, status: int, tries: int) -> None:
    moved = (("location", f"{service.url}/elsewhere"),) if status == 302 else ()
    service.answer = lambda asked: Answer(status, headers=moved) if place(asked)[0] == "donor" else numbered(asked)
    with running(folder, **settings(service.url)) as world:
        study_id = world.new_study()
        refused = refusal(lambda: world.submit(study_id, payload(study_id)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "ID_SERVICE_ERROR")
        assert refused.metadata == {"status": str(status)}
    assert sum(asked.path.startswith("/donor") for asked in service.asked) == tries
    assert not any("elsewhere" in asked.path for asked in service.asked)


@pytest.mark.parametrize(
    "body", [b"", b" \n", b"a b", b"x" * 37, b"\xff\xfe", "é".encode(), b"a\0b", b"x" * (2 * 1024 * 1024)]
)
def test_what_is_no_id_is_refused(folder: Path, service: HttpService, body: bytes) -> None:
    service.answer = lambda _asked: Answer(200, body)
    with running(folder, **settings(service.url)) as world:
        study_id = world.new_study()
        refused = refusal(lambda: world.submit(study_id, payload(study_id)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "REST_CLIENT_UNEXPECTED_RESPONSE")


def test_a_service_that_fails_now_and_then_is_tried_again(world: World, service: HttpService) -> None:
    failed: set[str] = set()

    def answer(asked: Asked) -> Answer:
        if asked.path not in failed:
            failed.add(asked.path)
            return Answer(503)
        return numbered(asked)

    service.answer = answer
    study_id = world.new_study()
    assert world.submit(study_id, payload(study_id))


def test_a_service_that_is_down_or_hangs_is_an_error_and_reads_go_on(
    folder: Path, service: HttpService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_ids, "ID_SERVICE_SECONDS", 0.5)
    with closed_port() as url, running(folder, **settings(url)) as world:
        study_id = world.new_study()
        refused = refusal(lambda: world.submit(study_id, payload(study_id)))
        assert (refused.reason, refused.metadata) == ("ID_SERVICE_ERROR", {})

    def hang(_asked: Asked) -> Answer:
        service.stopped.wait(20)
        return Answer()

    service.answer = hang
    with running(folder, **settings(service.url)) as world:
        begun = time.monotonic()
        refused = refusal(lambda: world.submit(study_id, payload(study_id)))
        assert refused.reason == "ID_SERVICE_ERROR"
        assert time.monotonic() - begun < 5
        assert not world.list(study_id).analyses
        service.stopped.set()


def test_no_transaction_is_open_while_the_service_is_asked(world: World, service: HttpService) -> None:
    study_id, other = world.new_study(), world.new_study()
    asked_now, go_on = threading.Event(), threading.Event()

    def answer(asked: Asked) -> Answer:
        asked_now.set()
        go_on.wait(20)
        return numbered(asked)

    service.answer = answer
    answers: list[str] = []
    waiting = threading.Thread(target=lambda: answers.append(world.submit(study_id, payload(study_id))))
    waiting.start()
    try:
        assert asked_now.wait(10)
        service.answer = numbered
        # Another study, and the same one, can be written meanwhile.
        assert world.submit(other, payload(other))
        assert world.submit(study_id, payload(study_id, samples=[sample(2)]))
    finally:
        go_on.set()
        waiting.join(20)
    assert answers


def test_a_file_that_is_known_refuses_before_the_service_is_asked(world: World, service: HttpService) -> None:
    study_id = world.new_study()
    known = file()
    world.submit(study_id, payload(study_id, files=[known]))
    service.asked.clear()
    refused = refusal(lambda: world.submit(study_id, payload(study_id, files=[known], samples=[sample(2)])))
    assert refused.reason == "INFO_ALREADY_EXISTS"
    assert not service.asked


@pytest.mark.parametrize("kind", ["donor", "specimen", "sample"])
def test_an_id_that_another_entity_has_is_refused(world: World, service: HttpService, kind: str) -> None:
    service.answer = lambda asked: Answer(200, b"same") if place(asked)[0] == kind else numbered(asked)
    first, second = world.new_study(), world.new_study()
    world.submit(first, payload(first))
    for study_id, number in ((second, 1), (first, 2)):
        refused = refusal(lambda: world.submit(study_id, payload(study_id, samples=[sample(number)])))  # noqa: B023 - called at once
        assert (refused.code, refused.reason) == (
            grpc.StatusCode.ALREADY_EXISTS,
            f"{kind.upper()}_ALREADY_EXISTS",
        )
        assert refused.metadata == {"submitter_id": f"{kind}-{number}", "entity_id": "same"}
        checked = refusal(lambda: world.validate(study_id, payload(study_id, samples=[sample(number)])))  # noqa: B023 - called at once
        assert checked.reason == refused.reason
    assert world.submit(first, payload(first))


def test_two_entities_of_one_payload_can_not_share_an_id(world: World, service: HttpService) -> None:
    service.answer = lambda asked: Answer(200, b"same") if place(asked)[0] == "sample" else numbered(asked)
    study_id = world.new_study()
    refused = refusal(lambda: world.submit(study_id, payload(study_id, samples=[sample(1), sample(2)])))
    assert refused.reason == "SAMPLE_ALREADY_EXISTS"


def test_one_kind_may_have_the_id_of_another(world: World, service: HttpService) -> None:
    service.answer = lambda _asked: Answer(200, b"same")
    study_id = world.new_study()
    found = world.get(study_id, world.submit(study_id, payload(study_id)))
    assert entity_ids(found) == ("same", "same", "same")


def test_of_parallel_submissions_with_one_id_one_wins_and_no_other_fails_otherwise(
    world: World, service: HttpService
) -> None:
    service.answer = lambda asked: Answer(200, b"same") if place(asked)[0] == "donor" else numbered(asked)
    studies = [world.new_study() for _ in range(8)]

    answers = in_parallel([lambda study_id=study_id: world.submit(study_id, payload(study_id)) for study_id in studies])  # type: ignore[misc] # mypy can't infer such a lambda

    errors = [refusal(_raise(answer)) for answer in answers if isinstance(answer, Exception)]
    assert len(errors) == 7
    assert {error.reason for error in errors} == {"DONOR_ALREADY_EXISTS"}


def _raise(error: Exception) -> Any:  # noqa: ANN401 - a call
    def call() -> None:
        raise error

    return call


def test_payloads_of_a_stream_share_their_new_entities_and_none_takes_the_id_of_another(
    world: World, service: HttpService
) -> None:
    def answer(asked: Asked) -> Answer:
        return Answer(200, b"same") if place(asked)[2] in {"donor-3", "donor-4"} else numbered(asked)

    service.answer = answer
    study_id = world.new_study()
    texts = [json.dumps(payload(study_id, samples=[sample(number)])) for number in (1, 1, 2, 3, 4, 3)]
    requests = [analysis_service_pb2.BulkSubmitAnalysesRequest(study_id=study_id, payload_json=text) for text in texts]

    answers = list(world.analyses.BulkSubmitAnalyses(iter(requests), timeout=60))

    refused = [number for number, one in enumerate(answers, 1) if one.HasField("error")]
    assert refused == [5]
    found = [world.get(study_id, one.analysis_id).samples[0].donor.donor_id for one in answers if one.analysis_id]
    assert found == [*[f"DO-{study_id}-donor-{number}" for number in (1, 1, 2)], "same", "same"]


def test_at_most_eight_are_asked_about_at_once(world: World, service: HttpService) -> None:
    def slowly(asked: Asked) -> Answer:
        time.sleep(0.02)
        return numbered(asked)

    service.answer = slowly
    study_id = world.new_study()
    world.submit(study_id, payload(study_id, samples=[sample(number) for number in range(20)]))
    assert len(service.asked) == 60
    assert 1 < service.most_at_once <= 8


def test_ids_are_encoded_so_that_none_leaves_its_place(folder: Path, service: HttpService) -> None:
    urls = {f"id_service_{kind}_url": f"{service.url}/{kind}/{{studyId}}/{{submitterId}}/id" for kind in _KINDS}
    service.answer = lambda asked: Answer(200, f"{abs(hash(asked.path))}".encode())
    with running(folder, **urls) as world:
        study_id = world.new_study()
        world.submit(study_id, payload(study_id, samples=[sample(submitterSampleId="..")]))
    assert f"/sample/{study_id}/../id" in {unquote(asked.path) for asked in service.asked}


_KINDS = ("donor", "specimen", "sample")


def test_the_static_token_is_sent(folder: Path, service: HttpService) -> None:
    with running(folder, **settings(service.url, id_service_token="a static token")) as world:
        study_id = world.new_study()
        world.submit(study_id, payload(study_id))
    assert {asked.authorization for asked in service.asked} == {"Bearer a static token"}


class Granting:
    """A token URL and an id service in one: only the newest token is taken."""

    def __init__(self, lasts_seconds: float = 300) -> None:
        self.granted, self.lasts_seconds = 0, lasts_seconds
        self.forms: list[tuple[str, str]] = []

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/token":
            self.forms.append((asked.authorization, asked.body))
            self.granted += 1
            return json_answer(access_token=f"token-{self.granted}", expires_in=self.lasts_seconds)
        return numbered(asked) if asked.authorization == f"Bearer token-{self.granted}" else Answer(401)


def credentials(service: HttpService) -> dict[str, str]:
    return settings(
        service.url,
        id_service_token_url=f"{service.url}/token",
        id_service_client_id="song",
        id_service_client_secret="the secret of Song",
        id_service_scope="ids.READ",
    )


def test_tokens_are_granted_for_client_credentials_kept_and_renewed(folder: Path, service: HttpService) -> None:
    granting = service.answer = Granting()
    with running(folder, **credentials(service)) as world:
        study_id = world.new_study()
        world.submit(study_id, payload(study_id, samples=[sample(number) for number in range(5)]))
        assert granting.granted == 1
        ((authorization, form),) = granting.forms
        assert authorization.startswith("Basic ")
        assert parse_qs(form) == {"grant_type": ["client_credentials"], "scope": ["ids.READ"]}
        granting.granted += 1  # the service withdraws the token
        assert world.submit(study_id, payload(study_id, samples=[sample(9)]))
        assert 3 <= granting.granted <= 5


def test_a_token_that_expires_is_renewed_before(folder: Path, service: HttpService) -> None:
    granting = service.answer = Granting(lasts_seconds=0.2)
    with running(folder, **credentials(service)) as world:
        study_id = world.new_study()
        world.submit(study_id, payload(study_id))
        before = granting.granted
        time.sleep(0.2)  # the token's whole life: nothing else tells
        world.submit(study_id, payload(study_id, samples=[sample(2)]))
    assert granting.granted > before
    assert not [asked for asked in service.asked if asked.authorization == "Bearer token-0"]


@pytest.mark.parametrize(
    "granted",
    [
        Answer(401),
        Answer(500),
        Answer(200, b"no json"),
        Answer(200, b"[]"),
        json_answer(expires_in=5),
        json_answer(access_token="a\nb"),
        json_answer(access_token="x", expires_in="soon"),
    ],
)
def test_without_a_token_the_service_is_not_asked(folder: Path, service: HttpService, granted: Answer) -> None:
    service.answer = lambda _asked: granted
    with running(folder, **credentials(service)) as world:
        study_id = world.new_study()
        refused = refusal(lambda: world.submit(study_id, payload(study_id)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "ID_SERVICE_ERROR")
    assert "the secret of Song" not in str(refused)
    assert {asked.path for asked in service.asked} == {"/token"}


def told(**changes: str) -> dict[str, str]:
    return settings("https://ids.example.org", **changes)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"id_service_donor_url": "https://h/{studyId}/{submitterId}"}, "belong together"),
        (told(id_service_sample_url=""), "belong together"),
        (told(id_service_donor_url="https://h/{studyId}"), "id_service_donor_url"),
        (told(id_service_donor_url="https://h/{studyId}/{submitterId}/{kind}"), "id_service_donor_url"),
        (told(id_service_specimen_url="ftp://h/{studyId}/{submitterId}"), "id_service_specimen_url"),
        (told(id_service_sample_url="https://{studyId}/{submitterId}"), "id_service_sample_url"),
        ({"id_service_token": "secret"}, "no id_service_donor_url"),
        (told(id_service_client_id="song"), "belong together"),
        (told(id_service_scope="x"), "id_service_scope"),
        (told(id_service_token="sec\nret"), "id_service_token"),
        (
            told(
                id_service_token="secret",
                id_service_token_url="https://h/t",
                id_service_client_id="a",
                id_service_client_secret="secret",
            ),
            "not both",
        ),
        (
            told(id_service_token_url="http://h/t", id_service_client_id="a", id_service_client_secret="secret"),
            "id_service_token_url",
        ),
        (settings("http://ids.example.org", id_service_token="secret"), "id_service_donor_url"),
    ],
)
def test_settings_that_can_not_be_are_refused_at_the_start(tmp_path: Path, wrong: dict[str, str], named: str) -> None:
    with pytest.raises(ValidationError) as raised:
        song_settings(tmp_path, **wrong)
    assert named in str(raised.value)
    assert "secret'" not in str(raised.value)


def test_a_service_without_token_may_be_asked_over_plain_http(tmp_path: Path) -> None:
    found = song_settings(tmp_path, **settings("http://ids.example.org")).entity_ids()
    assert found is not None
    found.close()
    assert song_settings(tmp_path).entity_ids() is None
