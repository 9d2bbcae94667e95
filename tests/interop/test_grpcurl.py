"""docs/grpcurl.md, run as it stands: its commands against both services, their outcome against what it shows."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "grpcurl.md"
GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"
BLOCK = re.compile(r"^```(bash|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
END_OF_STEP = "===== end of step ====="
START_SECONDS = 60.0

MASKS = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
    (re.compile(r'"etag": "[0-9a-f]{16}"'), '"etag": "<of ids>"'),
    (re.compile(r"\s+"), ""),  # grpcurl's own version decides on spaces
)


@dataclass(frozen=True)
class Step:
    commands: str
    shown: str
    """What the page shows of their output; empty where it shows nothing."""


def read_steps(page: str) -> list[Step]:
    """Return the page's commands, each block with the output shown after it."""
    steps: list[Step] = []
    for language, text in BLOCK.findall(page):
        if language == "bash":
            steps.append(Step(text, ""))
        else:
            steps[-1] = Step(steps[-1].commands, text)
    return steps


def mask(text: str) -> str:
    for pattern, replacement in MASKS:
        text = pattern.sub(replacement, text)
    return text


def run_steps(steps: list[Step], song: str, score: str, folder: Path, grpcurl: Path) -> list[str]:
    """Run all commands in one bash; return each step's output, errors included."""
    script = "".join(f"{step.commands}\necho '{END_OF_STEP}'\n" for step in steps)
    script = script.replace("localhost:50051", song).replace("localhost:50052", score)
    environment = os.environ | {"PATH": f"{grpcurl.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-u", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    outputs = done.stdout.split(f"{END_OF_STEP}\n")
    assert len(outputs) == len(steps) + 1, done.stdout
    return outputs[:-1]


@pytest.fixture(scope="module")
def grpcurl() -> Path:
    """Find grpcurl, or install it into the checkout's cache where Go is there."""
    cached = ROOT / ".cache" / "bin" / "grpcurl"
    go = shutil.which("go")
    candidates = [shutil.which("grpcurl"), cached]
    if go is not None:
        gopath = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True, check=True).stdout.strip()
        candidates.append(Path(gopath, "bin", "grpcurl"))
    for candidate in candidates:
        if candidate is not None and Path(candidate).is_file():
            return Path(candidate)
    if go is None:
        pytest.skip("needs grpcurl, or Go to install it")
    environment = os.environ | {"GOBIN": str(cached.parent), "GOFLAGS": "-mod=mod"}
    done = subprocess.run([go, "install", GRPCURL], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"needs grpcurl, and 'go install' could not fetch it: {done.stderr.strip()[-200:]}")
    return cached


@pytest.fixture
def addresses(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Run `song-score serve` on free ports; return the addresses of Song and Score."""
    log = tmp_path / "server.log"
    command = [sys.executable, "-m", "song_score", "serve", "--song-port", "0", "--score-port", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "--data-dir", str(tmp_path / "data")], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while (found := re.search(r"Song (\S+:\d+), Score (\S+:\d+)", log.read_text())) is None:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield found[1], found[2]
    finally:
        process.terminate()
        assert process.wait(30) == 0, log.read_text()


def test_the_page_shows_what_its_commands_do(grpcurl: Path, addresses: tuple[str, str], tmp_path: Path) -> None:
    steps = read_steps(PAGE.read_text())
    folder = tmp_path / "folder"
    folder.mkdir()
    outputs = run_steps(steps, *addresses, folder, grpcurl)
    for step, output in zip(steps, outputs, strict=True):
        assert mask(output) == mask(step.shown), f"{step.commands}\nprinted\n{output}"


def test_a_page_that_shows_something_else_is_seen() -> None:
    step = read_steps("```bash\necho 1\n```\n\n```text\n2\n```\n")[0]
    assert step == Step("echo 1\n", "2\n")
    assert mask("1\n") != mask(step.shown)
    assert mask('{ "id": "0a1b2c3d-0000-4000-8000-0a1b2c3d4e5f"}') == '{"id":"<id>"}'
