"""The `song` command and SongClient against the real Song."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from song.v1.analysis_pb2 import ANALYSIS_STATE_UNPUBLISHED
from song.v1.study_pb2 import Study
from song_score_client.errors import AnalysisNotFoundError, DuplicateFilesError, RequestIdReusedError
from song_score_client.song import SongClient

from tests.servers.song_command import NUMBERS, RunSong, make_file, make_payload, submit


def test_ping_says_true(run_song: RunSong) -> None:
    result = run_song("ping")
    assert (result.exit_code, result.stdout) == (0, "true\n")


def test_a_study_is_created_once_and_listed(run_song: RunSong, song_study: str) -> None:
    again = run_song("create-study")
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == f"song: study '{song_study}' exists already\n"
    other = json.loads(run_song("create-study", f"{song_study}-2", "--info", '{"x": 0.10}').stdout)
    assert other["studyId"] == f"{song_study}-2"
    listed = run_song("list-studies").stdout
    assert {song_study, f"{song_study}-2"} <= {each["studyId"] for each in json.loads(listed)}
    assert '"x": 0.10' in listed


def test_a_type_is_registered_inherits_options_and_is_read_back_exactly(run_song: RunSong, song_study: str) -> None:
    first = json.dumps(
        {
            "name": song_study,
            "schema": {"type": "object", "properties": {"depth": {"maximum": 1.5}}},
            "options": {"fileTypes": ["VCF"], "entityModel": "NONE"},
        }
    ).replace("1.5", "1.50")
    assert json.loads(run_song("register-analysis-type", "-f", "-", stdin=first).stdout)["version"] == 1
    assert json.loads(run_song("register-analysis-type", "-f", "-", stdin=first).stdout)["version"] == 1
    second = json.dumps(
        {"name": song_study, "schema": {"type": "object", "properties": {}}, "options": {"fileTypes": []}}
    )
    registered = json.loads(run_song("register-analysis-type", "-f", "-", stdin=second).stdout)
    assert (registered["version"], registered["options"]) == (
        2,
        {"fileTypes": [], "entityModel": "NONE", "externalValidations": []},
    )
    text = run_song("get-analysis-type", "-n", song_study, "-v", "1", "-u").stdout
    assert '"maximum": 1.50' in text
    assert json.loads(text)["options"]["fileTypes"] == ["VCF"]
    rendered = json.loads(run_song("get-analysis-type", "-n", song_study).stdout)["schema"]
    assert "files" in rendered["properties"]
    listed = json.loads(run_song("list-analysis-types", "-n", song_study, "-hs").stdout)
    assert [kind["version"] for kind in listed] == [2, 1]
    assert "schema" not in listed[0]
    assert len(json.loads(run_song("list-analysis-types", "-l", "1").stdout)) == 1


def test_a_schema_that_breaks_the_rules_is_refused_with_the_place(run_song: RunSong) -> None:
    bad = json.dumps({"name": "bad", "schema": {"type": "object", "properties": {"studyId": {}}}})
    result = run_song("register-analysis-type", "-f", "-", stdin=bad)
    assert result.exit_code == 1
    assert "studyId" in result.stderr


def test_an_analysis_comes_back_with_every_digit(run_song: RunSong, song_study: str) -> None:
    analysis_id = submit(run_song, song_study)
    text = run_song("search", "-a", analysis_id).stdout
    assert "".join(text.split()).endswith(f"{NUMBERS}}}")
    document = json.loads(text)
    assert (document["analysisId"], document["analysisState"]) == (analysis_id, "UNPUBLISHED")
    assert document["samples"][0]["donor"]["submitterDonorId"] == "donor-1"
    assert [file["fileName"] for file in document["files"]] == ["a.vcf", "b.vcf"]
    assert document["experiment"]["variantCallingTool"] == "tool"


def test_lists_are_by_state(run_song: RunSong, song_study: str) -> None:
    analysis_id = submit(run_song, song_study)
    assert json.loads(run_song("list").stdout) == []
    listed = json.loads(run_song("list", "-s", "unpublished", "-s", "suppressed").stdout)
    assert [analysis["analysisId"] for analysis in listed] == [analysis_id]


def test_files_known_already_are_refused_unless_allowed(run_song: RunSong, song_study: str) -> None:
    submit(run_song, song_study)
    result = run_song("submit", "-f", "-", stdin=make_payload(song_study))
    assert result.exit_code == 1
    assert "a.vcf" in result.stderr
    assert run_song("submit", "-f", "-", "-ad", stdin=make_payload(song_study)).exit_code == 0


def test_submit_and_validate_show_every_violation_though_a_status_holds_only_twenty(
    run_song: RunSong, song_study: str
) -> None:
    payload = make_payload(song_study, [make_file(f"{number}.vcf", 1, "no md5") for number in range(30)])
    refused = run_song("submit", "-f", "-", stdin=payload)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert [line.split(":")[0] for line in refused.stderr.splitlines()[1:]] == [
        f"  /files/{number}/fileMd5sum" for number in range(30)
    ]
    validated = run_song("validate", "-f", "-", stdin=payload)
    document = json.loads(validated.stdout)
    assert validated.exit_code == 1
    assert (document["valid"], document["violationTotal"], len(document["violations"])) == (False, 30, 30)
    assert document["violations"][0]["keyword"] == "pattern"
    accepted = run_song("validate", "-f", "-", stdin=make_payload(song_study))
    assert (accepted.exit_code, json.loads(accepted.stdout)["valid"]) == (0, True)


def test_the_text_of_a_violation_is_not_cut_as_in_a_status(run_song: RunSong, song_study: str) -> None:
    payload = make_payload(song_study).replace("Solid tissue", "nonsense")
    (message,) = [
        each["message"] for each in json.loads(run_song("validate", "-f", "-", stdin=payload).stdout)["violations"]
    ]
    assert len(message) > 160
    assert message in run_song("submit", "-f", "-", stdin=payload).stderr


def test_a_manifest_is_printed_or_written_once_every_file_is_there(
    run_song: RunSong, song_study: str, tmp_path: Path
) -> None:
    analysis_id = submit(run_song, song_study)
    target = tmp_path / "manifest.txt"
    (tmp_path / "a.vcf").write_bytes(b"abc")
    refused = run_song("manifest", "-a", analysis_id, "-d", str(tmp_path), "-f", str(target))
    assert refused.exit_code == 1
    assert "b.vcf: No such file" in refused.stderr
    assert not target.exists()
    (tmp_path / "b.vcf").touch()
    printed = run_song("manifest", "-d", str(tmp_path), stdin=f'{{"analysisId": "{analysis_id}"}}').stdout
    heading, first, _second = printed.splitlines()
    assert heading == f"{analysis_id}\t\t"
    assert first.split("\t")[1:] == [f"{tmp_path}/a.vcf", "a" * 32]
    written = run_song("manifest", "-a", analysis_id, "-d", str(tmp_path), "-f", str(target))
    assert json.loads(written.stdout)["files"] == 2
    assert target.read_text() == printed


def test_subcommands_can_be_piped_through_the_life_cycle(
    run_song: RunSong, song_environment: dict[str, str], song_study: str, tmp_path: Path
) -> None:
    (tmp_path / "x.json").write_text(make_payload(song_study))
    program = f"{sys.executable} -c 'from song_score_client.commands.song import main; main()'"
    pipe = f"{program} submit -f x.json | {program} unpublish | {program} suppress"
    output = subprocess.run(
        pipe, shell=True, check=True, capture_output=True, cwd=tmp_path, env=os.environ | song_environment, timeout=60
    )
    answer = json.loads(output.stdout)
    assert (answer["state"], answer["changed"]) == ("SUPPRESSED", True)
    refused = run_song("publish", "-a", answer["analysisId"])
    assert refused.exit_code == 1
    assert "SUPPRESSED" in refused.stderr
    (change,) = json.loads(run_song("search", "-a", answer["analysisId"]).stdout)["analysisStateHistory"]
    assert (change["initialState"], change["updatedState"]) == ("UNPUBLISHED", "SUPPRESSED")


def test_an_error_is_one_line_on_stderr(run_song: RunSong) -> None:
    result = run_song("search", "-a", "nope")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("song: ")
    assert "nope" in result.stderr


def test_a_request_id_makes_a_repeated_submission_one(song_client: SongClient, song_study: str) -> None:
    payload, request_id = make_payload(song_study), str(uuid4())
    first = song_client.submit(song_study, payload, request_id=request_id)
    assert song_client.submit(song_study, payload, request_id=request_id) == first
    with pytest.raises(RequestIdReusedError):
        song_client.submit(song_study, payload.replace("tool", "other"), request_id=request_id)
    with pytest.raises(DuplicateFilesError):
        song_client.submit(song_study, payload)


def test_iterators_cross_pages(song_client: SongClient, song_study: str) -> None:
    submitted = [song_client.submit(song_study, make_payload(song_study), allow_duplicates=True) for _ in range(3)]
    unpublished = song_client.list_analyses(song_study, filter_expression="state = UNPUBLISHED", page_size=2)
    assert [analysis.analysis_id for analysis in unpublished] == submitted
    assert [file.file_name for file in song_client.list_files(song_study, submitted[0], page_size=1)] == [
        "a.vcf",
        "b.vcf",
    ]
    song_client.create_study(Study(study_id=f"{song_study}-2"))
    assert len(list(song_client.list_studies(page_size=1))) == len(list(song_client.list_studies())) > 1
    kinds = list(song_client.list_analysis_types(["variantCall", "sequencingRead"], page_size=1, hide_schema=True))
    assert [kind.name for kind in kinds] == ["sequencingRead", "variantCall"]


def test_objects_are_resolved_in_batches(song_client: SongClient, song_study: str) -> None:
    analysis_id = song_client.submit(song_study, make_payload(song_study))
    known = [file.object_id for file in song_client.get_analysis(song_study, analysis_id).files]
    unknown = [str(uuid4()) for _ in range(1000)]
    answer = song_client.resolve_objects([*unknown, *known])
    assert [each.file.object_id for each in answer.objects] == known
    assert {each.analysis_state for each in answer.objects} == {ANALYSIS_STATE_UNPUBLISHED}
    assert list(answer.missing_object_ids) == unknown


def test_errors_are_classes_to_catch(song_client: SongClient, song_study: str) -> None:
    with pytest.raises(AnalysisNotFoundError) as caught:
        song_client.get_analysis(song_study, "nope")
    assert (caught.value.reason, caught.value.service) == ("ANALYSIS_ID_NOT_FOUND", "song")
    assert song_client.get_study(song_study).name == "Name"
