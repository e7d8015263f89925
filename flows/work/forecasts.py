"""Forecast an extraction without asking: what it would ask, how long it takes and what it costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flows.parameters import ExtractionParameters, ShardParameters
from flows.work.budget_limits import with_share
from flows.work.extraction import shard_size
from storage.answers.reuse import KnownAnswers, known_answers
from storage.datasets.base import ImageDataset
from storage.questions import load_questions
from teacher.engines.config import ResolvedTeacher
from teacher.extraction.cost_model import estimate_costs, find_sample, sample_command
from teacher.extraction.forecast import Forecast, forecast
from teacher.extraction.plan import plan_extraction


def forecast_extraction(asked: ExtractionParameters, gpus: int | None = None) -> list[str]:
    """Return a forecast of `extract_aspects` as lines, with the costs on `gpus` GPUs. Loads no model and writes
    nothing."""
    images = asked.dataset.open()
    subjects, splits = asked.subjects(images, asked.splits_of(images))
    planned = asked.model_copy(update={"splits": splits, "shard_size": shard_size(asked)})
    if asked.asks_part:
        questions = load_questions(Path(asked.questions).expanduser())
        resolved = asked.answering().resolve(asked.engine.choose()[0], asked.engine.settings())
        planned = with_share(planned, subjects, splits, resolved, questions)
    return forecast_about(planned, subjects, asked.questions, gpus, budget=planned.budget if asked.asks_part else None)


def forecast_about(
    asked: ShardParameters,
    images: ImageDataset,
    questions_file: str,
    gpus: int | None = None,
    *,
    budget: float | None = None,
) -> list[str]:
    """Return a forecast of `ask_about` as lines. Loads no model and writes nothing."""
    questions = load_questions(Path(questions_file).expanduser())
    resolved = asked.answering().resolve(asked.engine.choose()[0], asked.engine.settings())
    plan = plan_extraction(
        images,
        asked.splits_of(images),
        questions,
        resolved,
        asked.store,
        shard_size=asked.shard_size,
        verify=asked.verify,
    )
    known = KnownAnswers()
    if plan.missing:
        read = plan.known_rows(copied=False)
        known = known_answers(asked.store, [images.name], resolved.fingerprint, questions.reuse_keys, read)
    found = replace(forecast(plan, known, asked.store), budget=budget)
    return [*found.lines(), *(_cost_lines(asked, found, resolved, questions_file, gpus) if gpus else ())]


def _cost_lines(
    asked: ShardParameters, found: Forecast, teacher: ResolvedTeacher, questions_file: str, gpus: int
) -> list[str]:
    sample = find_sample(asked.store, teacher.fingerprint)
    if sample is None:
        command = sample_command(asked.dataset.source, questions_file, teacher.config.model, asked.store)
        return [f"the store has no run of this teacher to measure; ask about a sample first: {command}"]
    return [str(line) for line in estimate_costs(found, sample, gpus, asked.engine.price_per_gpu_hour)]
