"""The interface between a run and its host: reports, and the execution of shards.

`flows/cli/execution.py` has the host of a plain command, `flows/server/flow_runs.py` that of a run on a Prefect server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import RenderableType

from flows.work.inputs import Inputs
from teacher.extraction.jobs import ShardJob, ShardSummary
from teacher.extraction.pool import PoolProgress, WorkerPool


class AnswerProgress(Protocol):
    """The progress of asking. `ready` and `advance` are called from several threads."""

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
    """Reports the events of a run. `progress_bars`: whether training may draw some."""

    progress_bars: bool

    def say(self, message: str) -> None:
        """Print one line for the user."""
        ...

    def detail(self, message: str) -> None:
        """Write one line to the log only."""
        ...

    def show(self, what: RenderableType) -> None:
        """Print a table on the terminal."""
        ...

    def working(self, what: str) -> AbstractContextManager[object]:
        """Show activity during the block."""
        ...

    def answering(self, about: str, images: int, questions: float) -> AbstractContextManager[AnswerProgress]:
        """Show progress in the block, with `images` and a mean of `questions` each; `about` names their datasets."""
        ...

    def table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        """Add a table to the run's page."""
        ...

    def page(self, key: str, markdown: str, description: str) -> None:
        """Add a text to the run's page."""
        ...


class ShardFuture(Protocol):
    """A shard being asked about."""

    def result(self) -> ShardSummary:
        """Return or raise the result of `WorkerPool.ask`, after retries."""
        ...


class Shards(Protocol):
    """Asks several shards at a time."""

    def submit(self, job: ShardJob) -> None:
        """Start another shard."""
        ...

    def next_done(self) -> ShardFuture:
        """Wait for a shard that has finished or failed; each is returned once."""
        ...


class OpenShards(Protocol):
    def __call__(self, pool: WorkerPool, progress: PoolProgress, per_run: int = 1) -> AbstractContextManager[Shards]:
        """Return shards that the pool's workers ask about; at the end of the context none is being asked. `per_run` of
        them may share a task run of a server."""
        ...


@dataclass(frozen=True, kw_only=True)
class Host:
    """The environment of a run."""

    reporter: Reporter
    open_shards: OpenShards
    inputs: Inputs = field(default_factory=Inputs)
