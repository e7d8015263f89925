"""A teacher's accuracy on each question, estimated from the corrected sample of a queue."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from storage.corrections.current import CurrentCorrections
from storage.corrections.queue import Queue
from storage.corrections.sampling import Sample

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyEstimate:
    """The share (0..1) of a question's answers that are right, as an estimate for all images, with its 95 % interval.

    `key` is None for all questions together. `answered` counts the drawn answers that a person has decided, `unsure`
    the others. Without any, `accuracy` is None and the interval 0..1.
    """

    key: str | None
    answered: int
    unsure: int
    accuracy: float | None
    low: float
    high: float


def estimate_accuracy(queue: Queue, current: CurrentCorrections) -> list[AccuracyEstimate]:
    """Return the estimate for all questions together, then one for each question in the set's order."""
    sample = queue.sample(current)
    keys = queue.answers.questions.keys
    everything = np.arange(len(keys))
    return [
        _estimate(queue, sample, None, everything),
        *(_estimate(queue, sample, key, everything[place : place + 1]) for place, key in enumerate(keys)),
    ]


def _estimate(queue: Queue, sample: Sample, key: str | None, columns: NDArray[np.int64]) -> AccuracyEstimate:
    """Return the share of right answers in the sample by its weights (Hajek, 1971)."""
    of_these = np.isin(sample.columns, columns)
    decided = of_these & ~np.isnan(sample.yes)
    answered, unsure = int((decided & sample.drawn).sum()), int((of_these & sample.drawn & ~decided).sum())
    if answered == 0:
        return AccuracyEstimate(key=key, answered=0, unsure=unsure, accuracy=None, low=0.0, high=1.0)
    rows, places, yes = sample.rows[decided], sample.columns[decided], sample.yes[decided]
    weights = sample.weights[decided]
    right = is_right(queue.p_yes_of(rows, places), yes)
    if len(right) == int((queue.weights[:, columns] > 0).sum()):  # all are known
        accuracy = float(right.mean())
        return AccuracyEstimate(key=key, answered=answered, unsure=0, accuracy=accuracy, low=accuracy, high=accuracy)
    accuracy = float((weights * right).sum() / weights.sum())
    low, high = wilson_interval(accuracy, effective_size(weights))
    return AccuracyEstimate(key=key, answered=answered, unsure=unsure, accuracy=accuracy, low=low, high=high)


def is_right(p_yes: NDArray[np.floating], yes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 where a teacher's answer is right, 0 where it is wrong; exactly 0.5 is neither yes nor no and counts
    half."""
    return np.where(p_yes == 0.5, 0.5, (p_yes > 0.5) == (yes > 0.5))


def effective_size(weights: NDArray[np.float64]) -> float:
    """Return the size of a sample of equal weights with the same precision (Kish, Survey Sampling, 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def wilson_interval(share: float, size: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of a share (0..1) that was found in `size` draws (Wilson, JASA 22, 1927). It is wide where
    all draws are alike, and never beyond 0..1."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    scale = 1 + z**2 / size
    middle = (share + z**2 / (2 * size)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / size + z**2 / (4 * size**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
