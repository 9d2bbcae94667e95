"""What a command prints: tables for people, JSON for programs. Only results go to stdout."""

from __future__ import annotations  # rich is imported when a person looks

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from song_score_client.exact_json import INDENT, Json, dump, dump_line
from song_score_client.terminal import plain, plain_lines

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

Item = TypeVar("Item")
_ANY_WIDTH = 10**6
"""Of a terminal on which everything fits, in characters."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where results go."""

    as_json: bool
    """JSON even to a terminal; what is no terminal always gets JSON."""

    @property
    def is_for_people(self) -> bool:
        """True when a person looks at stdout and asked for no JSON."""
        return not self.as_json and self._is_terminal

    def show(self, document: Json, view: Callable[[], RenderableType]) -> None:
        """Print one result."""
        if self.is_for_people:
            _print_rich(view())
        else:
            _write(dump(document) + "\n")

    def show_each(
        self,
        items: Iterable[Item],
        render: Callable[[Item], Json],
        columns: Sequence[str],
        cells: Callable[[Item], Sequence[str]],
    ) -> None:
        """Print many results: a table of all, or a JSON array whose items are written as they come."""
        if self.is_for_people:
            _print_rich(table(columns, map(cells, items)))
            return
        opening = "[\n"
        for item in items:
            _write(f"{opening}{INDENT}{dump(render(item), INDENT)}")
            opening = ",\n"
        _write("\n]\n" if opening == ",\n" else "[]\n")

    def show_line(self, document: Json) -> None:
        """Print one of many results as a line of JSON, at once, for people and programs alike."""
        _write(dump_line(document) + "\n")
        sys.stdout.flush()

    def show_text(self, text: str) -> None:
        """Print text as it is; but to a terminal nothing that would change it."""
        _write(plain(text, keep="\n\t") if self._is_terminal else text)

    @property
    def _is_terminal(self) -> bool:
        return sys.stdout is not None and sys.stdout.isatty()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> RenderableType:
    """Return a plain table; cells are text, never markup, and nothing in them is cut.

    Where an id or another word would not fit on its line, each row becomes lines of a name and its value.
    """
    return _Table(columns, [[plain(cell) for cell in row] for row in rows])


def print_violations(violations: Iterable[tuple[str, str]], *, to_stderr: bool = False) -> None:
    """Print where a document is wrong, and how, for people."""
    _print_rich(table(["where", "what is wrong"], violations), to_stderr=to_stderr)


def _print_rich(renderable: RenderableType, *, to_stderr: bool = False) -> None:
    from rich.console import Console  # noqa: PLC0415 - only for people

    # What is printed is text: nothing in it is markup, and lines to copy are not broken.
    console = Console(stderr=to_stderr, highlight=False, markup=False, emoji=False)
    if isinstance(renderable, str):
        console.print(plain_lines(renderable), soft_wrap=True)
    else:
        console.print(_Plain(renderable))


@dataclass(frozen=True, slots=True)
class _Table:
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        from rich.measure import Measurement  # noqa: PLC0415 - only for people

        drawn = self._as_table()
        room = options.update(width=_ANY_WIDTH)
        if Measurement.get(console, room, drawn).minimum <= options.max_width:
            yield drawn
            return
        for row in self.rows:
            yield self._as_lines(row)

    def _as_table(self) -> RenderableType:
        from rich import box  # noqa: PLC0415 - only for people
        from rich.table import Table  # noqa: PLC0415 - as above
        from rich.text import Text  # noqa: PLC0415 - as above

        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for number, name in enumerate(self.columns):
            # Words stay whole, as ids that are to be copied; sentences make room for them.
            drawn.add_column(name, overflow="fold", no_wrap=not any(" " in row[number] for row in self.rows))
        for row in self.rows:
            drawn.add_row(*map(Text, row))
        return drawn

    def _as_lines(self, row: Sequence[str]) -> RenderableType:
        from rich.padding import Padding  # noqa: PLC0415 - only for people
        from rich.table import Table  # noqa: PLC0415 - as above
        from rich.text import Text  # noqa: PLC0415 - as above

        drawn = Table.grid(padding=(0, 2))
        drawn.add_column(no_wrap=True)
        drawn.add_column(overflow="fold")
        for name, value in zip(self.columns, row, strict=True):
            drawn.add_row(Text(name, style="bold"), Text(value))
        return Padding(drawn, (0, 0, 1, 0))


@dataclass(frozen=True, slots=True)
class _Plain:
    """What is drawn, without what would change a terminal, wherever it comes from: but rich's own colours."""

    drawn: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.drawn, options):
            yield segment._replace(text=plain(segment.text, keep="\n"))


def _write(text: str) -> None:
    if sys.stdout is None:  # a shell's `>&-`
        from song_score_client.errors import LocalFileError  # noqa: PLC0415 - brings grpc with it

        raise LocalFileError("stdout is closed: there is nowhere to print the result")
    sys.stdout.write(text)
