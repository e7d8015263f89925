"""Progress: bars on a terminal; elsewhere, as in a server's log, a line every 30 seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from storage.text import printable

EVERY = 30.0  # seconds between two lines where there is no terminal
BAR = 12  # columns: with large numbers beside it a bar fits into 80
_title: ContextVar[str] = ContextVar("title", default="")


def note(message: str) -> None:
    """One line on standard error about something that a user should know."""
    print(f"note: {printable(message, 1000)}", file=sys.stderr, flush=True)


@contextmanager
def titled(title: str) -> Iterator[None]:
    """A title for the bars of the block, e.g. which student of how many."""
    token = _title.set(printable(title))
    try:
        yield
    finally:
        _title.reset(token)


class Speed(ProgressColumn):
    """Images a second, and answers where each image has some."""

    def __init__(self, answers: float) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self._answers = answers

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else speed_text(speed, self._answers))


class TitledBar(Progress):
    """A bar below lines of text, each as long as the terminal is wide at most."""

    def __init__(self, lines: Callable[[], Sequence[str]], columns: Sequence[ProgressColumn], console: Console) -> None:
        self._lines = lines
        super().__init__(*columns, console=console)

    def get_renderables(self) -> Iterator[RenderableType]:
        for line in self._lines():
            yield Text(line, no_wrap=True, overflow="ellipsis")
        yield self.make_tasks_table(self.tasks)


class ImageBar:
    """Progress on standard error over `total` images, of which `done` are done already; nothing where `shown` is false.

    `answers` are those to each image, to tell their speed too. The clock runs at once, or from `start` if `waiting`.
    Any thread may call `advance`.
    """

    def __init__(
        self,
        what: str,
        total: int,
        *,
        done: int = 0,
        shown: bool = True,
        answers: float = 0.0,
        waiting: bool = False,
        console: Console | None = None,
    ) -> None:
        self._console = console or Console(stderr=True)
        self._what, self._news, self._title = what, "", _title.get()
        self._total, self._before, self._answers = total, done, answers
        self._done = done
        self._turn = threading.Lock()
        self._started = None if waiting else time.monotonic()
        columns = (TextColumn("{task.description}", markup=False), BarColumn(BAR), MofNCompleteColumn(), Speed(answers))
        left = TimeRemainingColumn(compact=True, elapsed_when_finished=True)
        self._bar = TitledBar(self._lines, (*columns, left), self._console)
        self._task = self._bar.add_task(what, total=total, completed=done, start=not waiting)
        self._drawn = shown and self._console.is_terminal
        self._heartbeat = Heartbeat(self._report) if shown and not self._drawn else None

    def __enter__(self) -> Self:
        if self._drawn:
            self._bar.start()
        elif self._heartbeat:
            self._heartbeat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            self._bar.stop()
        elif self._heartbeat:
            self._heartbeat.stop()

    def start(self, what: str) -> None:
        """Start the clock; called again it does nothing."""
        if self._started is None:
            self._what, self._started = what, time.monotonic()
            self._bar.start_task(self._task)
            self._bar.update(self._task, description=what)

    def advance(self, images: int) -> None:
        with self._turn:
            self._done += images
        if self._drawn:
            self._bar.advance(self._task, images)

    def describe(self, news: str) -> None:
        """Show what was just measured, e.g. an epoch's loss."""
        self._news = printable(news)
        if self._heartbeat:
            self._print(f"{self._news}; {self._rate()}")

    def _lines(self) -> list[str]:
        resumed = f"resumed at {self._before / self._total:.0%}" if self._before else ""
        return [line for line in (", ".join(filter(None, (self._title, resumed))), self._news) if line]

    def _report(self, seconds: float) -> None:
        if self._started is None:
            self._print(f"{self._what}, {duration(seconds)} so far")
        else:
            self._print(f"{self._what}: {self._done:,} of {self._total:,} images, {self._rate()}")

    def _print(self, line: str) -> None:
        text = f"{self._title}: {line}" if self._title else line
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _rate(self) -> str:
        passed = time.monotonic() - (self._started or time.monotonic())
        if self._done == self._before or passed <= 0:
            return "no images yet"
        speed = (self._done - self._before) / passed
        return f"{speed_text(speed, self._answers)}, {duration((self._total - self._done) / speed)} left"


class Heartbeat:
    """Calls `call` every EVERY seconds with the seconds that have passed, from its own thread."""

    def __init__(self, call: Callable[[float], None]) -> None:
        self._call = call
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        started = time.monotonic()
        while not self._ended.wait(EVERY):
            self._call(time.monotonic() - started)


def speed_text(speed: float, answers: float) -> str:
    images = f"{speed:,.1f} images/s" if speed < 100 else f"{speed:,.0f} images/s"
    return f"{images} {speed * answers:,.0f} answers/s" if answers else images


def duration(seconds: float) -> str:
    """In the two largest units: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
