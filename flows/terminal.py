"""Messages and progress bars on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from flows.errors import wants_traceback


class Terminal:
    """A `Reporter` that prints; what is for a run's page or log it leaves alone."""

    progress_bars = True

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, message: str) -> None:
        self._console.print(message, highlight=False, markup=False, soft_wrap=True)

    def detail(self, message: str) -> None:
        if wants_traceback():
            self.say(message)

    def show(self, what: RenderableType) -> None:
        self._console.print(what)

    def working(self, what: str) -> AbstractContextManager[object]:
        """A spinner."""
        return self._console.status(what)

    @contextmanager
    def answering(self, about: str, images: int, questions: float) -> Iterator[AnswerBar]:
        columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), AnswerSpeed())
        with Progress(*columns, TimeRemainingColumn(), console=self._console) as progress:
            yield AnswerBar(progress, images, questions)

    def table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        pass

    def page(self, key: str, markdown: str, description: str) -> None:
        pass


class AnswerSpeed(ProgressColumn):
    """Images and questions per second since the first one was asked."""

    def render(self, task: Task) -> Text:
        if not task.elapsed or not task.completed:
            return Text("")
        speed = task.completed / task.elapsed
        return Text(f"{speed:,.1f} images/s  {speed * task.fields['questions']:,.0f} questions/s")


class AnswerBar:
    """A bar over `images` with `questions` each, on average; the clock runs from the moment that the teacher is
    ready."""

    def __init__(self, progress: Progress, images: int, questions: float) -> None:
        self._progress = progress
        self._task = progress.add_task("starting the teacher", total=images, questions=questions, start=False)

    def ready(self) -> None:
        self._progress.start_task(self._task)
        self._progress.update(self._task, description="asking")

    def advance(self, images: int, questions: int) -> None:
        self.ready()  # answers that the store knows need no teacher
        self._progress.advance(self._task, images)

    def shards_done(self, share: float) -> None:
        pass
