"""Pairs of classes that are confused, and the questions that tell them apart. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from storage.answers.read import Answers
from storage.datasets.base import ImageDataset
from student.classification.targets import means_by_class
from student.core.examples import log_odds_of

if TYPE_CHECKING:
    from torch import Tensor

    from student.core.aspects import Aspect

MOST_CONFUSED = 10  # pairs that an evaluation keeps


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
