"""Asking what is missing: a Prefect task for every shard, engines that stay between them, and the account of it all."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.futures import PrefectFuture, as_completed
from prefect.logging import get_run_logger
from prefect.states import State
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task, exponential_backoff

from flows.holder import EnginePool, TeacherGivenUp
from flows.parameters import MAX_WORKERS, EngineParameters
from flows.terminal import AnswerBar, say
from storage.datasets.base import ImageDataset
from storage.reuse import KnownAnswers
from teacher.config import ResolvedTeacher
from teacher.devices import Devices
from teacher.extract import ExtractionPlan, Progress, ShardSummary, ask_shard
from teacher.known import display_name
from teacher.ledger import Ledger, add_up
from teacher.process import EngineProcess, TeacherDied

# For each worker: one shard's photos are read, decoded and rendered while the model is busy with the other's.
SHARDS_AT_ONCE = 2
# Errors of the file system that trying again does not cure.
LASTING = (PermissionError, NotADirectoryError, FileExistsError, IsADirectoryError)


def task_runner() -> Any:
    """Threads for as many shards as can be asked at once."""
    return ThreadPoolTaskRunner(max_workers=SHARDS_AT_ONCE * MAX_WORKERS)


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """A plan and the dataset that it is about."""

    plan: ExtractionPlan
    dataset: ImageDataset


@dataclass(frozen=True, kw_only=True)
class RunningExtractions:
    """What the shards of one flow run share. Tasks look it up by key: Prefect would hash it as an input."""

    extractions: Sequence[Extraction]
    teacher: ResolvedTeacher
    known: KnownAnswers
    engines: EnginePool
    progress: Progress


_running: dict[int, RunningExtractions] = {}
_keys = itertools.count()


@contextmanager
def _held(running: RunningExtractions) -> Iterator[int]:
    """The key of `running`; at the end what still waits in the queue does not begin."""
    key = next(_keys)
    _running[key] = running
    try:
        yield key
    finally:
        del _running[key]


class TeacherEngines:
    """A flow run's engines, one for each worker: loaded when the first answer is needed, kept for what is asked next.

    At the end of its context the engines' processes are gone, and their GPU memory with them. Where nothing is to be
    asked, nobody looks for devices; else what is wrong with `engine` on this machine is raised then.
    """

    def __init__(self, teacher: ResolvedTeacher, engine: EngineParameters) -> None:
        self.teacher = teacher
        self.engine = engine
        self.name, self.why = engine.choose()
        self.ready: list[float] = []  # when each one was, by the monotonic clock
        self.on_ready: Callable[[], None] = lambda: None

    @cached_property
    def devices(self) -> Devices:
        return self.engine.devices()

    @cached_property
    def pool(self) -> EnginePool:
        return EnginePool(self._start, len(self.devices))

    def _start(self, worker: int, cancelled: threading.Event) -> EngineProcess:
        options = self.engine.options(self.devices.workers_per_gpu)
        process = EngineProcess(self.name, self.teacher, options, cancelled, self.devices.environments[worker])
        if process.slow_because and not self.ready:
            say(f"slower than it could be: {process.slow_because}")
        self.on_ready()
        self.ready.append(time.monotonic())
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if "pool" in vars(self):  # else nothing was asked
            self.pool.close()


def _is_worth_retrying(task: Task[..., object], task_run: TaskRun, state: State) -> bool:
    """A dead engine or a store out of reach may be well again; a user's mistake stays one."""
    return not isinstance(state.data, (ValueError, TeacherGivenUp, *LASTING))


@task(
    name="ask-shard",
    task_run_name="shard-{shard}",
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=4),
    retry_condition_fn=_is_worth_retrying,
    # The store says what is done, not Prefect: its cache would go on saying so after the file is gone.
    cache_policy=NO_CACHE,
    persist_result=False,
)
def ask_one_shard(key: int, extraction: int, shard: int) -> ShardSummary:
    """Answer shard number `shard` of one of the running extractions and write its file."""
    running = _running.get(key)
    if running is None:  # interrupted: what still waits in the queue must not begin
        raise TeacherGivenUp("the flow run is over")
    plan, dataset = running.extractions[extraction].plan, running.extractions[extraction].dataset
    place = next(missing for missing in plan.missing if missing.index == shard)
    with running.engines.lease() as holder:
        try:
            return ask_shard(place, plan, dataset, running.teacher, holder.engine, running.known, running.progress)
        except TeacherDied as error:
            raise holder.refusal or error from error


def ask_missing(extractions: Sequence[Extraction], engines: TeacherEngines, known: KnownAnswers) -> Ledger:
    """Ask what is missing of all `extractions` with the same engines: one task for every missing shard. The account of
    it all; raises the first error once every shard has had its chances."""
    teacher, devices = engines.teacher, engines.devices
    waiting = deque(
        (number, shard.index) for number, extraction in enumerate(extractions) for shard in extraction.plan.missing
    )
    shards = len(waiting)
    say(
        f"teacher {display_name(teacher.config.model)} ({teacher.fingerprint}) by engine {engines.name} ({engines.why})"
    )
    for extraction in extractions:
        say(_describe(extraction.plan))
        extraction.plan.directory.reopen()
    about = ", ".join(dict.fromkeys(extraction.dataset.name for extraction in extractions))
    artifact: Any = create_progress_artifact(0.0, key="extraction", description=f"answers for {about}")
    done: list[ShardSummary] = []
    errors: list[Exception] = []
    before = [dataclasses.replace(usage) for usage in engines.pool.usages]
    started = time.monotonic()
    images, questions = _size([extraction.plan for extraction in extractions])
    with AnswerBar(images, questions / max(1, images)) as bar:
        engines.on_ready = bar.ready
        if engines.ready:
            bar.ready()
        running = RunningExtractions(
            extractions=extractions,
            teacher=teacher,
            known=known,
            engines=engines.pool,
            progress=bar.advance,
        )
        with _held(running) as key:
            asking: list[PrefectFuture[ShardSummary]] = []
            while waiting or asking:
                while waiting and len(asking) < SHARDS_AT_ONCE * len(devices):
                    asking.append(ask_one_shard.submit(key, *waiting.popleft()))
                asking.remove(future := next(as_completed(asking)))
                try:
                    done.append(future.result())
                except Exception as error:  # every shard's error counts; the first is raised below
                    errors.append(error)
                update_progress_artifact(artifact, 100 * len(done) / shards)
            finished = time.monotonic()
    if errors:
        if len(errors) > 1:
            get_run_logger().error("%d of %d shards failed; the first error follows", len(errors), shards)
        raise errors[0]
    return add_up(
        done,
        engines.pool.usages,
        before=before,
        seconds=finished - started,
        start_seconds=min((ready for ready in engines.ready if ready > started), default=started) - started,
        workers=len(devices),
        gpus=devices.gpus,
        **engines.engine.prices(),
    )


def _size(plans: Sequence[ExtractionPlan]) -> tuple[int, int]:
    """Images of the missing shards, and questions about them."""
    counts = [sum(len(shard.records) for shard in plan.missing) for plan in plans]
    questions = sum(count * len(plan.header.questions) for count, plan in zip(counts, plans, strict=True))
    return sum(counts), questions


def _describe(plan: ExtractionPlan) -> str:
    images, kept = sum(len(shard.records) for shard in plan.missing), len(plan.shards) - len(plan.missing)
    questions = len(plan.header.questions)
    return f"{images} {plan.subject} x {questions} questions in {len(plan.missing)} shards, {kept} shards kept"
