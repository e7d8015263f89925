"""The place of one worker: started when needed, replaced when it dies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Protocol

from storage.errors import RunFailed
from teacher.engines.base import EngineUsage, TeacherDied, TeacherPaused, TeacherUnreachable, WorkerLost
from teacher.extraction.extract import AskingStopped
from teacher.extraction.jobs import ShardJob, ShardSummary
from teacher.extraction.worker import SHARDS_AT_ONCE, EngineLoaded, ImagesDone, ReportProgress

MAX_FAILED_STARTS = 3  # in a row that may fail before no other is tried


class TeacherGivenUp(RunFailed):
    """No more workers are started; a retry cannot succeed."""


class Worker(Protocol):
    """A `ShardWorker` that runs anywhere, and may die. Thread-safe."""

    @property
    def alive(self) -> bool: ...

    @property
    def pending(self) -> bool:
        """Whether it waits for resources, e.g. a free GPU of a cluster: it cannot be asked yet, other workers can."""
        ...

    @property
    def usage(self) -> EngineUsage:
        """The usage of its engine, as of the last message."""
        ...

    def ask(self, job: ShardJob, on_report: ReportProgress) -> ShardSummary:
        """Like `ShardWorker.ask`; also raises TeacherDied, and WorkerLost where its machine is gone. Reports arrive in
        any thread."""
        ...

    def begin_stop(self) -> Future[None]:
        """Call `ShardWorker.stop`; the future is done when it has returned. Raises TeacherDied."""
        ...

    def close(self) -> None:
        """End the worker, and wait until its memory is free. Threads that wait for an answer get TeacherDied."""
        ...


# Starts worker number 0, 1, ...; the event cancels the start.
StartWorker = Callable[[int, threading.Event], Worker]


class WorkerPlace:
    """One device's worker, and its replacement if it has died."""

    def __init__(self, start: Callable[[], Worker]) -> None:
        self.users = 0
        self.reserved: str | None = None  # the only shard that is taken
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

    @property
    def pending(self) -> bool:
        worker = self._worker
        return worker is not None and worker.pending

    def takes(self, path: str, *, alone: bool) -> bool:
        """Return whether a shard can be asked about here now; `alone`: without others beside it."""
        if self.pending or self.reserved not in (None, path):
            return False
        return self.users == 0 if alone else self.users < SHARDS_AT_ONCE or path in self.begun

    def ask(
        self, job: ShardJob, on_report: ReportProgress, on_death: Callable[[TeacherDied], None]
    ) -> ShardSummary | None:
        """Return None if the worker is pending. `on_death` is called if it dies after it had loaded its engine."""
        worker = self._living_worker()
        if worker.pending:
            return None

        def note(report: EngineLoaded | ImagesDone) -> None:
            if isinstance(report, EngineLoaded):
                self._loaded.add(worker)
                self._failed_starts = 0
            on_report(report)

        try:
            return worker.ask(job, note)
        except WorkerLost as lost:
            raise self.refusal or lost from None
        except (TeacherDied, TeacherUnreachable, AskingStopped) as error:
            if worker not in self._loaded:
                self._count_failed_start(worker, error)
            if self.refusal is not None:
                raise self.refusal from error
            if worker in self._loaded and isinstance(error, TeacherDied):
                on_death(error)
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
