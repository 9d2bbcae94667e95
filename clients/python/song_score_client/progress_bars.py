"""Progress bars for people at a terminal, on stderr: one per file under way, one for all."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from song_score_client.progress import Document, FileProgress, Meter, Outages, Progress
from song_score_client.quantities import format_bytes, format_seconds
from song_score_client.terminal import plain, plain_lines
from song_score_client.transfer.listener import Listener

REFRESHES_PER_SECOND = 5


class BarProgress(Progress):
    """Shows bars; messages scroll above them."""

    def __init__(self, program: str, outages: Outages | None = None) -> None:
        super().__init__(program, outages)
        # What is printed is text: names of files are no markup.
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Measures(),
            console=self._console,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        """Of the files under way, by object id."""

    def __enter__(self) -> Self:
        self._whole = self._bars.add_task("all", total=None, meter=self.total)
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def watch(self, name: str, object_id: str, size_bytes: int) -> Listener:
        """Add the file's bar."""
        file = FileProgress(self, name, object_id, size_bytes)
        self._tasks[object_id] = self._bars.add_task(plain(name), total=size_bytes, meter=file.meter)
        return file

    def update(self, file: FileProgress) -> None:
        """Move the bars; they are drawn a few times a second only."""
        self._show(self._tasks.get(file.object_id), file.meter)
        self._show(self._whole, self.total)

    def report(self, text: str, document: Document) -> None:
        """Replace the file's bar by a line."""
        self._remove(document)
        super().report(text, document)

    def fail(self, text: str, document: Document) -> None:
        """Replace the file's bar by a line."""
        self._remove(document)
        super().fail(text, document)

    def _remove(self, document: Document) -> None:
        task = self._tasks.pop(str(document.get("object_id")), None)
        if task is not None:
            self._bars.remove_task(task)

    def _show(self, task: TaskID | None, meter: Meter) -> None:
        if task is not None:
            self._bars.update(task, completed=meter.safe_bytes, total=meter.total_bytes)

    def _print(self, text: str) -> None:
        self._console.print(f"{self._program}: {plain_lines(text)}", soft_wrap=True)


class _Measures(ProgressColumn):
    """`12.0 MiB / 1.5 GiB  80.1 MiB/s  0:18`"""

    def render(self, task: Task) -> Text:
        """Draw one line's figures."""
        meter: Meter = task.fields["meter"]
        remaining = meter.remaining_seconds
        figures = [
            f"{format_bytes(meter.safe_bytes)} / {format_bytes(meter.total_bytes)}",
            f"{format_bytes(meter.rate)}/s",
            "" if remaining is None else f"{format_seconds(remaining)} left",
        ]
        return Text("  ".join(filter(None, figures)))
