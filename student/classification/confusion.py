"""Which classes a student confuses, and how far its probabilities can be relied on.

confusion-SPLIT.csv, beside an evaluation, has a row for each class and a column for each class that is predicted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from student.classification.calibration import confidence_of
from student.core.evaluation import calibration_bins, calibration_error
from student.core.files import write_bytes

CONFUSION_FILE = "confusion-{split}.csv"
DIGITS = 5  # of reliabilities: further ones depend on the size of batches


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """Scores of one class, shares in 0..1. `top1`, its recall, and `f1` are None where the split has no image of the
    class, `precision` where it is never predicted."""

    class_name: str
    images: int
    top1: float | None
    precision: float | None = None
    f1: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Images whose predicted class has a probability within 1/15 of the range: their mean probability, and the share
    that is predicted right."""

    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Of class probabilities at a temperature: the expected calibration error (Guo et al., arXiv 1706.04599), the mean
    gap between confidence and accuracy over 15 bins weighted by images, and the bins that are not empty."""

    temperature: float
    ece: float
    bins: tuple[ReliabilityBin, ...]


def confusion_matrix(class_logits_NC: Tensor, labels_N: Tensor) -> NDArray[np.int64]:
    """Images by label (rows) and predicted class (columns), [C, C]."""
    classes = class_logits_NC.shape[1]
    cells = labels_N * classes + class_logits_NC.argmax(dim=1)
    return torch.bincount(cells, minlength=classes * classes).view(classes, classes).numpy()


def score_classes(matrix_CC: NDArray[np.int64], class_names: Sequence[str]) -> tuple[ClassScore, ...]:
    """One score per class, in the classes' order."""
    scores = []
    for label, class_name in enumerate(class_names):
        right, images, predicted = (
            int(count) for count in (matrix_CC[label, label], matrix_CC[label].sum(), matrix_CC[:, label].sum())
        )
        scores.append(
            ClassScore(
                class_name=class_name,
                images=images,
                top1=right / images if images else None,
                precision=right / predicted if predicted else None,
                f1=2 * right / (images + predicted) if images else None,
            )
        )
    return tuple(scores)


def macro(scores: Sequence[ClassScore], name: Literal["precision", "f1"]) -> float:
    """The mean over the classes that the split has images of; 0 for a class that is never predicted."""
    return float(np.mean([getattr(score, name) or 0.0 for score in scores if score.images]))


def write_confusion(run_dir: Path, split: str, matrix_CC: NDArray[np.int64], class_names: Sequence[str]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", *class_names])
    writer.writerows([name, *row] for name, row in zip(class_names, matrix_CC.tolist(), strict=True))
    write_bytes(run_dir / CONFUSION_FILE.format(split=split), text.getvalue().encode())


def reliability(class_logits_NC: Tensor, labels_N: Tensor, temperature: float = 1.0) -> Reliability:
    confidence, correct = confidence_of(class_logits_NC / temperature, labels_N)
    bins = calibration_bins(confidence)
    found = []
    for number in bins.unique():
        inside = bins == number
        means = [round(values[inside].mean().item(), DIGITS) for values in (confidence, correct)]
        found.append(ReliabilityBin(images=int(inside.sum()), confidence=means[0], accuracy=means[1]))
    ece = round(calibration_error(confidence, correct), DIGITS)
    return Reliability(temperature=temperature, ece=ece, bins=tuple(found))
