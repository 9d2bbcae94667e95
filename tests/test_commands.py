"""The commands that start servers, where they can't."""

import pytest

from song_score import commands


def test_a_client_install_says_what_a_server_needs() -> None:
    with pytest.raises(SystemExit, match="pip install") as raised:
        commands._require_server("score-server", find=lambda name: None if name == "alembic" else object())
    assert "score-server" in str(raised.value)
    commands._require_server("score-server")
