"""Where a run takes place: what reports on it, and what runs the shards.

`flows/cli/execution.py` has the host of a plain command, `flows/server/flow_runs.py` that of a run on a Prefect server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import RenderableType

from flows.work.inputs import Inputs
from teacher.extraction.jobs import ShardJob, ShardSummary
from teacher.extraction.pool import PoolProgress, WorkerPool


class AnswerProgress(Protocol):
    """How far asking has come. `ready` and `advance` are called from several threads."""

    def ready(self) -> None:
        """The teacher has loaded."""
        ...

    def advance(self, images: int, questions: int) -> None:
        """`images` and `questions` more have been answered."""
        ...

    def shards_done(self, share: float) -> None:
        """`share` of the shards, from 0 to 1, has been written."""
        ...


class Reporter(Protocol):
    """Reports what a run does. `progress_bars`: whether training may draw some."""

    progress_bars: bool

    def say(self, message: str) -> None:
        """One line for the user."""
        ...

    def detail(self, message: str) -> None:
        """One line for the log alone."""
        ...

    def show(self, what: RenderableType) -> None:
        """A table for the terminal."""
        ...

    def working(self, what: str) -> AbstractContextManager[object]:
        """While something takes a moment."""
        ...

    def answering(self, about: str, images: int, questions: float) -> AbstractContextManager[AnswerProgress]:
        """While `images` are asked about, with `questions` each on average; `about` names their datasets."""
        ...

    def table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        """A table for the run's page."""
        ...

    def page(self, key: str, markdown: str, description: str) -> None:
        """A text for the run's page."""
        ...


class ShardFuture(Protocol):
    """A shard that is being asked."""

    def result(self) -> ShardSummary:
        """What `WorkerPool.ask` returned or raised, after retries."""
        ...


class Shards(Protocol):
    """Asks several shards at a time."""

    def submit(self, job: ShardJob) -> None:
        """Begin with another shard."""
        ...

    def next_done(self) -> ShardFuture:
        """Wait until one of them has finished or failed; it is returned once."""
        ...


# Shards that the pool's workers ask about. At the end of the context none is being asked.
OpenShards = Callable[[WorkerPool, PoolProgress], AbstractContextManager[Shards]]


@dataclass(frozen=True, kw_only=True)
class Host:
    """Where a run takes place."""

    reporter: Reporter
    open_shards: OpenShards
    inputs: Inputs = field(default_factory=Inputs)
