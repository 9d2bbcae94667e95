"""The `song` command itself: what it sends, prints and exits with, whatever Song answers.

The Song here says, over real gRPC, what the test tells it to. How the command works with the real Song is in
`test_song_command_with_song.py`.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_status import rpc_status
from song.v1 import analysis_service_pb2, analysis_type_service_pb2, file_service_pb2, study_service_pb2
from song.v1.analysis_pb2 import (
    ANALYSIS_STATE_PUBLISHED,
    ANALYSIS_STATE_UNPUBLISHED,
    Analysis,
    SchemaViolation,
    StateChange,
)
from song.v1.analysis_service_pb2 import (
    GetAnalysisResponse,
    ListAnalysesResponse,
    PublishAnalysisResponse,
    SubmitAnalysisResponse,
    ValidateAnalysisResponse,
)
from song.v1.analysis_type_pb2 import AnalysisTypeReference
from song.v1.entity_pb2 import Donor, Sample, Specimen
from song.v1.file_pb2 import FILE_ACCESS_OPEN, File
from song.v1.study_service_pb2 import ListStudiesResponse
from song_score_client.commands.song import app
from typer.testing import CliRunner, Result

from runtime_grpc.errors import Entry, ErrorTable

STUDY = "ABC123"
_SERVICES = [
    service
    for module in (analysis_service_pb2, analysis_type_service_pb2, file_service_pb2, study_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
]


class RefusedError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str = "refused",
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.entry = Entry(code, reason)
        self.metadata = metadata or {}
        self.violations = violations


class ScriptedSong(grpc.GenericRpcHandler):
    """Answers each method with what the test put into `answers`, and keeps the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[Any], Message]] = {}
        """By method name."""
        self.requests: list[Any] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        for service in _SERVICES:
            for method in service.methods:
                if handler_call_details.method == f"/{service.full_name}/{method.name}":
                    return grpc.unary_unary_rpc_method_handler(
                        self._answer(method.name), GetMessageClass(method.input_type).FromString, _serialize
                    )
        return None

    def _answer(self, name: str) -> Callable[[Message, grpc.ServicerContext], Message]:
        def answer(request: Message, context: grpc.ServicerContext) -> Message:
            self.requests.append(request)
            try:
                return self.answers[name](request)
            except RefusedError as error:
                status = ErrorTable("song", {}, error.entry)._status(
                    error.entry, str(error), error.metadata, error.violations
                )
                context.abort_with_status(rpc_status.to_status(status))
                raise AssertionError from None  # abort_with_status raises

        return answer


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


class RunSong(Protocol):
    """Runs `song` with these arguments."""

    def __call__(self, *arguments: str, stdin: str = "") -> Result: ...


@pytest.fixture
def song() -> ScriptedSong:
    return ScriptedSong()


@pytest.fixture
def address(song: ScriptedSong) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2), handlers=[song])
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield f"localhost:{port}"
    server.stop(None).wait()


@pytest.fixture
def environment(address: str, tmp_path: Path) -> dict[str, str]:
    return {"SONG_URL": address, "SONG_STUDY_ID": STUDY, "XDG_CONFIG_HOME": str(tmp_path), "COLUMNS": "200"}


@pytest.fixture
def run_song(environment: dict[str, str]) -> RunSong:
    def run(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin, env=environment, prog_name="song")

    return run


ANALYSIS = Analysis(
    analysis_id="id-1",
    study_id=STUDY,
    state=ANALYSIS_STATE_PUBLISHED,
    analysis_type=AnalysisTypeReference(name="calls", version=2),
    samples=[
        Sample(
            sample_id="s",
            submitter_sample_id="S",
            specimen=Specimen(specimen_id="p", submitter_specimen_id="P", info_json='{"depth": 0.10}'),
            donor=Donor(donor_id="d", submitter_donor_id="D", gender="Other"),
        )
    ],
    files=[File(object_id="o", file_name="a.vcf", size_bytes=9007199254740993, access=FILE_ACCESS_OPEN)],
    data_json='{"experiment":{"big":9007199254740993,"small":0.10,"odd":1E5},"more":[]}',
    state_changes=[StateChange(initial_state=ANALYSIS_STATE_UNPUBLISHED, updated_state=ANALYSIS_STATE_PUBLISHED)],
)
ANALYSIS.create_time.FromJsonString("2026-01-02T03:04:05.678901Z")
VIOLATIONS = [SchemaViolation(pointer=f"/files/{number}", message="is wrong") for number in range(30)]


def violate(_request: object) -> Message:
    raise RefusedError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "SCHEMA_VIOLATION",
        "the payload breaks its schema in 30 places",
        metadata={"violation_count": "30"},
        violations=[(violation.pointer, violation.message) for violation in VIOLATIONS],
    )


