"""Scores of out-of-fold students: the confusion matrix and the accuracy of each image. Without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from student.classification.out_of_fold import OutOfFold


@dataclass(frozen=True, kw_only=True)
class FoldScores:
    """Of N labelled images in order, whose label the student that judges each has not seen.

    `correct` [N] is the share of the students with different seeds that are right; `matrix` [C, C] counts images by
    label (rows) and predicted class (columns), summed over these students.
    """

    image_ids: tuple[str, ...]
    correct: NDArray[np.float64]
    matrix: NDArray[np.int64]
    seeds: int

    @property
    def top1(self) -> float:
        return float(self.correct.mean())

    @property
    def top1_error(self) -> float | None:
        """The standard error of `top1` over the images; None for a single one."""
        count = len(self.correct)
        return None if count < 2 else float(self.correct.std(ddof=1) / np.sqrt(count))


def score_folds(students: Sequence[OutOfFold], labels: Mapping[str, int]) -> FoldScores:
    """Score students of several seeds about the same images by their `labels`; images that could not be read are left
    out."""
    first = students[0]
    label_N = np.array([labels.get(image_id, -1) for image_id in first.image_ids])
    read_N = np.logical_and.reduce([~np.isnan(one.log_p_NC).any(axis=1) for one in students])
    rows = np.flatnonzero((label_N >= 0) & read_N & (first.folds_N >= 0))
    classes = len(first.class_names)
    matrix = np.zeros((classes, classes), dtype=np.int64)
    correct = np.zeros(len(rows))
    for one in students:
        predicted = one.log_p_NC[rows].argmax(axis=1)
        np.add.at(matrix, (label_N[rows], predicted), 1)
        correct += (predicted == label_N[rows]) / len(students)
    return FoldScores(
        image_ids=tuple(first.image_ids[row] for row in rows), correct=correct, matrix=matrix, seeds=len(students)
    )
