"""Engines and workers without a process; an engine counts what it is asked."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from flows.work import asking
from teacher.engines.base import EngineUsage, TeacherEngine
from teacher.engines.config import ResolvedTeacher
from teacher.engines.options import EngineOptions
from teacher.engines.process import load_engine
from teacher.extraction.jobs import ShardJob, ShardSummary
from teacher.extraction.worker import ReportProgress, ShardWorker

Scores = tuple[NDArray[np.float32], NDArray[np.float32]]


class CountingEngine:
    """Answers at random; `before` is called with each batch and may raise or return other answers."""

    calls_at_once = 1
    slow_because: str | None = None

    def __init__(self, before: Callable[[int, Sequence[str]], Scores | None]) -> None:
        self.usage = EngineUsage()
        self.asked = 0
        self.random = np.random.default_rng(0)
        self.before = before

    def answer(self, images: Sequence[Image.Image], questions: Sequence[str]) -> Scores:
        self.asked += len(images) * len(questions)
        given = self.before(len(images), questions)
        if given is not None:
            return given
        log_odds = self.random.standard_normal((len(images), len(questions)), np.float32)
        return -np.logaddexp(0, -log_odds), -np.logaddexp(0, log_odds)

    def close(self) -> None:
        pass


class LocalWorker:
    """A worker in this process; its jobs are pickled on their way, as any other's."""

    def __init__(self, load: Callable[[], TeacherEngine], teacher: ResolvedTeacher) -> None:
        self.worker = ShardWorker(load, teacher, readers=2)
        self.pending = False
        self.alive = True

    @property
    def usage(self) -> EngineUsage:
        return self.worker.usage

    def ask(self, job: ShardJob, on_report: ReportProgress) -> ShardSummary:
        return self.worker.ask(pickle.loads(pickle.dumps(job)), on_report)

    def begin_stop(self) -> Future[None]:
        self.worker.stop()
        stopped: Future[None] = Future()
        stopped.set_result(None)
        return stopped

    def close(self) -> None:
        self.alive = False
        self.worker.close()


def use_local_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engines that are asked for, in this process: in another one their imports take longer than a small model."""

    def start(name: str, teacher: ResolvedTeacher, options: EngineOptions, *rest: object) -> LocalWorker:
        return LocalWorker(partial(load_engine, name, teacher, options), teacher)

    monkeypatch.setattr(asking, "WorkerProcess", start)


def use_engine(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[int, Sequence[str]], Scores | None] = lambda images, texts: None
) -> CountingEngine:
    """The only engine of every run from now on."""
    engine = CountingEngine(before)
    monkeypatch.setattr(asking, "WorkerProcess", lambda name, teacher, *rest: LocalWorker(lambda: engine, teacher))
    return engine
