"""Estimate how much each question helps, without training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import log_softmax

from storage.answers.read import Answers
from storage.datasets.base import ImageDataset, select
from storage.questions import QuestionSet
from storage.statistics import class_information
from student.classification.config import StudentConfig
from student.classification.splits import visible_labels
from student.classification.targets import ImageLabels, Values, class_posterior, probability
from student.core.examples import log_odds_of


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionUse:
    """What one question's answers say about the class, in bits an image.

    `alone` is their mutual information with the class; `missed` is what all answers together say less without them
    (cross-validated, so that it is below 0 where a question does harm): the part of it that no other question has.
    """

    key: str
    text: str
    group: str | None
    alone: float
    missed: float


def answers_uses(dataset: ImageDataset, answers: Answers, config: StudentConfig | None = None) -> pl.DataFrame:
    """One row for each question, in the set's order: key, text, group, alone, missed. From all training images whose
    label is known, or a student of `config` may see."""
    records = select(dataset, ("train",))
    log_odds = log_odds_of(dataset, records, answers)
    answered = np.asarray(~np.isnan(log_odds).all(axis=1))
    labels = np.array([record.label for record in records])
    if config is not None:
        labels = visible_labels(config, records, answered)
    trained = answered & (labels >= 0)
    images = ImageLabels(labels=labels, trained=trained, classes=len(dataset.class_names), seed=0)
    return pl.DataFrame([dataclasses.asdict(use) for use in question_uses(log_odds, images, answers.questions)])


def question_uses(log_odds: Values, images: ImageLabels, questions: QuestionSet) -> tuple[QuestionUse, ...]:
    """One for each question, the columns of `log_odds` [N, Q], in their order."""
    labels = [str(label) for label in images.labels[images.trained]]
    alone = class_information(probability(log_odds, images)[images.trained], labels)
    together = posterior_bits(log_odds, images)
    return tuple(
        QuestionUse(
            key=question.key,
            text=question.text,
            group=question.group,
            alone=float(alone[column]),
            missed=together - posterior_bits(np.delete(log_odds, column, axis=1), images),
        )
        for column, question in enumerate(questions.questions)
    )


def posterior_bits(log_odds: Values, images: ImageLabels) -> float:
    """What the answers together say about the class: log2 C plus the mean log2 p(label | answers) over the training
    images, each judged by others (`targets.class_posterior`). At most log2 C, 0 where they say nothing."""
    if log_odds.shape[1] == 0:  # what is left of a single question
        return 0.0
    labels = images.labels[images.trained]
    # Without any answer every class is as likely as the next.
    logs = log_softmax(np.nan_to_num(class_posterior(log_odds, images)[images.trained]), axis=1)
    return float(np.log2(images.classes) + logs[np.arange(len(labels)), labels].mean() / np.log(2))
