"""Asking what is missing: shard by shard, with engines that stay between them, and the account of it all."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from flows.parameters import EngineParameters
from flows.work.holder import EnginePool, LivingEngine, TeacherGivenUp
from flows.work.host import Host, Reporter
from flows.work.shards import SHARDS_AT_ONCE, may_pass
from storage.answers.reuse import KnownAnswers
from storage.answers.writing import probe, writing
from storage.datasets.base import ImageDataset
from storage.errors import AspectsError, StorageUnavailable
from teacher.engines.config import ResolvedTeacher
from teacher.engines.devices import Devices
from teacher.engines.presets import display_name
from teacher.engines.process import EngineProcess, TeacherDied
from teacher.extraction.extract import ExtractionPlan, Progress, ShardRows, ShardSummary, ask_shard, write_begun
from teacher.extraction.ledger import Ledger, add_up

# Shards in a row that fail, whatever is tried, before the rest of them is left for another time.
FAILED_SHARDS = 3


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """A plan and the dataset that it is about."""

    plan: ExtractionPlan
    dataset: ImageDataset


class TeacherEngines:
    """A run's engines, one for each worker: loaded when the first answer is needed, kept for what is asked next.

    At the end of its context the engines' processes are gone, and their GPU memory with them. Where nothing is to be
    asked, nobody looks for devices; else what is wrong with `engine` on this machine is raised then.
    """

    def __init__(self, teacher: ResolvedTeacher, engine: EngineParameters, reporter: Reporter) -> None:
        self.teacher = teacher
        self._reporter = reporter
        self.engine = engine
        self.name, self.why = engine.choose()
        self.ready: list[float] = []  # when each one was, by the monotonic clock
        self._on_ready: Callable[[], None] = lambda: None

    @cached_property
    def devices(self) -> Devices:
        return self.engine.devices()

    @cached_property
    def pool(self) -> EnginePool:
        return EnginePool(self._start, len(self.devices))

    def tell(self, on_ready: Callable[[], None]) -> None:
        """`on_ready` is called when an engine has loaded; at once where one has before."""
        self._on_ready = on_ready
        if self.ready:
            on_ready()

    def _start(self, worker: int, cancelled: threading.Event) -> EngineProcess:
        options = self.engine.options(self.devices.workers_per_gpu)
        process = EngineProcess(self.name, self.teacher, options, cancelled, self.devices.environments[worker])
        if process.slow_because and not self.ready:
            self._reporter.say(f"slower than it could be: {process.slow_because}")
        self._on_ready()
        self.ready.append(time.monotonic())
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if "pool" in vars(self):  # else nothing was asked
            self.pool.close()


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What the shards of one run share. Its `ask` runs in several threads.

    `begun` has what has been answered about shards that are not finished.
    """

    extractions: Sequence[Extraction]
    engines: TeacherEngines
    known: KnownAnswers
    progress: Progress
    stopped: threading.Event
    begun: dict[tuple[int, int], ShardRows] = field(default_factory=dict)

    def ask(self, extraction: int, shard: int) -> ShardSummary:
        """Answer shard number `shard` of one of the extractions and write its file."""
        plan, dataset = self.extractions[extraction].plan, self.extractions[extraction].dataset
        place = next(missing for missing in plan.missing if missing.index == shard)
        rows = self.begun.setdefault((extraction, shard), ShardRows(place, plan.header.questions))
        with self.engines.pool.lease() as holder:

            def engine() -> LivingEngine:
                if self.stopped.is_set():  # by another shard's error: nothing more is asked
                    raise TeacherGivenUp("the run was stopped")
                return holder.engine()

            try:
                teacher, progress = self.engines.teacher, self.progress
                done = ask_shard(place, plan, dataset, teacher, engine, self.known, progress, self.stopped, rows)
            except TeacherDied as error:
                if holder.refusal is None:
                    raise
                raise holder.refusal from error
        del self.begun[extraction, shard]
        return done

    def write_begun(self) -> None:
        """Keep what has been answered about shards that are not finished. Nothing else goes on any more."""
        for (extraction, _), rows in self.begun.items():
            with suppress(AspectsError, OSError):  # the run ends with an error that came before
                write_begun(rows, self.extractions[extraction].plan)


