"""The pages against the code: settings, errors, links, and the README's commands."""

import ast
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined
from score.v1.error_reason_pb2 import ErrorReason as ScoreReason
from song.v1.error_reason_pb2 import ErrorReason as SongReason
from song_score_client import configuration

from runtime_grpc.errors import ErrorTable
from runtime_grpc.settings import ServiceSettings
from score_grpc.settings import ScoreSettings
from score_grpc.transport.errors import ERRORS as SCORE_ERRORS
from song_grpc.settings import SongSettings
from song_grpc.transport.errors import ERRORS as SONG_ERRORS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def section(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the tables under a heading, cell by cell."""
    text = (ROOT / "docs" / page).read_text()
    found = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no heading {heading}"
    lines = [line for line in found[1].splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def default_of(kind: type[ServiceSettings], name: str) -> str:
    """Return a setting's default as the page spells it."""
    default = kind.model_fields[name].default
    assert default is not PydanticUndefined
    text = default.get_secret_value() if hasattr(default, "get_secret_value") else default
    if text is None:
        return "none"
    if isinstance(text, bool):
        text = str(text).lower()
    return f"`{text:g}`" if isinstance(text, float) else f"`{text}`" if str(text) else "empty"


def test_every_setting_of_both_services_stands_on_the_page() -> None:
    names = set(ServiceSettings.model_fields)
    expected = {name: default_of(SongSettings, name) for name in names - {"port"}}
    expected["port"] = f"Song {default_of(SongSettings, 'port')}, Score {default_of(ScoreSettings, 'port')}"
    assert {row[0].strip("`"): row[1] for row in section("settings.md", "Both services")} == expected


@pytest.mark.parametrize(("heading", "kind"), [("Song alone", SongSettings), ("Score alone", ScoreSettings)])
def test_every_setting_of_one_service_stands_on_the_page(heading: str, kind: type[ServiceSettings]) -> None:
    names = set(kind.model_fields) - set(ServiceSettings.model_fields)
    expected = {name: default_of(kind, name) for name in names}
    assert {row[0].strip("`"): row[1] for row in section("settings.md", heading)} == expected


def test_every_setting_of_the_clients_stands_on_the_page() -> None:
    rows = section("settings.md", "The commands `song` and `score`")
    variables = {row[0].strip("`"): tuple(re.findall(r"`(\w+)`", row[1])) for row in rows}
    assert variables == dict(configuration._ENVIRONMENT)
    defaults = {row[0].strip("`"): row[2].strip("`") for row in rows if row[2] != "none"}
    assert defaults == dict(configuration._DEFAULTS)


@pytest.mark.parametrize(
    ("heading", "reasons", "table"),
    [("Song", SongReason.keys(), SONG_ERRORS), ("Score", ScoreReason.keys(), SCORE_ERRORS)],
)
def test_every_reason_stands_on_the_page_with_its_code(heading: str, reasons: list[str], table: ErrorTable) -> None:
    entries = [*table.entries.values(), table.unknown]
    codes = {entry.reason: entry.code.name for entry in entries}
    assert {f"ERROR_REASON_{reason}" for reason in codes} == set(reasons) - {"ERROR_REASON_UNSPECIFIED"}
    assert {row[0].strip("`"): row[1] for row in section("errors.md", heading)} == codes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    gone = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not gone


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_path_a_page_names_is_there(page: Path) -> None:
    rooms = r"(?:song_grpc|score_grpc|runtime_grpc|byte_path|song_score|clients|protos|tests|docs|benchmarks)"
    named = set(re.findall(rf"`({rooms}/[\w./]*)`", page.read_text()))
    gone = sorted(path for path in named if not (ROOT / path).exists())
    assert not gone


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: page.name)
def test_a_decision_says_context_options_why_and_by_what_it_is_confirmed(page: Path) -> None:
    text = page.read_text()
    assert re.match(rf"# {page.name[:4]} ", text)
    said = re.findall(r"^(Context|Options|Chosen because|Confirmed by): \S", text, re.MULTILINE)
    assert said == ["Context", "Options", "Chosen because", "Confirmed by"]


def test_the_commands_of_the_readme_do_the_main_job(tmp_path: Path) -> None:
    block = re.search(r"^```bash\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert block
    song, score = free_ports()
    script = block[1].replace(". .venv/bin/activate\n", "")
    serve = f"song-score serve --song-port {song} --score-port {score} --score-http-port 0 --log-level warning"
    assert "song-score serve &" in script
    script = script.replace("song-score serve &", f"{serve} &")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SONG_", "SCORE_", "STORAGE_"))}
    environment = own | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SONG_URL": f"localhost:{song}",
        "SCORE_URL": f"localhost:{score}",
        "XDG_CONFIG_HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path),
    }
    done = subprocess.run(
        ["bash", "-eu", "-c", f"{script}\nwait"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "same", done.stdout


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def test_no_page_shows_python_that_does_not_parse() -> None:
    for page in PAGES:
        for code in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            ast.parse(code)
