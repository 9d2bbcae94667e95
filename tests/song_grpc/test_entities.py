"""Donors, specimens and samples: read, listed, corrected, deleted; on every database."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from song.v1 import entity_pb2, entity_service_pb2, study_pb2, study_service_pb2
from sqlalchemy import insert, select

from song_grpc.database import tables
from song_grpc.domain.ids import entity_id
from song_grpc.domain.limits import MAX_PAGE_BYTES
from tests.servers.identity import token, write_public_key
from tests.song_grpc.world import SERVICE_TOKEN, World, payload, refusal, running, sample

KINDS = ("donor", "specimen", "sample")
CORRECTIONS: dict[str, dict[str, Any]] = {
    "donor": {"gender": "Male", "info_json": '{"a":1}'},
    "specimen": {
        "tumour_normal_designation": "Tumour",
        "specimen_tissue_source": "Plasma",
        "specimen_type": "Cell line \N{EN DASH} derived from metastatic tumour",
        "info_json": '{"a":1}',
    },
    "sample": {"sample_type": "ctDNA", "info_json": '{"a":1}'},
}


def tumour(number: object = 1, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - members of the payload
    """Return a sample of a tumour."""
    of_tumour = sample(number, **changes)
    of_tumour["specimen"]["tumourNormalDesignation"] = "Tumour"
    return of_tumour


def call(world: World, method: str, kind: str, **fields: Any) -> Any:  # noqa: ANN401 - fields and the response of the method
    """Call a method of the service for a kind, for example Get and donor."""
    name = f"{method}{kind.capitalize()}"
    request = getattr(entity_service_pb2, f"{name}Request")(**fields)
    return getattr(world.entities, name)(request)


def get(world: World, kind: str, study_id: str, number: object = 1) -> Any:  # noqa: ANN401 - the message of the kind
    return getattr(
        call(world, "Get", kind, study_id=study_id, **{f"{kind}_id": entity_id(study_id, f"{kind}-{number}")}), kind
    )


def correct(
    world: World,
    kind: str,
    known: Message,
    mask: Sequence[str] = (),
    etag: str = "*",
    reason: str = "",
    study_id: str = "",
    **values: Any,  # noqa: ANN401 - fields of the message
) -> Any:  # noqa: ANN401 - the response of the method
    """Correct an entity; the mask names the values unless it is given."""
    key = f"{kind}_id"
    wanted = getattr(entity_pb2, kind.capitalize())(**{key: getattr(known, key)}, etag=etag, **values)
    fields: dict[str, Any] = {kind: wanted, "update_mask": {"paths": list(mask or values)}}
    return call(world, "Update", kind, study_id=study_id, reason=reason, **fields)


def history(world: World, analysis_id: str) -> list[tuple[Any, ...]]:
    columns = tables.history.c
    query = select(columns.action, columns.reason, columns.subjects_json)
    with world.database.read() as connection:
        rows = connection.execute(query.where(columns.analysis_id == analysis_id).order_by(columns.revision))
        return [(row.action, row.reason, json.loads(row.subjects_json)) for row in rows]


def add_unused(world: World, study_id: str, specimens: int = 2, samples: int = 3) -> None:
    """Store a donor with specimens and samples that no analysis refers to: what else imports can leave behind."""
    donor_id = entity_id(study_id, "donor-1")
    with world.database.write() as connection:
        shown = {"study_id": study_id, "info_json": ""}
        row = {"donor_id": donor_id, "submitter_donor_id": "donor-1", "gender": "Other", **shown}
        connection.execute(insert(tables.donors).values(row))
        for one in range(1, specimens + 1):
            specimen_id = entity_id(study_id, f"specimen-{one}")
            described = {"specimen_tissue_source": "Skin", "specimen_type": "Normal"}
            row = {"specimen_id": specimen_id, "donor_id": donor_id, "submitter_specimen_id": f"specimen-{one}"}
            row |= {"tumour_normal_designation": "Normal", **described, **shown}
            connection.execute(insert(tables.specimens).values(row))
            for number in range(1, samples + 1):
                submitter_id = f"sample-{number if one == 1 else one * 100 + number}"
                row = {"sample_id": entity_id(study_id, submitter_id), "submitter_sample_id": submitter_id}
                row |= {"specimen_id": specimen_id, "sample_type": "Total DNA", **shown}
                connection.execute(insert(tables.samples).values(row))


def read_pages(list_page: Callable[[str], tuple[Sequence[str], str]]) -> Iterator[Sequence[str]]:
    token = ""
    while True:
        found, token = list_page(token)
        yield found
        if not token:
            return


def test_entities_are_found_by_their_ids(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id, samples=[tumour(matchedNormalSubmitterSampleId="n", x=1)]))
    shown = world.get(study_id, analysis_id).samples[0]
    found = get(world, "sample", study_id)
    assert all((found.etag, found.specimen.etag, found.donor.etag))
    assert get(world, "specimen", study_id) == found.specimen
    assert get(world, "donor", study_id) == found.donor
    for part in (found, found.specimen, found.donor):
        part.ClearField("etag")
    assert found == shown


@pytest.mark.parametrize("kind", KINDS)
def test_an_entity_of_another_study_is_told_apart_from_one_that_is_nowhere(
    world: World, study_id: str, kind: str
) -> None:
    world.submit(study_id, payload(study_id))
    known = get(world, kind, study_id)
    elsewhere = {"study_id": world.new_study(), f"{kind}_id": getattr(known, f"{kind}_id")}
    refused = refusal(lambda: call(world, "Get", kind, **elsewhere))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "ENTITY_NOT_RELATED_TO_STUDY")
    assert study_id not in refused.message
    missing = f"{kind.upper()}_DOES_NOT_EXIST"
    for bad in ("nowhere", "", "\0", "x" * 65):
        unknown = {"study_id": study_id, f"{kind}_id": bad}
        assert refusal(lambda u=unknown: call(world, "Get", kind, **u)).reason == missing  # type: ignore[misc] # mypy can't infer such a lambda
    # What changes says no more than that it is not there.
    assert refusal(lambda: call(world, "Delete", kind, **elsewhere)).reason == missing
    values = {"info_json": "{}", "study_id": elsewhere["study_id"]}
    assert refusal(lambda: correct(world, kind, known, **values)).reason == missing


def test_entities_are_listed_by_submitter_id(world: World, study_id: str) -> None:
    numbers = ("b", "A", "c", "a", "_")
    world.submit(study_id, payload(study_id, samples=[sample(number) for number in numbers]))
    for kind in KINDS:

        def list_page(token: str, kind: str = kind) -> tuple[Sequence[str], str]:
            page = call(world, "List", f"{kind}s", study_id=study_id, page_size=2, page_token=token)
            names = [getattr(found, f"submitter_{kind}_id") for found in getattr(page, f"{kind}s")]
            return names, page.next_page_token

        pages = list(read_pages(list_page))
        assert pages == [[f"{kind}-A", f"{kind}-_"], [f"{kind}-a", f"{kind}-b"], [f"{kind}-c"]]


def test_specimens_are_listed_of_one_donor_and_samples_of_one_specimen(world: World, study_id: str) -> None:
    second = sample(2, donor=sample(1)["donor"])
    third = sample(3, donor=sample(1)["donor"], specimen=sample(2)["specimen"])
    world.submit(study_id, payload(study_id, samples=[sample(1), second, third, sample(4)]))
    donor_id, specimen_id = entity_id(study_id, "donor-1"), entity_id(study_id, "specimen-2")
    specimens = call(world, "List", "specimens", study_id=study_id, donor_id=donor_id).specimens
    assert [found.submitter_specimen_id for found in specimens] == ["specimen-1", "specimen-2"]
    samples = call(world, "List", "samples", study_id=study_id, specimen_id=specimen_id).samples
    assert [found.submitter_sample_id for found in samples] == ["sample-2", "sample-3"]
    assert samples[0] == get(world, "sample", study_id, 2)
    for unknown in ("nowhere", "\0"):
        assert not call(world, "List", "samples", study_id=study_id, specimen_id=unknown).samples
    assert not call(world, "List", "specimens", study_id=world.new_study(), donor_id=donor_id).specimens


def test_a_page_of_large_entities_ends_before_three_mebibytes(world: World, study_id: str) -> None:
    for number in range(4):
        large = sample(number)
        large["donor"]["info"] = {"x": "é" * 500_000}
        world.submit(study_id, payload(study_id, samples=[large]))
    for kind in ("donors", "samples"):
        page = call(world, "List", kind, study_id=study_id)
        assert len(getattr(page, kind)) == 3
        assert page.ByteSize() <= MAX_PAGE_BYTES
        rest = call(world, "List", kind, study_id=study_id, page_token=page.next_page_token)
        assert (len(getattr(rest, kind)), rest.next_page_token) == (1, "")


@pytest.mark.parametrize("kind", KINDS)
def test_bad_pages_are_malformed(world: World, study_id: str, kind: str) -> None:
    for bad in ({"page_size": -1}, {"page_size": 1001}, {"page_token": "x"}):
        fields: dict[str, Any] = {"study_id": study_id, **bad}
        assert refusal(lambda f=fields: call(world, "List", f"{kind}s", **f)).reason == "MALFORMED_PARAMETER"  # type: ignore[misc] # mypy can't infer such a lambda
    assert refusal(lambda: call(world, "List", f"{kind}s", study_id="nowhere")).reason == "STUDY_ID_DOES_NOT_EXIST"


@pytest.mark.parametrize("kind", KINDS)
def test_a_correction_tells_every_analysis_that_refers_to_it_in_every_state(
    world: World, study_id: str, kind: str
) -> None:
    analysis_ids = [world.submit(study_id, payload(study_id, samples=[tumour(1), tumour(2)])) for _ in range(3)]
    other = world.submit(study_id, payload(study_id, samples=[tumour(2)]))
    world.score.hold(world.get(study_id, analysis_ids[1]))
    world.publish(study_id, analysis_ids[1])
    world.suppress(study_id, analysis_ids[2])
    before = [world.get(study_id, analysis_id) for analysis_id in (*analysis_ids, other)]
    known = get(world, kind, study_id)
    values = CORRECTIONS[kind]

    answer = correct(world, kind, known, etag=known.etag, reason="mistyped", study_id=study_id, **values)

    corrected = getattr(answer, kind)
    assert answer.touched_analysis_total == 3
    assert {name: getattr(corrected, name) for name in values} == values
    assert corrected == get(world, kind, study_id)
    assert corrected.etag != known.etag
    for old in before[:3]:
        now = world.get(study_id, old.analysis_id)
        assert now.state == old.state
        assert now.etag != old.etag
        subject = f"{kind} {getattr(known, f'{kind}_id')}"
        assert history(world, old.analysis_id)[-1] == ("CORRECT_ENTITY", "mistyped", [subject])
        shown = now.samples[0] if kind == "sample" else getattr(now.samples[0], kind)
        assert {name: getattr(shown, name) for name in values} == values
        event = world.events(old.analysis_id)[-1]
        assert event.action == "UPDATE"
        assert event.state == ("UNPUBLISHED", "PUBLISHED", "SUPPRESSED")[now.state - 1]
        told = json.loads(event.analysis_json)["samples"][0]
        assert (told if kind == "sample" else told[kind])["info"] == {"a": 1}
    assert world.get(study_id, other) == before[3]
    # Later submissions are held against what is right now.
    assert refusal(lambda: world.submit(study_id, payload(study_id))).reason.startswith("MISMATCHING_")


@pytest.mark.parametrize("kind", KINDS)
def test_values_as_they_are_change_nothing(world: World, study_id: str, kind: str) -> None:
    sent = sample(1, info={"a": 1, "b": [1.0]})
    sent["donor"]["info"] = sent["specimen"]["info"] = sent["info"]
    analysis_id = world.submit(study_id, payload(study_id, samples=[sent]))
    before, known = world.get(study_id, analysis_id), get(world, kind, study_id)
    values = {name: getattr(known, name) for name in CORRECTIONS[kind]}
    values["info_json"] = '{"b": [1], "c": null, "a": 1.0}'
    answer = correct(world, kind, known, etag=known.etag, study_id=study_id, **values)
    assert (getattr(answer, kind), answer.touched_analysis_total) == (known, 0)
    assert world.get(study_id, analysis_id) == before
    assert len(world.events(analysis_id)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_correction_needs_a_mask_and_an_etag_that_fits(world: World, study_id: str, kind: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id, samples=[tumour()]))
    known, values = get(world, kind, study_id), CORRECTIONS[kind]
    for mask in ([], ["etag"], [f"submitter_{kind}_id"], [f"{kind}_id"], ["*"]):
        refused = refusal(lambda m=mask: call_with(world, study_id, kind, known, m))  # type: ignore[misc] # mypy can't infer such a lambda
        assert (refused.reason, refused.metadata) == ("MALFORMED_PARAMETER", {"field": "update_mask"})
    missing = refusal(lambda: correct(world, kind, known, etag="", study_id=study_id, **values))
    assert missing.metadata == {"field": f"{kind}.etag"}
    long = refusal(lambda: correct(world, kind, known, reason="x" * 1001, study_id=study_id, **values))
    assert long.metadata == {"field": "reason"}
    for bad in ("[]", "{", '{"a": "\\u0000"}', '{"a": "' + "x" * 4 * 1024 * 1024 + '"}'):
        refused = refusal(lambda b=bad: correct(world, kind, known, study_id=study_id, info_json=b))  # type: ignore[misc] # mypy can't infer such a lambda
        assert (refused.reason, refused.metadata) == ("MALFORMED_PARAMETER", {"field": f"{kind}.info_json"})
    assert len(world.events(analysis_id)) == 1
    now = getattr(correct(world, kind, known, study_id=study_id, info_json='{"a":1}'), kind)
    stale = refusal(lambda: correct(world, kind, known, etag=known.etag, study_id=study_id, **values))
    assert (stale.code, stale.reason, stale.metadata) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", {"etag": now.etag})


def call_with(world: World, study_id: str, kind: str, known: Message, mask: Sequence[str]) -> object:
    """Correct with a mask that may be empty."""
    key = f"{kind}_id"
    wanted = getattr(entity_pb2, kind.capitalize())(**{key: getattr(known, key)}, etag="*")
    fields: dict[str, Any] = {kind: wanted, "update_mask": {"paths": mask}}
    return call(world, "Update", kind, study_id=study_id, **fields)


@pytest.mark.parametrize(
    ("kind", "values", "pointer"),
    [
        ("donor", {"gender": "female"}, "/gender"),
        ("donor", {"gender": ""}, "/gender"),
        ("specimen", {"tumour_normal_designation": "Tumor"}, "/tumourNormalDesignation"),
        ("specimen", {"specimen_tissue_source": "skin"}, "/specimenTissueSource"),
        ("specimen", {"specimen_type": "Cell line - derived from metastatic tumour"}, "/specimenType"),
        ("sample", {"sample_type": "DNA"}, "/sampleType"),
        # The specimen is normal: its samples have no matched normal.
        ("sample", {"matched_normal_submitter_sample_id": "sample-2"}, "/matchedNormalSubmitterSampleId"),
    ],
)
def test_what_no_payload_could_say_no_correction_can(
    world: World, study_id: str, kind: str, values: dict[str, Any], pointer: str
) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    known = get(world, kind, study_id)
    refused = refusal(lambda: correct(world, kind, known, study_id=study_id, **values))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SCHEMA_VIOLATION")
    assert [field for field, _ in refused.violations] == [pointer]
    assert get(world, kind, study_id) == known
    assert len(world.events(analysis_id)) == 1


def test_all_violations_of_a_correction_are_listed(world: World, study_id: str) -> None:
    world.submit(study_id, payload(study_id))
    known = get(world, "specimen", study_id)
    values = {"tumour_normal_designation": "x", "specimen_tissue_source": "x", "specimen_type": "x"}
    refused = refusal(lambda: correct(world, "specimen", known, study_id=study_id, **values))
    assert refused.metadata == {"violation_count": "3"}
    assert {field for field, _ in refused.violations} == {
        "/tumourNormalDesignation",
        "/specimenTissueSource",
        "/specimenType",
    }


def test_a_matched_normal_can_be_given_and_taken_away(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id, samples=[tumour()]))
    field = "matched_normal_submitter_sample_id"
    known = get(world, "sample", study_id)
    given = correct(world, "sample", known, study_id=study_id, **{field: "sample-2"}).sample
    assert given.matched_normal_submitter_sample_id == "sample-2"
    assert refusal(lambda: correct(world, "sample", known, study_id=study_id, **{field: ""})).violations[0][0] == (
        "/matchedNormalSubmitterSampleId"
    )
    taken = correct(world, "sample", known, [field], study_id=study_id).sample
    assert not taken.HasField("matched_normal_submitter_sample_id")
    told = json.loads(world.events(analysis_id)[-1].analysis_json)["samples"][0]
    assert told["matchedNormalSubmitterSampleId"] is None


def test_the_designation_of_a_specimen_must_suit_all_its_samples(world: World, study_id: str) -> None:
    shared = tumour()["specimen"] | {"submitterSpecimenId": "shared"}
    donor = sample()["donor"]
    samples = [sample(n, specimen=shared, donor=donor, matchedNormalSubmitterSampleId="normal") for n in range(30)]
    world.submit(study_id, payload(study_id, samples=samples))
    world.submit(study_id, payload(study_id, samples=[sample(99, specimen=shared, donor=donor)]))
    specimen = entity_pb2.Specimen(specimen_id=entity_id(study_id, "shared"))

    refused = refusal(
        lambda: correct(world, "specimen", specimen, study_id=study_id, tumour_normal_designation="Normal")
    )

    assert (refused.reason, refused.metadata) == ("SCHEMA_VIOLATION", {"violation_count": "30"})
    assert {field for field, _ in refused.violations} == {"/tumourNormalDesignation"}
    assert "'sample-0'" in refused.violations[0][1]
    for number in range(30):
        known = entity_pb2.Sample(sample_id=entity_id(study_id, f"sample-{number}"))
        correct(world, "sample", known, ["matched_normal_submitter_sample_id"], study_id=study_id)
    answer = correct(world, "specimen", specimen, study_id=study_id, tumour_normal_designation="Normal")
    assert (answer.specimen.tumour_normal_designation, answer.touched_analysis_total) == ("Normal", 2)


def test_no_correction_makes_an_analysis_too_large_to_be_read(world: World, study_id: str) -> None:
    large = {"libraryStrategy": "WGS", "x": "x" * 14 * 1024 * 1024}
    small = world.submit(study_id, payload(study_id))
    analysis_id = world.submit(study_id, payload(study_id, experiment=large))
    known = get(world, "donor", study_id)
    info_json = '{"a":"' + "x" * 3_500_000 + '"}'
    refused = refusal(lambda: correct(world, "donor", known, study_id=study_id, info_json=info_json))
    assert (refused.reason, refused.metadata) == ("MALFORMED_PARAMETER", {"field": "donor.info_json"})
    assert analysis_id in refused.message
    assert get(world, "donor", study_id) == known
    assert len(world.events(small)) == 1


def test_many_analyses_are_told_in_batches(world: World, study_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("song_grpc.use_cases.entities._READ_AT_ONCE", 4)
    monkeypatch.setattr("song_grpc.use_cases.entities.MAX_CORRECTED_BATCH_BYTES", 4000)
    analysis_ids = [world.submit(study_id, payload(study_id)) for _ in range(11)]
    answer = correct(world, "donor", get(world, "donor", study_id), study_id=study_id, gender="Other")
    assert answer.touched_analysis_total == 11
    for analysis_id in analysis_ids:
        assert [event.action for event in world.events(analysis_id)] == ["CREATE", "UPDATE"]


def test_an_analysis_with_many_samples_of_a_donor_is_told_once(world: World, study_id: str) -> None:
    donor = sample()["donor"]
    analysis_id = world.submit(study_id, payload(study_id, samples=[sample(n, donor=donor) for n in range(1, 6)]))
    answer = correct(world, "donor", get(world, "donor", study_id), study_id=study_id, gender="Other")
    assert answer.touched_analysis_total == 1
    _, event = world.events(analysis_id)
    told = json.loads(event.analysis_json)["samples"]
    assert [found["donor"]["gender"] for found in told] == ["Other"] * 5


@pytest.mark.parametrize("kind", KINDS)
def test_what_analyses_refer_to_is_not_deleted(world: World, study_id: str, kind: str) -> None:
    analysis_ids = sorted(world.submit(study_id, payload(study_id)) for _ in range(21))
    known = get(world, kind, study_id)
    key = {f"{kind}_id": getattr(known, f"{kind}_id")}
    refused = refusal(lambda: call(world, "Delete", kind, study_id=study_id, **key))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ENTITY_IN_USE")
    assert refused.metadata == {
        "entity_id": getattr(known, f"{kind}_id"),
        "analysis_ids": ",".join(analysis_ids[:20]),
        "analysis_count": "21",
    }
    assert get(world, kind, study_id) == known


@pytest.mark.parametrize(("kind", "total"), [("donor", 9), ("specimen", 4), ("sample", 1)])
def test_what_nobody_refers_to_is_deleted_with_all_below_it(world: World, study_id: str, kind: str, total: int) -> None:
    add_unused(world, study_id)
    known = get(world, kind, study_id)
    key = {"study_id": study_id, f"{kind}_id": getattr(known, f"{kind}_id")}
    assert refusal(lambda: call(world, "Delete", kind, etag="stale", **key)).reason == "ETAG_MISMATCH"
    assert call(world, "Delete", kind, etag=known.etag, **key).deleted_total == total
    assert refusal(lambda: call(world, "Get", kind, **key)).reason == f"{kind.upper()}_DOES_NOT_EXIST"
    left = [
        len(getattr(call(world, "List", kinds, study_id=study_id), kinds))
        for kinds in ("donors", "specimens", "samples")
    ]
    assert left == {"donor": [0, 0, 0], "specimen": [1, 1, 3], "sample": [1, 2, 5]}[kind]
    # The same ids come again with the next submission.
    world.submit(study_id, payload(study_id, samples=[sample(1, donor={**sample()["donor"], "gender": "Other"})]))
    assert get(world, kind, study_id).etag


def test_nothing_is_deleted_where_one_thing_below_is_in_use(world: World, study_id: str) -> None:
    add_unused(world, study_id)
    own = sample(1, donor={"submitterDonorId": "donor-1", "gender": "Other"})
    analysis_id = world.submit(study_id, payload(study_id, samples=[own]))
    donor_id = entity_id(study_id, "donor-1")
    refused = refusal(lambda: call(world, "Delete", "donor", study_id=study_id, donor_id=donor_id))
    assert (refused.reason, refused.metadata["analysis_ids"]) == ("ENTITY_IN_USE", analysis_id)
    assert len(call(world, "List", "samples", study_id=study_id).samples) == 6
    unused = entity_id(study_id, "specimen-2")
    assert call(world, "Delete", "specimen", study_id=study_id, specimen_id=unused).deleted_total == 4


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A Song that wants tokens, called as the sister service where a call brings none."""
    folder: Path = tmp_path_factory.mktemp("song")
    with running(folder, auth="on", jwt_public_key_file=write_public_key(folder)) as world:
        yield world


