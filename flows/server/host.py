"""The host of a flow run: Prefect's log and artifacts, and a Prefect task for every shard."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Self

from prefect import task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture, as_completed
from prefect.tasks import Task
from prefect.utilities.annotations import quote
from rich.console import RenderableType

from flows.cli.markup import artifact_rows, markdown_text
from flows.server.redacting import hiding, secrets_of
from flows.work.host import AnswerProgress, Reporter
from flows.work.shards import RETRY_DELAYS
from storage.retries import may_pass
from storage.text import printable
from teacher.engines.redaction import redact
from teacher.extraction.jobs import ShardJob, ShardSummary
from teacher.extraction.pool import PoolProgress, WorkerPool

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


class ServerReporter:
    """Reports to Prefect's log, to the run's page, and to `also`, the command's terminal."""

    def __init__(self, logger: Logger, also: Reporter | None, secrets: tuple[str, ...] = ()) -> None:
        self._logger = logger
        self._secrets = secrets
        self._also = also
        self.progress_bars = also is not None and also.progress_bars

    def say(self, message: str) -> None:
        self._logger.info("%s", printable(redact(message, self._secrets)))
        if self._also:
            self._also.say(message)

    def detail(self, message: str) -> None:
        self._logger.info("%s", printable(redact(message, self._secrets)))
        if self._also:
            self._also.detail(message)

    def show(self, what: RenderableType) -> None:
        if self._also:
            self._also.show(what)

    def working(self, what: str) -> AbstractContextManager[object]:
        return self._also.working(what) if self._also else nullcontext()

    @contextmanager
    def answering(self, about: str, images: int, questions: float) -> Iterator[AnswerProgress]:
        artifact: Any = create_progress_artifact(
            0.0, key="extraction", description=markdown_text(f"answers for {about}")
        )
        with ExitStack() as stack:
            also = stack.enter_context(self._also.answering(about, images, questions)) if self._also else None
            yield ShardProgress(artifact, also)

    def table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        create_table_artifact(artifact_rows(rows), key=key, description=markdown_text(description))

    def page(self, key: str, markdown: str, description: str) -> None:
        create_markdown_artifact(redact(markdown, self._secrets), key=key, description=markdown_text(description))


class ShardProgress:
    """A progress bar on the run's page, with one step per shard."""

    def __init__(self, artifact: Any, also: AnswerProgress | None) -> None:
        self._artifact = artifact
        self._also = also

    def ready(self) -> None:
        if self._also:
            self._also.ready()

    def advance(self, images: int, questions: int) -> None:
        if self._also:
            self._also.advance(images, questions)

    def shards_done(self, share: float) -> None:
        update_progress_artifact(self._artifact, 100 * share)


def _is_retried(task: Task[..., object], task_run: TaskRun, state: State) -> bool:
    return isinstance(state.data, Exception) and may_pass(state.data)


@task(
    name="ask-shard",
    task_run_name="shard-{shard}",
    retries=len(RETRY_DELAYS),
    retry_delay_seconds=list(RETRY_DELAYS),
    retry_condition_fn=_is_retried,
    # The store decides what is done, not Prefect: its cache would stay valid after the file is deleted.
    cache_policy=NO_CACHE,
    persist_result=False,
)
def ask_shard(shard: int, dataset: str, job: ShardJob, pool: WorkerPool, progress: PoolProgress) -> ShardSummary:
    """Ask about shard number `shard` of the dataset with one of the run's workers."""
    context = FlowRunContext.get()
    with hiding(secrets_of(context.parameters if context and context.parameters else {})):
        return pool.ask(job, progress)


class TaskShards:
    """Implements `OpenShards` and `Shards` with one task of the flow run per shard, which Prefect retries."""

    def __init__(self, pool: WorkerPool, progress: PoolProgress) -> None:
        self._pool = pool
        self._progress = progress
        self._asked: list[PrefectFuture[ShardSummary]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for future in self._asked:
            future.wait()

    def submit(self, job: ShardJob) -> None:
        # Quoted, otherwise Prefect would search their contents for futures.
        quoted: dict[str, Any] = {"job": quote(job), "pool": quote(self._pool), "progress": quote(self._progress)}
        self._asked.append(ask_shard.submit(shard=job.shard.index, dataset=job.header.dataset, **quoted))

    def next_done(self) -> PrefectFuture[ShardSummary]:
        done = next(as_completed(self._asked))
        self._asked.remove(done)
        return done
