"""Asking in the test's own process."""

from __future__ import annotations

from collections.abc import Sequence

from storage.answers.reuse import KnownAnswers
from storage.answers.shards import Shard
from storage.datasets import ImageDataset
from teacher.engines.base import TeacherEngine
from teacher.engines.config import ResolvedTeacher
from teacher.extraction.jobs import Extraction, ShardSummary
from teacher.extraction.plan import ExtractionPlan
from teacher.extraction.worker import ShardWorker


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
