"""Which classes a student confuses, how far its probabilities can be relied on, and which questions tell classes apart.

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
from scipy.special import expit
from torch import Tensor

from storage.answers.read import Answers
from storage.datasets.base import ImageDataset
from student.classification.calibration import confidence_of
from student.classification.examples import log_odds_of
from student.classification.targets import means_by_class
from student.core.aspects import Aspect
from student.core.evaluation import calibration_bins, calibration_error
from student.core.files import write_bytes

CONFUSION_FILE = "confusion-{split}.csv"
DIGITS = 5  # of reliabilities: further ones depend on the size of batches
MOST_CONFUSED = 10  # pairs that an evaluation keeps


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
class SeparatingQuestion:
    """The question whose mean p(yes) differs most between two classes, and these means: of a teacher's `answers` about
    images of the classes, or of what the `student` says about the evaluated images."""

    key: str
    text: str
    first: float
    second: float
    source: Literal["answers", "student"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusedPair:
    """Two classes, with the numbers of images of each that are predicted as the other."""

    first: str
    second: str
    first_as_second: int
    second_as_first: int
    question: SeparatingQuestion | None

    @property
    def images(self) -> int:
        return self.first_as_second + self.second_as_first


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


@dataclass(frozen=True, kw_only=True)
class ClassMeans:
    """Mean p(yes) of each question for each class [C, Q], NaN where there is no answer, with keys and texts of the
    questions."""

    means: NDArray[np.float64]
    keys: Sequence[str]
    texts: Sequence[str]
    source: Literal["answers", "student"]

    @classmethod
    def of_answers(cls, dataset: ImageDataset, answers: Answers) -> ClassMeans:
        """Of all images of the dataset that there are answers about, whatever their split. Raises ExamplesInvalid for
        answers about another dataset."""
        labels = np.array([record.label for record in dataset.records])
        p_yes = expit(log_odds_of(dataset, dataset.records, answers))
        means = means_by_class(p_yes, labels, len(dataset.class_names))
        texts = [question.text for question in answers.questions.questions]
        return cls(means=means, keys=answers.questions.keys, texts=texts, source="answers")

    @classmethod
    def of_student(cls, p_yes_NQ: Tensor, labels_N: Tensor, aspects: Sequence[Aspect], classes: int) -> ClassMeans:
        keys, texts = [aspect.key for aspect in aspects], [aspect.text for aspect in aspects]
        return cls(
            means=means_by_class(p_yes_NQ.numpy(), labels_N.numpy(), classes), keys=keys, texts=texts, source="student"
        )

    def between(self, first: int, second: int) -> SeparatingQuestion | None:
        """The question that separates two classes best; None where none was answered about both."""
        gaps = np.abs(self.means[first] - self.means[second])
        if not len(gaps) or np.isnan(gaps).all():
            return None
        best = int(np.nanargmax(gaps))
        pair = {"first": float(self.means[first, best]), "second": float(self.means[second, best])}
        return SeparatingQuestion(key=self.keys[best], text=self.texts[best], source=self.source, **pair)


def most_confused(
    matrix_CC: NDArray[np.int64], class_names: Sequence[str], means: ClassMeans | None
) -> tuple[ConfusedPair, ...]:
    """The pairs of classes that are confused most, the worst first."""
    both = np.triu(matrix_CC + matrix_CC.T, k=1)
    order = np.argsort(-both, axis=None, kind="stable")[:MOST_CONFUSED]
    pairs = [(int(cell) // len(both), int(cell) % len(both)) for cell in order]
    return tuple(
        ConfusedPair(
            first=class_names[first],
            second=class_names[second],
            first_as_second=int(matrix_CC[first, second]),
            second_as_first=int(matrix_CC[second, first]),
            question=None if means is None else means.between(first, second),
        )
        for first, second in pairs
        if both[first, second] > 0
    )
