"""Goes through what a command was given, one after the other: each is tried, and what fails is reported."""

from collections.abc import Callable, Iterable

from song_score_client.commands.exit_codes import ExitCode, combined_exit_code
from song_score_client.commands.group import report
from song_score_client.errors import ClientError


def try_each(names: Iterable[str], do: Callable[[str], None], *, fail_fast: bool) -> ExitCode:
    """Do it for each name, or up to the first that fails; return the command's exit code."""
    failures: list[Exception] = []
    for name in names:
        try:
            do(name)
        except ClientError as error:
            report("score", error)
            failures.append(error)
            if fail_fast:
                break
    return combined_exit_code(failures)
