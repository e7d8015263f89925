"""Messages and progress bars: on the terminal of a direct run, and in Prefect's log in any case."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from prefect.logging import get_run_logger
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_attached: list[Console] = []


def attach(console: Console) -> None:
    """From now on flows of this process also talk to `console`; a worker's process never calls this."""
    _attached[:] = [console]


def attached() -> bool:
    return bool(_attached)


def say(message: str) -> None:
    """One line for whoever watches the flow run that this is called from."""
    get_run_logger().info(message)
    for console in _attached:
        console.print(message, highlight=False, markup=False, soft_wrap=True)


def show(what: RenderableType) -> None:
    """A table for whoever sits at the terminal."""
    for console in _attached:
        console.print(what)


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner while something takes a moment."""
    if not _attached:
        yield
        return
    with _attached[0].status(what):
        yield


class AnswerSpeed(ProgressColumn):
    """Images and questions per second since the first one was asked."""

    def render(self, task: Task) -> Text:
        if not task.elapsed or not task.completed:
            return Text("")
        speed = task.completed / task.elapsed
        return Text(f"{speed:,.1f} images/s  {speed * task.fields['questions']:,.0f} questions/s")


class AnswerBar:
    """A progress bar over `images` with `questions` each, on average; the clock runs from the moment that the teacher
    is ready."""

    def __init__(self, images: int, questions: float) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), AnswerSpeed())
        console = _attached[0] if _attached else Console(stderr=True)
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console, disable=not _attached)
        self._task = self._progress.add_task("starting the teacher", total=images, questions=questions, start=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def ready(self) -> None:
        self._progress.start_task(self._task)
        self._progress.update(self._task, description="asking")

    def advance(self, images: int, questions: int) -> None:
        self.ready()  # answers that the store knows need no teacher
        self._progress.advance(self._task, images)
