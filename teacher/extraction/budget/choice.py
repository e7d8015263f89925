"""Choose the pairs of image and question that are asked next.

I images, Q questions, C classes. The choice never looks at an answer of a pair that it has not chosen itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teacher.extraction.budget.model import AnswerModel

Pairs = NDArray[np.bool_]
# The first images are asked every question: fewer leave the covariance between questions open.
FIRST_IMAGES = 50


@dataclass(frozen=True, kw_only=True)
class Step:
    """Ask the images that have been asked `before` [Q] also the `questions` [Q]."""

    before: Pairs
    questions: Pairs
    value: float  # the expected decrease of the sum of errors by cost


def choose_first(order: NDArray[np.int64], chosen: Pairs, pairs: int) -> Pairs:
    """Return `chosen` [I, Q] and every question about the next images of the `order`: at most `pairs` more, but at
    least one image."""
    found = chosen.copy()
    left = order[~chosen[order].all(axis=1)]
    found[left[: max(1, pairs // chosen.shape[1])]] = True
    return found


def choose_next(model: AnswerModel, chosen: Pairs, order: NDArray[np.int64], pairs: int, image_cost: float) -> Pairs:
    """Return at most `pairs` more pairs than `chosen`, [I, Q].

    Images with the same questions so far get the same further ones: the smallest number whose expected decrease of the
    error is largest by cost, `image_cost` for seeing the image and 1 for each question. The best groups come first,
    their images in the `order`.
    """
    found = chosen.copy()
    states, of_image = np.unique(chosen, axis=0, return_inverse=True)
    covariance = model.covariance()
    steps = [best_step(covariance, state, image_cost) for state in states if not state.all()]
    of_image = of_image.reshape(-1)[order]
    for step in sorted(steps, key=lambda step: -step.value):
        state = int(np.flatnonzero((states == step.before).all(axis=1))[0])
        images = order[of_image == state][: pairs // int(step.questions.sum())]
        found[images] |= step.questions
        pairs -= len(images) * int(step.questions.sum())
    return found


def best_step(covariance: NDArray[np.float64], before: Pairs, image_cost: float) -> Step:
    """Return the best questions to ask images that were asked `before` [Q]; see `choose_next`."""
    decreases = list(greedy(covariance, before))
    total = np.cumsum([decrease for _, decrease in decreases])
    value = total / (image_cost + np.arange(1, len(decreases) + 1))
    count = int(np.argmax(value)) + 1
    questions = np.zeros(len(before), np.bool_)
    questions[[question for question, _ in decreases[:count]]] = True
    return Step(before=before, questions=questions, value=float(value[count - 1]))


def greedy(covariance: NDArray[np.float64], before: Pairs) -> Iterator[tuple[int, float]]:
    """Yield the questions not asked `before`, each the one that decreases the sum of the standard deviations of all
    answers most, and by how much."""
    rest = covariance.copy()
    left = ~before
    for question in np.flatnonzero(before):
        rest = _given(rest, int(question))
    for _ in range(int(left.sum())):
        variance = np.maximum(np.diag(rest), 0.0)
        after = np.maximum(variance - rest**2 / np.maximum(variance, 1e-12)[:, None], 0.0)
        decrease = np.where(left, (np.sqrt(variance) - np.sqrt(after)).sum(axis=1), -1.0)
        question = int(np.argmax(decrease))
        left[question] = False
        yield question, float(decrease[question])
        rest = _given(rest, question)


def _given(covariance: NDArray[np.float64], question: int) -> NDArray[np.float64]:
    """Return the covariance of the answers given the answer to one question."""
    column, variance = covariance[:, question], covariance[question, question]
    if variance <= 1e-12:
        return covariance
    found: NDArray[np.float64] = covariance - np.outer(column, column) / variance
    found[question] = found[:, question] = 0.0
    return found
