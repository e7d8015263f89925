"""Suspicious labels: what answers, and students that never saw an image's label, say its class is.

Each source gives log p(class) of every image, by a fit to other images. `pool` combines them and estimates how likely
each given label is wrong; the table lists the images by that, the most suspicious first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

from storage.answers.read import Answers
from storage.datasets.base import ImageDataset
from storage.questions import QuestionSet
from student.classification.confusion import ClassMeans, ConfusedPair, most_confused
from student.classification.examples import log_odds_of
from student.classification.label_audit_table import AuditedImages, audit_table, ordered, questions_against
from student.classification.label_noise import Pooled, Values, has_source, pool
from student.classification.out_of_fold import OutOfFold, audited_records
from student.classification.targets import ImageLabels, class_scores, means_by_class
from student.core.examples import ExamplesInvalid

LIKELY_WRONG = 0.5  # probability from which a label counts as suspicious unless another is asked for


@dataclass(frozen=True, kw_only=True)
class LabelAudit:
    """A row of `table` for each image: the judged labels by the probability that they are wrong, the highest first,
    then images without a label by the probability of their most likely class, then the others.

    Columns: image_id, split, label, status ("judged", "no label", "only image of its class", or "nothing known" where
    no source says anything), wrong (the probability that the label is wrong), p_label (of the label by all sources),
    suggested (the most likely class other than the label), p_suggested; for each source answers_class, its most likely
    class, answers_p and answers_p_label, student_class, ...; against, the keys of the questions that speak most against
    the label, with p(yes) and evidence (nats, below 0) in against_p_yes and against_evidence. Probabilities are 0..1.
    Null where a value does not exist.

    `wrong_share` is the estimated share of wrong labels, `weights` those of the sources, and `confused` the pairs of
    classes between label and most likely class.
    """

    table: pl.DataFrame
    class_names: tuple[str, ...]
    wrong_share: float
    weights: Mapping[str, float]
    confused: tuple[ConfusedPair, ...]

    def suspicious(self, least: float = LIKELY_WRONG) -> pl.DataFrame:
        """The rows of the labels that are wrong with that probability or a higher one."""
        return self.table.filter(pl.col("wrong") >= least)


def audit_labels(
    dataset: ImageDataset,
    answers: Answers | None = None,
    students: OutOfFold | None = None,
    *,
    splits: Sequence[str] | None = None,
) -> LabelAudit:
    """Judge the labels of all images of `splits`, by default of all splits, by answers, by students, or by both. Raises
    as `judge_labels`, and ExamplesInvalid for answers about classes or about another dataset."""
    records = audited_records(dataset, splits)
    images = AuditedImages(
        image_ids=[record.image_id for record in records],
        splits=[record.split for record in records],
        labels_N=np.array([record.label for record in records], dtype=np.int64),
        class_names=tuple(dataset.class_names),
    )
    asked = None
    if answers is not None:
        require_about_images(answers.level, answers.teacher)
        asked = AskedQuestions(questions=answers.questions, log_odds_NQ=log_odds_of(dataset, records, answers))
    return judge_labels(images, asked, students)


@dataclass(frozen=True, kw_only=True)
class AskedQuestions:
    """Log-odds of yes [N, Q] in nats for the audited images, NaN where there is no answer."""

    questions: QuestionSet
    log_odds_NQ: NDArray[np.floating]


def judge_labels(images: AuditedImages, asked: AskedQuestions | None, students: OutOfFold | None) -> LabelAudit:
    """Judge the labels of `images`.

    Raises ExamplesInvalid where there are neither answers nor students, for a single class, for students of other
    classes, and where no label can be judged.
    """
    names = images.class_names
    if len(names) < 2:
        raise ExamplesInvalid("there is a single class, so that no label can be wrong; labels need two or more classes")
    sources, pooled = _pooled(_sources(images, asked, students), images.labels_N)
    if not pooled.judged_N.any():
        raise ExamplesInvalid(
            "no label can be judged: that takes two or more labelled images of a class with answers or students"
        )
    table, means = audit_table(images, sources, pooled), None
    if asked is not None:
        keys, texts = asked.questions.keys, [question.text for question in asked.questions.questions]
        table = table.with_columns(*questions_against(images, asked.log_odds_NQ, keys))
        means_CQ = means_by_class(expit(asked.log_odds_NQ), images.labels_N, len(names))
        means = ClassMeans(means=means_CQ, keys=keys, texts=texts, source="answers")
    return LabelAudit(
        table=ordered(table),
        class_names=names,
        wrong_share=pooled.wrong_share,
        weights=pooled.weights,
        confused=most_confused(_confusion(images.labels_N, pooled, len(names)), names, means),
    )


def _sources(images: AuditedImages, asked: AskedQuestions | None, students: OutOfFold | None) -> Mapping[str, Values]:
    """log p(class) [N, C] by each source."""
    labels_N, classes = images.labels_N, len(images.class_names)
    labels = ImageLabels(labels=labels_N, trained=labels_N >= 0, classes=classes, seed=0)
    found: dict[str, Values] = {}
    if asked is not None:
        found["answers"] = by_answers(asked.log_odds_NQ, labels)
    if students is not None:
        if students.class_names != images.class_names:
            raise ExamplesInvalid("the out-of-fold students know other classes than the dataset has; train them again")
        found["student"] = without_lone_labels(students.rows_of(images.image_ids).astype(np.float64), labels)
    if not found:
        raise ExamplesInvalid("labels are judged by answers or by students, and neither is given")
    return found


def require_about_images(level: str | None, teacher: str) -> None:
    """Raises ExamplesInvalid for answers about classes."""
    if level == "class":
        raise ExamplesInvalid(
            f"the answers of teacher {teacher} are about classes: they follow the label, and cannot judge it; name a "
            f"teacher that was asked about images"
        )


def by_answers(log_odds_NQ: NDArray[np.floating], images: ImageLabels) -> NDArray[np.float64]:
    """log p(class | answers) [N, C] of every image by a fit to the answers about other images; NaN without answers."""
    answered_N = ~np.isnan(log_odds_NQ).all(axis=1)
    fitted = ImageLabels(
        labels=images.labels, trained=images.trained & answered_N, classes=images.classes, seed=images.seed
    )
    if not fitted.trained.any():
        return np.full((len(log_odds_NQ), images.classes), np.nan)
    found = np.where(answered_N[:, None], log_softmax(class_scores(log_odds_NQ, fitted), axis=1), np.nan)
    return without_lone_labels(found, images)


def without_lone_labels(log_p_NC: NDArray[np.float64], images: ImageLabels) -> NDArray[np.float64]:
    """The same with NaN for the only image of a class that a source knows: without it, the source has not seen the
    class, and could only speak against it."""
    known_N = images.trained & ~np.isnan(log_p_NC).any(axis=1)
    counts_C = np.bincount(images.labels[known_N], minlength=images.classes)
    lone_N = known_N & (counts_C[images.labels] < 2)
    return np.where(lone_N[:, None], np.nan, log_p_NC)


def _pooled(sources: Mapping[str, Values], labels_N: NDArray[np.int64]) -> tuple[Mapping[str, Values], Pooled]:
    """The sources, each calibrated by itself so that its own probabilities can be shown, and all of them together."""
    calibrated: dict[str, Values] = {}
    for name, log_p_NC in sources.items():
        pooled = pool({name: log_p_NC}, labels_N)
        calibrated[name] = np.where(has_source({name: log_p_NC})[:, None], pooled.log_p_NC, np.nan)
    return calibrated, pooled if len(sources) == 1 else pool(calibrated, labels_N)


def _confusion(labels_N: NDArray[np.int64], pooled: Pooled, classes: int) -> NDArray[np.int64]:
    """Judged images by label (rows) and most likely class (columns), [C, C]."""
    judged = np.flatnonzero(pooled.judged_N)
    cells = labels_N[judged] * classes + pooled.log_p_NC[judged].argmax(axis=1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)
