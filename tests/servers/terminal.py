"""A command as a person meets it: at a terminal, with all it sends there."""

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command did."""

    exit_code: int
    text: str
    """All that went to the terminal, stdout and stderr."""


def run_at_terminal(program: str, *arguments: object, environment: Mapping[str, str]) -> Shown:
    """Run `song` or `score` with stdin, stdout and stderr at a terminal of its own."""
    screen_side, terminal = pty.openpty()
    code = f"from song_score_client.commands.{program} import main; main()"
    with (
        os.fdopen(screen_side, "rb", buffering=0) as screen,
        subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={**os.environ, "TERM": "xterm", **environment},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        ) as process,
    ):
        os.close(terminal)
        shown = b""
        try:
            while chunk := screen.read(65536):
                shown += chunk
        except OSError:
            pass  # how Linux says that the other side of a terminal is closed
        return Shown(process.wait(TIMEOUT_SECONDS), shown.decode())
