"""Ask for missing answers, shard by shard, with workers that are kept between shards."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol, Self

from flows.parameters import TASK_RUNS, EngineParameters
from flows.work.host import AnswerProgress, Host, Reporter
from storage.answers.reuse import KnownAnswers
from storage.answers.writing import probe
from storage.errors import StorageUnavailable
from storage.retries import may_pass
from teacher.engines.config import ResolvedTeacher
from teacher.engines.presets import display_name
from teacher.extraction.jobs import Extraction, ShardSummary
from teacher.extraction.ledger import Ledger, add_up
from teacher.extraction.places import Worker
from teacher.extraction.plan import ExtractionPlan
from teacher.extraction.pool import ShardGivenUp, WorkerPool
from teacher.extraction.prepare import prepare_directory
from teacher.extraction.processes import WorkerProcess, readers_of
from teacher.extraction.worker import SHARDS_AT_ONCE

# Shards in a row that fail, retries included, before the rest of them is left for another run.
FAILED_SHARDS = 3


class WorkerSource(Protocol):
    """What runs the workers: processes of this machine, or a cluster. `gpus` is the number of all GPUs they occupy."""

    workers: int
    gpus: int

    def check(self, extractions: Sequence[Extraction]) -> None:
        """Raise the errors that workers would have with images or stores of `extractions`. Called before `start`."""
        ...

    def start(self, number: int, cancelled: threading.Event) -> Worker:
        """Start worker `number`. Raises the same errors as `WorkerProcess`."""
        ...

    def close(self) -> None: ...


class LocalWorkers:
    """Workers in processes of this machine. Raises TeacherInvalid if it has too few devices."""

    def __init__(self, name: str, teacher: ResolvedTeacher, engine: EngineParameters) -> None:
        self._name, self._teacher = name, teacher
        self._devices = engine.devices()
        self._options = engine.options(self._devices.workers_per_gpu)
        self.workers, self.gpus = len(self._devices), self._devices.gpus

    def check(self, extractions: Sequence[Extraction]) -> None:
        pass

    def start(self, number: int, cancelled: threading.Event) -> Worker:
        readers, environment = readers_of(self.workers), self._devices.environments[number]
        return WorkerProcess(self._name, self._teacher, self._options, readers, cancelled, environment)

    def close(self) -> None:
        pass


class TeacherWorkers:
    """A run's workers: started for the first shard, and kept for later ones.

    At the end of the context they have ended and freed their GPU memory. If nothing is to be asked, none is started, no
    device is searched and no cluster joined; otherwise an `engine` that cannot run raises then. `say` gets lines about
    workers that wait for a cluster.
    """

    def __init__(self, teacher: ResolvedTeacher, engine: EngineParameters, say: Callable[[str], None]) -> None:
        self.teacher = teacher
        self.engine = engine
        self.name, self.why = engine.choose()
        self._say = say

    @cached_property
    def source(self) -> WorkerSource:
        if self.engine.cluster is None:
            return LocalWorkers(self.name, self.teacher, self.engine)
        from teacher.extraction.cluster.workers import ClusterWorkers

        resources = self.engine.cluster_resources()
        options = self.engine.options(resources.workers_per_gpu)
        return ClusterWorkers(self.name, self.teacher, options, resources, self._say)

    @cached_property
    def pool(self) -> WorkerPool:
        return WorkerPool(self.source.start, self.source.workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if "pool" in vars(self):  # else nothing was asked
            self.pool.close()
        if "source" in vars(self):
            self.source.close()


@dataclasses.dataclass
class ReportedProgress:
    """Reports the progress of the pool to the host."""

    bar: AnswerProgress
    reporter: Reporter
    warned: bool = False

    def ready(self, slow_because: str | None) -> None:
        self.bar.ready()
        if slow_because and not self.warned:
            self.warned = True
            self.reporter.say(f"slower than it could be: {slow_because}")

    def advance(self, images: int, questions: int) -> None:
        self.bar.advance(images, questions)


def ask_missing(
    host: Host,
    extractions: Sequence[Extraction],
    workers: TeacherWorkers,
    known: KnownAnswers,
    *,
    task_runs: int = TASK_RUNS,
) -> Ledger:
    """Ask for the missing answers of all `extractions` with the same workers; return the cost.

    On a server, about `task_runs` task runs share the shards.
    Raises an error that is not retried at once, and others after every shard has been tried. Finished shards and the
    answers of unfinished ones are kept in any case.
    """
    teacher, source, pool = workers.teacher, workers.source, workers.pool
    host.reporter.say(
        f"teacher {display_name(teacher.config.model)} ({teacher.fingerprint}) by engine {workers.name} ({workers.why})"
    )
    for extraction in extractions:
        host.reporter.say(_describe(extraction.plan))
        probe(extraction.plan.directory)
        prepare_directory(extraction.plan)
    source.check(extractions)
    about = ", ".join(dict.fromkeys(extraction.dataset.name for extraction in extractions))
    before = [dataclasses.replace(usage) for usage in pool.usages]
    images, questions = _size([extraction.plan for extraction in extractions])
    started = time.monotonic()
    with host.reporter.answering(about, images, questions / max(1, images)) as bar:
        if pool.ready:
            bar.ready()
        done = _ask_all(host, pool, extractions, known, bar, task_runs)
        finished = time.monotonic()
    return add_up(
        done,
        pool.usages,
        before=before,
        seconds=finished - started,
        start_seconds=min((ready for ready in pool.ready if ready > started), default=started) - started,
        workers=source.workers,
        gpus=source.gpus,
        **workers.engine.prices(),
    )


def _ask_all(
    host: Host,
    pool: WorkerPool,
    extractions: Sequence[Extraction],
    known: KnownAnswers,
    bar: AnswerProgress,
    task_runs: int,
) -> list[ShardSummary]:
    """Return the summaries of all shards. No more shards are active at a time than the workers take."""
    shards = deque((extraction, shard) for extraction in extractions for shard in extraction.plan.missing)
    count, asked = len(shards), 0
    done, errors, in_a_row = list[ShardSummary](), list[Exception](), 0
    with host.open_shards(pool, ReportedProgress(bar, host.reporter), -(-count // task_runs)) as opened:
        try:
            while shards or asked:
                while shards and asked < SHARDS_AT_ONCE * len(pool):
                    extraction, shard = shards.popleft()
                    opened.submit(extraction.job(shard, known))
                    asked += 1
                future = opened.next_done()
                asked -= 1
                try:
                    done.append(future.result())
                    in_a_row = 0
                except Exception as error:  # of any kind: retried ones are counted, the first of them is raised below
                    errors.append(error)
                    in_a_row += 1
                    if isinstance(error, ShardGivenUp):
                        host.reporter.say(str(error))
                    elif not may_pass(error):
                        raise
                    if in_a_row >= FAILED_SHARDS:
                        raise
                bar.shards_done(len(done) / count)
            if errors:
                host.reporter.say(f"{len(errors)} of {count} shards failed; the first error follows")
                raise errors[0]
        except BaseException as error:
            pool.stop(write_begun=not isinstance(error, StorageUnavailable))
            raise
    return done


def _size(plans: Sequence[ExtractionPlan]) -> tuple[int, int]:
    """Return the number of images of the missing shards, and of their image-question pairs."""
    sizes = [plan.to_ask(shard) for plan in plans for shard in plan.missing]
    return sum(images for images, _ in sizes), sum(pairs for _, pairs in sizes)


def _describe(plan: ExtractionPlan) -> str:
    (images, pairs), kept = _size([plan]), len(plan.shards) - len(plan.missing)
    asked = f"{images} {plan.subject} x {len(plan.header.questions)} questions"
    if plan.wanted is not None:
        asked = f"{pairs} questions about {images} {plan.subject}"
    return f"{asked} in {len(plan.missing)} shards, {kept} shards kept"