def test_submit_sends_the_file_as_it_is_and_prints_the_id(
    song: ScriptedSong, run_song: RunSong, tmp_path: Path
) -> None:
    song.answers["SubmitAnalysis"] = lambda _request: SubmitAnalysisResponse(analysis_id="id-1")
    payload = tmp_path / "x.json"
    payload.write_bytes(b'{"x":  0.10}')
    result = run_song("submit", "-f", str(payload), "-ad")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {"analysisId": "id-1", "status": "OK"}
    (request,) = song.requests
    assert (request.study_id, request.payload_json) == (STUDY, '{"x":  0.10}')
    assert request.allow_duplicates
    assert request.request_id


def test_of_many_duplicates_the_first_are_listed_and_the_others_counted(
    song: ScriptedSong, run_song: RunSong, tmp_path: Path
) -> None:
    def refuse(_request: object) -> Message:
        held = [(f"{number}.vcf", "MD5 … is held by id-1") for number in range(300)]
        raise RefusedError(
            grpc.StatusCode.ALREADY_EXISTS, "INFO_ALREADY_EXISTS", metadata={"violation_count": "300"}, violations=held
        )

    song.answers["SubmitAnalysis"] = refuse
    payload = tmp_path / "x.json"
    payload.write_text("{}")
    lines = run_song("submit", "-f", str(payload)).stderr.splitlines()
    assert lines[1] == "  0.vcf: MD5 … is held by id-1"
    assert (len(lines), lines[-1]) == (22, "  and 280 more")


def test_what_submit_prints_can_be_piped_into_publish(
    song: ScriptedSong, environment: dict[str, str], tmp_path: Path
) -> None:
    song.answers["SubmitAnalysis"] = lambda _request: SubmitAnalysisResponse(analysis_id="id-1")
    song.answers["PublishAnalysis"] = lambda _request: PublishAnalysisResponse(
        state=ANALYSIS_STATE_PUBLISHED, changed=True
    )
    program = f"{sys.executable} -c 'from song_score_client.commands.song import main; main()'"
    (tmp_path / "x.json").write_text("{}")
    pipe = f"{program} submit -f - < x.json | {program} publish"
    output = subprocess.run(
        pipe, shell=True, check=True, capture_output=True, cwd=tmp_path, env=os.environ | environment, timeout=60
    )
    assert json.loads(output.stdout) == {"analysisId": "id-1", "state": "PUBLISHED", "changed": True}
    assert song.requests[-1].analysis_id == "id-1"


def test_publish_takes_the_id_from_its_option_and_accepts_the_option_without_effect(
    song: ScriptedSong, run_song: RunSong
) -> None:
    song.answers["PublishAnalysis"] = lambda _request: PublishAnalysisResponse(state=ANALYSIS_STATE_PUBLISHED)
    assert run_song("publish", "-a", "id-2", "-i").exit_code == 0
    assert song.requests[-1].analysis_id == "id-2"


@pytest.mark.parametrize(
    ("stdin", "message"), [("", "nothing came in"), ("{", "stdin: "), ("{}", 'no "analysisId"'), ("[]", "not a JSON")]
)
def test_a_broken_pipe_is_named(run_song: RunSong, stdin: str, message: str) -> None:
    result = run_song("suppress", stdin=stdin)
    assert result.exit_code == 1
    assert message in result.stderr


def test_search_prints_overtures_names_and_exact_numbers(song: ScriptedSong, run_song: RunSong) -> None:
    song.answers["GetAnalysis"] = lambda _request: GetAnalysisResponse(analysis=ANALYSIS)
    text = run_song("search", "-a", "id-1").stdout
    for number in ['"big": 9007199254740993', '"small": 0.10', '"odd": 1E5', '"depth": 0.10']:
        assert number in text
    document = json.loads(text)
    assert list(document) == [
        *("analysisId", "studyId", "analysisState", "createdAt", "updatedAt", "firstPublishedAt", "publishedAt"),
        *("analysisStateHistory", "samples", "files", "analysisType", "experiment", "more"),
    ]
    assert document["createdAt"] == "2026-01-02T03:04:05.678901"
    assert document["publishedAt"] is None
    assert document["analysisType"] == {"name": "calls", "version": 2}
    assert document["files"][0]["objectId"] == "o"
    assert document["files"][0]["fileSize"] == 9007199254740993
    assert document["files"][0]["fileAccess"] == "open"
    assert "info" not in document["files"][0]
    (sample,) = document["samples"]
    assert sample["matchedNormalSubmitterSampleId"] is None
    assert sample["donor"]["studyId"] == STUDY


def test_samples_that_a_type_defines_itself_are_shown(song: ScriptedSong, run_song: RunSong) -> None:
    song.answers["GetAnalysis"] = lambda _request: GetAnalysisResponse(analysis=Analysis(data_json='{"samples": [1]}'))
    assert json.loads(run_song("search", "-a", "x").stdout)["samples"] == [1]


def test_options_of_the_program_may_follow_the_command(song: ScriptedSong, run_song: RunSong) -> None:
    song.answers["ListAnalyses"] = lambda _request: ListAnalysesResponse()
    run_song("list", "--study", "AFTER", "--json")
    run_song("--study=BEFORE", "list")
    assert [request.study_id for request in song.requests] == ["AFTER", "BEFORE"]


