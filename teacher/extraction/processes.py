"""Workers in processes of this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from storage.answers.reuse import KnownAnswers
from storage.images import decoder_warnings
from teacher.engines.config import ResolvedTeacher
from teacher.engines.options import EngineOptions
from teacher.engines.process import ModelProcess, load_engine, secrets_of
from teacher.extraction.jobs import ShardJob, ShardSummary
from teacher.extraction.worker import NOTHING_KNOWN, ReportProgress, ShardWorker

MOST_READERS = 8  # threads of one worker that read and decode


def readers_of(workers: int) -> int:
    """Return the number of reading threads for each of `workers` workers: two per core, divided among them."""
    return max(2, min(MOST_READERS, 2 * len(os.sched_getaffinity(0)) // workers))


class WorkerProcess(ModelProcess):
    """A `ShardWorker` in a separate process, for the pool."""

    pending = False

    def __init__(
        self,
        name: str,
        teacher: ResolvedTeacher,
        options: EngineOptions,
        readers: int,
        cancelled: threading.Event | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._known = NOTHING_KNOWN
        self._sending_known = threading.Lock()
        load = partial(_load_worker, name, teacher, options, readers)
        super().__init__(load, cancelled, environment, secrets_of(options))

    def ask(self, job: ShardJob, on_report: ReportProgress) -> ShardSummary:
        """Like `ShardWorker.ask`. Also raises TeacherDied."""
        with self._sending_known:
            if job.known is not self._known:  # the same for all jobs of a run: sent once
                self.call_urgently(_learn, job.known).result()
                self._known = job.known
        summary, warnings = self.call(_ask, replace(job, known=NOTHING_KNOWN), on_report=on_report)
        decoder_warnings.keep(warnings)
        return summary

    def begin_stop(self) -> Future[None]:
        """Write all unfinished shards; the future is done when they are written. Raises TeacherDied."""
        return self.call_urgently(_stop)


def _load_worker(name: str, teacher: ResolvedTeacher, options: EngineOptions, readers: int) -> ShardWorker:
    return ShardWorker(partial(load_engine, name, teacher, options), teacher, readers)


def _learn(worker: ShardWorker, known: KnownAnswers) -> None:
    worker.known = known


def _ask(worker: ShardWorker, job: ShardJob, report: ReportProgress) -> tuple[ShardSummary, decoder_warnings.Kept]:
    return worker.ask(replace(job, known=worker.known), report), decoder_warnings.take_kept()


def _stop(worker: ShardWorker) -> None:
    worker.stop()
