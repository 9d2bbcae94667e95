"""The commands of `score`: its exit codes, its interruption, and booleans with a value after them."""

# ruff: noqa: PLC0415 - help must answer at once, and what an error needs is loaded once there is one

from __future__ import annotations  # names that only types need are not imported

import os
import signal
import sys
from typing import Any, NoReturn

from song_score_client.commands.group import CommandGroup

_WORDS = {"true": True, "false": False}


class ScoreGroup(CommandGroup):
    """The commands of `score`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer does not export its type
        """Parse; `--force true` and `--force=false` are understood, as scripts written for Overture say them."""
        return super().parse_args(ctx, self._settle_booleans(self._put_behind_command(args)))

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as above
        """Run the command. SIGTERM and SIGINT end it within moments, with what was verified kept."""
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _leave_interrupted(self.name or ctx.info_name)
        finally:
            signal.signal(signal.SIGTERM, before)

    def exit_code(self, error: Exception) -> int:
        """See the table."""
        from song_score_client.commands.exit_codes import exit_code

        return exit_code(error)

    def _put_behind_command(self, args: list[str]) -> list[str]:
        """Move a command's options that stand before its name behind it: `--max-rate 10M upload …`."""
        takes_value = {
            name: not getattr(option, "is_flag", False)
            for command in (*self.commands.values(), self)  # what is the program's own comes last, and wins
            for option in command.params
            for name in (*option.opts, *option.secondary_opts)
        }
        own = {name for option in self.params for name in option.opts}
        kept: list[str] = []
        moved: list[str] = []
        waiting = list(args)
        while waiting and waiting[0] not in self.commands and waiting[0] != "--":
            word = waiting.pop(0)
            name, equals, _ = word.partition("=")
            place = kept if name in own or name not in takes_value else moved
            place.append(word)
            if takes_value.get(name) and not equals and waiting:
                place.append(waiting.pop(0))
        return [*kept, *waiting[:1], *moved, *waiting[1:]]

    def _settle_booleans(self, args: list[str]) -> list[str]:
        chosen = next((self.commands[word] for word in args if word in self.commands), None)
        params = [*self.params, *(chosen.params if chosen is not None else ())]
        # Each flag's name, with that of its contrary where it has one, as those have that are on by default.
        flags = {
            name: next(iter(option.secondary_opts), None)
            for option in params
            if getattr(option, "is_flag", False)
            for name in option.opts
        }
        settled: list[str] = []
        waiting = list(args)
        while waiting:
            word = waiting.pop(0)
            name, equals, value = word.partition("=")
            if name not in flags or word == "--":
                settled.append(word)
                continue
            if not equals and waiting and waiting[0].lower() in _WORDS:
                value = waiting.pop(0)
            if _WORDS.get(value.lower(), True):
                settled.append(name)
            elif (contrary := flags[name]) is not None:
                settled.append(contrary)
        return settled


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _leave_interrupted(program: str) -> NoReturn:
    from song_score_client.commands.exit_codes import ExitCode

    text = "interrupted; what was verified is kept: the same command again resumes"
    print(f"\n{program}: {text}", file=sys.stderr, flush=True)  # noqa: T201 - this is what a command does
    sys.stdout.flush()
    # Threads of transfers may be waiting for the network. They hold nothing that is not safe on the disk, and a
    # person who interrupts does not wait.
    os._exit(ExitCode.INTERRUPTED)
