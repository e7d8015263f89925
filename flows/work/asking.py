"""Ask for missing answers, shard by shard, with workers that are kept between shards."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from typing import Self

from flows.parameters import EngineParameters
from flows.work.host import AnswerProgress, Host, Reporter
from storage.answers.reuse import KnownAnswers
from storage.answers.writing import probe, writing
from storage.errors import StorageUnavailable
from storage.retries import may_pass
from teacher.engines.config import ResolvedTeacher
from teacher.engines.devices import Devices
from teacher.engines.presets import display_name
from teacher.extraction.jobs import Extraction, ShardSummary
from teacher.extraction.ledger import Ledger, add_up
from teacher.extraction.places import Worker
from teacher.extraction.plan import ExtractionPlan
from teacher.extraction.pool import ShardGivenUp, WorkerPool
from teacher.extraction.processes import WorkerProcess, readers_of
from teacher.extraction.worker import SHARDS_AT_ONCE

# Shards in a row that fail, retries included, before the rest of them is left for another run.
FAILED_SHARDS = 3


class TeacherWorkers:
    """A run's workers: started for the first shard, and kept for later ones.

    At the end of the context their processes have ended and freed their GPU memory. If nothing is to be asked, no
    process is started and no device is searched; otherwise an `engine` that this machine cannot run raises then.
    """

    def __init__(self, teacher: ResolvedTeacher, engine: EngineParameters) -> None:
        self.teacher = teacher
        self.engine = engine
        self.name, self.why = engine.choose()

    @cached_property
    def devices(self) -> Devices:
        return self.engine.devices()

    @cached_property
    def pool(self) -> WorkerPool:
        return WorkerPool(self._start, len(self.devices))

    def _start(self, number: int, cancelled: threading.Event) -> Worker:
        devices, options = self.devices, self.engine.options(self.devices.workers_per_gpu)
        readers, environment = readers_of(len(devices)), devices.environments[number]
        return WorkerProcess(self.name, self.teacher, options, readers, cancelled, environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if "pool" in vars(self):  # else nothing was asked
            self.pool.close()


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


def ask_missing(host: Host, extractions: Sequence[Extraction], workers: TeacherWorkers, known: KnownAnswers) -> Ledger:
    """Ask for the missing answers of all `extractions` with the same workers; return the cost.

    Raises an error that is not retried at once, and others after every shard has been tried. Finished shards and the
    answers of unfinished ones are kept in any case.
    """
    teacher, devices, pool = workers.teacher, workers.devices, workers.pool
    host.reporter.say(
        f"teacher {display_name(teacher.config.model)} ({teacher.fingerprint}) by engine {workers.name} ({workers.why})"
    )
    for extraction in extractions:
        host.reporter.say(_describe(extraction.plan))
        directory = extraction.plan.directory
        probe(directory)
        with writing(directory.manifest_path):
            directory.reopen()
    about = ", ".join(dict.fromkeys(extraction.dataset.name for extraction in extractions))
    before = [dataclasses.replace(usage) for usage in pool.usages]
    images, questions = _size([extraction.plan for extraction in extractions])
    started = time.monotonic()
    with host.reporter.answering(about, images, questions / max(1, images)) as bar:
        if pool.ready:
            bar.ready()
        done = _ask_all(host, pool, extractions, known, bar)
        finished = time.monotonic()
    return add_up(
        done,
        pool.usages,
        before=before,
        seconds=finished - started,
        start_seconds=min((ready for ready in pool.ready if ready > started), default=started) - started,
        workers=len(devices),
        gpus=devices.gpus,
        **workers.engine.prices(),
    )


def _ask_all(
    host: Host, pool: WorkerPool, extractions: Sequence[Extraction], known: KnownAnswers, bar: AnswerProgress
) -> list[ShardSummary]:
    """Return the summaries of all shards. No more shards are active at a time than the workers take."""
    shards = deque((extraction, shard) for extraction in extractions for shard in extraction.plan.missing)
    count, asked = len(shards), 0
    done, errors, in_a_row = list[ShardSummary](), list[Exception](), 0
    with host.open_shards(pool, ReportedProgress(bar, host.reporter)) as opened:
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
    counts = [sum(len(shard.records) for shard in plan.missing) for plan in plans]
    questions = sum(count * len(plan.header.questions) for count, plan in zip(counts, plans, strict=True))
    return sum(counts), questions


def _describe(plan: ExtractionPlan) -> str:
    images, kept = sum(len(shard.records) for shard in plan.missing), len(plan.shards) - len(plan.missing)
    questions = len(plan.header.questions)
    return f"{images} {plan.subject} x {questions} questions in {len(plan.missing)} shards, {kept} shards kept"
