"""External validations through a real Song, with a real source."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from song.v1 import analysis_service_pb2, analysis_type_pb2

from song_grpc.domain import work
from song_grpc.gateways import askers, http_sources
from tests.servers.http_service import Answer, Asked, HttpService, closed_port, http_service
from tests.song_grpc.world import World, file, in_parallel, payload, refusal, running, sample

SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}


@pytest.fixture
def source() -> Iterator[HttpService]:
    """A source that permits all."""
    with http_service() as service:
        yield service


def options(*items: tuple[str, str]) -> analysis_type_pb2.AnalysisTypeOptions:
    """Return options with these (URL, JSONPath)s."""
    found = [analysis_type_pb2.ExternalValidation(url=url, json_path=path) for url, path in items]
    return analysis_type_pb2.AnalysisTypeOptions(
        external_validations=analysis_type_pb2.ExternalValidations(items=found)
    )


def asking(world: World, source: HttpService, path: str = "samples[*].submitterSampleId") -> str:
    """Register a type that asks the source about the values of a path."""
    return world.new_type(SCHEMA, options=options((f"{source.url}/{{study}}/{{value}}", path)))


def of_type(study_id: str, name: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - members of the payload
    return payload(study_id, analysisType={"name": name}, **changes)


def refuse_all(_asked: Asked) -> Answer:
    return Answer(404)


def test_each_value_is_asked_about_once_and_every_refused_place_is_reported(
    world: World, study_id: str, source: HttpService
) -> None:
    name = asking(world, source, "samples[*].donor.submitterDonorId")
    donors = [sample(number, donor=sample(number % 2)["donor"]) for number in range(4)]
    source.answer = lambda asked: Answer(204 if asked.path.endswith("donor-1") else 404)

    found = world.validate(study_id, of_type(study_id, name, samples=donors))

    assert [(one.pointer, one.keyword) for one in found.violations] == [
        ("/samples/0/donor/submitterDonorId", "externalValidations"),
        ("/samples/2/donor/submitterDonorId", "externalValidations"),
    ]
    assert found.violations[0].message == (
        f"is not permitted: the external source {source.url}/{{study}}/{{value}} answered 404"
    )
    assert source.paths() == {f"/{study_id}/donor-0": 1, f"/{study_id}/donor-1": 1}


def test_a_submission_is_refused_and_stored_once_its_source_permits(
    world: World, study_id: str, source: HttpService
) -> None:
    name = asking(world, source)
    source.answer = refuse_all
    refused = refusal(lambda: world.submit(study_id, of_type(study_id, name)))
    assert refused.reason == "SCHEMA_VIOLATION"
    assert [field for field, _ in refused.violations] == ["/samples/0/submitterSampleId"]
    source.answer = lambda _asked: Answer()
    assert world.submit(study_id, of_type(study_id, name))


def test_a_yes_is_remembered_and_a_no_is_not(world: World, study_id: str, source: HttpService) -> None:
    name = asking(world, source)
    for status, asked in ((404, 1), (403, 2), (200, 3), (404, 3)):
        source.answer = lambda _asked, status=status: Answer(status)  # type: ignore[misc] # mypy can't infer such a lambda
        found = world.validate(study_id, of_type(study_id, name))
        assert bool(found.violation_total) == (status != 200 and asked < 3)
        assert len(source.asked) == asked


def test_what_the_schema_refuses_is_not_asked_about(world: World, study_id: str, source: HttpService) -> None:
    name = asking(world, source)
    found = world.validate(study_id, of_type(study_id, name, files=[file(fileSize=-1)]))
    assert found.violation_total == 1
    assert not source.asked


def test_an_update_is_asked_about_too(world: World, study_id: str, source: HttpService) -> None:
    name = asking(world, source, "extra")
    analysis_id = world.submit(study_id, of_type(study_id, name))
    assert not source.asked
    source.answer = refuse_all
    request = analysis_service_pb2.PatchAnalysisRequest(
        study_id=study_id, analysis_id=analysis_id, patch_json='{"extra": "x"}', etag="*"
    )

    refused = refusal(lambda: world.analyses.PatchAnalysis(request))

    assert (refused.reason, [field for field, _ in refused.violations]) == ("SCHEMA_VIOLATION", ["/extra"])
    assert source.paths() == {f"/{study_id}/x": 1}
    source.answer = lambda _asked: Answer()
    world.analyses.PatchAnalysis(request)
    assert '"extra":"x"' in world.get(study_id, analysis_id).data_json


@pytest.mark.parametrize("value", ["a/b?c=d&e#f", "ä ö%41", "..", "{study}", "\U0001f9ec"])
def test_a_value_never_leaves_its_place_in_the_url(
    world: World, study_id: str, source: HttpService, value: str
) -> None:
    name = asking(world, source, "extra")
    world.submit(study_id, of_type(study_id, name, extra=value))
    (asked,) = source.asked
    assert asked.path.count("/") == 2
    assert unquote(asked.path) == f"/{study_id}/{value}"


def test_numbers_and_booleans_are_asked_about_as_json_spells_them(
    world: World, study_id: str, source: HttpService
) -> None:
    name = asking(world, source, "extra[*]")
    world.submit(study_id, of_type(study_id, name, extra=[1, 1.5, True, None, "1"]))
    assert set(source.paths()) == {f"/{study_id}/1", f"/{study_id}/1.5", f"/{study_id}/true"}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("samples[?@.sampleType == 'ctDNA'].submitterSampleId", {"sample-2"}),
        ("samples[?length(@.submitterSampleId) == 8 && !@.nothing]['submitterSampleId']", {"sample-1", "sample-2"}),
        (".submitterDonorId", {"donor-1", "donor-2"}),
        ("['samples'][-1].donor.gender", {"Female"}),
        ("extra.deep[0]", {"x"}),
        ("nothing.there", set()),
    ],
)
def test_paths_are_those_of_rfc_9535(
    world: World, study_id: str, source: HttpService, path: str, found: set[str]
) -> None:
    name = asking(world, source, path)
    samples = [sample(), sample(2, sampleType="ctDNA")]
    world.submit(study_id, of_type(study_id, name, samples=samples, extra={"deep": ["x", "y"]}))
    assert {asked.path.rpartition("/")[2] for asked in source.asked} == found


def test_a_path_that_takes_too_much_work_is_stopped(
    world: World, study_id: str, source: HttpService, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    name = asking(world, source, "extra" + "[*,*]" * 40 + ".nothing")
    monkeypatch.setattr(work, "MAX_VALIDATION_SECONDS", 0.5)
    found = world.validate(study_id, of_type(study_id, name, extra=deep))
    assert [(one.pointer, one.keyword) for one in found.violations] == [("", "externalValidations")]


@pytest.mark.parametrize("value", [{"a": 1}, [1], "", "x" * 1025])
def test_what_can_not_be_asked_about_is_not_permitted(
    world: World, study_id: str, source: HttpService, value: object
) -> None:
    name = asking(world, source, "extra")
    found = world.validate(study_id, of_type(study_id, name, extra=value))
    assert [(one.pointer, one.keyword) for one in found.violations] == [("/extra", "externalValidations")]
    assert not source.asked


def test_more_than_a_thousand_values_are_not_asked_about(world: World, study_id: str, source: HttpService) -> None:
    name = asking(world, source, "extra[*]")
    found = world.validate(study_id, of_type(study_id, name, extra=list(range(1001))))
    assert [(one.pointer, one.keyword) for one in found.violations] == [("", "externalValidations")]
    assert not source.asked


def test_at_most_eight_are_asked_about_at_once(world: World, study_id: str, source: HttpService) -> None:
    def slowly(_asked: Asked) -> Answer:
        time.sleep(0.02)
        return Answer()

    source.answer = slowly
    name = asking(world, source, "extra[*]")
    assert not world.validate(study_id, of_type(study_id, name, extra=list(range(60)))).violation_total
    assert 1 < source.most_at_once <= 8
    assert len(source.asked) == 60


def test_a_source_that_is_down_says_so(world: World, study_id: str) -> None:
    with closed_port() as url:
        name = world.new_type(SCHEMA, options=options((f"{url}/{{value}}", "samples[0].submitterSampleId")))
        found = world.validate(study_id, of_type(study_id, name))
    assert [one.message for one in found.violations] == [
        f"is not permitted: the external source {url}/{{value}} can't be reached"
    ]


def test_a_source_that_fails_is_tried_again(world: World, study_id: str, source: HttpService) -> None:
    name = asking(world, source)
    source.answer = lambda _asked: Answer(500 if len(source.asked) < 3 else 200)
    assert not world.validate(study_id, of_type(study_id, name)).violation_total
    assert len(source.asked) == 3
    source.asked.clear()
    source.answer = lambda _asked: Answer(503)
    found = world.validate(study_id, of_type(study_id, name, samples=[sample(2)]))
    assert found.violations[0].message.endswith("answered 503")
    assert len(source.asked) == 3


def test_a_redirect_is_no_permission_and_is_not_followed(world: World, study_id: str, source: HttpService) -> None:
    name = asking(world, source)
    source.answer = lambda _asked: Answer(302, headers=(("location", f"{source.url}/elsewhere"),))
    found = world.validate(study_id, of_type(study_id, name))
    assert found.violations[0].message.endswith("answered 302")
    assert "/elsewhere" not in source.paths()


def test_a_huge_answer_permits_and_is_not_read(world: World, study_id: str, source: HttpService) -> None:
    name = asking(world, source)
    source.answer = lambda _asked: Answer(200, b"x" * (2 * 1024 * 1024))
    assert not world.validate(study_id, of_type(study_id, name)).violation_total


@pytest.mark.parametrize("drips", [False, True])
def test_a_source_that_takes_too_long_does_not_permit(
    world: World, study_id: str, source: HttpService, monkeypatch: pytest.MonkeyPatch, drips: bool
) -> None:
    monkeypatch.setattr(http_sources, "EXTERNAL_SOURCES_SECONDS", 0.5)

    def hang(_asked: Asked) -> Answer:
        if not drips:
            source.stopped.wait(20)
        return Answer(drips=drips)

    source.answer = hang
    name = asking(world, source, "extra[*]")
    begun = time.monotonic()
    found = world.validate(study_id, of_type(study_id, name, extra=list(range(20))))
    assert time.monotonic() - begun < 5
    assert found.violation_total == 20
    assert {one.message.partition("{value} ")[2] for one in found.violations} == {"did not answer in time"}


def test_a_source_that_hangs_leaves_threads_to_other_calls(
    folder: Any,  # noqa: ANN401 - a path
    source: HttpService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_sources, "EXTERNAL_SOURCES_SECONDS", 4)
    monkeypatch.setattr(askers, "OUTBOUND_PLACE_SECONDS", 0.1)

    def hang(_asked: Asked) -> Answer:
        source.stopped.wait(20)
        return Answer()

    source.answer = hang
    with running(folder) as world:
        study_id = world.new_study()
        name = asking(world, source)
        answers = in_parallel([lambda: world.validate(study_id, of_type(study_id, name))] * 20)
    refused = [refusal(_raise(answer)) for answer in answers if isinstance(answer, Exception)]
    assert refused
    assert {one.reason for one in refused} == {"SERVICE_UNAVAILABLE"}
    assert len(answers) - len(refused) >= 6


def _raise(error: Exception) -> Any:  # noqa: ANN401 - a call
    def call() -> None:
        raise error

    return call


def test_validations_are_inherited_replaced_and_cleared(world: World, source: HttpService) -> None:
    first = options((f"{source.url}/{{value}}", "a"))
    name = world.new_type(SCHEMA, options=first)
    assert not world.register(name, SCHEMA).created
    assert not world.register(name, SCHEMA, options=first).created
    inherited = world.register(name, SCHEMA | {"title": "2"}).analysis_type
    assert inherited.options.external_validations == first.external_validations
    second = options((f"{source.url}/{{value}}", "b"))
    assert world.register(name, SCHEMA | {"title": "2"}, options=second).created
    cleared = world.register(name, SCHEMA | {"title": "2"}, options=options())
    assert cleared.created
    assert not cleared.analysis_type.options.external_validations.items


@pytest.mark.parametrize(
    ("url", "path", "field"),
    [
        ("ftp://host/{value}", "a", "items[0].url"),
        ("file:///etc/{value}", "a", "items[0].url"),
        ("http:///{value}", "a", "items[0].url"),
        ("http://host/{study}", "a", "items[0].url"),
        ("http://host/{value}/{other}", "a", "items[0].url"),
        ("http://host/{value}/}", "a", "items[0].url"),
        ("http://{value}/", "a", "items[0].url"),
        ("http://user:secret@host/{value}", "a", "items[0].url"),
        ("http://host/ {value}", "a", "items[0].url"),
        ("http://host/{value}#x", "a", "items[0].url"),
        ("http://host/{value}/" + "x" * 2048, "a", "items[0].url"),
        ("http://host:99999/{value}", "a", "items[0].url"),
        ("", "a", "items[0].url"),
        ("http://host/{value}", "", "items[0].json_path"),
        ("http://host/{value}", "a[", "items[0].json_path"),
        ("http://host/{value}", "$.a", "items[0].json_path"),
        ("http://host/{value}", "a[?@.*]", "items[0].json_path"),
        ("http://host/{value}", "a[?@..b]", "items[0].json_path"),
        ("http://host/{value}", "a[?@.b == $.c]", "items[0].json_path"),
        ("http://host/{value}", "a[?!(@.b && count(@[1:]) > 1)]", "items[0].json_path"),
        ("http://host/{value}", "a[?match(@.b, '(a*)*b')]", "items[0].json_path"),
        ("http://host/{value}", "a" * 513, "items[0].json_path"),
    ],
)
def test_validations_that_can_not_be_are_refused_at_registration(world: World, url: str, path: str, field: str) -> None:
    refused = refusal(lambda: world.new_type(SCHEMA, options=options((url, path))))
    assert refused.reason == "MALFORMED_PARAMETER"
    assert refused.metadata["field"] == f"options.external_validations.{field}"


def test_too_many_validations_and_twice_the_same_are_refused(world: World) -> None:
    many = [(f"http://host/{number}/{{value}}", "a") for number in range(21)]
    for items in (many, many[:1] * 2):
        refused = refusal(lambda items=items: world.new_type(SCHEMA, options=options(*items)))  # type: ignore[misc] # mypy can't infer such a lambda
        assert refused.metadata["field"] == "options.external_validations"
    assert world.new_type(SCHEMA, options=options(*many[:20]))
