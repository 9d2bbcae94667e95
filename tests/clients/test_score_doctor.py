"""`score doctor`, `info`, `help` and `version`."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from score.v1.signed_request_pb2 import SignedRequest
from score.v1.upload_service_pb2 import ListUploadsRequest, PartToSign
from song_score_client import diagnosis
from song_score_client import findings as finding_module
from song_score_client.score import ScoreClient
from song_score_client.signing_check import SigningCheck

from tests.clients.conftest import MIB, ScoreCommand
from tests.servers.http1_proxy import HttpOneProxy
from tests.servers.http_service import Answer, http_service
from tests.servers.score_world import World


def findings(score: ScoreCommand, *words: object, code: int = 0, **env: str) -> dict[str, dict[str, Any]]:
    """Run the doctor and return what was found, by its check."""
    result = score("doctor", *words, env=env)
    assert result.exit_code == code, result.output
    return {line["check"]: line for line in json.loads(result.stdout)}


def jwt(**claims: object) -> str:
    pieces = [{"alg": "RS256"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(piece).encode()).decode().rstrip("=") for piece in pieces]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


def test_where_all_is_well_every_check_is_ok(score: ScoreCommand) -> None:
    (object_id,) = score.store("a.txt")
    found = findings(score, "--object-id", object_id)
    assert {line["check"] for line in found.values() if line["verdict"] == "failed"} == set()
    assert "Score serves" in found["gRPC"]["message"]
    for check in ("access", "streams", "Score's Song", "reading", "signed GET", "network", "state folder", "clock"):
        assert found[check]["verdict"] == "ok", found[check]
    assert found["HTTP"]["verdict"] == "skipped"
    assert found["signed PUT"]["message"] == "not tried: the object is stored already"


def test_nothing_is_left_behind_and_what_was_not_tried_is_said(score: ScoreCommand) -> None:
    found = findings(score)
    assert json.loads(score("ls", "--uploads").stdout) == []
    assert {name for name, line in found.items() if line["verdict"] == "skipped"} == {
        *("HTTP", "reading", "signed GET", "signed PUT", "clock")
    }
    assert "--object-id" in found["clock"]["message"]


def test_an_object_that_is_not_stored_has_a_signed_put_tried_and_taken_back(score: ScoreCommand) -> None:
    path = score.make("a.bam", 20 * MIB)
    found = findings(score, "--object-id", score.id_of("a.bam"))
    assert found["signed PUT"]["verdict"] == "ok", found["signed PUT"]
    assert "7.0 MiB were sent" in found["signed PUT"]["message"]
    assert found["reading"]["verdict"] == "skipped"
    assert found["clock"]["verdict"] == "ok"
    assert json.loads(score("ls", "--uploads").stdout) == []
    (done,) = score.events("upload", "--file", path, "--object-id", score.id_of("a.bam"))
    assert (done["part_total"], done["kept_part_total"]) == (2, 0)


def test_an_upload_that_somebody_joined_during_the_trial_is_not_aborted(
    score: ScoreCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    score.make("a.bam", 20 * MIB)
    with ScoreClient.open(score.environment["SCORE_URL"]) as client:
        check = SigningCheck(client, finding_module.Clocks())
        once = check._exchange

        def exchange(_self: SigningCheck, signed: SignedRequest, doing: str, size_bytes: int) -> bytes:
            (upload,) = client.list_uploads(ListUploadsRequest(object_id=score.id_of("a.bam")))
            md5 = hashlib.md5(bytes(7 * MIB), usedforsecurity=False).hexdigest()
            wanted = [PartToSign(part_number=2, md5=md5)]
            once(client.sign_upload_parts(upload.upload_id, wanted).signed_parts[0].request, doing, size_bytes)
            return once(signed, doing, size_bytes)

        monkeypatch.setattr(SigningCheck, "_exchange", exchange)
        assert check.put(score.id_of("a.bam")).verdict is finding_module.Verdict.OK
        (upload,) = client.list_uploads(ListUploadsRequest(object_id=score.id_of("a.bam")))
        assert upload.persisted_part_total == 2


def test_somebodys_upload_is_left_alone(score: ScoreCommand) -> None:
    score.make("a.bam", 20 * MIB)
    with ScoreClient.open(score.environment["SCORE_URL"]) as client:
        upload_id = client.start_upload(score.id_of("a.bam")).upload.upload_id
    found = findings(score, "--object-id", score.id_of("a.bam"))
    assert "under way, and left alone" in found["signed PUT"]["message"]
    assert [upload["upload_id"] for upload in json.loads(score("ls", "--uploads").stdout)] == [upload_id]


def test_an_empty_object_and_one_of_a_published_analysis_get_no_trial(score: ScoreCommand) -> None:
    score.make("empty.txt", 0)
    found = findings(score, "--object-id", score.id_of("empty.txt"))
    assert "to be empty" in found["signed PUT"]["message"]
    score.make("late.txt", state="PUBLISHED")
    found = findings(score, "--object-id", score.id_of("late.txt"), code=4)
    assert found["signed PUT"]["message"].startswith("not tried: ")
    assert found["reading"]["verdict"] == "failed"
    assert json.loads(score("ls", "--uploads").stdout) == []


def diagnosed(world: World, tmp_path: Path, *words: str, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the doctor in a process of its own against another Score; return its exit code and what was found."""
    environment = {"SCORE_URL": world.score.address, "SONG_URL": "localhost:1", "XDG_CONFIG_HOME": str(tmp_path), **env}
    program = [sys.executable, "-c", "from song_score_client.commands.score import main; main()", "doctor", *words]
    done = subprocess.run(
        program, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, {line["check"]: line for line in json.loads(done.stdout)}


def test_a_score_that_signs_nothing_is_told_and_the_trial_is_taken_back(
    open_world: Callable[..., World], tmp_path: Path
) -> None:
    world = open_world()
    world.register("not-stored", b"reads")
    world.store("stored", b"reads")
    for object_id, check in (("not-stored", "signed PUT"), ("stored", "signed GET")):
        code, found = diagnosed(world, tmp_path, "--object-id", object_id)
        assert (code, found[check]["verdict"]) == (0, "warning"), found
        assert "streams work without it" in found[check]["remedy"]
    with ScoreClient.open(world.score.address) as client:
        assert list(client.list_uploads(ListUploadsRequest(study_id="ABC"))) == []


def test_signed_urls_that_lead_nowhere_fail_where_bytes_need_them(
    open_world: Callable[..., World], tmp_path: Path
) -> None:
    world = open_world(http_port=0, public_http_url="http://127.0.0.1:1")
    world.register("not-stored", b"reads")
    world.store("stored", b"reads")
    for object_id, check in (("not-stored", "signed PUT"), ("stored", "signed GET")):
        http = f"http://{world.score.http_address}"
        code, found = diagnosed(world, tmp_path, "--object-id", object_id, SCORE_URL=http)
        assert (code, found[check]["verdict"]) == (7, "failed"), found
        assert "does not answer" in found[check]["message"]
        assert "Signature" not in json.dumps(found)
        code, found = diagnosed(world, tmp_path, "--object-id", object_id)
        assert (code, found[check]["verdict"]) == (0, "warning"), found


def test_a_server_that_is_away_is_told_with_a_remedy(score: ScoreCommand) -> None:
    found = findings(score, "--score", "localhost:1", "--song", "localhost:1", code=7)
    assert found["network"]["verdict"] == "failed"
    assert "SCORE_URL" in found["network"]["remedy"]
    assert found["Song"]["verdict"] == "warning"


def test_something_else_than_score_is_told_apart(score: ScoreCommand) -> None:
    with http_service() as service:
        found = findings(score, "--score", service.url.removeprefix("http://"), code=7)
    assert found["network"]["verdict"] == "ok"
    assert "does not speak gRPC" in found["gRPC"]["message"]
    assert "SCORE_HTTP" in found["gRPC"]["remedy"]
    assert found["streams"]["verdict"] == "skipped"
    assert "get through, and" not in json.dumps(found)
    assert "--transport" not in json.dumps(found)


def test_addresses_that_were_mixed_up_are_told_apart(open_world: Callable[..., World], tmp_path: Path) -> None:
    world = open_world(http_port=0)
    code, found = diagnosed(world, tmp_path, SCORE_URL=world.score.http_address)
    assert (code, found["streams"]["verdict"]) == (7, "skipped"), found
    assert "does not speak gRPC" in found["gRPC"]["message"]
    assert "Score's HTTP port" in found["gRPC"]["remedy"]
    code, found = diagnosed(world, tmp_path, SCORE_URL=f"http://{world.score.address}")
    assert (code, found["network"]["verdict"]) == (7, "ok"), found
    assert found["HTTP"]["message"].endswith("does not speak HTTP/1.1")
    assert "gRPC port" in found["HTTP"]["remedy"]
    assert "nothing answers" not in json.dumps(found)
    assert "\\x" not in json.dumps(found)


def test_a_proxy_that_lets_no_grpc_pass_is_told_and_gone_around(score: ScoreCommand) -> None:
    (object_id,) = score.store("a.txt")
    http_address = urlsplit(score("url", "--object-id", object_id).stdout).netloc
    with HttpOneProxy(http_address) as proxy:
        found = findings(score, "--score", proxy.address, "--score-http", proxy.url)
    assert "does not speak gRPC" in found["gRPC"]["message"]
    assert found["gRPC"]["verdict"] == "warning"
    for check in ("HTTP", "access", "Score's Song", "clock"):
        assert found[check]["verdict"] == "ok", found[check]
    assert found["streams"]["verdict"] == "skipped"


def test_clocks_that_differ_are_told(score: ScoreCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    with http_service() as service:
        service.answer = lambda _asked: Answer(404)
        near = findings(score, "--score-http", service.url)
        (object_id,) = score.store("a.txt")
        now = time.time
        # This process' own clock alone: the service must not take part.
        monkeypatch.setattr(finding_module, "time", SimpleNamespace(time=lambda: now() + 3600))
        far = [
            findings(score, *words)["clock"] for words in (("--score-http", service.url), ("--object-id", object_id))
        ]
    assert near["clock"]["verdict"] == "ok"
    assert [(clock["verdict"], "NTP" in clock["remedy"]) for clock in far] == [("warning", True)] * 2
    assert all("differ by 36" in clock["message"] or "differ by 35" in clock["message"] for clock in far)


def test_an_http_side_that_is_away_is_told(score: ScoreCommand) -> None:
    found = findings(score, "--score-http", "http://localhost:1", code=7)
    assert (found["HTTP"]["verdict"], found["gRPC"]["verdict"]) == ("failed", "ok")


def test_a_token_is_described_and_never_shown(score: ScoreCommand) -> None:
    token = jwt(exp=time.time() + 7200, context={"scope": ["PROGRAMDATA-X.WRITE"]})
    result = score("doctor", env={"SCORE_ACCESS_TOKEN": token})
    (found,) = [line for line in json.loads(result.stdout) if line["check"] == "token"]
    assert "expires in 2.0 h, scopes PROGRAMDATA-X.WRITE" in found["message"]
    assert token not in result.output
    expired = findings(score, code=3, SCORE_ACCESS_TOKEN=jwt(exp=time.time() - 10))["token"]
    assert (expired["verdict"], expired["remedy"]) == ("failed", "get a new token")
    assert "does not expire" in findings(score, code=3, SCORE_ACCESS_TOKEN=jwt(sub="x"))["token"]["message"]


def test_a_token_that_is_refused_is_told(score: ScoreCommand) -> None:
    found = findings(score, code=3, SCORE_ACCESS_TOKEN="wrong-secret")
    assert found["access"]["verdict"] == "failed"
    assert "send no 'authorization' metadata" in found["access"]["message"]
    assert "unset SCORE_ACCESS_TOKEN" in found["access"]["remedy"]
    assert "opaque" in found["token"]["message"]


def test_proxies_of_the_environment_are_told(score: ScoreCommand) -> None:
    found = findings(score, http_proxy="http://proxy:3128", no_proxy="localhost,127.0.0.1")["proxy"]
    assert (found["verdict"], "http_proxy" in found["message"]) == ("warning", True)


def test_a_score_that_does_not_reach_its_song_is_told(score: ScoreCommand) -> None:
    score.song.stop()
    try:
        found = findings(score, code=7)
    finally:
        score.song.start()
        deadline = time.monotonic() + 60
        # Other tests share the server, which needs a moment to come back to its Song.
        while score("doctor").exit_code and time.monotonic() < deadline:
            time.sleep(0.1)
    assert found["Score's Song"]["verdict"] == "failed"


def test_a_state_folder_that_can_not_be_made_is_told(score: ScoreCommand, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = findings(score, "--state-dir", tmp_path / "file" / "state", code=8)
    assert found["state folder"]["verdict"] == "failed"


def test_little_room_is_told(score: ScoreCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "LITTLE_SPACE_BYTES", 2**62)
    assert findings(score)["current folder"]["verdict"] == "warning"


def test_an_object_that_is_not_there_is_four(score: ScoreCommand) -> None:
    assert findings(score, "--object-id", "unknown", code=4)["reading"]["verdict"] == "failed"


def test_info_shows_settings_with_their_sources_and_no_secret(score: ScoreCommand) -> None:
    shown = json.loads(score("info", env={"SCORE_ACCESS_TOKEN": "a-secret"}).stdout)
    assert shown["score.url"]["source"] == "SCORE_URL"
    assert shown["score.access_token"] == {"value": "********", "source": "SCORE_ACCESS_TOKEN"}
    assert "profile" not in shown
    verbose = json.loads(score("info", "--verbose", env={"SCORE_ACCESS_TOKEN": "a-secret"}).stdout)
    assert verbose["profile"]["source"] == "not set"
    assert verbose["configuration_file"]["source"] == "not there"
    assert {"python", "grpcio", "song-score", "state_dir"} <= verbose.keys()
    assert "a-secret" not in json.dumps(verbose)


def test_help_explains_a_command_or_lists_them(score: ScoreCommand) -> None:
    listed = score("help").stdout
    for command in ("upload", "download", "manifest", "verify", "repair", "url", "ls", "rm", "doctor", "info"):
        assert command in listed
        assert f"score {command} " in score("help", command).stdout
    assert score("help", "nonsense").exit_code == 2
    assert score("version").stdout == score("--version").stdout
