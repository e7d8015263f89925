"""The workers of a run: started when needed, replaced when they die, each with a share of the shards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from functools import partial
from typing import Protocol

from storage.errors import RunFailed
from teacher.engines.base import EngineUsage, TeacherPaused, TeacherUnreachable
from teacher.engines.process import TeacherDied
from teacher.extraction.extract import AskingStopped
from teacher.extraction.jobs import ShardJob, ShardSummary
from teacher.extraction.worker import EngineLoaded, ImagesDone, ReportProgress

MAX_FAILED_STARTS = 3  # in a row that may fail before no other is tried
STOP_SECONDS = 1.5  # for workers to write what they have begun: a signal's end does not wait longer than 3.5 s


class TeacherGivenUp(RunFailed):
    """No more workers are started; a retry cannot succeed."""


class Worker(Protocol):
    """A `ShardWorker` that runs anywhere, and may die. Thread-safe."""

    @property
    def alive(self) -> bool: ...

    @property
    def usage(self) -> EngineUsage:
        """The usage of its engine, as of the last message."""
        ...

    def ask(self, job: ShardJob, on_report: ReportProgress) -> ShardSummary:
        """Like `ShardWorker.ask`; also raises TeacherDied. Reports arrive in any thread."""
        ...

    def begin_stop(self) -> Future[None]:
        """Call `ShardWorker.stop`; the future is done when it has returned. Raises TeacherDied."""
        ...

    def close(self) -> None:
        """End the worker, and wait until its memory is free. Threads that wait for an answer get TeacherDied."""
        ...


# Starts worker number 0, 1, ...; the event cancels the start.
StartWorker = Callable[[int, threading.Event], Worker]


class PoolProgress(Protocol):
    """Progress reports of a pool, called from several threads."""

    def ready(self, slow_because: str | None) -> None:
        """An engine has loaded."""
        ...

    def advance(self, images: int, questions: int) -> None:
        """`images` and `questions` more were answered."""
        ...


class WorkerPool:
    """Asks about shards with several workers; one that dies is replaced when the next shard needs it.

    `ask` is called by one thread per active shard. Once no worker can be started - the teacher is unusable, its engine
    failed to start several times, the pool is stopped - every call raises the same error at once.
    """

    def __init__(self, start: StartWorker, workers: int) -> None:
        self.closing = threading.Event()
        self.ready: list[float] = []  # monotonic start times of engines
        self._places = [_Place(partial(start, number, self.closing)) for number in range(workers)]
        self._turn = threading.Lock()
        self._done: dict[str, int] = {}  # images of each shard reported as progress

    def __len__(self) -> int:
        return len(self._places)

    @property
    def usages(self) -> list[EngineUsage]:
        """Return the usage of each engine started here, including dead ones."""
        return [usage for place in self._places for usage in place.usages]

    def ask(self, job: ShardJob, progress: PoolProgress) -> ShardSummary:
        """Have one of the workers ask about a shard and write it. Raises the same errors as `Worker.ask`, and
        TeacherGivenUp."""

        def on_report(report: EngineLoaded | ImagesDone) -> None:
            if isinstance(report, EngineLoaded):
                self.ready.append(time.monotonic())
                progress.ready(report.slow_because)
                return
            with self._turn:
                # A shard that is retried from its beginning counts once.
                new = report.count - self._done.get(job.path, 0)
                self._done[job.path] = max(report.count, self._done.get(job.path, 0))
            if new > 0:
                progress.advance(new, new * len(job.header.questions))

        with self._place_for(job) as place:
            return place.ask(job, on_report)

    def stop(self, *, write_begun: bool = True) -> None:
        """Give workers a short time to write unfinished shards, then end them. Nothing more is asked."""
        self.closing.set()
        for place in self._places:
            place.refuse(TeacherGivenUp("the run was stopped"))
        if write_begun:
            wait([stop for place in self._places if (stop := place.begin_stop()) is not None], timeout=STOP_SECONDS)
        for place in self._places:
            place.close()

    def close(self) -> None:
        """End all workers. Answers of unfinished shards are lost."""
        self.stop(write_begun=False)

    @contextmanager
    def _place_for(self, job: ShardJob) -> Iterator[_Place]:
        """Return the place that began the shard, or else the one with the fewest shards; one that has given up only if
        all have."""
        with self._turn:
            places = [place for place in self._places if place.refusal is None] or self._places
            place = min(places, key=lambda place: (job.path not in place.begun, place.users))
            place.users += 1
            place.begun.add(job.path)
        try:
            yield place
            place.begun.discard(job.path)
        finally:
            with self._turn:
                place.users -= 1


class _Place:
    """One device's worker, and its replacement if it has died."""

    def __init__(self, start: Callable[[], Worker]) -> None:
        self.users = 0
        self.begun: set[str] = set()  # shards with possible answers in the worker
        self.refusal: Exception | None = None  # why no more workers are started
        self._start = start
        self._turn = threading.Lock()
        self._worker: Worker | None = None
        self._workers: list[Worker] = []
        self._loaded: set[Worker] = set()
        self._failed: set[Worker] = set()  # starts that failed before the engine was loaded
        self._failed_starts = 0

    @property
    def usages(self) -> list[EngineUsage]:
        return [worker.usage for worker in self._workers]

    def ask(self, job: ShardJob, on_report: ReportProgress) -> ShardSummary:
        worker = self._living_worker()

        def note(report: EngineLoaded | ImagesDone) -> None:
            if isinstance(report, EngineLoaded):
                self._loaded.add(worker)
                self._failed_starts = 0
            on_report(report)

        try:
            return worker.ask(job, note)
        except (TeacherDied, TeacherUnreachable, AskingStopped) as error:
            if worker not in self._loaded:
                self._count_failed_start(worker, error)
            if self.refusal is not None:
                raise self.refusal from error
            raise
        except (ValueError, TeacherPaused) as error:
            if worker not in self._loaded:
                self.refuse(error)
            raise

    def refuse(self, reason: Exception) -> None:
        """Start no more workers because of `reason`; the first reason is kept."""
        self.refusal = self.refusal or reason

    def begin_stop(self) -> Future[None] | None:
        """Begin to stop the worker; None if no worker runs."""
        # Without the lock: a thread that holds it may be starting a worker, which has nothing to write yet.
        worker = self._worker
        if worker is None or not worker.alive:
            return None
        with suppress(TeacherDied):
            return worker.begin_stop()
        return None

    def close(self) -> None:
        with self._turn:
            if self._worker is not None:
                self._worker.close()
                self._worker = None

    def _living_worker(self) -> Worker:
        with self._turn:
            if self._worker is not None and not self._worker.alive:
                self._worker.close()
                self._worker = None
                self.begun.clear()
            if self.refusal is not None:
                raise self.refusal
            if self._worker is None:
                self._worker = self._started()
            return self._worker

    def _started(self) -> Worker:
        try:
            worker = self._start()
        except (TeacherDied, TeacherUnreachable) as error:
            self._count_failed_start(None, error)
            if self.refusal is not None:
                raise self.refusal from error
            raise
        self._workers.append(worker)
        return worker

    def _count_failed_start(self, worker: Worker | None, error: Exception) -> None:
        """Count a failed start: once per dead worker, however many shards it had, and once per attempt of a live
        one."""
        if worker is not None and isinstance(error, TeacherDied):
            if worker in self._failed:
                return
            self._failed.add(worker)
        self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            self.refuse(TeacherGivenUp(f"{error} (after {MAX_FAILED_STARTS} starts)"))
