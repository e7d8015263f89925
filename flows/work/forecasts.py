"""Forecast an extraction without asking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flows.parameters import ExtractionParameters, ShardParameters
from flows.work.extraction import shard_size
from storage.answers.reuse import KnownAnswers, known_answers
from storage.datasets.base import ImageDataset
from storage.questions import load_questions
from teacher.extraction.forecast import Forecast, forecast
from teacher.extraction.plan import plan_extraction


def forecast_extraction(asked: ExtractionParameters) -> Forecast:
    """Forecast `extract_aspects`. Loads no model and writes nothing."""
    subjects, splits = asked.subjects(asked.dataset.open(), asked.splits)
    planned = asked.model_copy(update={"splits": splits, "shard_size": shard_size(asked)})
    found = forecast_about(planned, subjects, asked.questions)
    return replace(found, budget=asked.budget) if asked.asks_part else found


def forecast_about(asked: ShardParameters, images: ImageDataset, questions_file: str) -> Forecast:
    """Forecast `ask_about`. Loads no model and writes nothing."""
    questions = load_questions(Path(questions_file).expanduser())
    resolved = asked.answering().resolve(asked.engine.choose()[0], asked.engine.settings())
    plan = plan_extraction(
        images, asked.splits, questions, resolved, asked.store, shard_size=asked.shard_size, verify=asked.verify
    )
    known = KnownAnswers()
    if plan.missing:
        read = {plan.directory.path: plan.stored}
        known = known_answers(asked.store, [images.name], resolved.fingerprint, questions.reuse_keys, read)
    return forecast(plan, known, asked.store)
