"""The help of the commands: every value has a name that says what it is, and in which unit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest
import typer
from song_score_client.commands import score, song, song_score
from typer.testing import CliRunner

APPS = {"song": song.app, "score": score.app, "song-score": song_score.build(lambda _arguments: None)}
TYPES = {"str", "path", "int", "int range", "float", "float range", "datetime"}
Command: TypeAlias = Any
"""Of typer, which exports no type of it."""


def commands(group: Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Yield the words and the command of everything that can be run, and of each group."""
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


EVERY = [found for name, app in APPS.items() for found in commands(typer.main.get_command(app), (name,))]


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(path) for path, _ in EVERY])
def test_every_value_of_an_option_has_a_name(path: tuple[str, ...], command: Command) -> None:
    with command.make_context(path[-1], ["-h"], resilient_parsing=True) as context:
        values = {
            option.opts[-1]: str(option.display_type_rich(ctx=context))
            for option in command.params
            if option.param_type_name == "option" and not option.is_flag and option.opts != ["--help"]
        }
    assert {name: shown for name, shown in values.items() if shown.strip("<>").removeprefix("list[") in TYPES} == {}
    assert {name for name, shown in values.items() if not shown.strip()} == set()


@pytest.mark.parametrize("columns", ["60", "80", "100"])
@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(path) for path, _ in EVERY])
def test_no_name_of_an_option_or_a_command_is_cut(path: tuple[str, ...], command: Command, columns: str) -> None:
    if path == ("song-score", "serve"):
        return  # as below
    result = CliRunner().invoke(APPS[path[0]], [*path[1:], "-h"], env={"COLUMNS": columns})
    names = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    expected = {name for name in names if name.startswith("-")} | set(getattr(command, "commands", {}))
    assert {name for name in expected if name not in result.stdout} == set()
    assert "…" not in result.stdout


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(path) for path, _ in EVERY])
def test_every_option_is_explained_and_no_argument_is_nameless(path: tuple[str, ...], command: Command) -> None:
    if path == ("song-score", "serve"):
        return  # passes its options on, and their help is the server's
    result = CliRunner().invoke(APPS[path[0]], [*path[1:], "-h"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "[]" not in result.stdout
    silent = [option.opts for option in command.params if not option.help and not getattr(option, "hidden", False)]
    assert [names for names in silent if not names[0].startswith("-")] == silent
