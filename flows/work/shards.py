"""Shards of a plain command: one thread per active shard, with retries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

from flows.parameters import MAX_WORKERS
from storage.retries import may_pass
from storage.text import printable
from teacher.extraction.jobs import ShardJob, ShardSummary
from teacher.extraction.pool import PoolProgress, WorkerPool
from teacher.extraction.worker import SHARDS_AT_ONCE

RETRY_DELAYS = (4.0, 8.0, 16.0)  # seconds before each retry of a shard
LONGEST_REASON = 300  # characters


@dataclass(kw_only=True)
class ThreadShards:
    """Implements `Shards` with threads of this process."""

    threads: ThreadPoolExecutor
    pool: WorkerPool
    progress: PoolProgress
    say: Callable[[str], None]
    delays: Sequence[float]
    _asked: list[Future[ShardSummary]] = field(default_factory=list)

    def submit(self, job: ShardJob) -> None:
        self._asked.append(self.threads.submit(self._ask, job))

    def next_done(self) -> Future[ShardSummary]:
        done = next(iter(wait(self._asked, return_when=FIRST_COMPLETED).done))
        self._asked.remove(done)
        return done

    def _ask(self, job: ShardJob) -> ShardSummary:
        return ask_patiently(self.pool, job, self.progress, self.say, self.delays)


@dataclass(frozen=True, kw_only=True)
class ThreadedShards:
    """The `OpenShards` of a plain command. Reports retries to `say`."""

    say: Callable[[str], None]
    delays: Sequence[float] = RETRY_DELAYS

    @contextmanager
    def __call__(self, pool: WorkerPool, progress: PoolProgress, per_run: int = 1) -> Iterator[ThreadShards]:
        with ThreadPoolExecutor(SHARDS_AT_ONCE * MAX_WORKERS) as threads:
            yield ThreadShards(threads=threads, pool=pool, progress=progress, say=self.say, delays=self.delays)


def ask_patiently(
    pool: WorkerPool, job: ShardJob, progress: PoolProgress, say: Callable[[str], None], delays: Sequence[float]
) -> ShardSummary:
    """Ask about a shard, and retry where that may help, after each of the `delays`. Raises the errors of `pool.ask`."""
    for delay in delays:
        try:
            return pool.ask(job, progress)
        except Exception as error:  # of any kind: the rule says which ones are retried
            if not may_pass(error):
                raise
            say(f"shard {job.shard.index} is retried in {delay:g} s: {printable(str(error), LONGEST_REASON)}")
        pool.closing.wait(delay)
    return pool.ask(job, progress)