@pytest.mark.parametrize("arguments", [["search"], ["list", "--state", "x"], ["nonsense"], ["submit", "-f"]])
def test_wrong_usage_exits_with_2(run_song: RunSong, arguments: list[str]) -> None:
    assert run_song(*arguments).exit_code == 2


def test_a_missing_file_is_one_clear_error(run_song: RunSong) -> None:
    result = run_song("submit", "-f", "/nowhere/x.json")
    assert (result.exit_code, result.stderr) == (1, "song: can't read /nowhere/x.json: No such file or directory\n")


def test_config_masks_the_token_and_names_each_source(run_song: RunSong, environment: dict[str, str]) -> None:
    environment["SONG_ACCESS_TOKEN"] = "top-secret"
    result = run_song("config")
    assert "top-secret" not in result.stdout
    document = json.loads(result.stdout)
    assert document["song.access_token"] == {"value": "********", "source": "SONG_ACCESS_TOKEN"}
    assert document["song.study_id"] == {"value": STUDY, "source": "SONG_STUDY_ID"}


def test_ping_exits_with_1_where_nothing_serves(run_song: RunSong) -> None:
    # The scripted Song has no health service: as good as down.
    result = run_song("ping")
    assert (result.exit_code, result.stdout) == (1, "false\n")


def test_a_person_at_a_terminal_gets_tables(song: ScriptedSong, environment: dict[str, str]) -> None:
    song.answers["GetAnalysis"] = lambda _request: GetAnalysisResponse(analysis=ANALYSIS)
    shown = run_at_terminal(["search", "-a", "id-1"], environment)
    assert "analysis id-1" in shown
    assert "a.vcf" in shown
    assert "0.10" in shown
    song.answers["SubmitAnalysis"] = violate
    song.answers["ValidateAnalysis"] = lambda _request: ValidateAnalysisResponse(
        violations=VIOLATIONS, violation_total=30
    )
    shown = run_at_terminal(["submit", "-f", "/dev/null"], environment)
    assert "what is wrong" in shown
    assert "/files/29" in shown


def test_an_interrupted_command_exits_with_130(song: ScriptedSong, environment: dict[str, str]) -> None:
    reached, released = threading.Event(), threading.Event()

    def hang(_request: object) -> Message:
        reached.set()
        released.wait(30)
        return ListStudiesResponse()

    song.answers["ListStudies"] = hang
    process = subprocess.Popen([*PROGRAM, "list-studies"], env=os.environ | environment, stderr=subprocess.DEVNULL)
    assert reached.wait(30)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    released.set()


def test_help_needs_neither_grpc_nor_a_server() -> None:
    program = """
import sys
from typer.testing import CliRunner
from song_score_client.commands.song import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
assert CliRunner().invoke(app, ["submit", "--help"]).exit_code == 0
assert "grpc" not in sys.modules and "google.protobuf" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


PROGRAM = [sys.executable, "-c", "from song_score_client.commands.song import main; main()"]


def run_at_terminal(arguments: list[str], environment: Mapping[str, str]) -> str:
    """Run the command with a terminal as stdout and stderr, and return what a person sees."""
    reader, terminal = pty.openpty()
    with os.fdopen(reader, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [*PROGRAM, *arguments], stdout=terminal, stderr=terminal, env=os.environ | environment
        )
        os.close(terminal)
        shown = b""
        try:
            while chunk := screen.read(65536):
                shown += chunk
        except OSError:
            pass  # how Linux says that the other side of a terminal is closed
        process.wait(30)
    return shown.decode()


def test_a_version_beyond_the_contract_is_wrong_usage(run_song: RunSong) -> None:
    assert run_song("get-analysis-type", "-n", "x", "-v", "99999999999").exit_code == 2


def test_a_document_that_song_would_not_take_is_not_sent(song: ScriptedSong, run_song: RunSong) -> None:
    result = run_song("submit", "-f", "-", stdin="x" * (16 * 1024 * 1024 + 1))
    assert (result.exit_code, song.requests) == (1, [])
    assert "too large" in result.stderr


@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        ("config > /dev/full", "song: can't write the result: No space left on device"),
        ("config >&-", "song: stdout is closed: there is nowhere to print the result"),
        ("publish <&-", "song: nothing came in on stdin: did the command before fail?"),
        ("publish -a $'\\xff'", "song: '\\udcff' is not text in utf-8"),
    ],
)
def test_streams_and_arguments_that_are_of_no_use_are_one_line(
    environment: dict[str, str], redirection: str, message: str
) -> None:
    program = f"{sys.executable} -c 'from song_score_client.commands.song import app; app(prog_name=\"song\")'"
    ended = subprocess.run(
        ["bash", "-c", f"{program} {redirection}"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr.splitlines()) == (1, [message])
