"""AnalysisService, on every database."""

import json
from uuid import NAMESPACE_OID, uuid5

import grpc
import pytest
from song.v1 import analysis_pb2, file_pb2
from sqlalchemy import select

from song_grpc.database import tables
from tests.song_grpc.world import World, file, payload, refusal, sample

STATE = analysis_pb2.AnalysisState


def test_a_submission_reads_back_as_it_was_sent(world: World, study_id: str) -> None:
    sent = payload(study_id, files=[file("b.bam", fileSize=1.0, foo=[1]), file("a.bam", info={"x": None, "y": 2})])
    sent["files"][0]["fileMd5sum"] = sent["files"][0]["fileMd5sum"].upper()
    sent["samples"][0]["donor"]["ethnicity"] = "?"

    analysis = world.get(study_id, world.submit(study_id, sent))

    assert analysis.state == STATE.ANALYSIS_STATE_UNPUBLISHED
    assert (analysis.analysis_type.name, analysis.analysis_type.version) == ("sequencingRead", 1)
    assert json.loads(analysis.data_json) == {"experiment": {"libraryStrategy": "WGS"}}
    assert [found.file_name for found in analysis.files] == ["a.bam", "b.bam"]
    first, second = analysis.files
    assert first.object_id == str(uuid5(NAMESPACE_OID, f"{analysis.analysis_id}:a.bam"))
    assert first.info_json == '{"y":2}'
    assert (second.size_bytes, second.md5) == (1, sent["files"][0]["fileMd5sum"].lower())
    assert (second.access, second.info_json) == (file_pb2.FILE_ACCESS_OPEN, '{"foo":[1]}')
    (found,) = analysis.samples
    assert found.donor.info_json == '{"ethnicity":"?"}'
    assert found.sample_id == str(uuid5(NAMESPACE_OID, f"{study_id}:sample-1"))
    assert not found.HasField("matched_normal_submitter_sample_id")
    assert analysis.create_time == analysis.update_time
    assert not analysis.state_changes
    assert not analysis.HasField("publish_time")


def test_numbers_keep_every_digit(world: World, study_id: str) -> None:
    exact = '"exact":0.10000000000000000000000000000001,"zero":1.50,"huge":1E+999999999'
    numbers = f'{{"large":123456789012345678901234567890,{exact}}}'
    text = json.dumps(payload(study_id))
    text = text[:-1] + f', "numbers": {numbers}}}'

    analysis = world.get(study_id, world.submit(study_id, text))

    assert f'"numbers":{numbers}' in analysis.data_json


def test_samples_keep_the_order_of_the_payload_and_are_shared(world: World, study_id: str) -> None:
    samples = [sample(number) for number in (3, 1, 2)]
    first = world.get(study_id, world.submit(study_id, payload(study_id, samples=[*samples, samples[0]])))
    second = world.get(study_id, world.submit(study_id, payload(study_id, samples=[samples[1]])))

    assert [found.submitter_sample_id for found in first.samples] == ["sample-3", "sample-1", "sample-2"]
    assert second.samples[0] == first.samples[1]


def test_an_identical_resubmission_with_other_key_order_and_null_info_is_equal(world: World, study_id: str) -> None:
    donor = {"submitterDonorId": "d", "gender": "Male", "info": {"a": 1, "b": 2}}
    world.submit(study_id, payload(study_id, samples=[sample(donor=donor)]))
    donor = {"gender": "Male", "info": {"b": 2, "c": None, "a": 1}, "submitterDonorId": "d"}

    world.submit(study_id, payload(study_id, samples=[sample(donor=donor)]))


def test_tumours_may_name_a_matched_normal_and_normals_may_not(world: World, study_id: str) -> None:
    specimen = sample()["specimen"] | {"tumourNormalDesignation": "Tumour", "specimenType": "Primary tumour"}
    tumour = sample(specimen=specimen, matchedNormalSubmitterSampleId="other")
    analysis = world.get(study_id, world.submit(study_id, payload(study_id, samples=[tumour])))
    assert analysis.samples[0].matched_normal_submitter_sample_id == "other"

    refused = world.validate(study_id, payload(study_id, samples=[sample(2, matchedNormalSubmitterSampleId="other")]))
    (violation,) = refused.violations
    assert (violation.pointer, violation.keyword) == ("/samples/0/matchedNormalSubmitterSampleId", "type")


