"""The subcommands of `song` that change, watch, export and correct, against the real Song."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from song.v1.event_service_pb2 import EVENT_ACTION_CREATE, WatchEventsRequest
from song_score_client.errors import EtagMismatchError, SchemaViolationError
from song_score_client.payload import PayloadBuilder
from song_score_client.song import BulkPayload, BulkResult, SongClient

from tests.servers.song_command import NUMBERS, RunSong, make_file, make_payload, submit

EXPERIMENT = {"variantCallingTool": "other", "matchedNormalSampleSubmitterId": "sample-0"}


def test_update_replaces_the_data_and_keeps_every_digit(run_song: RunSong, song_study: str) -> None:
    analysis_id = submit(run_song, song_study)
    text = json.dumps({"analysisType": {"name": "variantCall"}, "experiment": EXPERIMENT})
    text = f"{text[:-1]},{NUMBERS}}}"
    changed = json.loads(run_song("update", "-a", analysis_id, "-f", "-", stdin=text).stdout)
    assert (changed["changed"], changed["analysisType"]) == (True, {"name": "variantCall", "version": 1})
    again = json.loads(run_song("update", "-a", analysis_id, "-f", "-", stdin=text).stdout)
    assert (again["changed"], again["etag"]) == (False, changed["etag"])
    shown = run_song("search", "-a", analysis_id).stdout
    assert "".join(shown.split()).endswith(f"{NUMBERS}}}")
    assert json.loads(shown)["experiment"] == EXPERIMENT


def test_a_patch_merges_and_a_stale_etag_is_refused(run_song: RunSong, song_study: str) -> None:
    analysis_id = submit(run_song, song_study)
    patch = '{"experiment": {"variantCallingTool": "newer"}, "numbers": null}'
    changed = json.loads(run_song("patch", "-a", analysis_id, "-f", "-", "--reason", "why", stdin=patch).stdout)
    assert changed["changed"] is True
    document = json.loads(run_song("search", "-a", analysis_id).stdout)
    assert document["experiment"]["variantCallingTool"] == "newer"
    assert "numbers" not in document
    refused = run_song("patch", "-a", analysis_id, "-f", "-", "--etag", "r0", stdin='{"more": 1}')
    assert refused.exit_code == 1
    assert changed["etag"] in refused.stderr
    history = json.loads(run_song("history", "-a", analysis_id).stdout)
    assert [(entry["action"], entry["reason"]) for entry in history] == [("SUBMIT", ""), ("PATCH", "why")]


def test_files_are_described_anew_and_deleted(run_song: RunSong, song_study: str) -> None:
    analysis_id = submit(run_song, song_study)
    first, second = json.loads(run_song("search", "-a", analysis_id).stdout)["files"]
    update = ["update-file", "--object-id", first["objectId"]]
    answer = json.loads(run_song(*update, "-s", "7", "-m", "C" * 32, "-a", "controlled", "-i", '{"x": 1}').stdout)
    assert (answer["fileUpdateType"], answer["originalFile"]["fileSize"]) == ("CONTENT_UPDATE", 3)
    again = json.loads(run_song(*update, "-s", "7").stdout)
    assert again["fileUpdateType"] == "NO_UPDATE"
    assert again["originalFile"]["fileMd5sum"] == "c" * 32
    assert run_song(*update).exit_code == 2
    deleted = json.loads(run_song("delete-file", "-a", analysis_id, "--object-id", second["objectId"]).stdout)
    assert deleted["deleted"] == [second["objectId"]]
    refused = run_song("delete-file", "-a", analysis_id, "--object-id", first["objectId"])
    assert refused.exit_code == 1
    assert "last" in refused.stderr or "no file" in refused.stderr


def test_a_donor_is_corrected_and_its_analysis_is_told(run_song: RunSong, song_study: str) -> None:
    analysis_id = submit(run_song, song_study)
    (donor,) = json.loads(run_song("list-entities", "donor").stdout)
    corrected = run_song("correct", "donor", donor["donorId"], "--set", "gender=Female", "--set", 'info={"age": 50}')
    assert corrected.exit_code == 0, corrected.stderr
    assert json.loads(corrected.stdout)["touchedAnalyses"] == 1
    assert json.loads(run_song("get-entity", "donor", donor["donorId"]).stdout)["gender"] == "Female"
    shown = json.loads(run_song("search", "-a", analysis_id).stdout)["samples"][0]["donor"]
    assert (shown["gender"], shown["info"]) == ("Female", {"age": 50})
    assert run_song("correct", "donor", donor["donorId"], "--set", "height=1").exit_code == 2
    refused = run_song("delete-entity", "donor", donor["donorId"])
    assert refused.exit_code == 1
    assert "1 analyses refer" in refused.stderr
    (found,) = json.loads(run_song("search", "-d", donor["donorId"]).stdout)
    assert found["analysisId"] == analysis_id
    (found,) = json.loads(run_song("search", "--submitter-sample-id", "SAMPLE", "--match", "regex").stdout)
    assert found["analysisId"] == analysis_id
    assert run_song("search").exit_code == 2


def test_a_study_is_changed_and_drawn_as_a_tree(run_song: RunSong, song_study: str) -> None:
    submit(run_song, song_study)
    changed = json.loads(run_song("update-study", "--description", "new", "--controlled").stdout)
    assert (changed["name"], changed["description"], changed["visibility"]) == ("Name", "new", "CONTROLLED")
    assert json.loads(run_song("get-study").stdout) == changed
    assert run_song("update-study").exit_code == 2
    (donor,) = map(json.loads, run_song("study-tree").stdout.splitlines())
    assert donor["submitterDonorId"] == "donor-1"
    assert donor["specimens"][0]["samples"][0]["submitterSampleId"] == "sample-1"
    assert song_study == changed["studyId"]


def test_what_is_exported_can_be_submitted_again(run_song: RunSong, song_study: str, tmp_path: Path) -> None:
    analysis_id = submit(run_song, song_study)
    exported = json.loads(run_song("export", "-s", song_study, "-o", str(tmp_path)).stdout)
    assert exported == {"exported": 1, "outputDir": str(tmp_path), "failed": []}
    payload = tmp_path / song_study / f"{analysis_id}.json"
    assert NUMBERS in "".join(payload.read_text().split())
    assert run_song("submit", "-f", str(payload), "-ad").exit_code == 0
    ids = tmp_path / "ids"
    ids.write_text(f"nope\n{analysis_id}\n")
    again = run_song("export", "-f", str(ids), "-o", str(tmp_path / "again"))
    assert again.exit_code == 1
    assert [failure["analysisId"] for failure in json.loads(again.stdout)["failed"]] == ["nope"]
    assert (tmp_path / "again" / song_study / payload.name).read_text() == payload.read_text()
    assert run_song("export", "-o", str(tmp_path)).exit_code == 2


def test_versions_of_a_type_are_compared_with_what_is_stored(run_song: RunSong, song_study: str) -> None:
    schema = {"type": "object", "properties": {"depth": {"type": "integer"}}}
    options = {"entityModel": "NONE"}
    first = json.dumps({"name": song_study, "schema": schema, "options": options})
    assert run_song("register-analysis-type", "-f", "-", stdin=first).exit_code == 0
    payload = {"studyId": song_study, "analysisType": {"name": song_study}, "depth": 7}
    payload["files"] = [make_file("c.vcf", 1, uuid4().hex)]
    assert run_song("submit", "-f", "-", stdin=json.dumps(payload)).exit_code == 0
    narrow = {"type": "object", "properties": {"depth": {"type": "integer", "maximum": 5}}}
    second = json.dumps({"name": song_study, "schema": narrow})
    checked = json.loads(run_song("register-analysis-type", "--validate-only", "-f", "-", stdin=second).stdout)
    assert checked["version"] == 2
    (only,) = json.loads(run_song("list-analysis-types", "-n", song_study).stdout)
    assert only["version"] == 1
    assert run_song("register-analysis-type", "-f", "-", stdin=second).exit_code == 0
    compared = run_song("diff", "-n", song_study)
    document = json.loads(compared.stdout)
    assert compared.exit_code == 1
    assert document["differences"] == [{"pointer": "/properties/depth/maximum", "to": 5}]
    assert (document["checkedTotal"], document["incompatible"][0]["violations"][0]["pointer"]) == (1, "/depth")
    listed = run_song("list-analysis-types", "-n", song_study, "-so", "version", "-sd", "asc", "-o", "1", "-hs")
    assert [kind["version"] for kind in json.loads(listed.stdout)] == [2]
    assert "properties" in json.loads(run_song("get-registration-schema").stdout)


def test_many_payloads_go_on_one_stream_and_each_has_its_answer(
    run_song: RunSong, song_study: str, tmp_path: Path
) -> None:
    for number in range(5):
        text = make_payload(song_study, [make_file(f"{number}.vcf", 1, uuid4().hex)])
        (tmp_path / f"{number}.json").write_text(text if number != 3 else text.replace("Solid tissue", "nonsense"))
    result = run_song("submit-all", str(tmp_path))
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert [Path(line["file"]).name for line in lines] == [f"{number}.json" for number in range(5)]
    assert [line["status"] for line in lines] == ["OK", "OK", "OK", "REFUSED", "OK"]
    assert lines[3]["violations"][0]["pointer"] == "/samples/0/specimen/specimenTissueSource"
    assert len(json.loads(run_song("list", "-s", "UNPUBLISHED").stdout)) == 4


def test_bulk_submission_yields_in_order_and_raises_what_the_source_raises(
    song_client: SongClient, song_study: str
) -> None:
    def source() -> Iterator[BulkPayload]:
        for number in range(3):
            yield BulkPayload(
                song_study, make_payload(song_study, [make_file("x.vcf", number, uuid4().hex)]), tag=number
            )
        yield BulkPayload(song_study, "{}", tag="bad")
        raise RuntimeError("the source is dry")

    results: list[BulkResult] = []
    with pytest.raises(RuntimeError, match="dry"):
        results.extend(song_client.submit_many(source()))
    assert [result.payload.tag for result in results] == [0, 1, 2, "bad"]
    assert [result.error is None for result in results] == [True, True, True, False]
    assert len(list(song_client.list_analyses(song_study, filter_expression="state = UNPUBLISHED"))) == 3


def test_events_are_watched_from_a_place_that_is_kept(run_song: RunSong, song_study: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    analysis_id = submit(run_song, song_study)
    watch = ["watch", "--until-now", "--resume-file", str(place)]
    first = run_song(*watch, "--from-beginning")
    (event,) = map(json.loads, first.stdout.splitlines())
    assert (event["action"], event["analysisId"], event["analysis"]["studyId"]) == ("CREATE", analysis_id, song_study)
    assert run_song(*watch).stdout == ""
    run_song("suppress", "-a", analysis_id, "--reason", "withdrawn")
    (event,) = map(json.loads, run_song(*watch, "--hide-analysis").stdout.splitlines())
    assert (event["action"], event["state"], "analysis" in event) == ("SUPPRESS", "SUPPRESSED", False)
    refused = run_song("events", "replay", "--from-time", "2026-01-01")
    assert refused.exit_code == 1
    assert "Kafka" in refused.stderr
    assert run_song("events", "replay").exit_code == 2


def test_a_watcher_sees_what_happens_after_it_began(song_client: SongClient, song_study: str) -> None:
    request = WatchEventsRequest(study_ids=[song_study], from_beginning=True)
    seen: list[str] = []
    there = threading.Event()

    def look() -> None:
        for response in song_client.watch_events(request):
            if response.HasField("event") and response.event.action == EVENT_ACTION_CREATE:
                seen.append(response.event.analysis_id)
                there.set()
                return

    watcher = threading.Thread(target=look)
    watcher.start()
    analysis_id = song_client.submit(song_study, make_payload(song_study))
    assert there.wait(30)
    watcher.join(30)
    assert seen == [analysis_id]


def test_a_payload_is_built_from_local_files(song_client: SongClient, song_study: str, tmp_path: Path) -> None:
    reads = tmp_path / "reads.cram"
    reads.write_bytes(b"123")
    builder = PayloadBuilder(song_study, "sequencingRead").add_file(reads, data_type="Aligned Reads")
    with pytest.raises(SchemaViolationError):
        song_client.submit(song_study, builder.to_json())
    builder.set_data(experiment={"libraryStrategy": "WGS"}).add_sample(
        "s-1",
        "Total DNA",
        specimen={
            "submitterSpecimenId": "sp-1",
            "specimenTissueSource": "Skin",
            "tumourNormalDesignation": "Normal",
            "specimenType": "Normal",
        },
        donor={"submitterDonorId": "d-1", "gender": "Female"},
    )
    analysis_id = song_client.submit(song_study, builder.to_json())
    (file,) = song_client.list_files(song_study, analysis_id)
    assert (file.file_type, file.size_bytes, file.md5) == ("CRAM", 3, "202cb962ac59075b964b07152d234b70")
    with pytest.raises(EtagMismatchError):
        song_client.patch_analysis(song_study, analysis_id, "{}", etag="r99")
    fields = song_client.get_analysis(song_study, analysis_id, fields=["analysis_id", "etag"])
    assert (fields.etag, len(fields.files)) == ("r1", 0)
