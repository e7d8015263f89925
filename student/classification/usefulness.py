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

MOST_IMAGES = 20_000  # the class posterior of a million images and a thousand classes is 8 GB
LEAST_IMAGES = 5  # of each class


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
    """One row for each question, in the set's order: key, text, group, alone, missed. From training images whose label
    is known, or a student of `config` may see; from MOST_IMAGES of them, drawn at random, if there are more."""
    log_odds, images = _labelled(dataset, answers, config)
    return pl.DataFrame([dataclasses.asdict(use) for use in question_uses(log_odds, images, answers.questions)])


def answers_bits(dataset: ImageDataset, answers: Answers, config: StudentConfig | None = None) -> float | None:
    """What all answers together say about the class, in bits (see `posterior_bits`), from the images of `answers_uses`.
    None where a class has fewer than LEAST_IMAGES of them on average: too few to judge each image by the others."""
    log_odds, images = _labelled(dataset, answers, config)
    if images.trained.sum() < LEAST_IMAGES * images.classes:
        return None
    return posterior_bits(log_odds, images)


def _labelled(dataset: ImageDataset, answers: Answers, config: StudentConfig | None) -> tuple[Values, ImageLabels]:
    """The log-odds [N, Q] and labels of the training images that uses are estimated from."""
    records = select(dataset, ("train",))
    log_odds = log_odds_of(dataset, records, answers)
    answered = np.asarray(~np.isnan(log_odds).all(axis=1))
    labels = np.array([record.label for record in records])
    if config is not None:
        labels = visible_labels(config, records, answered)
    rows = np.flatnonzero(answered & (labels >= 0))
    if len(rows) > MOST_IMAGES:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:MOST_IMAGES])
    trained = np.ones(len(rows), np.bool_)
    return log_odds[rows], ImageLabels(labels=labels[rows], trained=trained, classes=len(dataset.class_names), seed=0)


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