def test_a_repeated_request_gives_the_first_answer_and_writes_nothing(world: World, study_id: str) -> None:
    sent = payload(study_id)
    first = world.submit(study_id, sent, request_id="r-1")

    assert world.submit(study_id, sent, request_id="r-1") == first
    assert len(world.list(study_id, "state = UNPUBLISHED").analyses) == 1
    assert refusal(lambda: world.submit(study_id, sent)).reason == "INFO_ALREADY_EXISTS"


def test_the_duplicate_guard_knows_neither_other_studies_nor_suppressed_analyses(world: World, study_id: str) -> None:
    sent = payload(study_id)
    first = world.submit(study_id, sent)
    other = world.new_study()
    world.submit(other, sent | {"studyId": other})
    twins = [file("x.bam"), file("y.bam")]
    twins[1]["fileMd5sum"] = twins[0]["fileMd5sum"]
    world.submit(study_id, payload(study_id, files=twins))

    refused = refusal(lambda: world.submit(study_id, sent))
    assert refused.metadata["file_names"] == sent["files"][0]["fileName"]
    assert refused.metadata["analysis_ids"] == first
    assert world.submit(study_id, sent, allow_duplicates=True) != first
    for found in world.list(study_id, "state = UNPUBLISHED").analyses:
        world.suppress(study_id, found.analysis_id)
    world.submit(study_id, sent)


def test_the_refusal_of_many_duplicates_begins_with_the_way_out_and_is_told_whole(world: World, study_id: str) -> None:
    files = [file(f"{number:03}-{'x' * 60}.bam") for number in range(300)]
    first = world.submit(study_id, payload(study_id, files=files))
    refused = refusal(lambda: world.submit(study_id, payload(study_id, files=files)))
    way_out = "allow_duplicates (--allow-duplicates) if they are meant to be there twice"
    assert f"already: submit with {way_out}; held by {first}; the files: 000-" in refused.message
    assert refused.message.endswith(".bam and 295 more")
    assert (len(refused.violations), refused.metadata["violation_count"]) == (20, "300")


def test_all_violations_come_in_the_order_of_the_document(world: World, study_id: str) -> None:
    sent = {
        "files": [file(fileMd5sum="x"), file("same"), file("same", fileSize=-1)],
        "samples": [sample(sampleType="?")],
        "studyId": study_id,
        "analysisId": "mine",
        "analysisType": {"name": "sequencingRead"},
    }

    found = world.validate(study_id, sent)

    assert [(violation.pointer, violation.keyword) for violation in found.violations] == [
        ("", "required"),
        ("/files/0/fileMd5sum", "pattern"),
        ("/files/2/fileName", "uniqueFileNames"),
        ("/files/2/fileSize", "minimum"),
        ("/samples/0/sampleType", "enum"),
        ("/analysisId", "not"),
    ]
    assert found.violation_total == 6
    assert found.violations[1].schema_pointer == "/definitions/file/fileData/properties/fileMd5sum/pattern"
    assert found.violations[0].message == "required property 'experiment' is missing"


def test_ten_thousand_violations_fit_the_details_of_an_error(world: World, study_id: str) -> None:
    sent = payload(study_id, files=[file(f"f{number}", fileMd5sum="x" * 40) for number in range(10_000)])

    refused = refusal(lambda: world.submit(study_id, sent))
    found = world.validate(study_id, sent)

    assert refused.reason == "SCHEMA_VIOLATION"
    assert refused.details_bytes <= 6 * 1024
    assert refused.metadata["violation_count"] == "10000"
    assert 0 < len(refused.violations) <= 20
    assert found.violation_total == 10_000
    assert found.ByteSize() <= 3 * 1024 * 1024


def test_validation_says_what_submission_would_and_writes_nothing(world: World, study_id: str) -> None:
    sent = payload(study_id)
    assert world.validate(study_id, sent).violation_total == 0
    assert not world.list(study_id, "state = UNPUBLISHED").analyses
    world.submit(study_id, sent)
    assert refusal(lambda: world.validate(study_id, sent)).reason == "INFO_ALREADY_EXISTS"
    assert world.validate(study_id, sent, allow_duplicates=True).violation_total == 0


def test_lists_hold_published_analyses_unless_told_otherwise(world: World, study_id: str) -> None:
    ids = [world.submit(study_id, payload(study_id, samples=[sample(n)])) for n in range(4)]
    world.score.hold(world.get(study_id, ids[1]))
    world.publish(study_id, ids[1])
    world.suppress(study_id, ids[2])

    def listed(text: str) -> list[str]:
        return [found.analysis_id for found in world.list(study_id, text).analyses]

    assert listed("") == [ids[1]]
    assert listed('state="UNPUBLISHED"') == [ids[0], ids[3]]
    assert listed("state = SUPPRESSED OR state = PUBLISHED") == [ids[1], ids[2]]
    assert listed("state = UNPUBLISHED OR state = PUBLISHED OR state = SUPPRESSED") == ids


