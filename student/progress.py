"""One bar for everything that takes long: images done, images per second, time left."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from storage.text import printable


def note(message: str) -> None:
    """One line on standard error about something that a user should know."""
    print(f"note: {printable(message, 1000)}", file=sys.stderr, flush=True)


class ImagesPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} images/s")


class ImageBar:
    """A progress bar on standard error over `total` images; does nothing where `shown` is false."""

    def __init__(self, what: str, total: int, *, done: int = 0, shown: bool = True) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), ImagesPerSecond())
        console = Console(stderr=True)
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console, disable=not shown)
        self._task = self._progress.add_task(what, total=total, completed=done)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, images: int) -> None:
        self._progress.advance(self._task, images)

    def describe(self, what: str) -> None:
        self._progress.update(self._task, description=what)
