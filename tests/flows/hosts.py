"""A host that keeps what it is told, for tests that call the plain functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich.console import RenderableType

from flows.work.host import Host
from flows.work.shards import ThreadedShards


class Notes:
    """A `Reporter` that only remembers."""

    progress_bars = False

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.tables: dict[str, list[Mapping[str, Any]]] = {}
        self.pages: dict[str, str] = {}
        self.share = 0.0

    def say(self, message: str) -> None:
        self.lines.append(message)

    def detail(self, message: str) -> None:
        pass

    def show(self, what: RenderableType) -> None:
        pass

    def working(self, what: str) -> AbstractContextManager[object]:
        return nullcontext()

    @contextmanager
    def answering(self, about: str, images: int, questions: float) -> Iterator[Notes]:
        yield self

    def ready(self) -> None:
        pass

    def advance(self, images: int, questions: int) -> None:
        pass

    def shards_done(self, share: float) -> None:
        self.share = share

    def table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        self.tables[key] = list(rows)

    def page(self, key: str, markdown: str, description: str) -> None:
        self.pages[key] = markdown


def plain_host(notes: Notes | None = None) -> Host:
    """Threads, and no time lost before a shard is asked again."""
    reporter = notes or Notes()
    return Host(reporter=reporter, open_shards=ThreadedShards(say=reporter.say, delays=(0.0, 0.0, 0.0)))
