"""Choose the questions that together distinguish the classes best, by the answers about few images.

Among a thousand pairs of questions some separate 50 images by chance. Two things tell chance from classes: products of
several answers are included, as a class may be a combination of them, and what is explained is counted by direction
between the classes. A set of questions explains a few directions well; chance explains each of them a little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RIDGES = (0.01, 0.1, 1.0)  # relative to the kernel's mean diagonal
POWER = 8  # of the kernel
FLOOR = 0.05  # variance added to every direction: one that is explained wholly does not outweigh all others
MOST_IMAGES = 400  # the cost of one score is cubic in it
SHARE_AT_ONCE = 0.1  # share of a large set removed between two scorings of all others
MOST_EXCHANGED = 3  # questions at once


def choose_questions(
    p_yes: NDArray[np.floating], label_names: Sequence[str], count: int, *, seed: int = 0
) -> list[int]:
    """Return the columns of the `count` questions to keep, in order.

    `p_yes` is [I, Q] without gaps, `label_names` are the images' classes. All columns if there are no more than
    `count`. Greedy backward elimination (Guyon and Elisseeff, JMLR 2003, section 4.2) by `unexplained_classes`, then
    exchanges of up to MOST_EXCHANGED questions (floating search, Pudil et al., Pattern Recognition Letters 1994).
    """
    columns = list(range(p_yes.shape[1]))
    if len(columns) <= count:
        return columns
    rows = np.sort(np.random.default_rng([seed, 6]).permutation(len(p_yes))[:MOST_IMAGES])
    _, labels = np.unique(np.asarray(label_names)[rows], return_inverse=True)
    score = _Score(2 * p_yes[rows].astype(np.float64) - 1, labels)
    return sorted(_exchange(score, _eliminate(score, columns, count, SHARE_AT_ONCE), columns))


def unexplained_classes(products: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """Return how much of the classes is left unexplained by a set of answers: the lower, the better the set.

    It is the logarithm of the generalised variance (Wilks 1932), the determinant of the covariance [D, D], of what is
    left of `targets` [I, D] (see `class_directions`) when each image is predicted from all others. A set that explains
    one direction well scores better than one that explains each a little, as chance does where there are few images.

    The prediction is kernel ridge regression with the kernel (1 + x.y)^8 of the answers, scaled to a mean of x.x of 1,
    which includes products of answers; `products` are x.y [I, I]. Leaving one out has a closed form (Rifkin and
    Lippert, "Notes on regularized least squares", 2007); the ridge is the one of RIDGES with the best result.
    """
    kernel = (1 + products / max(float(np.trace(products)) / len(products), 1e-9)) ** POWER
    scale = float(np.trace(kernel)) / len(kernel)
    found = []
    for ridge in RIDGES:
        inverse = np.linalg.inv(kernel + ridge * scale * np.eye(len(kernel)))
        left = inverse @ targets / np.diagonal(inverse)[:, None]
        covariance = left.T @ left / len(left) + FLOOR * np.eye(left.shape[1])
        found.append(float(np.linalg.slogdet(covariance)[1]))
    return min(found)


def class_directions(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the directions between the classes [I, C - 1]: uncorrelated, each with mean 0 and variance 1."""
    targets = np.eye(labels.max() + 1)[labels]
    directions, spread, _ = np.linalg.svd(targets - targets.mean(axis=0), full_matrices=False)
    return directions[:, spread > 1e-9] * np.sqrt(len(labels))


class _Score:
    """`unexplained_classes` of sets of columns of `values` [I, Q], each computed once."""

    def __init__(self, values: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
        self._values = values - values.mean(axis=0)
        self._targets = class_directions(labels)
        self._known: dict[frozenset[int], float] = {}

    def __call__(self, columns: Sequence[int]) -> float:
        key = frozenset(columns)
        if key not in self._known:
            chosen = self._values[:, sorted(key)]
            self._known[key] = unexplained_classes(chosen @ chosen.T, self._targets)
        return self._known[key]


def _eliminate(score: _Score, columns: Sequence[int], count: int, share: float) -> list[int]:
    """Return `count` of the columns: the worst ones are removed, `share` of the surplus between two scorings."""
    kept = list(columns)
    while len(kept) > count:
        errors = [score([other for other in kept if other != column]) for column in kept]
        dropped = max(1, math.floor(share * (len(kept) - count)))
        for place in sorted(np.argsort(errors, kind="stable")[:dropped].tolist(), reverse=True):
            del kept[place]
    return kept


def _exchange(score: _Score, kept: list[int], columns: Sequence[int]) -> list[int]:
    """Return a set that is at least as good: one or several columns are added and as many removed while that helps."""
    several = 1
    while several <= MOST_EXCHANGED:
        more = list(kept)
        for _ in range(several):
            if rest := [column for column in columns if column not in more]:
                more.append(min(rest, key=lambda column: score([*more, column])))
        others = _eliminate(score, more, len(kept), 0.0)
        if score(others) < score(kept):
            kept, several = others, 1
        else:
            several += 1
    return kept
