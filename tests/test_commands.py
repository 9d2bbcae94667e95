"""The commands that start servers, where they can't."""

import subprocess
import sys

import pytest

from song_score import commands


def test_a_client_install_says_what_a_server_needs() -> None:
    with pytest.raises(SystemExit, match="pip install") as raised:
        commands._require_server("score-server", find=lambda name: None if name == "alembic" else object())
    assert "score-server" in str(raised.value)
    commands._require_server("score-server")


def test_what_a_client_does_with_song_score_loads_nothing_of_a_server() -> None:
    program = (
        "import sys\n"
        "from song_score.commands import song_score\n"
        "try:\n    song_score()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "loaded = {'sqlalchemy', 'alembic', 'song_grpc', 'score_grpc'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    arguments = [sys.executable, "-c", program, "submit", "--help"]
    shown = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert "--publish" in shown
