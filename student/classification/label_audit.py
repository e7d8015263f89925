"""Find suspicious labels by answers, and by students that have not seen the image's label.

Each source gives log p(class) of every image, by a fit to other images. `pool` combines them and estimates how likely
each given label is wrong; the table lists the images by that, the most suspicious first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from storage.answers.read import Answers
from storage.datasets.base import ImageDataset
from storage.questions import QuestionSet
from student.classification.confused_classes import ClassMeans, ConfusedPair, most_confused
from student.classification.label_audit_table import AuditedImages, judge, ordered, questions_against
from student.classification.label_noise import Source, pool
from student.classification.out_of_fold import OutOfFold, audited_records
from student.classification.propagation import propagate_labels
from student.classification.targets import ImageLabels, fit_class_scores, means_by_class
from student.core.examples import ExamplesInvalid, log_odds_of

LIKELY_WRONG = 0.5  # probability from which a label counts as suspicious unless another is asked for
# Labelled images of a class up to which label propagation names images without a label better than the discriminants of
# the labelled ones do: on flowers 60 against 44 % at one label, 71 against 63 at two, 79 both at five.
FEW = 5
MOST_NAMED = 10**8  # images times classes of label propagation, each of whose arrays takes 0.4 GB then


@dataclass(frozen=True, kw_only=True)
class LabelAudit:
    """A row of `table` for each image: the judged labels by the probability that they are wrong, the highest first,
    then images without a label by the probability of their most likely class, the lowest first, then the others.

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
    classes, and where no label can be judged and no image without one gets a class.
    """
    names = images.class_names
    if len(names) < 2:
        raise ExamplesInvalid("there is a single class, so that no label can be wrong; labels need two or more classes")
    labels_N, classes = images.labels_N, len(names)
    alone = {name: pool({name: one}, labels_N, classes) for name, one in _sources(images, asked, students).items()}
    calibrated = {name: one.as_source() for name, one in alone.items()}
    pooled = pool(calibrated, labels_N, classes) if len(alone) > 1 else next(iter(alone.values()))
    if not pooled.judged.any() and not (pooled.known & (labels_N < 0)).any():
        raise ExamplesInvalid(
            "no label can be judged: that takes two or more labelled images of a class with answers or students"
        )
    judged = judge(images, pooled, calibrated)
    table, means = judged.table, None
    if asked is not None:
        keys, texts = asked.questions.keys, [question.text for question in asked.questions.questions]
        means_CQ = means_by_class(expit(asked.log_odds_NQ), labels_N, classes)
        table = table.with_columns(*questions_against(images, asked.log_odds_NQ, means_CQ, keys))
        means = ClassMeans(means=means_CQ, keys=keys, texts=texts, source="answers")
    return LabelAudit(
        table=ordered(table),
        class_names=names,
        wrong_share=judged.wrong_share,
        weights=pooled.weights,
        confused=most_confused(judged.confusion_CC, names, means),
    )


def _sources(images: AuditedImages, asked: AskedQuestions | None, students: OutOfFold | None) -> Mapping[str, Source]:
    """What the answers and the students say about the images."""
    labels_N = images.labels_N
    found: dict[str, Source] = {}
    if asked is not None:
        found["answers"] = by_answers(asked.log_odds_NQ, labels_N, len(images.class_names))
    if students is not None:
        if students.class_names != images.class_names:
            raise ExamplesInvalid("the out-of-fold students know other classes than the dataset has; train them again")
        found["student"] = by_students(students, images)
    if not found:
        raise ExamplesInvalid("labels are judged by answers or by students, and neither is given")
    return {name: without_lone_labels(source, labels_N, len(images.class_names)) for name, source in found.items()}


def require_about_images(level: str | None, teacher: str) -> None:
    """Raises ExamplesInvalid for answers about classes."""
    if level == "class":
        raise ExamplesInvalid(
            f"the answers of teacher {teacher} are about classes: they follow the label, and cannot judge it; name a "
            f"teacher that was asked about images"
        )


def by_answers(log_odds_NQ: NDArray[np.floating], labels_N: NDArray[np.int64], classes: int) -> Source:
    """log p(class | answers) of every image by a fit to the answers about other images. Where labels are few, images
    without one get those of label propagation."""
    answered_N = ~np.isnan(log_odds_NQ).all(axis=1)
    fitted_N = (labels_N >= 0) & answered_N
    if not fitted_N.any():
        answered_N = np.zeros_like(answered_N)
    fitted = ImageLabels(labels=labels_N, trained=fitted_N, classes=classes, seed=0)
    scores = fit_class_scores(log_odds_NQ, fitted)
    unlabelled_N = answered_N & (labels_N < 0)
    few = 0 < fitted_N.sum() <= FEW * classes and len(labels_N) * classes <= MOST_NAMED
    if not (few and unlabelled_N.any()):
        return Source(known_N=answered_N, log_p=scores.of)
    named_NC = propagate_labels([log_odds_NQ], np.where(answered_N, labels_N, -1), classes)

    def log_p(rows: NDArray[np.int64]) -> NDArray[np.floating]:
        return np.where(unlabelled_N[rows, None], named_NC[rows], scores.of(rows))

    return Source(known_N=answered_N, log_p=log_p)


def by_students(students: OutOfFold, images: AuditedImages) -> Source:
    """log p(class) of every image by the student that has not seen its label."""
    places_N = students.places_of(images.image_ids)
    complete = np.asarray(~np.isnan(students.log_p_NC).any(axis=1))
    known_N = (places_N >= 0) & complete[places_N]
    return Source(known_N=known_N, log_p=lambda rows: students.log_p_NC[places_N[rows]])


def without_lone_labels(source: Source, labels_N: NDArray[np.int64], classes: int) -> Source:
    """The same without the only image of a class that the source knows: without it, the source has not seen the class,
    and could only speak against it."""
    labelled_N = source.known_N & (labels_N >= 0)
    counts_C = np.bincount(labels_N[labelled_N], minlength=classes)
    return replace(source, known_N=source.known_N & ~(labelled_N & (counts_C[labels_N] < 2)))
