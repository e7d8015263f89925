"""Asking in the test's own process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage.answers.reuse import KnownAnswers
from storage.answers.shards import Shard
from storage.datasets import ImageDataset
from teacher.engines.base import EngineUsage, TeacherEngine
from teacher.engines.config import ResolvedTeacher
from teacher.extraction.jobs import Extraction, ShardSummary
from teacher.extraction.plan import ExtractionPlan
from teacher.extraction.worker import ShardWorker


class CountingEngine:
    """Answers 0 and -1, and counts."""

    calls_at_once = 1
    slow_because: str | None = None
    usage = EngineUsage()
    asked = 0

    def answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.asked += len(images)
        yes = np.zeros((len(images), len(questions)), np.float32)
        return yes - 1, yes - 2

    def close(self) -> None:
        pass


def ask_all(
    plan: ExtractionPlan,
    dataset: ImageDataset,
    teacher: ResolvedTeacher,
    engine: TeacherEngine,
    known: KnownAnswers,
    shards: Sequence[Shard] | None = None,
) -> list[ShardSummary]:
    """Ask about the plan's missing shards, or about `shards`."""
    worker, extraction = ShardWorker(lambda: engine, teacher, readers=2), Extraction(plan=plan, dataset=dataset)
    missing = plan.missing if shards is None else shards
    return [worker.ask(extraction.job(shard, known), lambda report: None) for shard in missing]