def ask_missing(host: Host, extractions: Sequence[Extraction], engines: TeacherEngines, known: KnownAnswers) -> Ledger:
    """Ask what is missing of all `extractions` with the same engines. The account of it all.

    Raises an error that trying again does not mend at once, and others once every shard has had its chances; shards
    that are finished are kept in any case.
    """
    teacher, devices = engines.teacher, engines.devices
    waiting = [
        (number, shard.index) for number, extraction in enumerate(extractions) for shard in extraction.plan.missing
    ]
    host.reporter.say(
        f"teacher {display_name(teacher.config.model)} ({teacher.fingerprint}) by engine {engines.name} ({engines.why})"
    )
    for extraction in extractions:
        host.reporter.say(_describe(extraction.plan))
        directory = extraction.plan.directory
        probe(directory)
        with writing(directory.manifest_path):
            directory.reopen()
    about = ", ".join(dict.fromkeys(extraction.dataset.name for extraction in extractions))
    before = [dataclasses.replace(usage) for usage in engines.pool.usages]
    images, questions = _size([extraction.plan for extraction in extractions])
    started = time.monotonic()
    with host.reporter.answering(about, images, questions / max(1, images)) as progress:
        engines.tell(progress.ready)
        asking = Asking(
            extractions=extractions,
            engines=engines,
            known=known,
            progress=progress.advance,
            stopped=threading.Event(),
        )
        try:
            done = _ask_all(host, asking, waiting, SHARDS_AT_ONCE * len(devices), progress.shards_done)
        except BaseException as error:
            if not isinstance(error, StorageUnavailable):
                asking.write_begun()
            raise
        finished = time.monotonic()
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


def _ask_all(
    host: Host, asking: Asking, shards: Sequence[tuple[int, int]], at_once: int, on_share: Callable[[float], None]
) -> list[ShardSummary]:
    """Every shard's summary, as they become ready; never more than `at_once` are on their way."""
    waiting, asked = deque(shards), 0
    done, errors, in_a_row = list[ShardSummary](), list[Exception](), 0
    with host.open_shards(asking.ask, asking.stopped) as opened:
        try:
            while waiting or asked:
                while waiting and asked < at_once:
                    opened.submit(*waiting.popleft())
                    asked += 1
                future = opened.next_done()
                asked -= 1
                try:
                    done.append(future.result())
                    in_a_row = 0
                except Exception as error:  # those that may pass count; the first of them is raised below
                    errors.append(error)
                    in_a_row += 1
                    if not may_pass(error) or in_a_row >= FAILED_SHARDS:
                        raise
                on_share(len(done) / len(shards))
        except BaseException:
            # Who still waits for an answer must not go on with the shard, or try it again.
            asking.stopped.set()
            asking.engines.pool.close()
            raise
    if errors:
        host.reporter.say(f"{len(errors)} of {len(shards)} shards failed; the first error follows")
        raise errors[0]
    return done


def _size(plans: Sequence[ExtractionPlan]) -> tuple[int, int]:
    """Images of the missing shards, and questions about them."""
    counts = [sum(len(shard.records) for shard in plan.missing) for plan in plans]
    questions = sum(count * len(plan.header.questions) for count, plan in zip(counts, plans, strict=True))
    return sum(counts), questions


def _describe(plan: ExtractionPlan) -> str:
    images, kept = sum(len(shard.records) for shard in plan.missing), len(plan.shards) - len(plan.missing)
    questions = len(plan.header.questions)
    return f"{images} {plan.subject} x {questions} questions in {len(plan.missing)} shards, {kept} shards kept"
