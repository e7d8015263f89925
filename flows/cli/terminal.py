"""Messages and progress bars on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType

from flows.cli.errors import wants_traceback
from flows.cli.markup import plain
from student.core.progress import Heartbeat, ImageBar, duration


class Terminal:
    """A `Reporter` that prints, and ignores what is for a run's page or log."""

    progress_bars = True

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, message: str) -> None:
        self._console.print(plain(message), highlight=False, soft_wrap=True)

    def detail(self, message: str) -> None:
        if wants_traceback():
            self.say(message)

    def show(self, what: RenderableType) -> None:
        self._console.print(what)

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show a spinner; without a terminal, print a line from time to time."""
        if self._console.is_terminal:
            with self._console.status(plain(what)):
                yield
            return
        beat = Heartbeat(lambda seconds: self.say(f"{what}, {duration(seconds)} so far"))
        beat.start()
        try:
            yield
        finally:
            beat.stop()

    @contextmanager
    def answering(self, about: str, images: int, questions: float) -> Iterator[AnswerBar]:
        waiting = ImageBar("starting the teacher", images, answers=questions, waiting=True, console=self._console)
        with waiting as bar:
            yield AnswerBar(bar)

    def table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        pass

    def page(self, key: str, markdown: str, description: str) -> None:
        pass


class AnswerBar:
    """A progress bar over images, with several questions each; its clock starts when the teacher is ready."""

    def __init__(self, bar: ImageBar) -> None:
        self._bar = bar

    def ready(self) -> None:
        self._bar.start("asking")

    def advance(self, images: int, questions: int) -> None:
        self.ready()  # stored answers are reused before the teacher is ready
        self._bar.advance(images)

    def shards_done(self, share: float) -> None:
        pass
