"""What the commands `song` and `score` have in common: options anywhere on the line, errors as lines, exit codes.

Nothing heavy is imported here: `--help` must answer at once.
"""

from __future__ import annotations  # errors are imported when one is raised

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperGroup

from song_score_client.terminal import plain, print_message

if TYPE_CHECKING:
    from song_score_client.errors import ClientError


class CommandGroup(TyperGroup):
    """The commands of a program. Its own options may stand before or after the command's name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer does not export its type
        """Parse the group's options, wherever they stand."""
        return super().parse_args(ctx, self._gather_options(args))

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as above
        """Run the command; an error of the SDK becomes lines on stderr and an exit code."""
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()  # a full disk is noticed while it can still be said
        except BrokenPipeError:
            raise  # ends quietly: nobody reads on
        except UnicodeEncodeError as error:
            _end(ctx.info_name, f"{error.object!r} is not text in {error.encoding}", self.exit_code(error))
        except OSError as error:
            _end(ctx.info_name, f"can't write the result: {error.strerror}", self.exit_code(error))
        except Exception as error:
            # The module brings grpc with it, so it is not imported for this; an error of it has done that.
            errors = sys.modules.get("song_score_client.errors")
            if errors is None or not isinstance(error, errors.ClientError):
                raise
            report(ctx.info_name, error)
            raise typer.Exit(self.exit_code(error)) from None
        return result

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - as above
        """List the commands, each with its first sentence whole."""
        rows = [(name, (command.help or "").partition("\n\n")[0]) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def exit_code(self, _error: Exception) -> int:
        """Return the program's exit code for an error."""
        return 1

    def _gather_options(self, args: list[str]) -> list[str]:
        """Move the group's options to the front, where the parser wants them."""
        is_flag = {
            name: getattr(option, "is_flag", False)
            for option in self.params
            for name in option.opts
            if name.startswith("--")
        }
        front, rest, waiting = [], [], list(args)
        while waiting and waiting[0] != "--":
            word = waiting.pop(0)
            name, equals, _ = word.partition("=")
            if name not in is_flag:
                rest.append(word)
                continue
            front.append(word)
            if not equals and not is_flag[name] and waiting:
                front.append(waiting.pop(0))
        return front + rest + waiting


def _end(program: str, problem: str, code: int) -> NoReturn:
    print_message(program, problem)
    # What is still in the buffer would fail once more at exit, with a traceback.
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(code)


def report(program: str, error: ClientError) -> None:
    """Say on stderr what is wrong; violations follow, one a line, or as a table for people."""
    # One violation of a request's field is the message again.
    found = getattr(error, "violations", ())
    violations = [(place or "(document)", what) for place, what in found if what not in str(error)]
    print_message(program, str(error))
    if violations and sys.stderr.isatty():
        from song_score_client.commands.output import print_violations  # noqa: PLC0415 - brings rich with it

        print_violations(violations, to_stderr=True)
    else:
        for place, what in violations:
            print(f"  {plain(place)}: {plain(what)}", file=sys.stderr)  # noqa: T201 - this is what a command does
    total = getattr(error, "metadata", {}).get("violation_count", "")
    if violations and total.isdecimal() and (more := int(total) - len(found)) > 0:
        print(f"  and {more} more", file=sys.stderr)  # noqa: T201 - as above