@pytest.mark.parametrize("kind", KINDS)
def test_entities_are_read_by_readers_or_with_a_published_analysis_of_an_open_study(guarded: World, kind: str) -> None:
    system = guarded.calling_with(SERVICE_TOKEN)
    study_id, other = system.new_study(), system.new_study()
    analysis_id = system.submit(study_id, payload(study_id))
    reader = guarded.calling_with(token(f"PROGRAMDATA-{study_id}.READ"))
    stranger = guarded.calling_with(token(f"PROGRAMDATA-{other}.WRITE"))
    known = get(system, kind, study_id)
    named = {f"{kind}_id": getattr(known, f"{kind}_id")}

    def seen_from(study: str, caller: World) -> str:
        try:
            call(caller, "Get", kind, study_id=study, **named)
        except grpc.RpcError:
            return refusal(lambda: call(caller, "Get", kind, study_id=study, **named)).reason
        return "seen"

    missing, unrelated = f"{kind.upper()}_DOES_NOT_EXIST", "ENTITY_NOT_RELATED_TO_STUDY"
    assert [seen_from(study_id, caller) for caller in (reader, stranger, guarded)] == ["seen", missing, missing]
    assert [seen_from(other, caller) for caller in (reader, stranger, guarded)] == [unrelated, missing, missing]
    system.score.hold(system.get(study_id, analysis_id))
    system.publish(study_id, analysis_id)
    assert [seen_from(study_id, caller) for caller in (reader, stranger, guarded)] == ["seen"] * 3
    assert [seen_from(other, caller) for caller in (reader, stranger, guarded)] == [unrelated] * 3
    controlled = study_pb2.Study(study_id=study_id, etag="*", visibility=study_pb2.STUDY_VISIBILITY_CONTROLLED)
    request = study_service_pb2.UpdateStudyRequest(study=controlled, update_mask=FieldMask(paths=["visibility"]))
    system.studies.UpdateStudy(request)
    assert [seen_from(study_id, caller) for caller in (reader, stranger, guarded)] == ["seen", missing, missing]
    # Lists and changes need scopes, published or not.
    assert call(reader, "List", f"{kind}s", study_id=study_id)
    assert refusal(lambda: call(stranger, "List", f"{kind}s", study_id=study_id)).reason == "SCOPE_MISSING"
    assert refusal(lambda: call(reader, "Delete", kind, study_id=study_id, **named)).reason == "SCOPE_MISSING"
    changed = {"study_id": study_id, "info_json": "{}"}
    assert refusal(lambda: correct(reader, kind, known, **changed)).reason == "SCOPE_MISSING"