def test_pages_follow_each_other_without_gap_or_overlap(world: World, study_id: str) -> None:
    ids = [world.submit(study_id, payload(study_id)) for _ in range(7)]
    world.suppress(study_id, ids[2])
    text = "state = UNPUBLISHED OR state = SUPPRESSED"
    seen: list[str] = []
    token = ""
    while True:
        page = world.list(study_id, text, page_size=2, page_token=token)
        assert len(page.analyses) <= 2
        seen += [found.analysis_id for found in page.analyses]
        token = page.next_page_token
        if not token:
            break
    assert seen == ids
    first = world.list(study_id, text, page_size=2).next_page_token
    assert refusal(lambda: world.list(study_id, "", page_token=first)).reason == "MALFORMED_PARAMETER"


def test_a_page_ends_before_three_mebibytes(world: World, study_id: str) -> None:
    for _ in range(4):
        world.submit(study_id, payload(study_id, text="é" * 600_000))

    page = world.list(study_id, "state = UNPUBLISHED")

    assert len(page.analyses) == 2
    assert page.ByteSize() <= 3 * 1024 * 1024
    rest = world.list(study_id, "state = UNPUBLISHED", page_token=page.next_page_token)
    assert len(rest.analyses) == 2
    assert not rest.next_page_token


def test_an_analysis_larger_than_a_page_is_a_page_of_its_own(world: World, study_id: str) -> None:
    world.submit(study_id, payload(study_id, text="x" * 4_000_000))
    world.submit(study_id, payload(study_id))

    page = world.list(study_id, "state = UNPUBLISHED")

    assert len(page.analyses) == 1
    assert page.next_page_token


def test_the_study_of_an_analysis_must_be_right(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    other = world.new_study()

    for call in (world.get, world.publish, world.unpublish, world.suppress):
        refused = refusal(lambda call=call: call(other, analysis_id))  # type: ignore[misc] # mypy can't infer such a lambda
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "ANALYSIS_ID_NOT_FOUND")


@pytest.mark.parametrize("identifier", ["", "\0", "x" * 5000, "é"])
def test_ids_that_nothing_can_have_are_not_found(world: World, study_id: str, identifier: str) -> None:
    assert refusal(lambda: world.get(study_id, identifier)).reason == "ANALYSIS_ID_NOT_FOUND"
    assert refusal(lambda: world.get(identifier, "x")).reason == "ANALYSIS_ID_NOT_FOUND"
    assert refusal(lambda: world.list(identifier)).reason == "STUDY_ID_DOES_NOT_EXIST"
    assert refusal(lambda: world.submit(identifier, payload(study_id))).reason == "STUDY_ID_DOES_NOT_EXIST"


def test_an_analysis_with_ten_thousand_files_is_stored_and_listed(world: World, study_id: str) -> None:
    sent = payload(study_id, files=[file(f"file-{number:05}.bam") for number in range(10_000)])

    analysis_id = world.submit(study_id, sent)

    analysis = world.get(study_id, analysis_id)
    assert [found.file_name for found in analysis.files] == [found["fileName"] for found in sent["files"]]
    world.score.hold(analysis)
    assert world.publish(study_id, analysis_id).changed
    assert world.score.batches == [500] * 20
    too_many = payload(study_id, files=[file() for _ in range(10_001)])
    (violation,) = world.validate(study_id, too_many).violations
    assert (violation.pointer, violation.keyword) == ("/files", "maxItems")


def test_the_size_kept_of_an_analysis_is_no_less_than_its_message(world: World, study_id: str) -> None:
    small = world.submit(study_id, payload(study_id))
    large = world.submit(
        study_id,
        payload(
            study_id,
            samples=[sample(f"{number}-" + "x" * 30, info={"é": "ü" * 20}) for number in range(50)],
            files=[file("x" * 250 + str(number), dataType="é" * 255, info={"a": "b"}) for number in range(50)],
        ),
    )
    world.score.hold(world.get(study_id, small))
    for _ in range(3):
        world.publish(study_id, small)
        world.unpublish(study_id, small)
    with world.database.read() as connection:
        query = select(tables.analyses.c.analysis_id, tables.analyses.c.wire_bytes)
        kept = {row.analysis_id: row.wire_bytes for row in connection.execute(query)}
    for analysis_id in (small, large):
        assert world.get(study_id, analysis_id).ByteSize() <= kept[analysis_id]
