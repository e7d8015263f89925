"""The task runs of an extraction: one for every shard, or for several where there are many shards."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture, as_completed
from prefect.tasks import Task
from prefect.utilities.annotations import quote

from flows.server.redacting import hiding, secrets_of
from flows.work.host import Shards
from flows.work.shards import RETRY_DELAYS, ask_patiently
from storage.errors import RunFailed
from storage.retries import may_pass
from teacher.extraction.jobs import ShardJob, ShardSummary
from teacher.extraction.pool import PoolProgress, WorkerPool


class TaskRunEnded(RunFailed):
    """A task run ended before it had asked about its shards."""

    may_pass = True


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
    with hiding(_secrets()):
        return pool.ask(job, progress)


@dataclass(kw_only=True)
class ShardQueue:
    """The shards of one task run: it takes one after the other, at most `left` more."""

    left: int
    idle: bool = True
    waiting: queue.SimpleQueue[tuple[ShardJob, Future[ShardSummary]] | None] = field(default_factory=queue.SimpleQueue)

    def put(self, job: ShardJob) -> Future[ShardSummary]:
        result = Future[ShardSummary]()
        self.idle, self.left = False, self.left - 1
        self.waiting.put((job, result))
        return result

    def serve(self, ask: Callable[[ShardJob], ShardSummary]) -> None:
        """Ask about shards until there are no more. Raises the first error at the end."""
        error: BaseException | None = None
        while (item := self.waiting.get()) is not None:
            job, result = item
            try:
                summary = ask(job)
            except BaseException as failure:
                # It is raised where the result is read; other shards are asked about meanwhile.
                error = error or failure
                self._finish(partial(result.set_exception, failure))
            else:
                self._finish(partial(result.set_result, summary))
        if error is not None:
            raise error

    def _finish(self, answer: Callable[[], None]) -> None:
        self.idle = True
        if self.left == 0:
            self.waiting.put(None)
        answer()

    def give_up(self) -> None:
        """Answer for a task run that has ended: shards that it has not taken get an error."""
        self.left, self.idle = 0, False
        while not self.waiting.empty():
            if (item := self.waiting.get()) is not None:
                item[1].set_exception(TaskRunEnded("the task run of this shard has ended"))


@task(name="ask-shards", task_run_name="shards-from-{shard}", cache_policy=NO_CACHE, persist_result=False)
def ask_shards(
    shard: int, dataset: str, shards: ShardQueue, pool: WorkerPool, progress: PoolProgress, say: Callable[[str], None]
) -> None:
    """Ask about several shards of the dataset, from number `shard` on, each retried like a task."""
    with hiding(_secrets()):
        shards.serve(lambda job: ask_patiently(pool, job, progress, say, RETRY_DELAYS))


class TaskShards:
    """Implements `Shards` with one task of the flow run per shard, which Prefect retries."""

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


class TaskQueues:
    """Implements `Shards` with task runs that ask about `each` shards, one after the other.

    Tens of thousands of task runs would overload Prefect's database. A shard goes to a task run that waits for one, so
    that no worker waits at the end.
    """

    def __init__(self, pool: WorkerPool, progress: PoolProgress, each: int, say: Callable[[str], None]) -> None:
        self._pool, self._progress, self._say = pool, progress, say
        self._each = each
        self._queues: list[ShardQueue] = []
        self._runs: list[PrefectFuture[None]] = []
        self._asked: list[Future[ShardSummary]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for one in self._queues:
            one.waiting.put(None)
        for run in self._runs:
            run.wait()

    def submit(self, job: ShardJob) -> None:
        self._queues = [one for one in self._queues if one.left > 0 or not one.idle]
        waiting = next((one for one in self._queues if one.idle and one.left > 0), None)
        self._asked.append((waiting or self._start(job)).put(job))

    def _start(self, job: ShardJob) -> ShardQueue:
        shards = ShardQueue(left=self._each)
        given = {"shards": shards, "pool": self._pool, "progress": self._progress, "say": self._say}
        quoted: dict[str, Any] = {name: quote(value) for name, value in given.items()}
        run = ask_shards.submit(shard=job.shard.index, dataset=job.header.dataset, **quoted)
        run.add_done_callback(lambda run: shards.give_up())
        self._queues.append(shards)
        self._runs.append(run)
        return shards

    def next_done(self) -> Future[ShardSummary]:
        done = next(iter(wait(self._asked, return_when=FIRST_COMPLETED).done))
        self._asked.remove(done)
        return done


@dataclass(frozen=True, kw_only=True)
class ShardTasks:
    """The `OpenShards` of a flow run. Reports retries to `say`."""

    say: Callable[[str], None]

    def __call__(self, pool: WorkerPool, progress: PoolProgress, per_run: int = 1) -> AbstractContextManager[Shards]:
        return TaskShards(pool, progress) if per_run == 1 else TaskQueues(pool, progress, per_run, self.say)


def _secrets() -> tuple[str, ...]:
    context = FlowRunContext.get()
    return secrets_of(context.parameters if context and context.parameters else {})
