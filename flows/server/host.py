"""Where a flow run takes place: Prefect's log and artifacts, and a Prefect task for every shard."""

from __future__ import annotations

import logging
import threading
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
from prefect.client.schemas.objects import TaskRun
from prefect.futures import PrefectFuture, as_completed
from prefect.states import State
from prefect.tasks import Task
from rich.console import RenderableType

from flows.cli.markup import artifact_rows, markdown_text
from flows.server.redacting import hiding
from flows.work.host import AnswerProgress, Ask, Reporter
from flows.work.shards import RETRY_DELAYS, may_pass
from storage.text import printable
from teacher.engines.redaction import redact
from teacher.extraction.extract import ShardSummary

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


class ServerReporter:
    """Tells Prefect's log and the run's page, and `also` who sits at the terminal of the command."""

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
    """A progress bar on the run's page, one step for each shard."""

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


class TaskShards:
    """As `OpenShards` and `Shards`: a task of the flow run for each shard, which Prefect tries again."""

    def __init__(self, secrets: tuple[str, ...], ask: Ask, stopped: threading.Event) -> None:
        def is_worth_retrying(task: Task[..., object], task_run: TaskRun, state: State) -> bool:
            return not stopped.is_set() and isinstance(state.data, Exception) and may_pass(state.data)

        @task(
            name="ask-shard",
            task_run_name="shard-{shard}",
            retries=len(RETRY_DELAYS),
            retry_delay_seconds=list(RETRY_DELAYS),
            retry_condition_fn=is_worth_retrying,
            # The store says what is done, not Prefect: its cache would go on saying so after the file is gone.
            cache_policy=NO_CACHE,
            persist_result=False,
        )
        def ask_shard(extraction: int, shard: int) -> ShardSummary:
            with hiding(secrets):
                return ask(extraction, shard)

        self._task = ask_shard
        self._asked: list[PrefectFuture[ShardSummary]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for future in self._asked:
            future.wait()

    def submit(self, extraction: int, shard: int) -> None:
        self._asked.append(self._task.submit(extraction, shard))

    def next_done(self) -> PrefectFuture[ShardSummary]:
        done = next(as_completed(self._asked))
        self._asked.remove(done)
        return done
