"""Answers that classifiers and detectors learn from: chosen questions and log-odds by id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from storage.answers.read import Answers
from storage.datasets.base import ImageDataset, ImageRecord
from storage.errors import InputInvalid
from storage.questions import QuestionSet

if TYPE_CHECKING:  # with torch, which the page of labels does without
    from student.core.settings import TrainingConfig

AT_ONCE = 8192  # rows that are copied at once


class ExamplesInvalid(InputInvalid):
    """Images and answers do not make a training set; the message says what is missing, where and what to do."""


def chosen_questions(config: TrainingConfig, questions: QuestionSet) -> NDArray[np.int64]:
    """Columns of the questions that are learned, in their order. Raises ExamplesInvalid where none is left."""
    groups = [question.group for question in questions.questions]
    if config.without_group is not None and config.without_group not in groups:
        known = ", ".join(sorted({group for group in groups if group})) or "none"
        raise ExamplesInvalid(f"no question is of the group '{config.without_group}'; the groups are {known}")
    kept = np.flatnonzero([config.without_group is None or group != config.without_group for group in groups])
    if config.question_count is None:
        return kept
    if config.question_count > len(kept):
        raise ExamplesInvalid(f"question_count is {config.question_count}, but there are {len(kept)} questions")
    # The first of one order, so that a larger count adds to a smaller one.
    order = np.random.default_rng([config.seed, 3]).permutation(kept)
    return np.sort(order[: config.question_count])


def random_answers(images: ImageDataset, asked: QuestionSet, teacher: str) -> Answers:
    """Return random answers to all questions about all images, to check that students can be trained on them."""
    records = images.records
    log_odds = np.random.default_rng(0).standard_normal((len(records), len(asked)), np.float32)
    yes = -np.logaddexp(0, -log_odds)
    return Answers(
        dataset=images.name,
        teacher=teacher,
        questions=asked,
        image_ids=tuple(record.image_id for record in records),
        image_sha256=(None,) * len(records),
        splits=tuple(record.split for record in records),
        label_names=tuple(record.label_name for record in records),
        errors=(None,) * len(records),
        yes=yes,
        no=yes - log_odds,
    )


def log_odds_by_id(answers: Answers, ids: Iterable[str]) -> NDArray[np.float32]:
    """Log-odds of yes [N, Q] in nats for images or boxes by their ids, NaN where there is none."""
    rows = answers.rows_of(ids)
    found = np.full((len(rows), len(answers.questions)), np.nan, dtype=np.float32)
    for start in range(0, len(rows), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        known = rows[part] >= 0
        places = rows[part][known]
        found[part][known] = answers.yes[places] - answers.no[places]
    return found


def log_odds_of(dataset: ImageDataset, records: Sequence[ImageRecord], answers: Answers) -> NDArray[np.float32]:
    """Log-odds of yes [N, Q] in nats for `records`, NaN where there is none; answers whose rows are classes are looked
    up by the label's name. Raises ExamplesInvalid for another dataset's answers."""
    if answers.dataset != dataset.name:
        raise ExamplesInvalid(
            f"these answers are about dataset '{answers.dataset}', not '{dataset.name}'; "
            f"ask the teacher about '{dataset.name}' or open that dataset under the name '{answers.dataset}'"
        )
    if answers.rows == "class":
        names = [record.label_name for record in records]
        return log_odds_by_id(replace(answers, image_ids=answers.label_names), names)
    return log_odds_by_id(answers, (record.image_id for record in records))
