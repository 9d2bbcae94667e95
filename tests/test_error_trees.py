"""The trees that open `domain/errors.py` of both services."""

import re
from types import ModuleType

import pytest

from runtime_grpc.errors import ErrorTable
from score_grpc.domain import errors as score_errors
from score_grpc.transport.errors import ERRORS as SCORE_ERRORS
from song_grpc.domain import errors as song_errors
from song_grpc.transport.errors import ERRORS as SONG_ERRORS


@pytest.mark.parametrize(
    ("module", "table", "root"),
    [(song_errors, SONG_ERRORS, "SongError"), (score_errors, SCORE_ERRORS, "ScoreError")],
    ids=["song", "score"],
)
def test_the_tree_names_every_error_that_has_a_reason(module: ModuleType, table: ErrorTable, root: str) -> None:
    with_reason = {kind.__name__ for kind in table.entries if kind.__module__ == module.__name__}
    assert set(re.findall(r"\w+Error\b", module.__doc__ or "")) == {root, *with_reason}
