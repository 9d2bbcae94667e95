"""What comes from outside, from a server or from another submitter, changes no terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text
from score.v1.object_service_pb2 import GetObjectRequest, GetObjectResponse
from score.v1.object_service_pb2_grpc import ObjectServiceServicer, add_ObjectServiceServicer_to_server
from song.v1.study_pb2 import Study
from song.v1.study_service_pb2 import (
    GetStudyRequest,
    GetStudyResponse,
    ListStudiesRequest,
    ListStudiesResponse,
)
from song.v1.study_service_pb2_grpc import StudyServiceServicer, add_StudyServiceServicer_to_server
from song_score_client.commands.group import report
from song_score_client.commands.output import Output
from song_score_client.errors import ClientError
from song_score_client.terminal import plain, plain_lines

from tests.clients.conftest import ScoreCommand
from tests.servers.terminal import run_at_terminal

EVIL = "a\x1b[5;35m\x9b2J\x1b]8;;http://evil\x1b\\b\x07\x08\rscore: all is well\x7f\u202egpj.bam"
"""Blinks, clears the screen, links, rings, goes back, begins a line anew, turns the order of letters round."""
SEEN = r"a\x1b[5;35m\x9b2J\x1b]8;;http://evil\x1b\b\x07\x08\rscore: all is well\x7f\u202egpj.bam"
"""The same as it is shown."""
HARMFUL = ("\x1b[5;35m", "\x9b", "\x1b]", "\x07", "\x08", "\rscore: all", "\x7f", "\u202e")


def assert_harmless(text: str) -> None:
    assert [harm for harm in HARMFUL if harm in text] == []


@given(st.text(st.characters(exclude_categories=[])))
def test_what_is_shown_holds_no_character_that_acts(text: str) -> None:
    shown = plain(text)
    assert all(char.isprintable() or char.isspace() for char in shown)
    assert not set(shown) & set("\n\r\t\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029")
    assert shown.encode("utf-8").decode("utf-8") == shown


@pytest.mark.parametrize(
    "text", ["", "HG001 [1](2).vcf.gz", "Universität für Bodenkultur", "全ゲノム\u3000解析", "12\xa0GiB", "C:\\data"]
)
def test_words_of_any_language_stay_as_they_are(text: str) -> None:
    assert plain(text) == text


def test_escapes_are_those_of_program_texts() -> None:
    assert plain(EVIL) == SEEN
    assert plain("a\nb\tc\udcffd\U000e0001e") == r"a\nb\tc\udcffd\U000e0001e"


def test_further_lines_of_a_message_do_not_look_like_the_programs_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert plain_lines("one\nscore: two\n  three") == "one\n  score: two\n  three"
    report("score", ClientError("one\nscore: two\x1b]0;three\x07"))
    assert capsys.readouterr().err == "score: one\n  score: two\\x1b]0;three\\x07\n"


def test_whatever_is_drawn_is_made_harmless_on_its_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    Output(as_json=False).show({}, lambda: Text(EVIL))
    Output(as_json=False).show({}, lambda: f"Study {EVIL} is created.")
    Output(as_json=False).show_text(f"{EVIL}\n")
    text = capsys.readouterr().out
    assert_harmless(text)
    assert text.count(r"\u202egpj.bam") == 3


def test_a_program_gets_texts_as_they_are_and_json_as_json_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).show_text(EVIL)
    assert capsys.readouterr().out == EVIL
    Output(as_json=True).show({"name": EVIL}, lambda: "")
    Output(as_json=True).show_line({"name": EVIL})
    text = capsys.readouterr().out
    assert_harmless(text)
    shown, line = text[: text.index("}") + 1], text[text.index("}") + 1 :]
    assert json.loads(shown) == json.loads(line) == {"name": EVIL}


@pytest.fixture
def evil_id(score: ScoreCommand, tmp_path: Path) -> str:
    """The id of a stored object with a file name that would change a terminal."""
    object_id = f"{score.study}-evil"
    score.register(EVIL, b"evil", object_id=object_id)
    source = tmp_path / "source"
    source.write_bytes(b"evil")
    assert score("upload", "--file", source, "--object-id", object_id).exit_code == 0
    score.song.set_state(object_id, "PUBLISHED")
    return object_id


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["ls"], 0),
        (["doctor", "--object-id", "ID"], 0),
        (["download", "--object-id", "ID", "--output", "-", "--length", "0"], 0),
        (["download", "--object-id", "ID", "--output", "-", "--offset", "9"], 2),
        (["rm", "--reason", EVIL, "--yes", "ID"], 3),
        (["upload", "--manifest", f"{EVIL}"], 8),
    ],
)
def test_names_and_messages_reach_a_terminal_harmless(
    score: ScoreCommand, evil_id: str, arguments: list[str], code: int
) -> None:
    words = [evil_id if word == "ID" else word for word in arguments]
    shown = run_at_terminal("score", *words, environment=score.environment | {"COLUMNS": "300"})
    assert shown.exit_code == code, shown.text
    assert_harmless(shown.text)
    assert arguments[0] == "rm" or r"\u202egpj.bam" in shown.text


def test_local_names_that_are_no_text_are_shown_and_moved(score: ScoreCommand, tmp_path: Path) -> None:
    score.make("a.bam", 1000)
    odd = tmp_path / "a\udcff\x1b[5;35m\n.bam"
    odd.write_bytes((score.folder / "a.bam").read_bytes())
    arguments = ["upload", "--file", odd, "--object-id", score.id_of("a.bam")]
    shown = run_at_terminal("score", *arguments, environment=score.environment)
    assert shown.exit_code == 0, shown.text
    assert_harmless(shown.text)
    assert r"a\udcff\x1b[5;35m" in shown.text


class EvilService(StudyServiceServicer, ObjectServiceServicer):
    """A Song and a Score whose every word would change a terminal."""

    def ListStudies(self, request: ListStudiesRequest, context: grpc.ServicerContext) -> ListStudiesResponse:
        return ListStudiesResponse(studies=[Study(study_id="ABC", name=EVIL, description=f"two\n{EVIL}")])

    def GetStudy(self, request: GetStudyRequest, context: grpc.ServicerContext) -> GetStudyResponse:
        self._refuse(context)
        raise AssertionError("it was refused")

    def GetObject(self, request: GetObjectRequest, context: grpc.ServicerContext) -> GetObjectResponse:
        self._refuse(context)
        raise AssertionError("it was refused")

    def _refuse(self, context: grpc.ServicerContext) -> None:
        status = Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=f"{EVIL}\nscore: {EVIL}")
        violation = BadRequest.FieldViolation(field=f"field {EVIL}", description=f"what {EVIL}")
        for detail in (ErrorInfo(reason="FIELD_INVALID"), BadRequest(field_violations=[violation])):
            packed = Any()
            packed.Pack(detail)
            status.details.append(packed)
        context.abort_with_status(rpc_status.to_status(status))


@pytest.fixture
def evil_environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    server = grpc.server(ThreadPoolExecutor(2))
    service = EvilService()  # type: ignore[abstract] # the rest is not asked for
    add_StudyServiceServicer_to_server(service, server)
    add_ObjectServiceServicer_to_server(service, server)
    address = f"localhost:{server.add_insecure_port('localhost:0')}"
    server.start()
    settings = {"SONG_STUDY_ID": "ABC", "XDG_CONFIG_HOME": str(tmp_path), "COLUMNS": "400"}
    yield settings | {"SONG_URL": address, "SCORE_URL": address}
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("program", "arguments", "code"),
    [
        ("song", ["list-studies"], 0),
        ("song", ["get-study"], 1),
        ("score", ["doctor"], 9),
        ("score", ["doctor", "--object-id", "abc"], 9),
    ],
)
def test_words_of_a_server_reach_a_terminal_harmless(
    evil_environment: dict[str, str], program: str, arguments: list[str], code: int
) -> None:
    shown = run_at_terminal(program, *arguments, environment=evil_environment)
    assert shown.exit_code == code, shown.text
    assert_harmless(shown.text)
    assert "\nscore: a" not in shown.text
    assert arguments == ["doctor"] or r"\u202egpj.bam" in shown.text
