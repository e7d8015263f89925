"""Calls of a `ShardWorker` that runs somewhere else."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from storage.answers.reuse import KnownAnswers
from storage.images import decoder_warnings
from teacher.engines.calls import ModelCalls
from teacher.engines.config import ResolvedTeacher
from teacher.engines.options import EngineOptions
from teacher.engines.process import load_engine
from teacher.extraction.jobs import ShardJob, ShardSummary
from teacher.extraction.worker import NOTHING_KNOWN, ReportProgress, ShardWorker


class ShardCalls(ModelCalls):
    """The part of `Worker` that is the same for all transports."""

    def __init__(self) -> None:
        super().__init__()
        self._known = NOTHING_KNOWN
        self._sending_known = threading.Lock()

    def ask(self, job: ShardJob, on_report: ReportProgress) -> ShardSummary:
        """Like `ShardWorker.ask`. Also raises TeacherDied."""
        with self._sending_known:
            if job.known is not self._known:  # the same for all jobs of a run: sent once
                self._send_known(job.known).result()
                self._known = job.known
        summary, warnings = self.call(_ask, replace(job, known=NOTHING_KNOWN), on_report=on_report)
        decoder_warnings.keep(warnings)
        return summary

    def begin_stop(self) -> Future[None]:
        """Write all unfinished shards; the future is done when they are written. Raises TeacherDied."""
        return self.call_urgently(_stop)

    def _send_known(self, known: KnownAnswers) -> Future[None]:
        return self.call_urgently(learn, known)


def load_worker(name: str, teacher: ResolvedTeacher, options: EngineOptions, readers: int) -> ShardWorker:
    """Return a worker with `readers` threads that read and decode; it loads engine `name` when it first needs it."""
    return ShardWorker(partial(load_engine, name, teacher, options), teacher, readers)


def learn(worker: ShardWorker, known: KnownAnswers) -> None:
    """Give a worker the known answers for later jobs."""
    worker.known = known


def _ask(worker: ShardWorker, job: ShardJob, report: ReportProgress) -> tuple[ShardSummary, decoder_warnings.Kept]:
    return worker.ask(replace(job, known=worker.known), report), decoder_warnings.take_kept()


def _stop(worker: ShardWorker) -> None:
    worker.stop()
